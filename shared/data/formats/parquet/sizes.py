"""How much JSON, and so how many objects, columns of Arrow will be, told before any of it is made."""

from __future__ import annotations

from typing import Any, Final

_MOST_ESCAPED: Final = 6
"""Bytes of JSON that a byte of text may take: a control character is written as `\\u0000`."""
_SHORTEST: Final = 2
"""Bytes of the shortest value and its comma."""
_BESIDE: Final = 5
"""As many as stand beside a value: its quotes or brackets, colon and comma; or `null` and a comma."""


def entries_of(mapped: Any) -> tuple[Any, Any]:
    """Keys and items of an array of maps; of a part of one, Arrow's own would be those of the whole."""
    offsets = mapped.offsets
    start, end = offsets[0].as_py(), offsets[-1].as_py()
    return mapped.keys.slice(start, end - start), mapped.items.slice(start, end - start)


def is_text(kind: Any) -> bool:
    """Whether it is text, or lists and structs of text: values that JSON has as they are."""
    import pyarrow as pa

    if pa.types.is_struct(kind) or pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return all(is_text(kind.field(place).type) for place in range(kind.num_fields))
    tests = (pa.types.is_string, pa.types.is_large_string, pa.types.is_null)
    return any(test(kind) for test in tests)


def most_json(array: Any) -> int:
    """Bytes that the JSON of such values has at most, all together."""
    import pyarrow as pa

    if pa.types.is_struct(array.type):
        names = sum(_MOST_ESCAPED * len(field.name.encode()) + _BESIDE for field in array.type)
        return len(array) * (names + _BESIDE) + sum(map(most_json, array.flatten()))
    if array.type.num_fields:
        return len(array) * _BESIDE + most_json(array.flatten())
    return len(array) * _BESIDE + _MOST_ESCAPED * int(array.nbytes)


def least_json(array: Any) -> int:
    """Bytes that the JSON of such values has at least, all together, whatever their types.

    Lists count by their items, of which none is shorter than a digit and a comma; structs by their names; texts and
    bytes by their length. So what is within a bound of it makes no more than so many objects.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = array.type
    if pa.types.is_dictionary(kind):
        return 0 if not kind.value_type.num_fields else least_json(array.dictionary_decode())
    if pa.types.is_map(kind):
        keys, mapped = entries_of(array)
        return _SHORTEST * 2 * len(keys) + least_json(keys) + least_json(mapped)
    if pa.types.is_struct(kind):
        names: int = sum(len(field.name.encode()) + _BESIDE for field in kind)
        given = len(array) - int(array.null_count)
        return given * names + sum(map(least_json, array.flatten()))
    if kind.num_fields:
        items: Any = array.flatten()
        return _SHORTEST * len(items) + least_json(items)
    texts = (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary)
    if any(test(kind) for test in (*texts, pa.types.is_large_binary)):
        return int(pc.sum(pc.binary_length(array)).as_py() or 0)
    return 0
