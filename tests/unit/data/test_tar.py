"""The files in a tar archive come out whole, or none of them quietly stays away."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import lzma
import tarfile
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.data.formats import packing, tar
from shared.data.formats.tar import tar_members
from shared.errors import DataRejected

FORMATS = [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]
BLOCK = 512


def archive(files: dict[str, bytes], form: int = tarfile.PAX_FORMAT) -> bytes:
    body = io.BytesIO()
    with tarfile.open(fileobj=body, mode="w", format=form) as writing:
        folder = tarfile.TarInfo("folder")
        folder.type = tarfile.DIRTYPE
        writing.addfile(folder)
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            writing.addfile(entry, io.BytesIO(content))
    return body.getvalue()


FILES = {f"{'long/' * (n % 2 * 22)}é{n}.json": b"x" * 250 * n for n in range(6)}
WHOLE = {form: archive(FILES, form) for form in FORMATS}
GNU = WHOLE[tarfile.GNU_FORMAT]
END = len(GNU.rstrip(b"\0")) + -len(GNU.rstrip(b"\0")) % BLOCK


def members(body: bytes, block: int = 1 << 16) -> dict[str, bytes]:
    blocks = (body[start : start + block] for start in range(0, len(body), block))
    return dict(tar_members(blocks, "train.tar", wanted=lambda _: True))


def refusal(body: bytes) -> str:
    with pytest.raises(DataRejected) as caught:
        members(body)
    (problem,) = caught.value.problems
    assert problem.place == "train.tar"
    assert problem.mend
    return problem.reason


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress, lzma.compress])
@pytest.mark.parametrize("block", [1, 700, 1 << 16])
def test_the_files_come_out_as_they_went_in(form, pack, block):
    """Whoever wrote the archive, however it is packed and however its bytes arrive."""
    assert members(pack(WHOLE[form]), block) == FILES


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_an_archive_that_was_packed_in_pieces_is_read_to_its_end(pack):
    """As packers write that work on several processors."""
    assert members(pack(GNU[:2000]) + pack(GNU[2000:])) == FILES


@pytest.mark.parametrize("form", FORMATS)
@settings(deadline=None, max_examples=300)
@given(data=st.data())
def test_damage_never_loses_a_file_in_silence(form, data):
    """A byte changed, a stretch overwritten with zeroes, or all from somewhere on gone: a rejection, or all files."""
    whole = WHOLE[form]
    last = len(whole.rstrip(b"\0"))
    start = data.draw(st.integers(0, last - 1))
    broken = bytearray(whole)
    match data.draw(st.sampled_from(["changed", "zeroes", "cut off"])):
        case "changed":
            broken[start] ^= data.draw(st.integers(1, 255))
        case "zeroes":
            length = data.draw(st.integers(1, 3 * BLOCK))
            broken[start : start + length] = bytes(len(broken[start : start + length]))
        case _:
            del broken[start:]
    with contextlib.suppress(DataRejected):
        assert len(members(bytes(broken))) == len(FILES)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (GNU[:END], "cut off there, or its end was never written"),
        (GNU[: END + 100], "cut off there, or its end was never written"),
        (GNU[: END - BLOCK], "unexpected end of data"),
        (GNU[: END + BLOCK] + GNU, "goes on after its end"),
        (GNU + b"more", "goes on after its end"),
    ],
)
def test_an_archive_that_does_not_end_as_one_does_is_told(body, said):
    """With the file up to which it was right."""
    reason = refusal(body)
    assert "5.json'" in reason
    assert said in reason


def test_a_file_whose_name_was_overwritten_is_told():
    """Whoever goes by names would pass it over."""
    broken = bytearray(GNU)
    long = GNU.index(b"long/")
    broken[long : long + 120] = bytes(120)
    assert "no name" in refusal(bytes(broken))


def test_a_name_that_is_no_text_can_be_told():
    """What is told is written as UTF-8."""
    refusal(archive({"a\udcff.json": b""}, tarfile.GNU_FORMAT)[: 2 * BLOCK]).encode()


@pytest.mark.parametrize("zeroes", [BLOCK, BLOCK + 100, 2 * BLOCK, 100 * BLOCK])
def test_an_archive_ends_with_zeroes_however_many(zeroes):
    """One block of them is enough to know that no file is missing."""
    assert members(GNU[:END] + bytes(zeroes)) == FILES


def test_an_archive_of_nothing_has_no_files():
    assert members(bytes(2 * BLOCK)) == {}


@pytest.mark.parametrize("body", [b"", b"PK\x03\x04" * 500, b"{}\n" * 500, b"\xff" * BLOCK])
def test_what_is_no_archive_is_told_as_that(body):
    assert refusal(body).startswith("is no tar archive: ")


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_a_packing_that_is_damaged_or_cut_off_is_told(pack):
    """Even where all files came out before: then it is the check sum that tells."""
    packed = pack(archive({f"{n}.json": bytes(str(n), "ascii") * 5000 for n in range(50)}))
    for cut in (len(packed) // 2, len(packed) - 1):
        assert refusal(packed[:cut]) == "is cut off or damaged: its packed data has no end"
    middle = len(packed) // 2
    for place in (middle, len(packed) - 12):
        broken = bytearray(packed)
        broken[place : place + 4] = bytes(255 - each for each in broken[place : place + 4])
        assert "damaged" in refusal(bytes(broken))


def test_memory_does_not_grow_with_the_number_of_files():
    """Neither the names nor the contents of files that were given out are kept."""

    def peak(copies: int) -> int:
        end = bytes(2 * BLOCK)
        one = GNU[:END]
        tracemalloc.start()
        try:
            blocks = (one if n < copies else end for n in range(copies + 1))
            given = sum(1 for _ in tar_members(blocks, "train.tar", wanted=lambda _: True))
            assert given == copies * len(FILES)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(1)
    assert peak(1000) < peak(10) + (1 << 17)


def test_a_file_that_fits_no_row_is_told_before_it_is_read(monkeypatch):
    """So that it never fills the memory."""
    monkeypatch.setattr(tar, "MOST_CONTENT", 1000)
    reason = refusal(GNU)
    assert reason.startswith("holds '…")
    assert "é5.json'" in reason
    assert members(archive({"a.json": b"x" * 1000})) == {"a.json": b"x" * 1000}


def test_a_name_without_end_is_told_before_it_is_read(monkeypatch):
    """Some formats put long names beside the header, with a length that may be anything."""
    monkeypatch.setattr(tar, "_LONGEST_NOTE", 1000)
    assert members(GNU) == FILES
    assert "too long" in refusal(archive({"x" * 2000: b""}, tarfile.GNU_FORMAT))


def test_what_unpacks_to_more_than_people_write_is_told(monkeypatch):
    """A few kilobytes may stand for terabytes."""
    monkeypatch.setattr(packing, "UNSUSPECTED", 1 << 20)
    packed = gzip.compress(archive({"a.json": bytes(8 << 20)}))
    assert "times its size" in refusal(packed)


def test_only_regular_files_that_are_wanted_are_given():
    """Folders, links and what the reader passes over are none of the rows."""
    body = io.BytesIO()
    with tarfile.open(fileobj=body, mode="w") as writing:
        for name in ("a.json", "no.json"):
            entry = tarfile.TarInfo(name)
            entry.size = 1
            writing.addfile(entry, io.BytesIO(b"1"))
        link = tarfile.TarInfo("link.json")
        link.type, link.linkname = tarfile.SYMTYPE, "a.json"
        writing.addfile(link)
    wanted = tar_members([body.getvalue()], "a.tar", wanted=lambda name: not name.startswith("n"))
    assert [member.name for member in wanted] == ["a.json"]
