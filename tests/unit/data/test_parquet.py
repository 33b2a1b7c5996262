"""Parquet of any types and layout, a few rows at a time."""

from __future__ import annotations

import datetime as dt
import decimal
import io
import json
import os
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from shared.data.formats.parquet import room as parquet_room
from shared.data.formats.parquet.batches import Batches
from shared.data.formats.parquet.footer import footer_of
from shared.data.formats.parquet.room import Expands
from shared.data.formats.reading import rows_of, unit_of
from shared.data.joined import Joined
from shared.data.lines import Parsed
from shared.data.prepare import Options, prepare
from shared.data.reasons import Reason
from shared.errors import DataRejected
from tests.memory import MemorySink, MemorySource, conversation, conversations
from tests.unit.data.rows_of_bytes import MemoryFile, rows


def parquet(table: pa.Table, **how) -> bytes:
    body = io.BytesIO()
    pq.write_table(table, body, **how)
    return body.getvalue()


@pytest.mark.parametrize("compression", ["none", "snappy", "gzip", "zstd", "lz4", "brotli"])
@pytest.mark.parametrize("group", [7, 10_000])
@pytest.mark.parametrize("dictionary", [True, False])
def test_rows_come_out_numbered_through_all_row_groups(compression, group, dictionary):
    table = pa.Table.from_pylist(conversations(600))
    content = parquet(
        table, compression=compression, row_group_size=group, use_dictionary=dictionary
    )
    found = rows(content, "data/a.parquet")
    assert [number for number, _ in found] == list(range(1, 601))
    assert [json.loads(row) for _, row in found] == conversations(600)


def test_values_of_every_type_have_a_form_in_json():
    moment = dt.datetime(2026, 5, 17, 1, 2, 3, 4)  # noqa: DTZ001
    table = pa.table(
        {
            "text": pa.array(["ä", None]),
            "large": pa.array(["ä", ""], pa.large_string()),
            "view": pa.array(["a", "b"], pa.string_view()),
            "coded": pa.array(["x", "x"]).dictionary_encode(),
            "bytes": pa.array(["ü".encode(), b"\xff"], pa.binary()),
            "nested": pa.array(
                [[{"content": b"t"}], None], pa.list_(pa.struct([("content", pa.binary())]))
            ),
            "number": pa.array([1.5, float("nan")]),
            "whole": pa.array([2**63, 0], pa.uint64()),
            "exact": pa.array([decimal.Decimal("1.20"), None]),
            "day": pa.array([moment.date(), None]),
            "moment": pa.array([moment, None], pa.timestamp("ns")),
            "there": pa.array([moment, None], pa.timestamp("ns", "UTC")),
            "span": pa.array([1_500_000_000, None], pa.duration("ns")),
            "map": pa.array([[("k", 1)], None], pa.map_(pa.string(), pa.int64())),
            "none": pa.nulls(2),
            "yes": pa.array([True, False]),
        }
    )
    first, second = (json.loads(row) for _, row in rows(parquet(table), "a.parquet"))
    assert first == {
        "text": "ä",
        "large": "ä",
        "view": "a",
        "coded": "x",
        "bytes": "ü",
        "nested": [{"content": "t"}],
        "number": 1.5,
        "whole": 2**63,
        "exact": "1.20",
        "day": "2026-05-17",
        "moment": "2026-05-17T01:02:03.000004",
        "there": "2026-05-17T01:02:03.000004Z",
        "span": "PT1.5S",
        "map": [["k", 1]],
        "none": None,
        "yes": True,
    }
    assert (second["bytes"], second["number"], second["nested"]) == ("/w==", None, None)


def test_text_that_is_not_utf8_costs_its_row_alone():
    """Arrow does not look at what it reads as text."""
    offsets = pa.py_buffer(b"".join(n.to_bytes(4, "little") for n in (0, 1, 3, 4)))
    broken = pa.StringArray.from_buffers(3, offsets, pa.py_buffer(b"a\xff\xfeb"))
    assert rows(parquet(pa.table({"t": broken})), "a.parquet") == [
        (1, b'{"t":"a"}'),
        (2, Reason.NOT_UTF8),
        (3, b'{"t":"b"}'),
    ]


def test_a_row_over_the_limit_is_refused_alone():
    table = pa.table({"t": ["a", "x" * 200, "b"]})
    assert rows(parquet(table), "a.parquet", limit=100) == [
        (1, b'{"t":"a"}'),
        (2, Reason.TOO_LONG),
        (3, b'{"t":"b"}'),
    ]


