"""A Parquet file as Arrow reads it: page by page, of what was fetched in larger pieces."""

from __future__ import annotations

import io
from bisect import bisect_right
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from shared.data.formats.parquet.pages import PageWatch
    from shared.data.ports import File

_FETCHED: Final = 2 << 20
"""Bytes that are fetched at once for one column."""
_LARGE: Final = 8 * _FETCHED
"""Bytes that are rather fetched twice than put together from two pieces, which takes their size once more."""


class PageReading(io.RawIOBase):
    """A file as Python has them, to be read anywhere: Parquet begins at its end.

    Where pages stand, it gives no more than a page at once, and not before the watch has passed it.

    Args:
        file: Where to read.
        count: Told how many bytes were read.
        watches: What looks at the pages, in the order of their places.
    """

    def __init__(
        self, file: File, count: Callable[[int], None], watches: Sequence[PageWatch]
    ) -> None:
        self._file = file
        self._count = count
        self._watches = watches
        self._fetched: dict[int, tuple[int, bytes]] = {}
        self._group = -1
        self._begun = False
        self._at = 0

    def begin_pages(self) -> None:
        """From now on what lies where pages are is read as pages, no longer together with the file's end."""
        self._begun = True

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    def tell(self) -> int:
        """Where it reads next."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Read there next."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._file.size()}[whence]
        self._at = base + offset
        return self._at

    def read(self, size: int = -1) -> bytes:
        """So many bytes, or fewer if a page or the file ends before."""
        left = max(self._file.size() - self._at, 0)
        wanted = left if size < 0 else min(size, left)
        place = bisect_right(self._watches, self._at, key=lambda watch: watch.chunk.start) - 1
        watch = self._watches[place] if place >= 0 else None
        if not self._begun or watch is None or self._at >= watch.chunk.end:
            found = self._fetch(self._at, wanted)
        else:
            found = watch.pass_on(self._at, self._piece(place, watch, wanted))
        self._at += len(found)
        return found

    def look(self, at: int, size: int) -> bytes:
        """So many bytes of the column that is being read, wherever it reads next."""
        for start, data in self._fetched.values():
            if start <= at and at + size <= start + len(data):
                return data[at - start : at - start + size]
        return self._fetch(at, size)

    def _piece(self, place: int, watch: PageWatch, wanted: int) -> bytes:
        """Bytes of a column, of which more is fetched than wanted: what comes next is wanted next."""
        if watch.chunk.group != self._group:
            self._group = watch.chunk.group
            self._fetched.clear()
        if wanted > _LARGE:
            return self._fetch(self._at, min(wanted, watch.chunk.end - self._at))
        start, data = self._fetched.get(place, (0, b""))
        begun = self._at - start
        if not 0 <= begun < len(data):
            size = min(_FETCHED, watch.chunk.end - self._at)
            start, data, begun = self._at, self._fetch(self._at, size), 0
            self._fetched[place] = start, data
        piece = data[begun : begun + wanted]
        if len(piece) < wanted and start + len(data) < watch.chunk.end:
            missing = min(wanted - len(piece), watch.chunk.end - self._at - len(piece))
            piece += self._fetch(self._at + len(piece), missing)
        return piece

    def _fetch(self, at: int, size: int) -> bytes:
        found = self._file.span(at, size) if size else b""
        self._count(len(found))
        return found
