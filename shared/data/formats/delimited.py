"""A `.csv` or `.tsv` file to rows: a header, then records, which quotes may spread over several lines."""

from __future__ import annotations

import csv
from collections import Counter
from typing import TYPE_CHECKING, Final

import msgspec

from shared.data.formats.damage import damaged, some_of
from shared.data.lines import Lines, lines_of, too_long
from shared.data.reasons import Reason, Refusal

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from shared.errors import DataRejected

LONGEST_RECORD: Final = 8 << 20
"""Most bytes of one record. Where more come, a quote was most probably never closed, and no end is to be known. While a
record is read, each of its characters takes up to ten bytes."""

MOST_CELLS: Final = 1 << 18
"""Most delimiters in one record, those in quotes too: a cell of two letters takes twenty times their memory."""

_EXCERPT: Final = 256
_UTF8: Final = "Save it as UTF-8"


def delimited_rows(
    blocks: Iterable[bytes], *, delimiter: str, limit: int, name: str
) -> Iterator[Lines]:
    """Numbered rows of a file with a header, as JSON objects of text by column.

    Every cell is text. Where a row's shape has a list (`messages`, `tools`), the list's JSON text counts as that; a
    question or an answer stays what it is, JSON or not. Rows are numbered by the line on which they begin; the
    header is on line 1. Columns without a name are left out: some tools write their row numbers so.

    Args:
        blocks: The file's bytes.
        delimiter: What stands between cells: a comma or a tab.
        limit: The longest row in bytes; longer ones are refused.
        name: The file's, for the rejection.

    Raises:
        shared.errors.DataRejected: It has no header or a header with a name twice, it is no text, or quotes
            are not closed.
    """
    text = _Text(blocks, delimiter, name)
    csv.field_size_limit(LONGEST_RECORD)
    records = csv.reader(text, delimiter=delimiter, strict=True)
    try:
        columns = _header(next(records, None), name)
        while True:
            text.begin_record()
            record = next(records, None)
            if record is None:
                return
            if record:
                yield _row(record, columns, text.begun, limit)
    except csv.Error as error:
        said = "a carriage return alone" if "new-line character" in str(error) else str(error)
        raise damaged(
            name,
            f"is not {'TSV' if delimiter == chr(9) else 'CSV'} at line {text.number}: {said}",
            "Quote cells that hold quotes or line breaks, and double the quotes in them",
        ) from error


class _Text:
    """Lines of text with their ends, for a parser that asks for one after the other.

    What is not UTF-8 comes through as lone surrogates, so that it is refused with its own row.

    Attributes:
        number: Of the line that was given last.
        begun: The number of the line on which the record begins that is being read.
    """

    def __init__(self, blocks: Iterable[bytes], delimiter: str, name: str) -> None:
        self._lines = lines_of(blocks, limit=LONGEST_RECORD)
        self._some: Iterator[bytes] = iter(())
        self._delimiter = delimiter.encode()
        self._name = name
        self._size = self._cells = 0
        self.number = 0
        self.begun = 1

    def begin_record(self) -> None:
        """Note that a record is complete."""
        self.begun, self._size, self._cells = self.number + 1, 0, 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = next(self._some, None)
        while line is None:
            some = next(self._lines)
            if some.refusal is not None:
                raise self._endless()
            self._some = iter(some.lines)
            line = next(self._some, None)
        self.number += 1
        self._size += len(line) + 1
        if self._size > LONGEST_RECORD:
            raise self._endless()
        self._cells += line.count(self._delimiter)
        if self._cells > MOST_CELLS:
            raise damaged(
                self._name,
                f"has more than {MOST_CELLS:,} delimiters in the row that begins on line {self.begun}",
                "Close the quotes of that row, or of one before it",
            )
        if b"\0" in line:
            raise damaged(self._name, f"is no text: line {self.number} holds a NUL byte", _UTF8)
        return line.decode(errors="surrogateescape") + "\n"

    def _endless(self) -> DataRejected:
        return damaged(
            self._name,
            f"has no end to the row that begins on line {self.begun} within {LONGEST_RECORD >> 20} MiB",
            "Close the quotes of that row, or of one before it",
        )


def _header(cells: list[str] | None, name: str) -> list[str]:
    """The names of the columns; blank for one without."""
    columns = [cell.strip() for cell in cells or ()]
    if cells is None:
        return columns  # an empty file has no rows
    try:
        "".join(columns).encode()
    except UnicodeEncodeError as error:
        raise damaged(name, "is not UTF-8", _UTF8) from error
    if not any(columns) or any(column.startswith(("[", "{")) for column in columns):
        shown = columns[0][:40] if any(columns) else ""
        raise damaged(
            name,
            f"has no header: its first line is '{shown}…'"
            if shown
            else "has no header: its first line is blank",
            "Name the columns on the first line",
        )
    if twice := [column for column, count in Counter(filter(None, columns)).items() if count > 1]:
        raise damaged(
            name,
            f"names columns more than once: {some_of(twice)}",
            "Give every column a name of its own",
        )
    return columns


def _row(record: list[str], columns: Sequence[str], number: int, limit: int) -> Lines:
    if any(record[len(columns) :]):
        detail = f"{len(record)} cells under {len(columns)} names"
        return _refused(number, record, Refusal(Reason.TOO_MANY_CELLS, detail))
    cells = {column: cell for column, cell in zip(columns, record, strict=False) if column}
    # Before its JSON is made, which may be six times as long, and is no shorter than this.
    if (size := sum(map(len, cells.values()))) > limit:
        return _refused(number, record, too_long(number, b"", size, limit).refusal)
    try:
        line = msgspec.json.encode(cells)
    except UnicodeEncodeError as error:
        escaped = ord(error.object[error.start]) & 0xFF
        return _refused(number, record, Refusal(Reason.NOT_UTF8, f"byte 0x{escaped:02x}"))
    if len(line) > limit:
        return too_long(number, line, len(line), limit)
    return Lines(number, [line])


def _refused(number: int, record: list[str], refusal: Refusal | None) -> Lines:
    beginning = ",".join(cell[:_EXCERPT] for cell in record[:_EXCERPT])[:_EXCERPT]
    return Lines(number, [beginning.encode(errors="surrogateescape")], refusal)
