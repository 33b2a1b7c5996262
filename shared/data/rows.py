"""One raw row to one valid example, or to the reason why not.

The fast path decodes with types, judges, and encodes anew: an example has one form on disk, so
that equal conversations are equal bytes whatever the spacing, escapes, order of keys or further
columns of their rows; a row that is already in that form comes out byte for byte. Of a key that is
given twice the last counts, as it does for most parsers, and only it is written. A row that fails
somewhere is looked at a second time, slowly, to say precisely what is wrong (`diagnosis`).

What the training component asks for (its preprocessing is public: Azure/azureml-assets,
`assets/training/finetune_acft_hf_nlp`): a column `messages`, lists of at least two, every one
accepted by the model's chat template; `tools`, when the column is there, in every row and not
empty; all other columns are left out.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import msgspec

from shared.data.diagnosis import diagnose
from shared.data.reasons import Reason, Refusal
from shared.data.turns import TurnPatterns, Turns

#: A row of text in English has about four bytes to a token; longer UTF-8 sequences (three bytes
#: for a Chinese or Japanese character, most of a token each) keep the rule roughly true elsewhere.
BYTES_PER_TOKEN = 4
#: What a chat template adds around one message: the role's marker, the end marker, a line break.
TOKENS_PER_MESSAGE = 4


class Message(msgspec.Struct, gc=False, omit_defaults=True):
    """A message as it is decoded; the last two are read only to be refused."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str
    tool_calls: Any = None
    function_call: Any = None


class Row(msgspec.Struct, gc=False, omit_defaults=True):
    """A row as decoded, other columns skipped; encoded, it is an example as it is written."""

    messages: list[Message]
    tools: list[dict[str, Any]] | str | None = None


class Example(NamedTuple):
    """A valid row.

    Attributes:
        line: Its bytes as written, without the line break.
        turns: The pattern of its roles.
        characters: Code points of content.
        tools: Whether it gives tools.
    """

    line: bytes
    turns: Turns
    characters: int
    tools: bool

    @property
    def tokens(self) -> int:
        """An estimate of its length in tokens, without the model's tokenizer.

        A quarter of the UTF-8 bytes of content (and tools) as JSON writes them, plus four for each
        message.
        """
        content = len(self.line) - self.turns.overhead
        return content // BYTES_PER_TOKEN + TOKENS_PER_MESSAGE * self.turns.kept


class Reader:
    """Judges rows; holds what is worth keeping from row to row: decoder, encoder, known turns."""

    def __init__(self) -> None:
        self._decode = msgspec.json.Decoder(Row).decode
        self._decode_tools = msgspec.json.Decoder(list[dict[str, Any]]).decode
        self._encode = msgspec.json.Encoder().encode
        self._patterns = TurnPatterns()

    def read(self, line: bytes) -> Example | Refusal | None:
        """Judge one row; None for a blank line. Never raises, whatever the bytes."""
        try:
            return self._read(line)
        except (ValueError, RecursionError):  # all that msgspec raises is a ValueError
            if not line or line.isspace():
                return None
            return diagnose(line)

    def _read(self, line: bytes) -> Example | Refusal:
        row = self._decode(line)
        messages = row.messages
        contents = [message.content for message in messages]
        if not all(contents) or any(map(str.isspace, contents)):
            return diagnose(line)
        if row.tools is not None:
            self._settle_tools(row)
        with_tools = row.tools is not None
        turns = self._patterns.judge([message.role for message in messages], tools=with_tools)
        if isinstance(turns, Refusal):
            return turns
        for place, message in enumerate(messages):
            if message.tool_calls is not None or message.function_call is not None:
                return Refusal(Reason.TOOL_CALLS, f"messages[{place}]")
        if turns.trimmed:
            del messages[turns.kept :], contents[turns.kept :]
        return Example(self._encode(row), turns, sum(map(len, contents)), with_tools)

    def _settle_tools(self, row: Row) -> None:
        """Bring `tools` to one form: a list that is not empty, or nothing.

        Some datasets write the list as a JSON text. The component drops rows whose tools are
        empty.
        """
        if isinstance(row.tools, str):
            text = row.tools.strip()
            row.tools = self._decode_tools(text) if text not in ("", "null") else None
        if not row.tools or not any(row.tools):
            row.tools = None
