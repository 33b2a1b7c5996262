"""Columns that stay beside the conversation, for people who read the prepared files.

The training component leaves every other column out, but only after its loader has read them, and
that loader wants one type for each column and every column in every row. So a kept column is always
a text: a text as it is, anything else as its JSON, and an empty one where the row has none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence


def kept_problem(names: Sequence[str]) -> str | None:
    """Why these columns may not be kept, if they may not."""
    if taken := [name for name in names if name in ("messages", "tools")]:
        return f"names {' and '.join(taken)}, which is kept in any case"
    # The component strips the names of columns: two that are alike then would be a fault.
    if any(name != name.strip() or not name for name in names):
        return "must name columns that are not blank and neither begin nor end with a space"
    if len(set(names)) < len(names):
        return "names a column twice"
    return None


class KeptColumns:
    """Finds the columns in a row and writes them down.

    Args:
        names: Of the columns, in the order in which they are written.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._names = list(names)
        fields: list[tuple[str, Any, Any]] = [
            (f"column{number}", msgspec.Raw, msgspec.Raw()) for number in range(len(names))
        ]
        row = msgspec.defstruct(
            "KeptRow",
            fields,
            rename={field[0]: name for field, name in zip(fields, names, strict=True)},
        )
        self._decode = msgspec.json.Decoder(row).decode

    def of(self, line: bytes) -> bytes:
        """What is to be put behind a written row's last value: a comma and members of an object.

        Raises:
            ValueError: A column is not UTF-8, or the row no JSON object.
            RecursionError: The row is nested too deeply.
        """
        values = msgspec.structs.astuple(self._decode(line))
        texts = dict(zip(self._names, map(_text, values), strict=True))
        return b"," + msgspec.json.encode(texts)[1:-1]


def _text(raw: msgspec.Raw) -> str:
    value = bytes(raw)
    if value in (b"", b"null"):
        return ""
    if value.startswith(b'"'):
        return msgspec.json.decode(value, type=str)
    return msgspec.json.format(value, indent=-1).decode()
