"""Blocks of bytes to numbered lines, in bounded memory however long a line is."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_BOM = b"\xef\xbb\xbf"
_NEWLINE = b"\n"
#: What remains of a line that is too long, to show its author which it was.
_PREFIX = 256


class Lines(NamedTuple):
    """Some lines in a row.

    Attributes:
        first: The number of the first, counted from 1.
        lines: Their bytes without the newline; a carriage return before it is still there, as JSON
            allows.
        too_long: 0, or the length in bytes of the single line that `lines` then holds the
            beginning of.
    """

    first: int
    lines: list[bytes]
    too_long: int = 0


def lines_of(blocks: Iterable[bytes], *, limit: int) -> Iterator[Lines]:
    """Cut blocks at newlines, a block's worth at a time.

    Keeps at most one block and `limit` bytes. A byte order mark at the very beginning is left out.

    Args:
        blocks: The bytes of one file in order.
        limit: The longest line in bytes; longer ones are skipped and told by `too_long`.
    """
    number = 1
    begun = _Begun(limit)
    for block in blocks:
        end = block.find(_NEWLINE)
        if end < 0:
            begun.add(block)
            continue
        lines = block.split(_NEWLINE)
        begun.add(lines[0])
        last = lines.pop()
        if begun.size > limit:
            yield begun.finished(number)
            number += 1
            del lines[0]
        else:
            lines[0] = begun.finished(number).lines[0]
        if number == 1 and lines:
            lines[0] = lines[0].removeprefix(_BOM)
        yield from _checked(number, lines, limit)
        number += len(lines)
        begun.add(last)
    if begun.size:
        rest = begun.finished(number)
        if number == 1:
            rest.lines[0] = rest.lines[0].removeprefix(_BOM)
        yield rest


class _Begun:
    """The line whose end has not been read yet; of one that is too long only the beginning."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._kept = bytearray()
        self.size = 0

    def add(self, piece: bytes) -> None:
        already_too_long = self.size > self._limit
        self.size += len(piece)
        if self.size <= self._limit:
            self._kept += piece
        elif not already_too_long:
            self._kept += piece[:_PREFIX]
            del self._kept[_PREFIX:]

    def finished(self, number: int) -> Lines:
        line = Lines(number, [bytes(self._kept)], self.size if self.size > self._limit else 0)
        self._kept, self.size = bytearray(), 0
        return line


def _checked(first: int, lines: list[bytes], limit: int) -> Iterator[Lines]:
    if not lines:
        return
    if max(map(len, lines)) <= limit:
        yield Lines(first, lines)
        return
    for number, line in enumerate(lines, first):
        size = len(line)
        yield Lines(number, [line[:_PREFIX]], size) if size > limit else Lines(number, [line])
