"""A share may be the first rows of each source, as a person takes them who slices a split."""

from __future__ import annotations

import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from shared.data import selection
from shared.data.prepare import Options, prepare
from shared.errors import DataRejected
from tests.memory import MemorySink, MemorySource, conversations, jsonl
from tests.unit.data.rows_of_bytes import MemoryFile


def train_of(*rows):
    return {"train": [MemorySource(jsonl(*rows))]}


def test_the_first_rows_are_the_same_share_of_each_file():
    sources = {
        "train": [
            MemorySource(jsonl(*conversations(100)), "a"),
            MemorySource(jsonl(*conversations(10, 100), b"", b"x", *[b""] * 5), "b"),
        ],
        "test": [MemorySource(jsonl(*conversations(9, 200)), "t")],
    }
    sink = MemorySink()
    report = prepare(sources, sink, Options(sampling="first", percent=30)).report
    given = [*conversations(30), *conversations(3, 100)]
    written = [*sink.rows("train.jsonl"), *sink.rows("validation.jsonl")]
    assert sorted(map(json.dumps, written)) == sorted(map(json.dumps, given))
    assert sink.rows("test.jsonl") == conversations(3, 200)
    read = report.inputs["train"]
    assert (read.rows, read.blank, read.not_selected) == (111, 6, 78)
    assert read.bytes == sum(len(source.content) for source in sources["train"])
    assert [source.readings for source in sources["train"]] == [2, 2]


def test_the_first_rows_of_a_table_are_those_of_the_same_lines():
    body = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(conversations(400)), body)
    sinks = MemorySink(), MemorySink()
    for sink, source in zip(
        sinks,
        (MemoryFile(body.getvalue(), "a.parquet"), MemorySource(jsonl(*conversations(400)))),
        strict=True,
    ):
        report = prepare({"train": [source]}, sink, Options(sampling="first", percent=30)).report
        read = report.inputs["train"]
        assert (read.rows, read.blank, read.not_selected) == (400, 0, 280)
    assert sinks[0].read("train.jsonl") == sinks[1].read("train.jsonl")


def test_the_first_of_all_rows_are_all_and_need_no_counting():
    sources = train_of(*conversations(30))
    prepare(sources, MemorySink(), Options(sampling="first"))
    assert sources["train"][0].readings == 1


def test_the_first_rows_of_too_few_are_none():
    with pytest.raises(DataRejected) as caught:
        prepare(train_of(*conversations(9)), MemorySink(), Options(sampling="first", percent=5))
    (problem,) = caught.value.problems
    assert problem.mend == "Raise percent"


def test_reading_ends_with_the_last_row_that_is_asked_for():
    class Counted(MemorySource):
        given = 0

        def blocks(self):
            for block in super().blocks():
                self.given += 1
                yield block

    source = Counted(jsonl(*conversations(2000)), block=1 << 10)
    prepare({"train": [source]}, MemorySink(), Options(sampling="first", percent=1))
    once = len(source.content) >> 10
    assert once < source.given < once * 1.1


def test_progress_is_told_while_rows_are_counted(monkeypatch):
    monkeypatch.setattr(selection, "_PACE", 0)
    told = []
    sources = {"train": [MemorySource(jsonl(*conversations(2000)), block=1 << 14)]}
    options = Options(sampling="first", percent=1)
    prepare(sources, MemorySink(), options, on_progress=told.append)
    assert len(told) > 8
    assert [progress.bytes for progress in told] == sorted(progress.bytes for progress in told)


def test_a_line_that_is_too_long_is_a_row_among_the_first():
    rows = [b" " * 3000, *conversations(9)]
    options = Options(
        sampling="first", percent=50, max_row_bytes=1024, max_dropped_fraction=1, min_train_rows=1
    )
    report = prepare(train_of(*rows), MemorySink(), options).report
    assert report.dropped == {"too_long": 1}
    assert sum(split.rows for split in report.splits.values()) == 4
    assert report.inputs["train"].not_selected == 5
