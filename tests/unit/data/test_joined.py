"""Several files as one source: every format as it is, and places that count through."""

from __future__ import annotations

import json

from shared.data.formats.reading import rows_of
from shared.data.joined import Joined
from shared.data.options import Options
from shared.data.prepare import prepare
from tests.memory import MemorySink, MemorySource, conversations, jsonl
from tests.unit.data.rows_of_bytes import MemoryFile
from tests.wire.test_cloud_datasets import as_parquet


def joined(*parts) -> Joined:
    return Joined("chats", "chats#1", parts)


def test_rows_are_numbered_through_all_files():
    """Refused and blank lines count as they do in each file; a file's last line needs no end."""
    parts = (
        MemoryFile(b'{"a": 1}\n\n{"a": 2}', "a.jsonl"),
        MemoryFile(b'[{"a": 3}, {"a": 4}]', "b.json"),
        MemoryFile(b'{"a": "' + b"x" * 200 + b'"}\n{"a": 5}\n', "c.jsonl"),
        MemorySource(b'{"a": 6}\n', "rows of a library"),
        MemoryFile(as_parquet([{"a": "7"}, {"a": "8"}]), "d.parquet"),
        MemoryFile(b'{"a": 9}', "e.jsonl"),
    )
    found = [
        (number, some.refusal.reason if some.refusal else json.loads(line)["a"])
        for some in rows_of(joined(*parts), limit=100, count=lambda _: None)
        for number, line in enumerate(some.lines, some.first)
        if line
    ]
    assert found == [
        (1, 1),
        (3, 2),
        (4, 3),
        (5, 4),
        (6, "too_long"),
        (7, 5),
        (8, 6),
        (9, "7"),
        (10, "8"),
        (11, 9),
    ]


def test_records_over_several_lines_and_headers_do_not_shift_the_next_files_rows():
    """Joined rows are told by their place: each counts once, in whatever file it is."""
    parts = (
        MemoryFile(b'a\n"1\n\n1"\n2\n', "a.csv"),
        MemoryFile(b"a\n", "b.csv"),
        MemoryFile(b'a\n\n3\n"4\n4"\n', "c.csv"),
        MemoryFile(b"a\n5\n", "d.csv"),
    )
    found = [
        (number, json.loads(line)["a"][0])
        for some in rows_of(joined(*parts), limit=100, count=lambda _: None)
        for number, line in enumerate(some.lines, some.first)
    ]
    assert found == [(1, "1"), (2, "2"), (3, "3"), (4, "4"), (5, "5")]


def test_the_first_rows_are_those_of_the_whole():
    """A tenth of two files is the beginning of the first, not of each."""
    rows = conversations(200)
    source = joined(
        MemoryFile(jsonl(*rows[:100]), "a.jsonl"), MemoryFile(jsonl(*rows[100:]), "b.jsonl")
    )
    sink = MemorySink()
    report = prepare({"train": [source]}, sink, Options(percent=10, sampling="first")).report
    assert (report.inputs["train"].rows, report.inputs["train"].not_selected) == (200, 180)
    written = [sink.read(f"{split}.jsonl") for split in ("train", "validation", "test")]
    assert sorted(b"".join(written).splitlines()) == sorted(
        line.replace(b": ", b":").replace(b", ", b",") for line in jsonl(*rows[:20]).splitlines()
    )


def test_it_is_as_large_as_its_parts():
    """By which a job's nodes share their work; nothing is read for it."""
    parts = (MemoryFile(b"12345", "a.jsonl"), MemoryFile(b"123", "b.jsonl"))
    assert joined(*parts).size() == 8
    assert b"".join(joined(*parts).blocks()) == b"12345123"
