"""Record batches of a Parquet file, of as many rows at once as there is room for.

How much room rows need is told while their pages are read (`room`). If it is too much, the row group is begun
anew with fewer rows at once, or with a column read as references to its dictionary; what was given is passed over.

A column may begin with references and go on with texts: writers give a dictionary up that grows too large. Arrow can
read the whole of it as texts, and then references may become very many at once; or as references, and then
all the texts become a dictionary without bound. So its references alone are read beforehand, to measure how many rows'
texts there is room for.
"""

from __future__ import annotations

from collections import defaultdict, deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final

from shared.data.formats.packing import MOST_RATIO
from shared.data.formats.parquet.dictionaries import (
    has_references,
    referred_to,
    rows_that_fit,
    written_out,
)
from shared.data.formats.parquet.pages import PageWatch
from shared.data.formats.parquet.reading import PageReading
from shared.data.formats.parquet.room import (
    MOST_DENSE,
    Expands,
    NotForReferences,
    PageTooLarge,
    Room,
    TooMuchAtOnce,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Generator, Iterator

    from shared.data.formats.parquet.footer import Chunk, Footer
    from shared.data.ports import File

_BUFFER: Final = 64 << 10
"""Bytes that Arrow asks for at once for one column, if it is not a page."""
_BATCH: Final = 1 << 20
"""About as many bytes of rows are decoded at once, within `_FEWEST` and `_MOST` rows."""
_FEWEST: Final = 8
_MOST: Final = 256
_FEWER: Final = 8
"""By which the number of rows is divided when there is no room for so many."""
_LARGE: Final = 4 << 20
"""Bytes of a batch while which is judged no more than one other is decoded, and none beside a very large one."""
_VERY_LARGE: Final = 4 * _LARGE


class Batches:
    """The batches of a file. A context: Arrow's reader ends with it.

    Args:
        file: Where to read.
        footer: What it says of itself.
        count: Told how many bytes were read.

    Attributes:
        names: Of the table's columns.
    """

    def __init__(self, file: File, footer: Footer, count: Callable[[int], None]) -> None:
        self._room = Room(self._look)
        self._reading = PageReading(
            file, count, [PageWatch(each, self._room) for each in footer.chunks]
        )
        self._footer = footer
        self._groups: dict[int, list[Chunk]] = defaultdict(list)
        for chunk in footer.chunks:
            self._groups[chunk.group].append(chunk)
        self._expanding: set[str] = set()
        self._not_for_references: set[str] = set()
        self._open: dict[tuple[str, ...], Any] = {}
        self.names: list[str] = self._parquet([]).schema_arrow.names
        self._reading.begin_pages()

    def of(self, columns: Collection[str]) -> Iterator[Any]:
        """These columns of all rows, references written out, the next rows decoded while these are judged."""
        for batch in _ahead(self._all(list(columns))):
            yield from written_out(batch)

    def close(self) -> None:
        """End Arrow's readers."""
        for parquet in self._open.values():
            parquet.close(force=True)  # else only files that it opened itself

    def _look(self, at: int, size: int) -> bytes:
        return self._reading.look(at, size)

    def _parquet(self, references: Collection[str]) -> Any:
        """Arrow's reader, with the columns that it is to read as references."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        key = tuple(references)
        if key not in self._open:
            self._open[key] = pq.ParquetFile(
                pa.PythonFile(self._reading, "r"),
                metadata=self._open[()].metadata if self._open else None,
                pre_buffer=False,
                buffer_size=_BUFFER,
                page_checksum_verification=True,
                read_dictionary=list(references),
            )
        return self._open[key]

    def _all(self, columns: list[str]) -> Iterator[Any]:
        """Never of two row groups at once: each has dictionaries of its own, and Arrow joins no nested ones."""
        unpacked = sum(self._footer.unpacked[column] for column in columns)
        rows = min(max(_BATCH * self._footer.rows // max(unpacked, 1), _FEWEST), _MOST)
        for group in range(self._parquet([]).num_row_groups):
            # What one group has no room for, the next one has none for either, as a rule.
            rows = yield from self._group(group, columns, rows)

    def _group(self, group: int, columns: list[str], rows: int) -> Generator[Any, None, int]:
        """The rows of a row group, so many at once, or as many as there is room for.

        Returns:
            How many at once these were in the end.

        Raises:
            PageTooLarge: There is no room however they are read.
        """
        given = 0
        measured: set[str] = set()
        tried = set[tuple[int, int, int, int]]()
        while True:
            ways = len(self._expanding), len(self._not_for_references), len(measured)
            if (way := (rows, *ways)) in tried:
                raise PageTooLarge("references to texts that are too much at once")
            tried.add(way)
            references = self._references(group, columns, rows)
            try:
                for column in self._mixed(group, columns) - measured:
                    rows = self._measured(group, column, rows)
                    measured.add(column)
                self._room.begin_group(rows=rows, references=references, measured=measured)
                for batch in self._some(group, columns, rows, references, given):
                    given += len(batch)
                    yield batch
            except TooMuchAtOnce:
                rows = max(rows // _FEWER, 1)
            except Expands as found:
                self._expanding.add(found.column)
                if isinstance(found, NotForReferences):
                    self._not_for_references.add(found.column)
            else:
                return rows

    def _some(
        self, group: int, columns: list[str], rows: int, references: list[str], given: int
    ) -> Iterator[Any]:
        """The batches of a row group but for the rows that were given before.

        Raises:
            TooMuchAtOnce: They are larger than there is room for.
        """
        self._room.begin_batch()
        for batch in self._parquet(references).iter_batches(
            batch_size=rows, row_groups=[group], columns=columns, use_threads=False
        ):
            self._room.begin_batch()
            if given >= len(batch):
                given -= len(batch)
                continue
            left = batch.slice(given)
            given = 0
            self._room.check(_dense(left))
            yield left

    def _references(self, group: int, columns: Collection[str], rows: int) -> list[str]:
        """The columns that are to be read as references, since too much might come of them at once."""
        return [
            chunk.column
            for chunk in self._chunks(group, columns)
            if chunk.coded
            and chunk.column not in self._not_for_references
            and (chunk.column in self._expanding or chunk.coded * MOST_RATIO * rows > MOST_DENSE)
        ]

    def _mixed(self, group: int, columns: Collection[str]) -> set[str]:
        """The columns whose references may become too much and are not all that there is."""
        return {
            chunk.column
            for chunk in self._chunks(group, columns)
            if chunk.column in self._expanding
            and (not chunk.coded or chunk.column in self._not_for_references)
        }

    def _chunks(self, group: int, columns: Collection[str]) -> Iterator[Chunk]:
        for chunk in self._groups[group]:
            if chunk.table_column in columns:
                yield chunk

    def _measured(self, group: int, column: str, rows: int) -> int:
        """How many rows at once, so many at most, there is room for, as far as this column is references.

        Raises:
            DictionaryTooLarge: There is no room for a single one.
            TooMuchAtOnce: So many were too many to be looked at.
        """
        import pyarrow as pa

        self._room.begin_group(rows=rows, measured=[column])
        fewest = rows
        batches = self._parquet([column]).iter_batches(
            batch_size=rows, row_groups=[group], columns=[column], use_threads=False
        )
        while (batch := next(batches, None)) is not None:
            self._room.begin_batch()
            fewest = min(fewest, rows_that_fit(batch, rows))
            if referred_to(batch) > self._room.dictionaries.get(column, 0):
                break  # texts have begun, which Arrow has put into the dictionary
            del batch  # it has a copy of the dictionary, as the next one will
        del batch, batches
        pa.default_memory_pool().release_unused()
        return fewest


def _dense(batch: Any) -> int:
    """Bytes of a batch, but for columns that hold references."""
    return sum(column.nbytes for column in batch.columns if not has_references(column.type))


def _ahead(batches: Iterator[Any]) -> Iterator[Any]:
    """The same, the next ones read and decoded in a thread of its own while the rows of this one are judged.

    Two are asked for, lest the thread have to wait for the interpreter between them: it is free of it while Arrow
    decodes, but not to begin.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="parquet") as thread:
        coming = deque([thread.submit(next, batches, None)])
        while (batch := coming.popleft().result()) is not None:
            ahead = 2 if batch.nbytes < _LARGE else 1 if batch.nbytes < _VERY_LARGE else 0
            while len(coming) < ahead:
                coming.append(thread.submit(next, batches, None))
            yield batch
            del batch
            if not coming:
                coming.append(thread.submit(next, batches, None))
