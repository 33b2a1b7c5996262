"""A preparation that is killed and started again ends as if nothing had happened."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.memory import conversation, conversations, jsonl
from tests.preparing import BLOCK, Outcome

ROOT = Path(__file__).parents[3]
ROWS = jsonl(*conversations(2000), b"x", conversation("question 1", "answer 1"))
SAME = ("train.jsonl", "validation.jsonl", "test.jsonl", "dropped.jsonl", "prompts.jsonl")
POINTS = (
    "block 0",
    "block 4",
    f"block {len(ROWS) // BLOCK}",
    "prompts.jsonl",
    "train.jsonl",
    "report.html",
    "report.json",
)


def preparing(source, sink, point=""):
    return subprocess.Popen(
        [sys.executable, "-m", "tests.preparing", str(source), str(sink), point],
        cwd=ROOT,
        env=os.environ,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )


def killed_at(point, source, sink):
    """Let a process prepare until it is there, and kill it."""
    with preparing(source, sink, point) as process:
        assert process.stdout.readline() == b"here\n"
        process.kill()
    assert process.returncode == -9


def finished(source, sink):
    with preparing(source, sink) as process:
        said, _ = process.communicate()
    assert process.returncode == 0
    return Outcome(**json.loads(said))


def told(report: bytes):
    return {**json.loads(report), "seconds": None}


def undisturbed(folder: Path):
    """The source, and what comes of it if nobody disturbs."""
    source = folder / "train.jsonl"
    source.write_bytes(ROWS)
    return source, finished(source, folder / "undisturbed"), folder / "undisturbed"


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    return undisturbed(tmp_path_factory.mktemp("killed"))


@pytest.mark.parametrize("points", [*((point,) for point in POINTS), POINTS], ids=",".join)
def test_it_ends_with_the_same_fingerprint_and_bytes(tmp_path, expected, points):
    source, outcome, whole = expected
    for point in points:
        killed_at(point, source, tmp_path / "out")
        assert not (tmp_path / "out" / "report.json").exists(), "it looks finished"
    again = finished(source, tmp_path / "out")
    assert again.fingerprint == outcome.fingerprint
    for name in SAME:
        assert (tmp_path / "out" / name).read_bytes() == (whole / name).read_bytes()
    first, second = (folder / "report.json" for folder in (whole, tmp_path / "out"))
    assert told(first.read_bytes()) == told(second.read_bytes())
