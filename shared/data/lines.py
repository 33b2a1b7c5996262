"""Blocks of bytes to numbered lines, in bounded memory however long a line is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from shared.data.reasons import Reason, Refusal

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

BOM = b"\xef\xbb\xbf"
_NEWLINE = b"\n"
_PORTION: Final = 1 << 19
_MOST_LINES: Final = 1024
#: What remains of a line that is too long, to show its author which it was.
_PREFIX = 256

_encode: Final = msgspec.json.Encoder(enc_hook=str).encode


class Lines(NamedTuple):
    """Some rows of a file, one after the other; in most formats a row is a line.

    Attributes:
        first: The number of the first, counted from 1.
        lines: Their bytes, JSON if all is well, without a newline at the end; a carriage return
            before it is still there, as JSON allows.
        refusal: Why the single row that `lines` then holds the beginning of cannot be read.
    """

    first: int
    lines: list[bytes]
    refusal: Refusal | None = None

    def line(self, number: int) -> bytes:
        """The row of this number."""
        return self.lines[number - self.first]


class Parsed(NamedTuple):
    """Some rows whose columns their format has as values already: no need to write JSON and read it again.

    Attributes:
        first: The number of the first, counted from 1.
        rows: The value of each column by its name; of JSON's own types alone.
        refusal: There is none.
    """

    first: int
    rows: list[dict[str, Any]]
    refusal: None = None

    @property
    def lines(self) -> list[bytes]:
        """The rows as JSON."""
        return [as_line(row) for row in self.rows]

    def line(self, number: int) -> bytes:
        """The row of this number as JSON."""
        return as_line(self.rows[number - self.first])


def as_line(row: bytes | dict[str, Any]) -> bytes:
    """The row as JSON, if it is none yet.

    Numbers, dates and the like have a form in JSON; what has none (decimals) goes as its text, NaN as null.
    """
    return row if isinstance(row, bytes) else _encode(row)


def too_long(first: int, line: bytes, size: int, limit: int) -> Lines:
    """A row of `size` bytes, refused; `line` is its beginning."""
    detail = f"{size:,} bytes; the most is {limit:,}"
    return Lines(first, [line[:_PREFIX]], Refusal(Reason.TOO_LONG, detail))


def lines_of(blocks: Iterable[bytes], *, limit: int) -> Iterator[Lines]:
    """Cut blocks at newlines, a block's worth at a time.

    Keeps at most one block and `limit` bytes. A byte order mark at the very beginning is left out.

    Args:
        blocks: The bytes of one file in order.
        limit: The longest line in bytes; longer ones are refused.
    """
    number = 1
    begun = Begun(limit)
    for block in blocks:
        lines = _cut(block)
        last = lines.pop()
        if not lines:
            begun.add(last)
            continue
        begun.add(lines[0])
        if begun.size > limit:
            yield begun.finished(number)
            number += 1
            del lines[0]
        else:
            lines[0] = begun.finished(number).lines[0]
        if number == 1 and lines:
            lines[0] = lines[0].removeprefix(BOM)
        yield from _checked(number, lines, limit)
        number += len(lines)
        begun.add(last)
    if begun.size:
        rest = begun.finished(number)
        if number == 1:
            rest.lines[0] = rest.lines[0].removeprefix(BOM)
        yield rest


def portions(chunks: Iterable[Lines | Parsed], *, more: int = 0) -> Iterator[Lines | Parsed]:
    """The same rows, at most 1,024 lines and 512 KiB at a time, unless one line is longer.

    Args:
        chunks: The rows.
        more: Bytes that each row will have more.
    """
    for chunk in chunks:
        lines = chunk.lines if isinstance(chunk, Lines) else []
        count = len(lines)
        if count <= _MOST_LINES and sum(map(len, lines)) + count * more <= _PORTION:
            yield chunk
            continue
        begun, size = 0, 0
        for place, line in enumerate(lines):
            size += len(line) + more
            if place > begun and (size > _PORTION or place - begun == _MOST_LINES):
                yield Lines(chunk.first + begun, lines[begun:place])
                begun, size = place, len(line) + more
        yield Lines(chunk.first + begun, lines[begun:])


def _cut(block: bytes) -> list[bytes]:
    r"""As `block.split(b"\n")`, which looks at one byte after the other where `find` looks at many."""
    lines, find, at = [], block.find, 0
    while (end := find(_NEWLINE, at)) >= 0:
        lines.append(block[at:end])
        at = end + 1
    lines.append(block[at:] if at else block)
    return lines


class Begun:
    """The row whose end has not been read yet; of one that is too long only the beginning.

    Attributes:
        size: Bytes so far.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._kept = bytearray()
        self.size = 0

    def add(self, piece: bytes) -> None:
        """Take in what comes next of it."""
        already_too_long = self.size > self._limit
        self.size += len(piece)
        if self.size <= self._limit:
            self._kept += piece
        elif not already_too_long:
            self._kept += piece[:_PREFIX]
            del self._kept[_PREFIX:]

    def finished(self, number: int) -> Lines:
        """The row, or its refusal; what comes next begins another."""
        kept, size = bytes(self._kept), self.size
        self._kept, self.size = bytearray(), 0
        if size > self._limit:
            return too_long(number, kept, size, self._limit)
        return Lines(number, [kept])


def _checked(first: int, lines: list[bytes], limit: int) -> Iterator[Lines]:
    if not lines:
        return
    if max(map(len, lines)) <= limit:
        yield Lines(first, lines)
        return
    for number, line in enumerate(lines, first):
        size = len(line)
        yield too_long(number, line, size, limit) if size > limit else Lines(number, [line])
