"""A preparation that is killed while it sends, against real storage."""

from __future__ import annotations

import pytest

from shared.cloud.datasets import BlobSink
from tests.unit.data.test_killed import SAME, finished, killed_at, told, undisturbed


@pytest.mark.parametrize("point", ["block 5", "train.jsonl", "report.html", "report.json"])
def test_started_again_it_ends_with_the_same_fingerprint_and_bytes(
    connection, tmp_path, monkeypatch, point
):
    """Nothing of the killed one shows: neither a file that looks finished nor a block of it."""
    monkeypatch.setenv("TEST_STORAGE", connection.connection_string)
    source, outcome, whole = undisturbed(tmp_path)
    sink = BlobSink(connection, "d", "killed")
    killed_at(point, source, "blobs:killed")
    assert not sink.exists("report.json")
    again = finished(source, "blobs:killed")
    assert again.fingerprint == outcome.fingerprint
    for name in SAME:
        assert sink.read(name) == (whole / name).read_bytes()
    assert told(sink.read("report.json")) == told((whole / "report.json").read_bytes())
