"""What a Parquet file says of itself, at its end: how many rows, and where the columns of each row group lie.

Structs and fields: https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from shared.data.formats.parquet.thrift import Compact, Malformed, TooMany, Unfinished

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from shared.data.formats.parquet.thrift import Value
    from shared.data.ports import File

_TAIL: Final = 8
"""Bytes after the footer: its length, and `PAR1`."""

_LONGEST: Final = 64 << 20
_FILE_SCHEMA, _FILE_ROWS, _FILE_GROUPS = 2, 3, 4
_GROUP_COLUMNS: Final = 1
_COLUMN_FACTS: Final = 3
_TYPE, _PATH, _PACKING, _UNPACKED, _PACKED = 1, 3, 4, 6, 7
_DATA_AT, _DICTIONARY_AT, _PAGE_KINDS = 9, 11, 13
_BYTE_ARRAY, _FIXED_BYTES = 6, 7
_WIDEST_NUMBER: Final = 12
_DATA_PAGES: Final = (0, 3)
REFERENCES: Final = (2, 8)
"""Encodings of values as places in a dictionary."""


class NoFooter(Exception):
    """The file has none, or one that is damaged; the message says how."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """One column in one row group.

    Attributes:
        start: Where its pages begin in the file; 0 if there are none.
        end: Where they end.
        group: The number of the row group, counted from 0.
        table_column: The name of the table's own column that it belongs to.
        column: Where it stands in the table: that name and those of what is in it, with dots.
        repeated: Whether a row may have many values of it.
        width: Most bytes of a value; None if it may be of any length.
        coded: Bytes of its dictionary in the file if it is nothing but references to that, as far as is told; else 0.
        packing: How its pages are packed, by Parquet's number.
    """

    start: int
    end: int
    group: int
    table_column: str
    column: str
    repeated: bool
    width: int | None
    coded: int
    packing: int


@dataclass(frozen=True, slots=True)
class Footer:
    """What the file says of itself; it may lie.

    Attributes:
        rows: In all row groups.
        unpacked: Bytes of all pages, unpacked, by the name of the table's column.
        chunks: In the order of their places in the file.
    """

    rows: int
    unpacked: dict[str, int]
    chunks: list[Chunk]


def footer_of(file: File) -> Footer:
    """Read a file's footer.

    Raises:
        NoFooter: There is none, or it is damaged.
    """
    size = file.size()
    if size <= _TAIL:
        raise NoFooter(f"it is {size} bytes long")
    tail = file.span(size - _TAIL, _TAIL)
    length = int.from_bytes(tail[:4], "little")
    if tail[4:] != b"PAR1":
        raise NoFooter("it does not end as a Parquet file does")
    if length > min(size - _TAIL, _LONGEST):
        raise NoFooter(f"a footer of {length:,} bytes")
    try:
        facts = Compact(file.span(size - _TAIL - length, length)).struct()
        columns = list(_columns(facts))
        widest = _widest(facts)
        chunks = [_chunk(*each, widest) for each in columns]
        return Footer(
            _whole(facts[_FILE_ROWS]),
            _unpacked([column for _, column in columns]),
            _in_order(chunks),
        )
    except TooMany as error:
        raise NoFooter(f"a footer of {error}") from error
    except (KeyError, Unfinished, Malformed) as error:
        raise NoFooter("its footer is damaged") from error


def _columns(facts: dict[int, Value]) -> Iterator[tuple[int, dict[int, Value]]]:
    for number, group in enumerate(_listed(facts[_FILE_GROUPS])):
        for column in _listed(_struct(group)[_GROUP_COLUMNS]):
            yield number, _struct(_struct(column)[_COLUMN_FACTS])


def _widest(facts: dict[int, Value]) -> int:
    """Bytes of the longest values of fixed length: numbers, or what the schema says."""
    elements = [_struct(each) for each in _listed(facts[_FILE_SCHEMA])]
    widths = (_whole(each.get(2, 0)) for each in elements if each.get(1) == _FIXED_BYTES)
    return max(widths, default=0) or _WIDEST_NUMBER


def _unpacked(columns: Sequence[dict[int, Value]]) -> dict[str, int]:
    found: dict[str, int] = {}
    for column in columns:
        name = _path(column)[0]
        found[name] = found.get(name, 0) + _whole(column[_UNPACKED])
    return found


def _chunk(group: int, column: dict[int, Value], widest: int) -> Chunk:
    # A column may have no dictionary, and without rows no page of data; then 0 stands for the place.
    data, dictionary = (_whole(column.get(field, 0)) for field in (_DATA_AT, _DICTIONARY_AT))
    start = min(filter(None, (data, dictionary)), default=0)
    path, size, kind = _path(column), _whole(column[_PACKED]), column[_TYPE]
    coded = 0
    if kind == _BYTE_ARRAY and dictionary and not _is_partly_plain(column):
        # Pages of data follow the dictionary; where they are said not to, it may be all of the column.
        coded = data - dictionary if data > dictionary else size
    return Chunk(
        start,
        start + size if start else 0,
        group,
        path[0],
        ".".join(path),
        repeated=len(path) > 1,
        width=None if kind == _BYTE_ARRAY else max(widest, _WIDEST_NUMBER),
        coded=coded,
        packing=_whole(column.get(_PACKING, 0)),
    )


def _in_order(chunks: Sequence[Chunk]) -> list[Chunk]:
    """By their places, of which each has its own."""
    found = sorted(chunks, key=lambda chunk: (chunk.start, chunk.end))
    if any(after.start < before.end for before, after in pairwise(found)):
        raise Malformed("columns lie on one another")
    return found


def _is_partly_plain(column: dict[int, Value]) -> bool:
    """Whether the writer gave the dictionary up, having found that values do not repeat."""
    pages = [_struct(each) for each in _listed(column.get(_PAGE_KINDS, []))]
    return any(
        page.get(1) in _DATA_PAGES and page.get(2) not in REFERENCES and page.get(3)
        for page in pages
    )


def _path(column: dict[int, Value]) -> list[str]:
    """Where the column stands in the table: the name of the table's own column, and of what is in it."""
    names = _listed(column[_PATH])
    if not names:
        raise Malformed("a name was to be here")
    return [_text(name) for name in names]


def _text(value: Value) -> str:
    if not isinstance(value, bytes):
        raise Malformed("a text was to be here")
    return value.decode(errors="replace")


def _whole(value: Value) -> int:
    if not isinstance(value, int) or value < 0:
        raise Malformed("a number was to be here")
    return value


def _listed(value: Value) -> list[Value]:
    if not isinstance(value, list):
        raise Malformed("a list was to be here")
    return value


def _struct(value: Value) -> dict[int, Value]:
    if not isinstance(value, dict):
        raise Malformed("a struct was to be here")
    return value
