"""The first rows of a source: what a person gets who slices a split as `train[:5%]`.

How many a share is can only be told once all are counted, so a source is read twice, the second
time no further than is needed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from shared.data.lines import Lines


class Extent(NamedTuple):
    """How many lines of a source are rows, and how many are blank."""

    rows: int
    blank: int

    def share(self, percent: float) -> int:
        """A percentage of the rows, rounded to the nearest, of two equally near to the even one.

        The library `datasets` rounds a slice so by default, and so Microsoft's notebook does.
        """
        return round(percent * self.rows / 100)


def extent_of(chunks: Iterable[Lines]) -> Extent:
    """Count the rows and the blank lines."""
    rows = blank = 0
    for chunk in chunks:
        full = 1 if chunk.refusal else sum(map(_is_row, chunk.lines))
        rows += full
        blank += len(chunk.lines) - full
    return Extent(rows, blank)


def first_rows(chunks: Iterable[Lines], rows: int) -> Iterator[Lines]:
    """The lines up to the last of so many rows, and no further."""
    left = rows
    for chunk in chunks if left else ():
        places = [
            place for place, line in enumerate(chunk.lines) if chunk.refusal or _is_row(line)
        ]
        if len(places) >= left:
            yield chunk._replace(lines=chunk.lines[: places[left - 1] + 1])
            return
        yield chunk
        left -= len(places)


def _is_row(line: bytes) -> bool:
    return bool(line) and not line.isspace()
