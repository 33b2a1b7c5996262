"""Rows seen before are known exactly, in bounded memory, and nothing is left on the disk."""

from __future__ import annotations

import os
import random
import tempfile
import tracemalloc
from collections import Counter

import pytest

from shared.data import seen
from shared.data.seen import DigestSet
from shared.errors import Transient

SMALL = 2048  # bytes: 80 rows in memory


def digests(count, seed=0):
    draw = random.Random(seed)
    return [draw.randbytes(16) for _ in range(count)]


@pytest.mark.parametrize("memory", [1, SMALL, 1 << 20])
def test_it_knows_what_a_dictionary_knows(memory):
    """Whether all of it is in memory, some on disk, or one bucket is all there is room for."""
    draw = random.Random(1)
    known, given = {}, draw.choices(digests(3000), k=9000)
    with DigestSet(memory) as rows:
        for digest in given:
            mark = draw.randrange(1, 256)
            assert rows.add(digest, mark) == known.get(digest, 0)
            known.setdefault(digest, mark)


def test_digests_of_any_bytes_are_told_apart():
    """Of zeros, of one byte repeated, and such as stand across two others in a bucket."""
    odd = [bytes(16), b"\xff" * 16, b"\x01" * 16, bytes(15) + b"\x01", b"\x01" + bytes(15)]
    with DigestSet(memory=1) as rows:
        assert [rows.add(digest, 1) for digest in odd] == [0] * len(odd)
        assert [rows.add(digest, 2) for digest in odd] == [1] * len(odd)


@pytest.mark.parametrize("before", [0, 10])
def test_a_digest_that_only_seems_to_be_there_is_new(before):
    """The end of a digest with its mark may make up the bytes of another one."""
    for left in digests(64):
        across = left[1:] + b"\x07"
        with DigestSet(memory=1) as rows:
            for digest in digests(before, seed=1):
                rows.add(digest, 9)
            assert rows.add(left, 7) == 0
            assert rows.add(across, 8) == 0
            assert rows.add(across, 9) == 8


def test_memory_stays_the_same_however_many_rows_there_are():
    held = []
    for count in (1_000, 30_000):
        given = digests(count)
        tracemalloc.start()
        with DigestSet(1 << 14) as rows:
            for digest in given:
                rows.add(digest)
            # Of this module alone: a thread of another test may allocate meanwhile.
            ours = tracemalloc.Filter(inclusive=True, filename_pattern=seen.__file__)
            traces = tracemalloc.take_snapshot().filter_traces([ours]).statistics("filename")
            held.append(sum(trace.size for trace in traces))
        tracemalloc.stop()
    assert held[0] >= 1 << 14
    assert held[1] < held[0] + 4096


@pytest.fixture
def opened(monkeypatch):
    """Counts descriptors of temporary files that are open, and where they lie."""
    places = []
    real = tempfile.TemporaryFile

    def watched(*given, **named):
        file = real(*given, **named)
        places.append(file)
        return file

    monkeypatch.setattr(seen.tempfile, "TemporaryFile", watched)
    return places


def test_the_temporary_files_go_when_it_ends_well_or_not(opened, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for failure in (None, KeyboardInterrupt()):
        try:
            with DigestSet(SMALL) as rows:
                for digest in digests(2000):
                    rows.add(digest)
                assert not list(tmp_path.iterdir())  # a kill would leave nothing either
                if failure:
                    raise failure
        except KeyboardInterrupt:
            assert failure
    assert len(opened) > 2
    assert all(file.closed for file in opened)


def fill(rows):
    for digest in digests(2000):
        rows.add(digest)


def test_a_disk_that_is_full_is_the_worlds_fault(monkeypatch):
    def full(number, content, place):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with DigestSet(SMALL) as rows, pytest.raises(Transient, match="No space left"):
        fill(rows)


def test_a_disk_that_takes_half_a_bucket_is_full(monkeypatch):
    monkeypatch.setattr(os, "pwrite", lambda number, content, place: len(content) // 2)
    with DigestSet(SMALL) as rows, pytest.raises(Transient, match="do not fit"):
        fill(rows)


def test_no_directory_for_temporary_files_is_the_worlds_fault(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with DigestSet(SMALL) as rows, pytest.raises(Transient, match="no temporary file"):
        fill(rows)


def test_every_mark_is_kept():
    given = digests(255)
    with DigestSet(SMALL) as rows:
        for mark, digest in enumerate(given, 1):
            rows.add(digest, mark)
        assert Counter(rows.add(digest) for digest in given) == Counter(range(1, 256))
