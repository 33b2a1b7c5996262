"""Parquet to rows: a few at a time, so that neither the file's size nor that of its row groups decides the memory.

Arrow's reader takes a row group's columns page by page when it is told not to fetch ahead (`pre_buffer`), through a
small buffer for each column.
"""

from __future__ import annotations

import io
from bisect import bisect_right
from collections import Counter, deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final

from shared.data.formats.damage import damaged, some_of, told_by_arrow
from shared.data.formats.packing import MOST_RATIO, check_growth
from shared.data.formats.parquet_dictionaries import MOST_DENSE, DictionaryTooLarge, written_out
from shared.data.formats.parquet_footer import NoFooter, footer_of
from shared.data.formats.parquet_pages import PageTooLarge, PageWatch
from shared.data.formats.thrift import Malformed
from shared.data.lines import Lines, Parsed, as_line, too_long
from shared.data.reasons import Reason, Refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from shared.data.ports import File

_BUFFER: Final = 2 << 20
"""Bytes that are fetched at once for one column."""
_BATCH: Final = 1 << 20
"""About as many bytes of rows are decoded at once, within `_FEWEST` and `_MOST` rows."""
_FEWEST: Final = 8
_MOST: Final = 256
_EXCERPT: Final = 256
_MOST_ESCAPED: Final = 6
"""Bytes of JSON that a byte of text may take: a control character is written as `\\u0000`."""
_BESIDE: Final = 5
"""As many as stand beside a value: its quotes or brackets, colon and comma; or `null` and a comma."""


def parquet_rows(
    file: File,
    *,
    limit: int,
    count: Callable[[int], None],
    columns: Callable[[Sequence[str]], Collection[str]] = list,
) -> Iterator[Lines | Parsed]:
    """Numbered rows, counted from 1 through all row groups: as values by column if all read are text, else as JSON.

    Args:
        file: Where to read.
        limit: The longest row in bytes, written as JSON; longer ones are refused.
        count: Told how many bytes were read, each time.
        columns: Which of the table's columns are to be read.

    Raises:
        shared.errors.DataRejected: It is not Parquet, damaged, or unpacks to more than the bounds of packed
            files allow.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        footer = footer_of(file)
        check_growth(file.size(), sum(footer.unpacked.values()), file.name)
        wanted = columns(list(footer.unpacked))
        reading = _Reading(
            file, count, [PageWatch(each.start, each.end) for each in footer.chunks]
        )
        size = sum(footer.unpacked[column] for column in wanted)
        at_once = min(max(_BATCH * footer.rows // max(size, 1), _FEWEST), _MOST)
        with pq.ParquetFile(
            pa.PythonFile(reading, "r"),
            pre_buffer=False,
            buffer_size=_BUFFER,
            page_checksum_verification=True,
            read_dictionary=[
                column
                for column, dictionary in footer.coded.items()
                if dictionary * MOST_RATIO * at_once > MOST_DENSE
            ],
        ) as parquet:
            _check_columns(parquet.schema_arrow.names, file.name)
            first = 1
            for batch in _ahead(_batches(parquet, at_once, wanted)):
                for some in written_out(batch):
                    yield from _rows_of_batch(some, first=first, limit=limit)
                    first += len(some)
    except (PageTooLarge, DictionaryTooLarge) as error:
        mend = "Write it anew with pages of about 1 MB, or as JSON lines"
        raise damaged(file.name, f"cannot be read in bounded memory: {error}", mend) from error
    # KeyError: the footer names a column that its schema does not have.
    except (
        pa.ArrowException,
        NoFooter,
        Malformed,
        UnicodeDecodeError,
        KeyError,
        OSError,
    ) as error:
        if not told_by_arrow(error):
            raise
        said = " ".join(str(error).split())
        raise damaged(file.name, f"is not Parquet, or damaged: {said}", "Write it anew") from error


def _batches(parquet: Any, rows: int, columns: Collection[str]) -> Iterator[Any]:
    """These columns of all rows, so many rows at a time, and never of two row groups at once.

    Each row group has dictionaries of its own, and Arrow puts no nested column together whose dictionaries differ.
    """
    for group in range(parquet.num_row_groups):
        yield from parquet.iter_batches(
            batch_size=rows, row_groups=[group], columns=list(columns), use_threads=False
        )


def _ahead(batches: Iterator[Any]) -> Iterator[Any]:
    """The same, the next ones read and decoded in a thread of its own while the rows of this one are judged.

    Two are asked for, lest the thread have to wait for the interpreter between them: it is free of it while Arrow
    decodes, but not to begin.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="parquet") as thread:
        coming = deque(thread.submit(next, batches, None) for _ in range(2))
        while (batch := coming.popleft().result()) is not None:
            coming.append(thread.submit(next, batches, None))
            yield batch


