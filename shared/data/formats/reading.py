"""The way in: any source to numbered rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.data.formats.damage import damaged
from shared.data.formats.delimited import delimited_rows
from shared.data.formats.endings import KNOWN, Format, kind_of
from shared.data.formats.json_rows import json_rows
from shared.data.formats.packing import unpacked
from shared.data.formats.parquet.rows import parquet_rows
from shared.data.joined import Joined
from shared.data.lines import Parsed, lines_of
from shared.data.ports import File

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

    from shared.data.lines import Lines
    from shared.data.ports import Source


def rows_of(
    source: Source,
    *,
    limit: int,
    count: Callable[[int], None],
    columns: Callable[[Sequence[str]], Collection[str]] = list,
) -> Iterator[Lines | Parsed]:
    """A source's rows, numbered, in bounded memory: as JSON bytes, or as values where the format has them already.

    A row's number is what its author finds it by: the line of `.jsonl`, of `.csv` and of `.json` that is no
    array; its place, counted from 1, in an array, in Parquet and in what a library streams. Joined sources are numbered
    through by place, so of records over several lines each counts as one, and headers as none; an empty line of JSON
    lines has a place, too.

    Args:
        source: A file of any format, or JSON lines.
        limit: The longest row in bytes; longer ones are refused.
        count: Told how many bytes were read, each time.
        columns: Which of a table's columns are to be read; asked where others can be left where they lie.

    Raises:
        shared.errors.DataRejected: The file is not what its name says.
    """
    if isinstance(source, Joined):
        return _numbered_through(
            rows_of(part, limit=limit, count=count, columns=columns) for part in source.parts
        )
    if not isinstance(source, File):
        return lines_of(_counted(source.blocks(), count), limit=limit)
    kind = kind_of(source.name)
    if kind is None:
        raise damaged(
            source.name, "is of no format that Droptune reads", f"Give it an ending of {KNOWN}"
        )
    if kind.format is Format.PARQUET:
        return parquet_rows(source, limit=limit, count=count, columns=columns)
    blocks: Iterable[bytes] = _counted(source.blocks(), count)
    if kind.packing is not None:
        blocks = unpacked(blocks, kind.packing, source.name)
    match kind.format:
        case Format.CSV:
            return delimited_rows(blocks, delimiter=",", limit=limit, name=source.name)
        case Format.TSV:
            return delimited_rows(blocks, delimiter="\t", limit=limit, name=source.name)
        case Format.JSON:
            return json_rows(blocks, limit=limit, name=source.name)
        case _:
            return lines_of(blocks, limit=limit)


def unit_of(source: Source) -> str:
    """What the numbers of a source's rows count: `line`, or `row`, which is a place among its rows.

    To be asked once for a source: telling a file from what is none may look at its identity.
    """
    if not isinstance(source, File):
        return "row"
    kind = kind_of(source.name)
    by_place = kind is not None and kind.format in (Format.JSON, Format.PARQUET)
    return "row" if by_place else "line"


def _numbered_through(parts: Iterable[Iterator[Lines | Parsed]]) -> Iterator[Lines | Parsed]:
    first = 1
    for part in parts:
        for some in part:
            yield some._replace(first=first)
            first += len(some.rows if isinstance(some, Parsed) else some.lines)


def _counted(blocks: Iterable[bytes], count: Callable[[int], None]) -> Iterator[bytes]:
    for block in blocks:
        count(len(block))
        yield block
