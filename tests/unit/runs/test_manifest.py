"""What a manifest's author may rely on."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from shared.errors import ManifestRejected
from shared.runs import manifest

GOOD = {"name": "chat", "dataset": {"files": ["a.jsonl"]}}


def reasons(content: bytes, path: str = "m.json") -> dict[str, str]:
    with pytest.raises(ManifestRejected) as caught:
        manifest.read(path, content)
    return {problem.place: str(problem) for problem in caught.value.problems}


def test_only_name_and_dataset_are_required():
    """Everything else has a default that is written down."""
    read = manifest.read("m.json", json.dumps(GOOD).encode())
    assert read.endpoint == "chat"
    assert read.idle.after == timedelta(hours=2)
    assert read.model.name == "Phi-4"


def test_all_problems_come_at_once():
    """An author mends a manifest in one go, and is told the nearest right name."""
    wrong = {
        "name": 5,
        "dataset": {"files": ["a.jsonl"], "hub": "a/b"},
        "finetun": {},
        "gate": {"eval_loss": {}},
        "deploy": {"instance": 3},
        "idle": {"after": "soon"},
    }
    found = reasons(json.dumps(wrong).encode())
    assert set(found) == {
        "name",
        "dataset",
        "finetun",
        "gate.eval_loss",
        "deploy.instance",
        "idle.after",
    }
    assert "Did you mean 'finetune'?" in found["finetun"]
    assert "Did you mean 'instances'?" in found["deploy.instance"]
    assert "'2h'" in found["idle.after"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b'{"name":', "is not JSON"),
        (b"[1]", "is not a mapping"),
        (b"\xff{}", "is not UTF-8 at byte 0"),
        (b'{"name": "a", "name": "b"}', "'name' stands twice"),
        (b'{"finetune": {"learning_rate": NaN}}', "NaN is not a JSON number"),
        (b" " * (manifest.SIZE_LIMIT + 1), "bytes long"),
        (b"[" * 100_000, "nested too deeply"),
    ],
)
def test_what_is_not_a_manifest_is_refused_with_its_place(content, reason):
    """Text that cannot be read names the file, the line if there is one, and the reason."""
    (place, text), *_ = reasons(content).items()
    assert place.startswith("m.json")
    assert reason in text


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"name: [", "is not YAML"),
        (b"name: a\nname: b", "'name' stands twice"),
        (b"1: a", "must be text"),
        (b"!!python/object/apply:os.system ['true']", "is not YAML"),
    ],
)
def test_yaml_is_as_strict_as_json(content, reason):
    """YAML cannot smuggle in doubled keys or Python objects."""
    assert reason in " ".join(reasons(content, "m.yaml").values())


def test_yaml_reads_numbers_as_json_does():
    """`5e-6` is a number, though YAML 1.1 calls it text."""
    read = manifest.read(
        "m.yml", b"name: a\ndataset: {hub: a/b}\nfinetune: {learning_rate: 5e-6}\n"
    )
    assert read.finetune == {"learning_rate": 5e-6}


def test_files_may_be_one_path_a_list_or_splits():
    """A bare path or list is the training split."""
    for files in ("a.jsonl", ["a.jsonl"], {"train": "a.jsonl"}, {"train": ["a.jsonl"]}):
        read = manifest.read(
            "m.json", json.dumps({"name": "a", "dataset": {"files": files}}).encode()
        )
        assert read.dataset.files is not None
        assert read.dataset.files.train == ("a.jsonl",)


def test_a_checked_manifest_survives_its_record():
    """What the record keeps reads back as the same manifest."""
    read = manifest.read("m.json", json.dumps(GOOD | {"idle": {"after": "90s"}}).encode())
    kept = read.model_dump_json(exclude_none=True)
    assert manifest.Manifest.model_validate_json(kept) == read
