"""Work that goes on while rows are read: in order, bounded, and never a failure that nobody hears of."""

from __future__ import annotations

import errno
import os
import threading

import pytest

from shared.data import folders
from shared.data.background import Background
from shared.data.folders import FolderSink


def no_thread_is_left():
    return not [thread for thread in threading.enumerate() if "background" in thread.name]


def test_one_thread_does_all_in_order():
    done = []
    with Background(threads=1, most=3) as background:
        for number in range(100):
            background.do(done.append, number)
        background.finish()
    assert done == list(range(100))
    assert no_thread_is_left()


def test_no_more_than_a_few_calls_are_unfinished():
    go, begun, unfinished = threading.Event(), [], []

    def call(number):
        begun.append(number)
        assert go.wait(30)

    def give():
        with Background(threads=1, most=2) as background:
            for number in range(5):
                background.do(call, number)
                unfinished.append(number)
            background.finish()

    giver = threading.Thread(target=give)
    giver.start()
    giver.join(0.2)
    assert len(unfinished) <= 2
    go.set()
    giver.join(30)
    assert begun == [0, 1, 2, 3, 4]


def failing_call():
    raise OSError(errno.ENOSPC, "the disk is full")


def test_a_failure_is_raised_by_a_later_call():
    failed = threading.Event()

    def given():
        with Background(threads=1, most=9) as background:
            background.do(failing_call)
            background.do(failed.set)
            assert failed.wait(30)
            background.check()

    with pytest.raises(OSError, match="disk is full"):
        given()
    assert no_thread_is_left()


def test_a_failure_is_raised_at_the_end_at_the_latest():
    def given():
        with Background(threads=1, most=9) as background:
            background.do(failing_call)
            background.finish()

    with pytest.raises(OSError, match="disk is full"):
        given()


def test_an_exception_drops_what_has_not_begun():
    begun, go, done = threading.Event(), threading.Event(), []

    def first():
        begun.set()
        assert go.wait(30)

    def interrupted():
        with Background(threads=1, most=9) as background:
            background.do(first)
            background.do(done.append, 1)
            # What is dropped lets the first call end: none may begin in between.
            background._unfinished[-1].add_done_callback(lambda _: go.set())
            assert begun.wait(30)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not done
    assert no_thread_is_left()


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(folders, "_HANDFUL", 10)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("at_once", [1, 3, 7, 1000])
def test_a_file_is_written_in_order_however_little_the_disk_takes_at_once(
    tmp_path, monkeypatch, at_once
):
    real = os.writev
    monkeypatch.setattr(folders, "_MOST_IN_A_CALL", 3)
    monkeypatch.setattr(
        os, "writev", lambda handle, blocks: real(handle, [b"".join(blocks)[:at_once]])
    )
    sink = FolderSink(tmp_path)
    with sink.write("a") as write:
        for number in range(100):
            write(b"%04d" % number)
    assert sink.read("a") == b"".join(b"%04d" % number for number in range(100))


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("blocks", [1, 3, 40])
def test_a_disk_that_is_full_leaves_nothing_behind(tmp_path, monkeypatch, blocks):
    """Whether the failing block is the last one or was written in the background."""
    monkeypatch.setattr(folders._Writing, "_put", lambda *_: failing_call())

    def written():
        with FolderSink(tmp_path).write("a") as write:
            for _ in range(blocks):
                write(b"12345")

    with pytest.raises(OSError, match="disk is full"):
        written()
    assert not list(tmp_path.iterdir())
    assert no_thread_is_left()
