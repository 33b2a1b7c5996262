"""The first rows of a source: what a person gets who slices a split as `train[:5%]`.

How many a share is can only be told once all are counted, so a source is read twice, the second
time no further than is needed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from shared.data.lines import Parsed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

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


def extent_of(chunks: Iterable[Lines | Parsed]) -> Extent:
    """Count the rows and the blank lines."""
    rows = blank = 0
    for chunk in chunks:
        full = len(_places(chunk))
        rows += full
        if not isinstance(chunk, Parsed):
            blank += len(chunk.lines) - full
    return Extent(rows, blank)


def first_rows(chunks: Iterable[Lines | Parsed], rows: int) -> Iterator[Lines | Parsed]:
    """The lines up to the last of so many rows, and no further."""
    left = rows
    for chunk in chunks if left else ():
        places = _places(chunk)
        if len(places) < left:
            yield chunk
            left -= len(places)
            continue
        end = places[left - 1] + 1
        if isinstance(chunk, Parsed):
            yield chunk._replace(rows=chunk.rows[:end])
        else:
            yield chunk._replace(lines=chunk.lines[:end])
        return


def _places(chunk: Lines | Parsed) -> Sequence[int]:
    """Where in the chunk the rows are; what is between them is blank."""
    if isinstance(chunk, Parsed):
        return range(len(chunk.rows))
    return [place for place, line in enumerate(chunk.lines) if chunk.refusal or _is_row(line)]


def _is_row(line: bytes) -> bool:
    return bool(line) and not line.isspace()
