"""The pages of Parquet columns, watched while their bytes pass by, so that no page can fill the memory.

A page is the least that Arrow decodes, and a file may have pages of any size: some writers look at the size only
every thousand values, and whoever means harm packs gigabytes into kilobytes. Each page has a header that tells its
size, packed and unpacked (https://parquet.apache.org/docs/file-format/data-pages/), in Thrift's compact protocol
(https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md). The headers are taken from what
Arrow is given anyway, just before it is.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

MOST_PAGE: Final = 96 << 20
"""Most bytes of a page, unpacked. Writers aim at one mebibyte as a rule; DuckDB goes up to 100 MB."""

_LONGEST_HEADER: Final = 1 << 20
"""Headers may carry the smallest and largest value."""

_UNPACKED, _PACKED = 2, 3
_BOOLEANS, _BYTE, _INTEGERS, _DOUBLE, _BINARY = (1, 2), 3, (4, 5, 6), 7, 8
_LISTS, _STRUCT = (9, 10), 12
_LONG: Final = 15
_DEEPEST: Final = 8


class PageTooLarge(Exception):
    """A page that is not to be decoded; the message says its size."""


class PageDamaged(Exception):
    """What stands where a page should begin is no header of one."""


class _Unfinished(Exception):
    """The header goes on beyond the bytes at hand."""


@dataclass(slots=True)
class PageWatch:
    """Follows the pages of one column in one row group, whose bytes are read in order.

    Attributes:
        start: Where its first page begins in the file.
        end: Where its last page ends.
    """

    start: int
    end: int
    _next: int = field(default=0)
    _header: bytearray = field(default_factory=bytearray)

    def __post_init__(self) -> None:
        self._next = self.start

    def see(self, at: int, data: bytes) -> None:
        """Look at bytes that were read at a place in the file.

        Raises:
            PageTooLarge: A page begins in them that unpacks to more than `MOST_PAGE`.
            PageDamaged: No page begins where the page before it ends.
        """
        while at <= self._next + len(self._header) < min(at + len(data), self.end):
            begun = self._next + len(self._header) - at
            self._header += data[begun : begun + _LONGEST_HEADER]
            try:
                length, packed, unpacked = _sizes(self._header)
            except _Unfinished:
                if len(self._header) > _LONGEST_HEADER:
                    raise PageDamaged("the header of a page has no end") from None
                return
            if min(packed, unpacked) < 0:
                raise PageDamaged("the header of a page tells no size")
            if max(packed, unpacked) > MOST_PAGE:
                raise PageTooLarge(f"a page of {max(packed, unpacked) / 1e6:,.0f} MB")
            self._next += length + packed
            self._header.clear()


def _sizes(data: bytearray) -> tuple[int, int, int]:
    """The length of a page's header, and the page's own packed and unpacked."""
    header = _Compact(data)
    sizes = header.struct(0)
    return header.at, sizes.get(_PACKED, -1), sizes.get(_UNPACKED, -1)


class _Compact:
    """Values of Thrift's compact protocol; of structs only the whole numbers are kept."""

    def __init__(self, data: bytearray) -> None:
        self._data = data
        self.at = 0

    def struct(self, depth: int) -> dict[int, int]:
        found, number = {}, 0
        while kind := self._byte():
            step, kind = kind >> 4, kind & 0x0F
            number = number + step if step else self._integer()
            value = self._value(kind, depth)
            if value is not None:
                found[number] = value
        return found

    def _value(self, kind: int, depth: int) -> int | None:
        if depth > _DEEPEST:
            raise PageDamaged("the header of a page is nested too deeply")
        if kind in _INTEGERS:
            return self._integer()
        if kind == _STRUCT:
            self.struct(depth + 1)
        elif kind in _LISTS:
            first = self._byte()
            count, inner = first >> 4, first & 0x0F
            for _ in range(self._varint() if count == _LONG else count):
                self._value(_BYTE if inner in _BOOLEANS else inner, depth + 1)
        elif kind == _BINARY:
            self._skip(self._varint())
        elif kind in (_BYTE, _DOUBLE):
            self._skip(1 if kind == _BYTE else 8)
        elif kind not in _BOOLEANS:
            raise PageDamaged("the header of a page holds an unknown type")
        return None

    def _skip(self, count: int) -> None:
        self.at += count
        if self.at > len(self._data):
            raise _Unfinished

    def _byte(self) -> int:
        self._skip(1)
        return self._data[self.at - 1]

    def _varint(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:  # noqa: PLR2004
                return value
            shift += 7

    def _integer(self) -> int:
        """A number with its sign in the last bit."""
        value = self._varint()
        return (value >> 1) ^ -(value & 1)
