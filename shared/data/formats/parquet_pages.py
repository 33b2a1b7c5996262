"""The pages of Parquet columns, watched while their bytes pass by, so that no page can fill the memory.

A page is the least that Arrow decodes, and a file may have pages of any size: some writers look at the size only
every thousand values, and whoever means harm packs gigabytes into kilobytes. Each page has a header that tells its
size, packed and unpacked (https://parquet.apache.org/docs/file-format/data-pages/). The headers are taken from what
Arrow is given anyway, just before it is.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from shared.data.formats.thrift import Compact, Malformed, Unfinished

MOST_PAGE: Final = 96 << 20
"""Most bytes of a page, unpacked. Writers aim at one mebibyte as a rule; DuckDB goes up to 100 MB."""

_LONGEST_HEADER: Final = 1 << 20
"""Headers may carry the smallest and largest value."""

_UNPACKED, _PACKED = 2, 3


class PageTooLarge(Exception):
    """A page that is not to be decoded; the message says its size."""


@dataclass(slots=True)
class PageWatch:
    """Follows the pages of one column in one row group, whose bytes are read in order.

    Attributes:
        start: Where its first page begins in the file.
        end: Where its last page ends.
        seen_to: Where the pages end whose headers were read.
    """

    start: int
    end: int
    seen_to: int = field(default=0)
    _header: bytearray = field(default_factory=bytearray)

    def __post_init__(self) -> None:
        self.seen_to = self.start

    def see(self, at: int, data: bytes) -> None:
        """Look at bytes that were read at a place in the file.

        Raises:
            PageTooLarge: A page begins in them that unpacks to more than `MOST_PAGE`.
            shared.data.formats.thrift.Malformed: No page begins where the page before it ends.
        """
        while at <= self.seen_to + len(self._header) < min(at + len(data), self.end):
            begun = self.seen_to + len(self._header) - at
            self._header += data[begun : begun + _LONGEST_HEADER]
            header = Compact(self._header)
            try:
                facts = header.struct()
            except Unfinished:
                if len(self._header) > _LONGEST_HEADER:
                    raise Malformed("the header of a page has no end") from None
                return
            packed, unpacked = facts.get(_PACKED), facts.get(_UNPACKED)
            if not (isinstance(packed, int) and isinstance(unpacked, int) and packed >= 0):
                raise Malformed("the header of a page tells no size")
            if max(packed, unpacked) > MOST_PAGE:
                raise PageTooLarge(f"a page of {max(packed, unpacked) / 1e6:,.0f} MB")
            self.seen_to += header.at + packed
            self._header.clear()
