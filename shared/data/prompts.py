"""Conversations that wait for an answer, from test rows: what a new deployment is asked first."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import TYPE_CHECKING, TypedDict

import msgspec

from shared.data.lines import lines_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from shared.data.ports import Sink

#: The file of prompts beside the prepared splits, since `test.jsonl` may be large.
PROMPTS_FILE = "prompts.jsonl"
#: How many it holds, and how long each may be. A smoke test asks short questions.
MOST_PROMPTS = 32
LONGEST_PROMPT = 64 << 10


class Message(TypedDict):
    """A message as the scoring routes take it."""

    role: str
    content: str


class _Row(msgspec.Struct):
    messages: list[Message]


def sample_prompts(prepared: Sink | Iterable[bytes], count: int) -> list[list[Message]]:
    """The first test rows, each cut so that it ends with a user's turn.

    Args:
        prepared: The sink that `prepare` wrote to (gives at most `MOST_PROMPTS`), or the bytes of
            a prepared file.
        count: How many are wanted; fewer come if there are fewer.

    Raises:
        shared.errors.Missing: The sink holds no finished preparation.
    """
    blocks = prepared if isinstance(prepared, Iterable) else [prepared.read(PROMPTS_FILE)]
    return list(islice(_prompts(blocks), count))


def prompt_of(line: bytes) -> bytes | None:
    """A prepared row cut to a line of the file of prompts; None if it is too long for that."""
    row = msgspec.json.decode(line, type=_Row)
    _cut(row.messages)
    encoded = msgspec.json.encode(row)
    return encoded if len(encoded) <= LONGEST_PROMPT else None


def _prompts(blocks: Iterable[bytes]) -> Iterator[list[Message]]:
    decode = msgspec.json.Decoder(_Row).decode
    for some in lines_of(blocks, limit=1 << 40):
        for line in filter(None, some.lines):
            messages = decode(line).messages
            _cut(messages)
            yield messages


def _cut(messages: list[Message]) -> None:
    """Remove what follows the last user turn; a prepared row has one, and it is answered."""
    while messages and messages[-1]["role"] != "user":
        messages.pop()
