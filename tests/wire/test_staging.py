"""Blobs that are sent while they are written, against real storage."""

from __future__ import annotations

import random
import threading

import pytest

from shared.cloud import staging, storage
from shared.cloud.staging import staged
from shared.errors import Unavailable


@pytest.fixture
def blob(connection):
    return connection.container(storage.DATASETS).get_blob_client("f/a.jsonl")


def test_blocks_that_arrive_out_of_order_are_put_in_order(blob, monkeypatch):
    """The order is that of writing, whichever of several uploads is done first."""
    monkeypatch.setattr(staging, "BLOCK", 10)
    monkeypatch.setattr(staging, "AT_ONCE", 4)
    first = threading.Event()
    stage = blob.stage_block

    def late(name, block):
        if block.startswith(b"first"):
            assert first.wait(30)
        else:
            first.set()
        stage(name, block)

    monkeypatch.setattr(blob, "stage_block", late)
    with staged(blob) as write:
        write(b"first of all")
        for number in range(40):
            write(b"%010d" % number)
    expected = b"first of all" + b"".join(b"%010d" % number for number in range(40))
    assert blob.download_blob().readall() == expected


def test_any_pieces_come_out_as_they_were_written(blob, monkeypatch):
    """Small ones, empty ones, and ones larger than a block."""
    monkeypatch.setattr(staging, "BLOCK", 1000)
    draw = random.Random(0)
    pieces = [draw.randbytes(draw.choice((0, 1, 10, 999, 5000))) for _ in range(60)]
    with staged(blob) as write:
        for piece in pieces:
            write(piece)
    assert blob.download_blob().readall() == b"".join(pieces)


@pytest.mark.parametrize("after", [0, 5], ids=["at the end", "at a later write"])
def test_a_block_that_cannot_be_sent_ends_the_writing(connection, monkeypatch, after):
    """Its error comes as one of ours; no blob appears, and no thread is left."""
    from azure.core.exceptions import ServiceRequestError

    monkeypatch.setattr(staging, "BLOCK", 10)
    blob = connection.container(storage.DATASETS).get_blob_client("f/b.jsonl")

    def refuse(name, block):
        raise ServiceRequestError("no connection")

    monkeypatch.setattr(blob, "stage_block", refuse)

    def written():
        with staged(blob) as write:
            write(b"x" * 10)
            for _ in range(after):
                write(b"y" * 10)
            assert not after, "an error is told before the end"

    with pytest.raises(Unavailable):
        written()
    assert not blob.exists()
    assert not [thread for thread in threading.enumerate() if "background" in thread.name]


def test_no_more_than_a_few_blocks_are_in_memory(blob, monkeypatch):
    """Who writes faster than the network takes it waits."""
    monkeypatch.setattr(staging, "BLOCK", 10)
    begun, go = threading.Semaphore(0), threading.Event()
    stage = blob.stage_block

    def slow(name, block):
        begun.release()
        assert go.wait(30)
        stage(name, block)

    monkeypatch.setattr(blob, "stage_block", slow)
    written = []

    def produce():
        with staged(blob) as write:
            for number in range(20):
                write(b"%010d" % number)
                written.append(number)

    producer = threading.Thread(target=produce)
    producer.start()
    for _ in range(staging.AT_ONCE):
        assert begun.acquire(timeout=30)
    producer.join(0.2)
    assert len(written) <= staging.AT_ONCE
    go.set()
    producer.join(30)
    assert len(written) == 20
    assert len(blob.download_blob().readall()) == 200
