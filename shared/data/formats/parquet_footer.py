"""What a Parquet file says of itself, at its end: how many rows, and where the columns of each row group lie.

Structs and fields: https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from shared.data.formats.thrift import Compact, Malformed, Unfinished

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from shared.data.formats.thrift import Value
    from shared.data.ports import File

_TAIL: Final = 8
"""Bytes after the footer: its length, and `PAR1`."""

_LONGEST: Final = 64 << 20
_FILE_ROWS, _FILE_GROUPS = 3, 4
_GROUP_COLUMNS: Final = 1
_COLUMN_FACTS: Final = 3
_TYPE, _PATH, _UNPACKED, _PACKED, _DATA_AT, _DICTIONARY_AT, _PAGE_KINDS = 1, 3, 6, 7, 9, 11, 13
_BYTE_ARRAY: Final = 6
_DATA_PAGES: Final = (0, 3)
_REFERENCES: Final = (2, 8)
"""Encodings of values as places in a dictionary."""


class NoFooter(Exception):
    """The file has none, or one that is damaged; the message says how."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """One column in one row group: where its pages are."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Footer:
    """What the file says of itself; it may lie.

    Attributes:
        rows: In all row groups.
        unpacked: Bytes of all pages, unpacked, by the name of the table's column.
        chunks: In the order of their places in the file.
        coded: The columns of text that somewhere are nothing but references to a dictionary, which may make very much
            of little; each with the most bytes that such a dictionary takes in the file.
    """

    rows: int
    unpacked: dict[str, int]
    chunks: list[Chunk]
    coded: dict[str, int]


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
        return Footer(
            _whole(facts[_FILE_ROWS]),
            _unpacked(columns),
            sorted(map(_chunk, columns), key=lambda chunk: chunk.start),
            _coded(columns),
        )
    except (KeyError, Unfinished, Malformed) as error:
        raise NoFooter("its footer is damaged") from error


def _columns(facts: dict[int, Value]) -> Iterator[dict[int, Value]]:
    for group in _listed(facts[_FILE_GROUPS]):
        for column in _listed(_struct(group)[_GROUP_COLUMNS]):
            yield _struct(_struct(column)[_COLUMN_FACTS])


def _unpacked(columns: Sequence[dict[int, Value]]) -> dict[str, int]:
    found: dict[str, int] = {}
    for column in columns:
        name = _path(column)[0]
        found[name] = found.get(name, 0) + _whole(column[_UNPACKED])
    return found


def _chunk(column: dict[int, Value]) -> Chunk:
    # A column may have no dictionary, and without rows no page of data; then 0 stands for the place.
    places = [_whole(column.get(field, 0)) for field in (_DATA_AT, _DICTIONARY_AT)]
    start = min(filter(None, places), default=0)
    return Chunk(start, start + _whole(column[_PACKED]) if start else 0)


def _coded(columns: Sequence[dict[int, Value]]) -> dict[str, int]:
    found: dict[str, int] = {}
    for column in columns:
        dictionary, data = (_whole(column.get(field, 0)) for field in (_DICTIONARY_AT, _DATA_AT))
        if column[_TYPE] == _BYTE_ARRAY and dictionary and not _is_partly_plain(column):
            name = ".".join(_path(column))
            # Pages of data follow the dictionary; where they are said not to, it may be all of the column.
            size = data - dictionary if data > dictionary else _whole(column[_PACKED])
            found[name] = max(found.get(name, 0), size)
    return found


def _is_partly_plain(column: dict[int, Value]) -> bool:
    """Whether the writer gave the dictionary up, having found that values do not repeat."""
    pages = [_struct(each) for each in _listed(column.get(_PAGE_KINDS, []))]
    return any(
        page.get(1) in _DATA_PAGES and page.get(2) not in _REFERENCES and page.get(3)
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
