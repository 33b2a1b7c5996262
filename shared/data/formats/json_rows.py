"""A `.json` file to rows: lines as in `.jsonl`, or one array, cut into its elements as it streams by.

An array is never parsed as a whole. Only brackets, quotes and the array's own commas are followed, which is enough
to know where an element ends; whether it is JSON is judged with the row itself. So if every row is good, the
array was JSON.
"""

from __future__ import annotations

import re
from itertools import chain
from typing import TYPE_CHECKING, Final

from shared.data.formats.damage import damaged
from shared.data.json_strings import INSIDE
from shared.data.lines import BOM, Begun, Lines, lines_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from shared.errors import DataRejected

_BLANK: Final = b" \t\r\n"
_BACKSLASH: Final = 0x5C
_LONGEST_HEAD: Final = 64 << 10
#: The rest of a string.
_STRING: Final = re.compile(INSIDE)
#: Up to the next bracket or unfinished string inside an element, and beside it up to the next comma, too.
_INSIDE: Final = re.compile(rb'(?:[^"\[\]{}]++|"%b")*+' % INSIDE)
_BESIDE: Final = re.compile(rb'(?:[^"\[\]{},]++|"%b")*+' % INSIDE)
_MEND: Final = "Mend the file, or write one row on each line: then a broken row costs itself alone"


def json_rows(blocks: Iterable[bytes], *, limit: int, name: str) -> Iterator[Lines]:
    """Numbered rows of a JSON file: by line, or by place in the array, counted from 1.

    Args:
        blocks: The file's bytes.
        limit: The longest row in bytes; longer ones are refused.
        name: The file's, for the rejection.

    Raises:
        shared.errors.DataRejected: It is an array that is damaged or cut off, or one object.
    """
    rest = iter(blocks)
    head = b""
    for block in rest:
        head += block
        if b"\n" in head.removeprefix(BOM).lstrip(_BLANK) or len(head) > _LONGEST_HEAD:
            break
    begins = head.removeprefix(BOM).lstrip(_BLANK)
    if begins.startswith(b"["):
        yield from _Array(limit, name).rows(chain([begins[1:]], rest))
        return
    first, newline, _ = begins.partition(b"\n")
    if newline and first.strip(_BLANK) == b"{":
        mend = "Write an array of rows, or one row on each line"
        raise damaged(name, "is an object spread over lines, not rows", mend)
    yield from lines_of(chain([head], rest), limit=limit)


class _Array:
    """Follows one array through blocks of bytes, keeping what has come of the element it is in."""

    def __init__(self, limit: int, name: str) -> None:
        self._name = name
        self._element = Begun(limit)
        self._number = 1
        self._depth = 0
        self._in_string = False
        self._closed = False

    def rows(self, blocks: Iterable[bytes]) -> Iterator[Lines]:
        """The elements of the array whose opening bracket came just before these blocks."""
        escape = b""
        for block in blocks:
            given, begun, at, whole = escape + block, 0, 0, list[bytes]()
            while (at := self._next(given, at)) < len(given):
                if self._in_string and given[at] == _BACKSLASH:
                    break
                at += 1
                if not self._ends(given[at - 1]):
                    continue
                self._element.add(given[begun : at - 1])
                begun = at
                for row in self._row():
                    if row.refusal is None:
                        whole += row.lines
                    else:
                        yield from _together(self._number - 1, whole)
                        yield row
                        whole = []
            yield from _together(self._number, whole)
            self._element.add(given[begun:at])
            escape = given[at:]
            if self._closed and given[begun:].strip(_BLANK):
                raise self._damaged("goes on after its end")
        if not self._closed:
            raise self._damaged("is cut off")

    def _next(self, block: bytes, at: int) -> int:
        """Where the next byte stands that changes anything."""
        if self._closed:
            return len(block)
        pattern = _STRING if self._in_string else _INSIDE if self._depth else _BESIDE
        found = pattern.match(block, at)
        assert found is not None  # all of them match nothing, too
        return found.end()

    def _ends(self, byte: int) -> bool:
        """Take in such a byte; whether it ends an element."""
        match byte:
            case 0x22:  # "
                self._in_string = not self._in_string
            case 0x5B | 0x7B:  # [ {
                self._depth += 1
            case 0x2C:  # a comma, seen beside elements alone
                return True
            case _ if self._depth:
                self._depth -= 1
            case 0x5D:  # ]
                self._closed = True
                return True
            case _:
                raise self._damaged("closes what it never opened")
        return False

    def _row(self) -> Iterator[Lines]:
        """The element that has come to its end, if it is one."""
        found = self._element.finished(self._number)
        row = found._replace(lines=[found.lines[0].strip(_BLANK)])
        if row.lines[0]:
            self._number += 1
            yield row
        elif self._number > 1 or not self._closed:
            raise self._damaged("has nothing where a row should be")

    def _damaged(self, what: str) -> DataRejected:
        return damaged(self._name, f"is an array that {what}, at row {self._number}", _MEND)


def _together(end: int, rows: list[bytes]) -> Iterator[Lines]:
    """Rows up to, and without, the one of the number `end`."""
    if rows:
        yield Lines(end - len(rows), rows)
