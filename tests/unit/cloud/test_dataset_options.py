"""What the manifest says about rows is what the preparation does."""

from __future__ import annotations

import dataclasses

from shared.cloud.datasets import _told, options_of
from shared.data.options import Options
from shared.data.prepare import prepare
from shared.runs.manifest import Dataset
from tests.memory import MemorySink, MemorySource, conversations, jsonl

SAID = {
    "shape": "alpaca",
    "columns": {"input": "context"},
    "system": "be kind",
    "keep_columns": ["id"],
    "percent": 50.0,
    "sampling": "first",
    "max_dropped_fraction": 0.5,
    "validation_fraction": 0.2,
    "test_fraction": 0.3,
    "seed": 7,
}
#: What the manifest says elsewhere, and what it may not say.
NOT_SAID = {"max_seq_length", "min_train_rows", "max_row_bytes"}


def test_every_key_of_the_manifest_reaches_the_preparation():
    options = options_of(Dataset.model_validate({"hub": "a/b", **SAID}), 512)
    found = {name: getattr(options, name) for name in SAID}
    assert found == SAID | {"keep_columns": ("id",)}
    assert options.max_seq_length == 512
    assert {field.name for field in dataclasses.fields(Options)} == set(SAID) | NOT_SAID


def test_a_manifest_that_says_nothing_means_the_defaults():
    assert options_of(Dataset.model_validate({"hub": "a/b"}), None) == Options()


def test_the_commit_of_a_hub_dataset_is_told_and_files_have_none():
    """`main` moves on; what was trained on has to be found again."""
    rows = jsonl(*conversations(40))
    for name, revision in (("hub:some/chats@c0ffee/train", "c0ffee"), ("data/a.jsonl", None)):
        prepared = prepare({"train": [MemorySource(rows, name)]}, MemorySink(), Options())
        assert _told(prepared).revision == revision