def _rows_of_batch(batch: Any, *, first: int, limit: int) -> Iterator[Lines | Parsed]:
    """The rows of an Arrow record batch, as for `parquet_rows`.

    Args:
        batch: The rows.
        first: The number of the first of them.
        limit: The longest row in bytes.
    """
    parsed = all(_is_text(field.type) for field in batch.schema)
    if parsed and _most_json(batch.to_struct_array()) > limit:
        if len(batch) > 1:
            half = len(batch) // 2
            yield from _rows_of_batch(batch.slice(0, half), first=first, limit=limit)
            yield from _rows_of_batch(batch.slice(half), first=first + half, limit=limit)
            return
        parsed = False  # its JSON has to tell whether it is too long
    try:
        if parsed:
            yield Parsed(first, batch.to_pylist())
            return
        lines = _lines_of(batch)
    except UnicodeDecodeError as error:  # text is decoded only here, all of a batch at once
        if len(batch) > 1:
            for place in range(len(batch)):
                yield from _rows_of_batch(batch.slice(place, 1), first=first + place, limit=limit)
        else:
            beginning = bytes(error.object[:_EXCERPT])
            yield Lines(first, [beginning], Refusal(Reason.NOT_UTF8, error.reason))
        return
    if max(map(len, lines), default=0) <= limit:
        yield Lines(first, lines)
        return
    for number, line in enumerate(lines, first):
        size = len(line)
        yield too_long(number, line, size, limit) if size > limit else Lines(number, [line])


def _is_text(kind: Any) -> bool:
    """Whether it is text, or lists and structs of text: values that JSON has as they are."""
    import pyarrow as pa

    if pa.types.is_struct(kind) or pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return all(_is_text(kind.field(place).type) for place in range(kind.num_fields))
    tests = (pa.types.is_string, pa.types.is_large_string, pa.types.is_null)
    return any(test(kind) for test in tests)


def _most_json(array: Any) -> int:
    """Bytes that the JSON of such values has at most, all together."""
    import pyarrow as pa

    if pa.types.is_struct(array.type):
        names = sum(_MOST_ESCAPED * len(field.name.encode()) + _BESIDE for field in array.type)
        return len(array) * (names + _BESIDE) + sum(map(_most_json, array.flatten()))
    if array.type.num_fields:
        return len(array) * _BESIDE + _most_json(array.flatten())
    return len(array) * _BESIDE + _MOST_ESCAPED * int(array.nbytes)


def _lines_of(batch: Any) -> list[bytes]:
    """The rows as JSON.

    Raises:
        UnicodeDecodeError: What is said to be text is not UTF-8.
    """
    batch = _without_nanoseconds(batch)
    stored_as_bytes = [field.name for field in batch.schema if _holds_bytes(field.type)]
    rows = batch.to_pylist()
    for row in rows:
        for column in stored_as_bytes:
            row[column] = _as_text(row[column])
    return list(map(as_line, rows))


def _check_columns(names: Sequence[str], name: str) -> None:
    if twice := [column for column, times in Counter(names).items() if times > 1]:
        raise damaged(
            name,
            f"names columns more than once: {some_of(twice)}",
            "Give every column a name of its own",
        )


def _without_nanoseconds(batch: Any) -> Any:
    """Times in microseconds: Arrow gives finer ones as values of pandas, which is heavy to load."""
    import pyarrow as pa

    fields = list(batch.schema)
    for place, field in enumerate(fields):
        if pa.types.is_timestamp(field.type) and field.type.unit == "ns":
            fields[place] = field.with_type(pa.timestamp("us", field.type.tz))
        elif pa.types.is_duration(field.type) and field.type.unit == "ns":
            fields[place] = field.with_type(pa.duration("us"))
    if fields == list(batch.schema):
        return batch
    columns = [
        column.cast(field.type, safe=False)
        for field, column in zip(fields, batch.columns, strict=True)
    ]
    return type(batch).from_arrays(columns, schema=pa.schema(fields))


def _holds_bytes(kind: Any) -> bool:
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        return _holds_bytes(kind.value_type)
    if kind.num_fields:
        return any(_holds_bytes(kind.field(place).type) for place in range(kind.num_fields))
    tests = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view)
    return any(test(kind) for test in tests) or pa.types.is_fixed_size_binary(kind)


def _as_text(value: Any) -> Any:
    """Bytes as the text that older writers store so; what is no text stays, and goes as base64."""
    match value:
        case bytes():
            try:
                return value.decode()
            except UnicodeDecodeError:
                return value
        case list() | tuple():
            return [_as_text(item) for item in value]
        case dict():
            return {key: _as_text(item) for key, item in value.items()}
    return value


class _Reading(io.RawIOBase):
    """A file as Python has them, to be read anywhere: Parquet begins at its end.

    Args:
        file: Where to read.
        count: Told how many bytes were read.
        watches: What looks at them, in the order of their places.
    """

    def __init__(
        self, file: File, count: Callable[[int], None], watches: Sequence[PageWatch]
    ) -> None:
        self._file = file
        self._count = count
        self._watches = watches
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._file.size()}[whence]
        self._at = base + offset
        return self._at

    def read(self, size: int = -1) -> bytes:
        left = max(self._file.size() - self._at, 0)
        wanted = left if size < 0 else min(size, left)
        found = self._file.span(self._at, wanted) if wanted else b""
        first = bisect_right(self._watches, self._at, key=lambda watch: watch.start) - 1
        for watch in self._watches[max(first, 0) :]:
            if watch.start >= self._at + len(found):
                break
            watch.see(self._at, found)
        self._at += len(found)
        self._count(len(found))
        return found
