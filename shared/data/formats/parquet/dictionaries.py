"""Columns of Parquet that are references to a dictionary, written out within bounds.

A text that stands in a file once may be referred to by every row: a file of one megabyte can be rows of a terabyte,
and honest ones are, whose rows share a long context or a system prompt. So such columns are read as references, and
only as many rows are written out at once as there is room for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from shared.data.formats.parquet.room import MOST_DENSE, MOST_ROW
from shared.data.formats.parquet.sizes import entries_of

if TYPE_CHECKING:
    from collections.abc import Iterator


class DictionaryTooLarge(Exception):
    """A row that is not to be written out; the message says its size."""


def written_out(batch: Any) -> Iterator[Any]:
    """An Arrow record batch as several, without references to dictionaries of text.

    Raises:
        DictionaryTooLarge: A single row would be larger than there is room for.
    """
    if not any(has_references(field.type) for field in batch.schema):
        yield batch
        return
    size = sum(map(_size, batch.columns))
    if size > MOST_DENSE and len(batch) > 1:
        half = len(batch) // 2
        yield from written_out(batch.slice(0, half))
        yield from written_out(batch.slice(half))
        return
    if size > MOST_ROW:
        raise DictionaryTooLarge(f"a row of {size / 1e6:,.0f} MB")
    yield _dense(batch)


def rows_that_fit(batch: Any, rows: int) -> int:
    """How many rows of a batch, so many at most, there is room for to write out at once, wherever they begin.

    Raises:
        DictionaryTooLarge: There is none for a single row.
    """
    size = sum(map(_size, batch.columns))
    if size <= MOST_DENSE:
        return rows
    if len(batch) == 1:
        if size > MOST_ROW:
            raise DictionaryTooLarge(f"a row of {size / 1e6:,.0f} MB")
        return 1
    half = len(batch) // 2
    fewer = min(half, rows)
    return min(rows_that_fit(batch.slice(0, half), fewer), rows_that_fit(batch.slice(half), fewer))


def referred_to(batch: Any) -> int:
    """How many texts the dictionary has of a batch of a single column that is, or holds, references."""
    array = batch.column(0)
    while not _is_reference(array.type):
        if not has_references(array.type):
            return 0
        array = next(each for each in _parts(array) if has_references(each.type))
    return len(array.dictionary)


def _parts(array: Any) -> list[Any]:
    import pyarrow as pa

    if pa.types.is_map(array.type):
        return list(entries_of(array))
    inner = array.flatten()
    return inner if isinstance(inner, list) else [inner]


def _dense(batch: Any) -> Any:
    import pyarrow as pa

    fields = [field.with_type(_dense_type(field.type)) for field in batch.schema]
    columns = [
        column if column.type.equals(field.type) else column.cast(field.type)
        for column, field in zip(batch.columns, fields, strict=True)
    ]
    return pa.RecordBatch.from_arrays(columns, schema=pa.schema(fields))


def _is_reference(kind: Any) -> bool:
    import pyarrow as pa

    if not pa.types.is_dictionary(kind):
        return False
    texts = (pa.string(), pa.binary(), pa.large_string(), pa.large_binary())
    return any(kind.value_type.equals(text) for text in texts)


def has_references(kind: Any) -> bool:
    """Whether values of an Arrow type are, or hold, references to texts."""
    return _is_reference(kind) or any(
        has_references(kind.field(place).type) for place in range(kind.num_fields)
    )


def _dense_type(kind: Any) -> Any:
    import pyarrow as pa

    if _is_reference(kind):
        return kind.value_type
    if not has_references(kind):
        return kind
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(_dense_type(field.type)) for field in kind])
    if pa.types.is_map(kind):
        return pa.map_(_dense_type(kind.key_type), _dense_type(kind.item_type))
    inner = kind.value_field.with_type(_dense_type(kind.value_type))
    return pa.large_list(inner) if pa.types.is_large_list(kind) else pa.list_(inner)


def _size(array: Any) -> int:
    """Bytes of the texts that an array refers to, once for each time."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if _is_reference(array.type):
        lengths = pc.binary_length(array.dictionary).cast(pa.int64())
        return pc.sum(lengths.take(array.indices)).as_py() or 0
    if not has_references(array.type):
        return 0
    if pa.types.is_struct(array.type):
        return sum(map(_size, array.flatten()))
    if pa.types.is_map(array.type):
        return sum(map(_size, entries_of(array)))
    return _size(array.flatten())
