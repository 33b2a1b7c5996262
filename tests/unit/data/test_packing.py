"""Compressed files come out plain, or end in a rejection before they cost much."""

from __future__ import annotations

import gzip
import tracemalloc

import pyarrow as pa
import pytest

from shared.data.formats import packing
from shared.data.formats.endings import Format, Kind, Packing, kind_of
from shared.errors import DataRejected
from tests.unit.data.rows_of_bytes import MemoryFile, rows

BLOCKS = pytest.mark.parametrize("block", [1, 3, 1 << 16])
LINES = b"".join(b'{"a": %d}\n' % number for number in range(500))


def zstd(content: bytes) -> bytes:
    packed = pa.BufferOutputStream()
    with pa.CompressedOutputStream(packed, "zstd") as stream:
        stream.write(content)
    return packed.getvalue().to_pybytes()


PACKED = pytest.mark.parametrize(
    ("ending", "pack"), [(".gz", gzip.compress), (".zst", zstd)], ids=["gzip", "zstd"]
)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a/b.jsonl", Kind(Format.JSONL)),
        ("B.JSON", Kind(Format.JSON)),
        ("b.ndjson.gz", Kind(Format.JSONL, Packing.GZIP)),
        ("x.csv.gz", Kind(Format.CSV, Packing.GZIP)),
        ("x.y.TSV.Zst", Kind(Format.TSV, Packing.ZSTD)),
        ("x.parquet", Kind(Format.PARQUET)),
        ("x.parquet.gz", None),
        ("x.jsonl.gz.zst", None),
        ("x.gz", None),
        ("a.csv/x", None),
        ("jsonl", None),
        ("", None),
    ],
)
def test_the_ending_of_the_name_says_what_a_file_is(name, kind):
    assert kind_of(name) == kind


@PACKED
@BLOCKS
def test_packed_rows_come_out_as_they_went_in(ending, pack, block):
    assert rows(pack(LINES), f"a.jsonl{ending}", block) == rows(LINES, "a.jsonl")


@PACKED
@BLOCKS
def test_packed_files_may_be_joined(ending, pack, block):
    joined = pack(LINES[:700]) + pack(b"") + pack(LINES[700:])
    assert rows(joined, f"a.jsonl{ending}", block) == rows(LINES, "a.jsonl")


@BLOCKS
def test_zeros_after_gzip_are_filling(block):
    assert rows(gzip.compress(LINES) + b"\0" * 100, "a.jsonl.gz", block) == rows(LINES, "a.jsonl")


@PACKED
@BLOCKS
@pytest.mark.parametrize("left", [0, 1, 5, 12, -1, -5])
def test_a_file_that_is_cut_off_is_rejected(ending, pack, block, left):
    with pytest.raises(DataRejected, match="is cut off") as raised:
        rows(pack(LINES)[:left], f"data/a.jsonl{ending}", block)
    assert raised.value.problems[0].place == f"data/a.jsonl{ending}"


@PACKED
@BLOCKS
@pytest.mark.parametrize("damage", ["plain", "after", "inside"])
def test_a_file_that_is_damaged_or_no_such_file_is_rejected(ending, pack, block, damage):
    packed = pack(LINES)
    middle = len(packed) // 2
    content = {
        "plain": LINES,
        "after": packed + b"more",
        "inside": packed[:middle] + bytes(byte ^ 0xFF for byte in packed[middle:]),
    }[damage]
    with pytest.raises(DataRejected, match=r"or damaged|cut off"):
        rows(content, f"a.jsonl{ending}", block)


@PACKED
def test_a_bomb_ends_as_a_rejection_within_bounded_memory(ending, pack):
    """64 MiB may come of anything; what grows further has to be as dense as text is."""
    bomb = pack(b"\n" * (80 << 20))
    assert len(bomb) < 100_000
    tracemalloc.start()
    try:
        with pytest.raises(DataRejected, match="more than 200 times its size"):
            for _ in packing.unpacked([bomb], Packing(ending), "a.jsonl"):
                pass
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8 << 20


@PACKED
def test_more_than_the_bound_is_rejected_however_dense(ending, pack, monkeypatch):
    monkeypatch.setattr(packing, "MOST_UNPACKED", 1000)
    with pytest.raises(DataRejected, match="unpacks to more than 0 GiB"):
        rows(pack(LINES), f"a.jsonl{ending}")


@PACKED
def test_what_fails_in_reading_is_not_taken_for_damage(ending, pack):
    class Broken(MemoryFile):
        def blocks(self):
            yield self.content[:20]
            raise ConnectionResetError("gone")

    from shared.data.formats.reading import rows_of

    with pytest.raises(ConnectionResetError, match="gone"):
        list(rows_of(Broken(pack(LINES), f"a.jsonl{ending}"), limit=100, count=lambda _: None))


def test_a_file_of_no_known_format_is_rejected():
    with pytest.raises(DataRejected, match="no format that Droptune reads"):
        rows(b"", "a.txt")
