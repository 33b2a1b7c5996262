"""The pages of Parquet columns, watched while their bytes pass by, so that no page can fill the memory.

Each page has a header that tells what it is (https://parquet.apache.org/docs/file-format/data-pages/). The headers are
taken from what Arrow is given anyway, just before it is; and it is given no more than a page at once, lest a page be
seen long before it is needed, as one of thousands that a few kilobytes may hold.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from shared.data.formats.parquet.footer import REFERENCES, Chunk
from shared.data.formats.parquet.room import Page
from shared.data.formats.parquet.thrift import Compact, Malformed, Unfinished

if TYPE_CHECKING:
    from shared.data.formats.parquet.room import Room
    from shared.data.formats.parquet.thrift import Value

_LONGEST_HEADER: Final = 1 << 20
"""Headers may carry the smallest and largest value."""

_KIND, _UNPACKED, _PACKED = 1, 2, 3
_DATA, _INDEX, _DICTIONARY, _DATA_V2 = 0, 1, 2, 3
#: By the kind of page where its own facts are, and in them its encoding.
_OWN_FACTS: Final = {_DATA: (5, 2), _DICTIONARY: (7, 2), _DATA_V2: (8, 4)}


@dataclass(slots=True)
class PageWatch:
    """Follows the pages of one column in one row group, whose bytes are read in order, from the beginning or anew.

    Attributes:
        chunk: Where they are.
        room: Told of each page.
        seen_to: Where the pages end whose headers were read.
    """

    chunk: Chunk
    room: Room
    seen_to: int = field(default=0)
    _header: bytearray = field(default_factory=bytearray)

    def pass_on(self, at: int, data: bytes) -> bytes:
        """Of bytes that were read at a place in the file those up to the end of a page, which the room has taken.

        Raises:
            shared.data.formats.parquet.room.PageTooLarge: There is no room for it. Other things that the room says
                are raised, too.
            shared.data.formats.parquet.thrift.Malformed: No page begins where the page before it ends.
        """
        if at == self.chunk.start:
            self.seen_to = at
            self._header.clear()
        if at < self.seen_to:
            return data[: self.seen_to - at]
        begun = self.seen_to + len(self._header) - at
        if not 0 <= begun < len(data) or at + begun >= self.chunk.end:
            return data
        self._header += data[begun : begun + _LONGEST_HEADER]
        header = Compact(self._header)
        try:
            facts = header.struct()
        except Unfinished:
            if len(self._header) > _LONGEST_HEADER:
                raise Malformed("the header of a page has no end") from None
            return data
        page = _page(facts, at=self.seen_to + header.at)
        if page is not None:
            self.room.take(self.chunk, page)
        self.seen_to += header.at + _size(facts, _PACKED)
        self._header.clear()
        return data[: max(self.seen_to - at, 1)]


def _page(facts: dict[int, Value], at: int) -> Page | None:
    """What it says of its page; None if the page is of a kind that Arrow passes over."""
    kind = facts.get(_KIND)
    if not isinstance(kind, int) or kind not in _OWN_FACTS:
        return None
    where, encoding_at = _OWN_FACTS[kind]
    own = facts.get(where)
    if not isinstance(own, dict):
        raise Malformed("the header of a page tells nothing of it")
    encoding = _size(own, encoding_at)
    return Page(
        at=at,
        unpacked=_size(facts, _UNPACKED),
        packed=_size(facts, _PACKED),
        values=_size(own, 1),
        encoding=encoding,
        refers=kind != _DICTIONARY and encoding in REFERENCES,
        is_dictionary=kind == _DICTIONARY,
    )


def _size(facts: dict[int, Value], number: int) -> int:
    value = facts.get(number)
    if not isinstance(value, int) or value < 0:
        raise Malformed("the header of a page tells no size")
    return value
