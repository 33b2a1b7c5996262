"""Parquet files of little size that would be rows of very much: each in a process of its own, whose peak is told."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.memory import conversation
from tests.preparing import Outcome, watched

MOST_MEMORY = 384 << 20
ONE_GROUP = 1 << 20
MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))


def text(length: int, seed: object = 0) -> str:
    """No two alike, and none that packs to nothing."""
    return random.Random(str(seed)).randbytes(length // 2).hex()


def prepared(tmp_path: Path, table: pa.Table, **how) -> tuple[Outcome, dict[str, int]]:
    """What a process makes of a file of one row group, and of how many rows it refused for each reason."""
    source, folder = tmp_path / "train.parquet", tmp_path / "out"
    how = {"compression": "zstd", "row_group_size": ONE_GROUP, "store_schema": False} | how
    pq.write_table(table, source, **how)
    outcome = watched(source, folder, most=MOST_MEMORY)
    report = folder / "report.json"
    return outcome, json.loads(report.read_bytes())["dropped"] if report.exists() else {}


def dictionary(places, values) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array(places, pa.int32()), pa.array(values))


def in_part_references(long: str, times: int, more: int) -> pa.ChunkedArray:
    """One text, often, then others: the writer gives its dictionary up in between."""
    others = [text(2000, number) for number in range(more)]
    return pa.chunked_array([dictionary([0] * times, [long]), dictionary(range(more), others)])


def lists_of(values: pa.Array, lengths: list[int], more: pa.Array) -> pa.ChunkedArray:
    offsets = [0]
    for length in lengths:
        offsets.append(offsets[-1] + length)
    return pa.chunked_array(
        [pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), values), more]
    )


def is_in_part_references(path: Path, column: int) -> bool:
    group = pq.read_metadata(path)
    assert group.num_row_groups == 1
    encodings = group.row_group(0).column(column).encodings
    return {"PLAIN", "RLE_DICTIONARY"} <= set(encodings)


@pytest.mark.parametrize("compression", ["snappy", "zstd"])
@pytest.mark.parametrize(("length", "limit"), [(900_000, None), (9_000_000, 12 << 20)])
def test_a_column_that_is_references_in_part_is_read(tmp_path, compression, length, limit):
    """Where a long text is referred to, 256 rows at once would be gigabytes."""
    answers = in_part_references(text(length), 300, 4000)
    table = pa.table({"question": [f"q {n}" for n in range(4300)], "answer": answers})
    outcome, dropped = prepared(
        tmp_path, table, compression=compression, dictionary_pagesize_limit=limit
    )
    assert is_in_part_references(tmp_path / "train.parquet", 1)
    assert dropped == ({"too_long": 300} if limit else {})
    assert (outcome.fingerprint is None) == bool(limit)


def turns(contents: pa.Array, each: int) -> pa.ListArray:
    roles = pa.array(["user", "assistant"] * (len(contents) // 2))
    messages = pa.StructArray.from_arrays([roles, contents], ["role", "content"])
    offsets = pa.array(range(0, len(contents) + 1, each), pa.int32())
    return pa.ListArray.from_arrays(offsets, messages)


@pytest.mark.parametrize(("each", "rows"), [(2, 400), (10, 100)])
def test_messages_that_are_references_in_part_are_read(tmp_path, each, rows):
    contents = dictionary([0, 1] * (rows * each // 2), ["q", text(300_000)])
    others = dictionary(range(6000), [text(2000, number) for number in range(6000)])
    table = pa.table({"messages": pa.chunked_array([turns(contents, each), turns(others, 2)])})
    outcome, dropped = prepared(tmp_path, table)
    assert is_in_part_references(tmp_path / "train.parquet", 1)
    assert dropped == {"duplicate": rows - 1}
    assert outcome.problems or outcome.fingerprint


def test_a_row_of_too_many_references_rejects_the_file_though_texts_follow(tmp_path):
    contents = dictionary([0, 1] * 500, ["q", text(300_000)])
    others = dictionary(range(6000), [text(2000, number) for number in range(6000)])
    table = pa.table({"messages": pa.chunked_array([turns(contents, 1000), turns(others, 2)])})
    outcome, _ = prepared(tmp_path, table)
    assert "in bounded memory: a row of 150 MB" in outcome.problems[0]


@pytest.mark.parametrize("first", ["short rows", "long rows"])
def test_rows_may_be_of_very_different_length(tmp_path, first):
    """How many are read at once is told by the average, which is that of the short ones."""
    short = [f"short {number} " + "x y z " * 20 for number in range(60_000)]
    long = [text(3_000_000, number) for number in range(60)]
    rows = short + long if first == "short rows" else long + short
    table = pa.table({"question": [f"q {n}" for n in range(len(rows))], "answer": rows})
    outcome, dropped = prepared(tmp_path, table, use_dictionary=False, write_batch_size=8)
    assert outcome.fingerprint
    assert not dropped


VERY_MANY = 3_000_000


def test_a_row_of_millions_of_messages_without_content_is_refused_alone(tmp_path):
    messages = pa.array([{"role": "user", "content": None}], MESSAGES.value_type)
    very_many = messages.take(pa.array([0]).take(pa.array([0] * VERY_MANY, pa.int32())))
    good = pa.array([conversation(f"q {n}", "a")["messages"] for n in range(100)], MESSAGES)
    table = pa.table({"messages": lists_of(very_many, [VERY_MANY], good)})
    outcome, dropped = prepared(tmp_path, table)
    assert outcome.fingerprint
    assert dropped == {"too_long": 1}


def test_a_row_of_millions_of_tools_is_refused_alone(tmp_path):
    tools = pa.StructArray.from_arrays([pa.nulls(2_000_000, pa.string())], ["name"])
    good = pa.array([conversation(f"q {n}", "a")["messages"] for n in range(101)], MESSAGES)
    lists = lists_of(tools, [2_000_000], pa.nulls(100, pa.list_(tools.type)))
    outcome, dropped = prepared(tmp_path, pa.table({"messages": good, "tools": lists}))
    assert outcome.fingerprint
    assert dropped == {"too_long": 1}


def test_a_page_of_values_without_end_rejects_the_file(tmp_path):
    """Of nulls a page of some bytes may hold billions."""
    nothing = pa.nulls(30_000_000, pa.string())
    lists = pa.ListArray.from_arrays(pa.array([0, 30_000_000], pa.int32()), nothing)
    good = pa.array([conversation("q", "a")["messages"]], MESSAGES)
    outcome, _ = prepared(tmp_path, pa.table({"messages": good, "tools": lists}))
    assert "in bounded memory: a page of 30,000,000 values" in outcome.problems[0]


def test_pages_that_together_would_fill_the_memory_reject_the_file(tmp_path):
    """Each alone may be as large."""
    some = [text(3000, number) for number in range(30_000)]
    columns = ("question", "answer", "system", "tools")
    outcome, _ = prepared(
        tmp_path,
        pa.table(dict.fromkeys(columns, some)),
        use_dictionary=False,
        data_page_size=95 << 20,
    )
    assert "beside each other" in outcome.problems[0]


def test_a_dictionary_that_would_fill_the_memory_rejects_the_file(tmp_path):
    answers = dictionary([n % 1000 for n in range(5000)], [text(80_000, n) for n in range(1000)])
    table = pa.table({"question": [f"q {n}" for n in range(5000)], "answer": answers})
    outcome, _ = prepared(tmp_path, table, dictionary_pagesize_limit=200 << 20)
    assert "in bounded memory: dictionaries of 80 MB" in outcome.problems[0]


@pytest.mark.parametrize("times", [1, 4])
def test_a_dictionary_of_long_texts_is_read_as_writers_write_it(tmp_path, times):
    """They look at its size every thousand values, so it may be tens of megabytes."""
    answers = dictionary(
        [n % 1000 for n in range(1000 * times)], [text(40_000, n) for n in range(1000)]
    )
    table = pa.table({"question": [f"q {n}" for n in range(1000 * times)], "answer": answers})
    outcome, dropped = prepared(tmp_path, table, dictionary_pagesize_limit=200 << 20)
    assert outcome.fingerprint
    assert not dropped


def test_texts_that_begin_alike_are_read_a_few_at_a_time(tmp_path):
    """In the encoding that leaves out what a text has in common with the one before, each may take a few bytes."""
    answers = [text(900_000) + str(number) for number in range(1000)]
    table = pa.table({"question": [f"q {n}" for n in range(1000)], "answer": answers})
    encodings = {"question": "PLAIN", "answer": "DELTA_BYTE_ARRAY"}
    outcome, dropped = prepared(
        tmp_path, table, use_dictionary=False, column_encoding=encodings, compression="none"
    )
    assert outcome.fingerprint
    assert not dropped


def test_a_list_of_texts_that_begin_alike_rejects_the_file(tmp_path):
    """How many of them stand in a row is not known before they are decoded."""
    contents = pa.array([text(900_000) + str(number) for number in range(500)])
    place = "messages.list.element"
    outcome, _ = prepared(
        tmp_path,
        pa.table({"messages": turns(contents, 500)}),
        use_dictionary=False,
        column_encoding={f"{place}.role": "PLAIN", f"{place}.content": "DELTA_BYTE_ARRAY"},
    )
    assert "texts that begin alike" in outcome.problems[0]


def test_a_footer_of_very_many_facts_rejects_the_file(tmp_path):
    """Two bytes of it are a struct, which takes a hundredfold."""
    source, folder = tmp_path / "train.parquet", tmp_path / "out"
    count = 4_000_000
    footer = b"\x19\xfc" + bytes([count & 0x7F | 0x80, count >> 7 & 0x7F | 0x80])
    footer += bytes([count >> 14 & 0x7F | 0x80, count >> 21]) + b"\x13\x00\x00" * count + b"\x00"
    source.write_bytes(b"PAR1" + footer + len(footer).to_bytes(4, "little") + b"PAR1")
    outcome = watched(source, folder, most=MOST_MEMORY)
    assert "a footer of values that take more than 224 MiB" in outcome.problems[0]
