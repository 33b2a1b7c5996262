"""Turn conversations into token ids and labels: the assistant's tokens carry loss, nothing else does."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

from local.compute.failures import UserFailure

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from local.compute.foundation import Foundation

IGNORED: Final = -100
NO_ASSISTANT_TOKENS: Final = (
    "Unable to continue finetuning. No assistant tokens found after preprocessing.\n"
    "1. Please increase the :param `max_seq_len` to higher value and try again.\n"
    "2. This could also be an issue with ChatSpecialTokens. Please report the issue for resolution."
)


@dataclass(frozen=True, slots=True)
class Encoded:
    """One conversation: token ids, and labels that are -100 outside the assistant's words."""

    input_ids: Sequence[int]
    labels: Sequence[int]

    @property
    def assistant_tokens(self) -> int:
        """How many tokens carry loss."""
        return sum(label != IGNORED for label in self.labels)


class ChatEncoder:
    """Encodes rows by a model's chat template and markers.

    Args:
        tokenizer: A transformers tokenizer with chat template.
        foundation: The model, for its markers and its rule for system messages.
        max_seq_length: Longest row in tokens; -1 for the tokenizer's own limit.
    """

    def __init__(self, tokenizer: Any, foundation: Foundation, max_seq_length: int) -> None:
        self._tokenizer = tokenizer
        response, instruction = foundation.chat_markers
        self._response = tokenizer.encode(response, add_special_tokens=False)
        self._instruction = tokenizer.encode(instruction, add_special_tokens=False)
        supported = str(foundation.finetune_config.get("system_role_supported", "true")).lower()
        self._merges_system = supported == "false"
        limit = tokenizer.model_max_length
        self.length = min(max_seq_length, limit) if max_seq_length > 0 else limit

    def encode(self, rows: Iterable[dict[str, Any]]) -> list[Encoded]:
        """Encode rows; those without any token of the assistant's are left out, as the component does.

        Raises:
            UserFailure: The chat template refuses a row, or no row has a token of the assistant's.
        """
        encoded = [row for row in self._encode_each(rows) if row.assistant_tokens]
        if not encoded:
            raise UserFailure(NO_ASSISTANT_TOKENS)
        return encoded

    def _encode_each(self, rows: Iterable[dict[str, Any]]) -> Iterator[Encoded]:
        for number, row in enumerate(rows, 1):
            try:
                messages = (
                    self._merge_system(row["messages"]) if self._merges_system else row["messages"]
                )
                text = self._tokenizer.apply_chat_template(
                    messages, tools=row.get("tools"), tokenize=False
                )
            except Exception as error:  # whatever a template raises is about the row
                raise UserFailure(
                    f"Failure while applying chat template to dataset: {error} (row {number})"
                ) from error
            ids = self._tokenizer.encode(
                text, add_special_tokens=False, truncation=True, max_length=self.length
            )
            yield Encoded(ids, self._labels(ids))

    def _labels(self, ids: Sequence[int]) -> list[int]:
        """Tokens between a response marker and the next instruction marker keep their ids as labels."""
        labels = [IGNORED] * len(ids)
        starts = [(at, at + len(self._response)) for at in _occurrences(ids, self._response)]
        ends = list(_occurrences(ids, self._instruction))
        bounds = [start for start, _ in starts] + [len(ids)]
        for (_, begin), (_, following) in zip(starts, pairwise(bounds), strict=True):
            end = min((e for e in ends if begin <= e < following), default=following)
            labels[begin:end] = ids[begin:end]
        return labels

    @staticmethod
    def _merge_system(messages: Any) -> list[dict[str, Any]]:
        """Put the system text before the first user message, for models without that role.

        Raises:
            ValueError: A system message elsewhere than first, or no user message.
        """
        if any(message["role"] == "system" for message in messages[1:]):
            raise ValueError("a system message may only come first")
        if all(message["role"] != "user" for message in messages):
            raise ValueError("at least one user message is needed")
        if messages[0]["role"] != "system":
            return list(messages)
        system, *others = messages
        first = next(at for at, message in enumerate(others) if message["role"] == "user")
        merged = {**others[first], "content": f"{system['content']}\n\n{others[first]['content']}"}
        return [*others[:first], merged, *others[first + 1 :]]


def _occurrences(ids: Sequence[int], marker: Sequence[int]) -> Iterator[int]:
    length = len(marker)
    wanted = list(marker)
    return (at for at in range(len(ids) - length + 1) if list(ids[at : at + length]) == wanted)
