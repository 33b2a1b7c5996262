"""Local folders keep what the ports of data promise."""

from __future__ import annotations

import os

import pytest

from shared.data.folders import FileSource, FolderSink
from shared.data.prepare import Options, fingerprint, prepare
from shared.errors import DataRejected, Missing
from tests.memory import conversations, jsonl


def test_a_folder_of_files_is_prepared_and_found_again(tmp_path):
    file = tmp_path / "train.jsonl"
    file.write_bytes(jsonl(*conversations(40)))
    sink = FolderSink(tmp_path / "out")
    first = prepare({"train": [FileSource(file, "data/train.jsonl")]}, sink, Options())
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "dropped.jsonl",
        "prompts.jsonl",
        "report.html",
        "report.json",
        "test.jsonl",
        "train.jsonl",
        "validation.jsonl",
    ]
    assert first.files["train"] == str(tmp_path / "out" / "train.jsonl")
    assert prepare({"train": [FileSource(file, "data/train.jsonl")]}, sink, Options()) == first


def test_a_file_that_changed_has_another_identity(tmp_path):
    file = tmp_path / "a"
    file.write_bytes(b"one")
    before = FileSource(file).identity
    os.utime(file, ns=(1, 1))
    assert FileSource(file).identity != before
    assert FileSource(file).name == str(file)


def test_a_missing_file_is_told_by_its_name(tmp_path):
    source = FileSource(tmp_path / "none", "data/none.jsonl")
    with pytest.raises(DataRejected, match=r"data/none\.jsonl"):
        fingerprint({"train": [source]}, Options())
    with pytest.raises(Missing, match=r"data/none\.jsonl"):
        next(source.blocks())


def test_a_file_becomes_visible_whole_or_not_at_all(tmp_path):
    sink = FolderSink(tmp_path / "out")
    with sink.write("a") as write:
        write(b"one ")
        write(b"two")
        assert not sink.exists("a")
    assert sink.read("a") == b"one two"

    def interrupted():
        with sink.write("a") as write:
            write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert sink.read("a") == b"one two"
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a"]
    with pytest.raises(Missing):
        sink.read("b")


def test_what_a_killed_writer_leaves_behind_goes_when_the_file_is_written_again(tmp_path):
    """But not what somebody else is writing."""
    (tmp_path / ".a.jsonl.killed").write_bytes(b"half")
    sink = FolderSink(tmp_path)
    with sink.write("a.jsonl") as first:
        first(b"one")
        with sink.write("a.jsonl") as second:
            second(b"two")
    assert sink.read("a.jsonl") == b"one"
    assert [path.name for path in tmp_path.iterdir()] == ["a.jsonl"]
