"""The memory that pages of Parquet take while rows are made of them, told before any page is decoded.

A page is the least that Arrow decodes, and nothing bounds what a writer, or whoever means harm, makes of one: its
size, how many values stand in it, how long a text is that each of them refers to. Its header and the file's footer
tell enough to know the most that can come of it. So every page passes here, at the moment when Arrow asks for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from shared.data.formats.parquet.longest import is_worth_a_look, longest_text

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from shared.data.formats.parquet.footer import Chunk

MOST_PAGE: Final = 112 << 20
"""Most bytes of a page, unpacked. Writers aim at one mebibyte as a rule; DuckDB at a hundred megabytes or more."""
MOST_PAGES: Final = 260 << 20
"""Most bytes of the pages that are there at one time: one of each column, and of the one that comes to its next page
that as it is packed, too, once more or with the page before."""
MOST_DICTIONARY: Final = 64 << 20
"""Most bytes of a dictionary. Writers stop at one mebibyte, but Arrow looks only after 1,024 values, however long."""
MOST_MEASURED: Final = 40 << 20
"""Most bytes of one while what refers to it is measured: there are up to four copies then."""
MOST_DICTIONARIES: Final = 64 << 20
"""Most bytes of a row group's dictionaries together."""
MOST_REFERRED: Final = 24 << 20
"""Most bytes of those of them that are given on with each batch."""
MOST_VALUES: Final = 8 << 20
"""Most values of a page in a column of lists: of nothing but nulls a page of a few bytes may hold billions."""
MOST_DENSE: Final = 16 << 20
"""Most bytes of rows that are made at once, if they are several."""
MOST_ROW: Final = 32 << 20
"""Most bytes of a single row."""

_LAST_TWO: Final = 2
_A_VALUE: Final = 16
"""Bytes that Arrow keeps of a value in a list beside the value: its place, its levels, whether it is null."""
_PREFIXED: Final = 7
"""The encoding of texts that begin as the one before; a text of any length may so take two bytes."""


class PageTooLarge(Exception):
    """What is not to be decoded; the message says its size."""


class TooMuchAtOnce(Exception):
    """So many rows at once are larger than there is room for."""


class Expands(Exception):
    """References of this column may become more texts than there is room for."""

    def __init__(self, column: str) -> None:
        super().__init__(column)
        self.column = column


class NotForReferences(Expands):
    """This column was read as references, but has other pages, too, or a dictionary too large to give on."""


@dataclass(frozen=True, slots=True)
class Page:
    """What a page's header says.

    Attributes:
        at: Where its bytes begin in the file.
        unpacked: Its size.
        packed: Its size in the file.
        values: How many it has, nulls included.
        encoding: How they are written, by Parquet's number.
        refers: Whether they are places in the dictionary.
        is_dictionary: Whether it is one itself.
    """

    at: int
    unpacked: int
    packed: int
    values: int
    encoding: int
    refers: bool
    is_dictionary: bool