def test_no_rows_are_no_rows():
    assert rows(parquet(pa.table({"t": pa.array([], pa.string())})), "a.parquet") == []
    assert rows(parquet(pa.table({})), "a.parquet") == []


GOOD = parquet(pa.Table.from_pylist(conversations(50)), compression="zstd")


@pytest.mark.parametrize(
    "content",
    [b"", b"x", b"PAR1" * 4, b"nonsense" * 20, GOOD[:-1], GOOD[: len(GOOD) // 2], GOOD[1:]],
)
def test_what_is_no_parquet_is_rejected(content):
    with pytest.raises(DataRejected, match=r"is not Parquet, or damaged|in bounded") as raised:
        rows(content, "data/a.parquet")
    assert raised.value.problems[0].place == "data/a.parquet"


@pytest.mark.parametrize("at", range(4, 400, 40))
def test_damaged_bytes_end_as_a_rejection_or_in_other_rows_never_in_a_crash(at):
    damaged = GOOD[:at] + bytes(byte ^ 0x5A for byte in GOOD[at : at + 20]) + GOOD[at + 20 :]
    with pytest.raises(DataRejected, match=r"is not Parquet, or damaged|in bounded memory"):
        rows(damaged, "a.parquet")


DAMAGED = """
import random
from shared.errors import DataRejected
from tests.unit.data.rows_of_bytes import rows
from tests.unit.data.test_parquet import GOOD

draw = random.Random(7)
for _ in range(2000):
    content = bytearray(GOOD)
    for _ in range(draw.choice((1, 1, 2, 5))):
        content[draw.randrange(len(content))] = draw.randrange(256)
    try:
        rows(bytes(content), "a.parquet")
    except DataRejected:
        pass
"""


def test_no_damage_ends_the_process():
    """Some of Arrow's own accessors do: they are not asked."""
    subprocess.run([sys.executable, "-c", DAMAGED], check=True, timeout=200)


@pytest.mark.parametrize(
    "footer",
    [
        b"",
        b"\x00",
        b"\x19" * 40,  # lists in lists
        b"\x1c" * 40,  # structs in structs
        b"\x16" + b"\xff" * 40,  # a number without end
        b"\x16\x02\x19\xfc\xff\xff\xff\xff\x0f",  # a list longer than the file
        b"\x36\x02\x19\x1c\x19\x1c\x3c\x00\x00\x00\x00",  # a column without facts
    ],
)
def test_a_footer_that_is_none_is_told(footer):
    content = b"PAR1" + footer + len(footer).to_bytes(4, "little") + b"PAR1"
    with pytest.raises(DataRejected, match="is not Parquet, or damaged"):
        rows(content, "a.parquet")


def test_a_checksum_that_is_there_is_checked():
    table = pa.table({"t": [f"{n:09}" for n in range(100)]})
    content = parquet(table, compression="none", write_page_checksum=True, use_dictionary=False)
    place = content.index(b"000000050")
    with pytest.raises(DataRejected, match="damaged"):
        rows(content[:place] + b"X" + content[place + 1 :], "a.parquet")


def test_two_columns_of_one_name_are_rejected():
    table = pa.table([pa.array([1]), pa.array([2])], names=["a", "a"])
    with pytest.raises(DataRejected, match="names columns more than once: a"):
        rows(parquet(table), "a.parquet")


def test_a_file_that_unpacks_out_of_all_proportion_is_rejected_unread():
    table = pa.table({"t": ["x" * (1 << 20)] * 80})
    content = parquet(table, compression="zstd", use_dictionary=False)
    assert len(content) < 100_000
    with pytest.raises(DataRejected, match="more than 200 times its size"):
        rows(content, "a.parquet")


def test_what_fails_in_reading_is_not_taken_for_damage():
    class Broken(MemoryFile):
        def span(self, start, length):
            if start < 100:
                raise ConnectionResetError("gone")
            return super().span(start, length)

    with pytest.raises(ConnectionResetError, match="gone"):
        list(rows_of(Broken(GOOD, "a.parquet"), limit=1 << 20, count=lambda _: None))


def test_bytes_are_counted_as_they_are_read():
    counted: list[int] = []
    list(rows_of(MemoryFile(GOOD, "a.parquet"), limit=1 << 20, count=counted.append))
    assert len(GOOD) <= sum(counted) <= 2 * len(GOOD) + (64 << 10)


def test_a_dictionary_that_could_become_too_much_but_cannot_is_read_once():
    """As the hub's own converter writes them: a small row group, partly references to a large dictionary."""
    said = [os.urandom(3000).hex() for _ in range(2000)]
    table = pa.table({"messages": [[{"content": text, "role": "user"}] * 2 for text in said]})
    content = parquet(table, compression="zstd", row_group_size=1000)
    footer = footer_of(MemoryFile(content, "a.parquet"))
    assert sum(footer.unpacked.values()) > 2_000_000
    assert not any(chunk.coded for chunk in footer.chunks if chunk.column.endswith("content"))
    read: list[int] = []
    found = list(rows_of(MemoryFile(content, "a.parquet"), limit=1 << 20, count=read.append))
    assert sum(len(some.lines) for some in found) == 2000
    assert sum(read) < 1.2 * len(content)


def test_a_row_is_found_by_its_place_a_line_by_its_line():
    units = {name: unit_of(MemoryFile(b"", name)) for name in ("a.parquet", "a.json.gz")}
    assert units == {"a.parquet": "row", "a.json.gz": "row"}
    units = {name: unit_of(MemoryFile(b"", name)) for name in ("a.csv", "a.jsonl.gz", "train")}
    assert units == {"a.csv": "line", "a.jsonl.gz": "line", "train": "line"}


def test_what_a_library_streams_is_told_by_place_whatever_its_file_is_called():
    """A row of its stream is at no line of the file; neither is one of several files that count as one."""
    stream = MemorySource(b"{}\n", "hub:someone/chats@c0ffee/train/0.csv")
    assert unit_of(stream) == "row"
    assert unit_of(Joined("chats.csv", "chats#1", [stream])) == "row"


@pytest.mark.parametrize("compression", ["none", "zstd"])
@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("dictionary", [True, False])
def test_a_page_that_would_fill_the_memory_is_told_before_it_is_decoded(
    monkeypatch, compression, version, dictionary
):
    """Wherever it stands: here it is the last of many."""
    texts = [f"{n:0100}" for n in range(30_000)] + [f"{n:0200}" * 1000 for n in range(20)]
    content = parquet(
        pa.table({"id": range(len(texts)), "t": texts}),
        compression=compression,
        data_page_version=version,
        use_dictionary=dictionary,
    )
    assert len(rows(content, "a.parquet")) == len(texts)
    monkeypatch.setattr(parquet_room, "MOST_PAGE", 2 << 20)
    found = rows_of(MemoryFile(content, "a.parquet"), limit=1 << 20, count=lambda _: None)
    read = []
    with pytest.raises(DataRejected, match=r"in bounded memory: a page of [45] MB") as raised:
        read += (some for some in found)
    assert "small pages" in raised.value.problems[0].mend


MEMORY = """
import sys
from pathlib import Path
from shared.data.folders import FileSource
from shared.data.formats.reading import rows_of

def peak():
    return 1024 * int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])

few, many = map(Path, sys.argv[1:])
list(rows_of(FileSource(few), limit=1 << 22, count=lambda _: None))
before, size = peak(), 0
for some in rows_of(FileSource(many), limit=1 << 22, count=lambda _: None):
    size += sum(map(len, some.lines))
print(size, peak() - before)
"""


@pytest.mark.parametrize("layout", ["one row group", "wide rows"])
def test_memory_does_not_grow_with_the_row_group(tmp_path, layout):
    """A row group of 300 MB of text, read by a process of its own."""
    if layout == "one row group":
        table = pa.Table.from_pylist(
            [conversation(f"{n:050}" * 60, "a" * 3000) for n in range(10)]
        )
        table = pa.concat_tables([table] * 5000)
    else:
        table = pa.table({"t": [f"{n:0100}" * 30_000 for n in range(100)]})
    pq.write_table(table.slice(0, 10), tmp_path / "few.parquet")
    pq.write_table(
        table,
        tmp_path / "many.parquet",
        row_group_size=1 << 20,
        write_batch_size=8 if layout == "wide rows" else None,
        use_dictionary=False,
        compression="none",
    )
    found = subprocess.run(
        [sys.executable, "-c", MEMORY, tmp_path / "few.parquet", tmp_path / "many.parquet"],
        capture_output=True,
        text=True,
        check=True,
    )
    size, grown = map(int, found.stdout.split())
    assert size > 280e6
    assert grown < 150e6


def test_one_text_that_every_row_refers_to_does_not_fill_the_memory():
    """A megabyte of file is gigabytes of rows."""
    code = """
from pathlib import Path
import pyarrow as pa
from tests.unit.data.rows_of_bytes import MemoryFile
from tests.unit.data.test_parquet import parquet
from shared.data.formats.parquet.rows import parquet_rows
long = pa.DictionaryArray.from_arrays(pa.array([0] * 5000, pa.int32()), pa.array(["x" * 1_000_000]))
content = parquet(pa.table({"question": long, "answer": long}), compression="none", store_schema=False)
assert len(content) < 3_000_000

def peak():  # not ru_maxrss: a process begins with that of the one which started it
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])

before = peak()
found = parquet_rows(MemoryFile(content, "a.parquet"), limit=1 << 22, count=lambda _: None)
rows = 0
while rows < 100:
    rows += len(next(found).lines)
print((peak() - before) >> 10)
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(said.stdout) < 300


def test_a_row_that_refers_to_a_text_too_often_rejects_the_file():
    long = pa.DictionaryArray.from_arrays(
        pa.array([0] * 200, pa.int32()), pa.array(["x" * 500_000])
    )
    table = pa.table({"tools": pa.ListArray.from_arrays([0, 200], long)})
    with pytest.raises(DataRejected, match="in bounded memory: a row of 100 MB"):
        rows(parquet(table, compression="none", store_schema=False), "a.parquet")


@pytest.mark.parametrize("room", [1 << 20, 100])
def test_references_are_written_out_as_what_they_refer_to(monkeypatch, room):
    """However deep they stand, and however few rows there is room for at once."""
    monkeypatch.setattr("shared.data.formats.parquet.batches.MOST_DENSE", -1)
    monkeypatch.setattr("shared.data.formats.parquet.dictionaries.MOST_DENSE", room)
    table = pa.table(
        {
            "text": pa.array(["a", None, "b", "a"] * 5),
            "bytes": pa.array([b"a", b"\xff", None, b"a"] * 5),
            "coded": pa.array(["x", "x", "y", None] * 5).dictionary_encode(),
            "list": pa.array([["p", "q"], [], None, ["p", None]] * 5),
            "turns": pa.array(
                [[{"role": "user", "content": "c"}, None], None, [], [{"role": None}]] * 5
            ),
            "map": pa.array(
                [[("k", "v")], None, [], [("k", None)]] * 5, pa.map_(pa.string(), pa.string())
            ),
            "number": pa.array(range(20)),
        }
    )
    plain = rows(parquet(table, use_dictionary=False), "a.parquet")
    for store_schema in (True, False):
        assert rows(parquet(table, store_schema=store_schema), "a.parquet") == plain


def test_row_groups_with_dictionaries_of_their_own_are_read_one_after_the_other(monkeypatch):
    """No batch has rows of two groups: Arrow puts no nested column together from two dictionaries."""
    monkeypatch.setattr("shared.data.formats.parquet.batches.MOST_DENSE", -1)
    table = pa.Table.from_pylist(conversations(600))
    found = rows(parquet(table, row_group_size=7), "a.parquet")
    assert [number for number, _ in found] == list(range(1, 601))
    assert [json.loads(row) for _, row in found] == conversations(600)


class Spans(MemoryFile):
    """Knows which bytes were read."""

    def __init__(self, content: bytes, name: str) -> None:
        super().__init__(content, name)
        self.read: list[tuple[int, int]] = []

    def span(self, start: int, length: int) -> bytes:
        self.read.append((start, start + length))
        return super().span(start, length)


def test_columns_that_decide_nothing_are_not_even_read():
    """Pictures beside a conversation neither cost anything nor make its row too long."""
    picture = os.urandom(3 << 20)
    table = pa.table(
        {
            "messages": pa.array([row["messages"] for row in conversations(20)]),
            "picture": pa.array([picture] * 20),
            "id": pa.array(range(20)),
        }
    )
    body = parquet(table, compression="none", use_dictionary=False, row_group_size=5)
    file = Spans(body, "a.parquet")
    sink = MemorySink()
    options = Options(keep_columns=("id",), max_row_bytes=10_000)
    report = prepare({"train": [file]}, sink, options).report
    assert (report.rows_read, report.rows_dropped) == (20, 0)
    assert {row["id"] for row in sink.rows("train.jsonl")} < set(map(str, range(20)))
    assert sum(end - start for start, end in file.read) < len(body) / 3
    assert report.inputs["train"].bytes < len(body) / 3


def test_a_table_of_no_shape_is_refused_with_all_its_columns():
    table = pa.table({"text": ["a"] * 20, "label": [1] * 20})
    with pytest.raises(DataRejected) as caught:
        prepare({"train": [MemoryFile(parquet(table), "a.parquet")]}, MemorySink(), Options())
    assert "text, label" in str(caught.value)


def all_rows(table, columns=list, **how):
    """How many rows come, and how many bytes were read."""
    content, read = parquet(table, **how), list[int]()
    found = rows_of(
        MemoryFile(content, "a.parquet"), limit=4 << 20, count=read.append, columns=columns
    )
    chunks = [some for some in found if some.refusal is None]
    return sum(len(some.rows if isinstance(some, Parsed) else some.lines) for some in chunks), sum(
        read
    ) / len(content)


def test_a_column_with_a_dot_in_its_name_may_refer_to_long_texts():
    long = [("You are a helpful assistant. " * 3000)[:70_000] + str(n) for n in range(5)]
    table = pa.table({"meta.system": [long[n % 5] for n in range(500)], "q": ["q"] * 500})
    assert all_rows(table)[0] == 500


def test_a_map_counts_by_the_entries_of_its_own_row():
    long = ["x" * 40_000 + str(n) for n in range(4)]
    maps = [[("a", long[n % 4]), ("b", str(n))] for n in range(512)]
    table = pa.table({"more": pa.array(maps, pa.map_(pa.string(), pa.string()))})
    assert all_rows(table)[0] == 512


def test_texts_of_many_kilobytes_that_never_repeat_are_read():
    """Arrow puts 1,024 of them into a dictionary before it looks how large that has become."""
    table = pa.table({"q": [os.urandom(22_000).hex() for _ in range(1100)]})
    assert all_rows(table)[0] == 1100


def test_what_one_row_group_has_no_room_for_is_not_tried_again_with_the_next(monkeypatch):
    monkeypatch.setattr(parquet_room, "MOST_DENSE", 1 << 20)
    short, long = ["s" * 400] * 1000, [os.urandom(50_000).hex() for _ in range(60)]
    table = pa.table({"q": (short + long) * 6})
    count, read = all_rows(table, row_group_size=1060, use_dictionary=False, compression="none")
    assert count == 6360
    assert read < 1.5


def told(mebibytes, *, packed, is_dictionary=False):
    """What the header of a page says that is as large."""
    return parquet_room.Page(
        at=4,
        unpacked=mebibytes << 20,
        packed=packed << 20,
        values=100,
        encoding=0,
        refers=False,
        is_dictionary=is_dictionary,
    )


def room_for(rows, **how):
    """Room as it is in the first row group of a file, and a column of that."""
    room = parquet_room.Room(lambda _at, size: bytes(size))
    room.begin_group(rows=rows, **how)
    return room, footer_of(MemoryFile(GOOD, "a.parquet")).chunks[0]


def test_a_page_stands_beside_the_one_before_it_as_long_as_it_is_unpacked():
    room, chunk = room_for(1)
    room.take(chunk, told(100, packed=70))
    with pytest.raises(parquet_room.PageTooLarge, match="beside each other"):
        room.take(chunk, told(100, packed=70))


def test_a_dictionary_may_be_larger_where_nothing_is_measured_by_it():
    room, chunk = room_for(1)
    room.take(chunk, told(50, packed=1, is_dictionary=True))
    room, chunk = room_for(1, measured=[chunk.column])
    with pytest.raises(parquet_room.PageTooLarge, match="dictionaries"):
        room.take(chunk, told(50, packed=1, is_dictionary=True))


def test_a_column_for_which_there_is_never_room_rejects_the_file(monkeypatch):
    """However often it is begun anew."""

    def never(_room, chunk, _page):
        raise Expands(chunk.column)

    monkeypatch.setattr(parquet_room.Room, "take", never)
    with pytest.raises(DataRejected, match="cannot be read in bounded memory"):
        rows(GOOD, "a.parquet")


def test_a_file_that_is_not_read_to_its_end_is_let_go():
    file, let_go = MemoryFile(GOOD, "a.parquet"), []
    batches = Batches(file, footer_of(file), lambda _: None)
    batches._reading.close = lambda: let_go.append(True)
    next(batches.of(["messages"]))
    batches.close()
    assert let_go
