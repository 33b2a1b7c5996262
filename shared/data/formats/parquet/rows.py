"""Parquet to rows: a few at a time, so that neither the file's size nor that of its row groups decides the memory.

Arrow's reader takes a row group's columns page by page when it is told not to fetch ahead (`pre_buffer`), through a
small buffer for each column.
"""

from __future__ import annotations

from collections import Counter
from contextlib import closing
from typing import TYPE_CHECKING, Any, Final

from shared.data.formats.damage import damaged, some_of, told_by_arrow
from shared.data.formats.packing import check_growth
from shared.data.formats.parquet.batches import Batches
from shared.data.formats.parquet.dictionaries import DictionaryTooLarge
from shared.data.formats.parquet.footer import NoFooter, footer_of
from shared.data.formats.parquet.room import PageTooLarge
from shared.data.formats.parquet.sizes import is_text, least_json, most_json
from shared.data.formats.parquet.thrift import Malformed
from shared.data.lines import Lines, Parsed, as_line, too_long
from shared.data.reasons import Reason, Refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from shared.data.ports import File

_EXCERPT: Final = 256


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

    try:
        footer = footer_of(file)
        check_growth(file.size(), sum(footer.unpacked.values()), file.name)
        wanted = columns(list(footer.unpacked))
        with closing(Batches(file, footer, count)) as batches:
            _check_columns(batches.names, file.name)
            first = 1
            for batch in batches.of(wanted):
                yield from _rows_of_batch(batch, first=first, limit=limit)
                first += len(batch)
    except (PageTooLarge, DictionaryTooLarge) as error:
        mend = (
            "Write it anew with small pages or row groups (of 10,000 rows, say), or as JSON lines"
        )
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


def _rows_of_batch(batch: Any, *, first: int, limit: int) -> Iterator[Lines | Parsed]:
    """The rows of an Arrow record batch, as for `parquet_rows`.

    Args:
        batch: The rows.
        first: The number of the first of them.
        limit: The longest row in bytes.
    """
    text = all(is_text(field.type) for field in batch.schema)
    table = batch.to_struct_array()
    fits = (most_json(table) if text else least_json(table)) <= limit
    if not fits:
        if len(batch) > 1:
            half = len(batch) // 2
            yield from _rows_of_batch(batch.slice(0, half), first=first, limit=limit)
            yield from _rows_of_batch(batch.slice(half), first=first + half, limit=limit)
            return
        if (least := least_json(table)) > limit:
            yield too_long(first, b"", least, limit)
            return
    try:
        if text and fits:  # else its JSON has to tell whether it is too long
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