class Room:
    """Keeps account of the pages of one row group; raises where there is no room.

    Args:
        look: Gives so many bytes of the file from a place on.

    Attributes:
        dictionaries: By column how many values its dictionary has.
    """

    def __init__(self, look: Callable[[int, int], bytes]) -> None:
        self._look = look
        self.begin_group(rows=1)

    def begin_group(
        self, *, rows: int, references: Collection[str] = (), measured: Collection[str] = ()
    ) -> None:
        """Forget the pages that were there.

        Args:
            rows: How many are made at once.
            references: Columns of text that are read as references.
            measured: Columns whose references are known to become no more texts than there is room for; they may
                go on with texts, but then have no references any more.
        """
        self._rows = rows
        self._references, self._measured = references, measured
        self._pages: dict[Chunk, int] = {}
        self._dictionaries: dict[Chunk, Page] = {}
        self._longest: dict[Chunk, int] = {}
        self._begun: dict[Chunk, list[int]] = {}
        self._made = 0
        self._plain: set[str] = set()
        self.dictionaries: dict[str, int] = {}

    def begin_batch(self) -> None:
        """Note that what was made so far is given on."""
        for made in self._begun.values():
            del made[:-1]
        self._made = 0

    def take(self, chunk: Chunk, page: Page) -> None:
        """Note that a page is about to be decoded.

        Raises:
            PageTooLarge: There is no room for it.
            TooMuchAtOnce: There would be if fewer rows were made at once.
            Expands: There is none for what its references may become.
        """
        if (largest := max(page.unpacked, page.packed)) > MOST_PAGE:
            raise PageTooLarge(f"a page of {largest / 1e6:,.0f} MB")
        if page.is_dictionary:
            self.dictionaries[chunk.column] = page.values
            self._take_dictionary(chunk, page)
            return
        before = self._pages.get(chunk, 0)
        self._pages[chunk] = page.unpacked
        size = sum(self._pages.values()) + page.packed + max(before, page.packed)
        if size > MOST_PAGES:
            raise PageTooLarge(f"pages of {size / 1e6:,.0f} MB beside each other")
        if chunk.repeated and page.values > MOST_VALUES:
            raise PageTooLarge(f"a page of {page.values:,} values")
        begun = self._begun.setdefault(chunk, [])
        begun.append(self._most_of(chunk, page))
        # Arrow looks one page ahead at most: the last but two is used up.
        if len(begun) > _LAST_TWO:
            self._made += begun.pop(0)
        self.check(self._made)

    def check(self, made: int) -> None:
        """Compare what the rows at hand come to with the room for them.

        Raises:
            TooMuchAtOnce: They are several, and there is none for all.
            PageTooLarge: There is none for a single one.
        """
        if self._rows > 1 and made > MOST_DENSE:
            raise TooMuchAtOnce
        if made > MOST_ROW:
            raise PageTooLarge(f"a row of {made / 1e6:,.0f} MB or more")

    def _take_dictionary(self, chunk: Chunk, page: Page) -> None:
        self._dictionaries[chunk] = page
        together = sum(held.unpacked for held in self._dictionaries.values())
        most = MOST_MEASURED if chunk.column in self._measured else MOST_DICTIONARY
        if page.unpacked > most or together > MOST_DICTIONARIES:
            raise PageTooLarge(f"dictionaries of {together / 1e6:,.0f} MB")
        referred = (
            held.unpacked
            for each, held in self._dictionaries.items()
            if each.column in self._references
        )
        if chunk.column in self._references and sum(referred) > MOST_REFERRED:
            raise NotForReferences(chunk.column)

    def _most_of(self, chunk: Chunk, page: Page) -> int:
        """Bytes that can come of a page within one batch."""
        values = page.values if chunk.repeated else min(page.values, self._rows)
        beside = _A_VALUE * values
        if chunk.width is not None:
            return beside + (chunk.width * values if page.refers else page.unpacked)
        if page.refers:
            return beside + self._most_of_references(chunk, values)
        if chunk.column in self._references:
            raise NotForReferences(chunk.column)
        self._plain.add(chunk.column)
        if page.encoding != _PREFIXED:
            return beside + page.unpacked
        most = page.unpacked * values
        if most > MOST_ROW:
            if self._rows > 1 and not chunk.repeated:
                raise TooMuchAtOnce
            raise PageTooLarge(f"a page of up to {most / 1e6:,.0f} MB of texts that begin alike")
        return beside + most

    def _most_of_references(self, chunk: Chunk, values: int) -> int:
        if chunk.column in self._references:
            return 0
        if chunk.column in self._measured:
            if chunk.column in self._plain:
                raise PageTooLarge("a dictionary that is referred to again after other texts")
            return 0
        held = self._dictionaries.get(chunk)
        most = values * (MOST_PAGE if held is None else held.unpacked)
        if most > MOST_DENSE and held is not None:
            most = values * self._longest_of(chunk, held)
        if most > MOST_DENSE:
            raise Expands(chunk.column)
        return most

    def _longest_of(self, chunk: Chunk, dictionary: Page) -> int:
        """Bytes of a dictionary's longest text, or of all of it."""
        if not is_worth_a_look(dictionary, chunk.packing):
            return dictionary.unpacked
        if chunk not in self._longest:
            data = self._look(dictionary.at, dictionary.packed)
            self._longest[chunk] = longest_text(dictionary, chunk.packing, data)
        return self._longest[chunk]
