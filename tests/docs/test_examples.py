"""Every manifest in examples/ can be dropped as it is."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from local.cli.drop import _files
from shared.cloud.datasets import options_of
from shared.cloud.globs import matcher
from shared.cloud.registry import input_from
from shared.data.folders import FileSource, FolderSink
from shared.data.prepare import prepare
from shared.runs import manifest as manifests
from shared.runs import parameters

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
SEED = ROOT / "local/azureml/seed/components.json"
MANIFESTS = sorted(p for p in EXAMPLES.iterdir() if p.suffix in {".json", ".yaml"})


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_an_example_is_a_right_manifest(path: Path):
    """Its form is right, and so is every parameter by itself."""
    manifest = manifests.read(path.name, path.read_bytes())
    (component,) = json.loads(SEED.read_text())["components"]
    inputs = {
        name: input_from(SimpleNamespace(**given)) for name, given in component["inputs"].items()
    }
    assert parameters.check(manifest.finetune, inputs) == []
    assert parameters.conflicts(manifest.finetune, inputs) == []


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_an_examples_data_is_there_and_fit_to_train_on(path: Path, tmp_path: Path):
    """`drop` finds each file that it names, and the rows are what the manifest says they are."""
    dataset = manifests.read(path.name, path.read_bytes()).dataset
    if dataset.files is None:
        return
    dropped = [name for container, name, _ in _files(path, []) if container == "data"]
    given = {split: getattr(dataset.files, split) for split in ("train", "validation", "test")}
    sources = {
        split: [
            FileSource(EXAMPLES / name, name)
            for name in dropped
            if any(matcher(pattern)(name) for pattern in patterns)
        ]
        for split, patterns in given.items()
    }
    report = prepare(sources, FolderSink(tmp_path), options_of(dataset, None)).report
    assert {split: counts.rows for split, counts in report.splits.items()} == {
        "train": 180,
        "validation": 40,
        "test": 40,
    }


def test_the_page_lists_every_example():
    """With a link, and no other."""
    page = (EXAMPLES / "README.md").read_text()
    assert set(re.findall(r"^\| \[([\w.-]+)\]\(\1\)", page, re.MULTILINE)) == {
        path.name for path in MANIFESTS
    }


def test_the_data_is_what_its_script_writes(tmp_path: Path):
    """Who changes the facts runs it again."""
    script = [sys.executable, str(EXAMPLES / "make_dataset.py"), "--folder", str(tmp_path)]
    subprocess.run(script, check=True, capture_output=True)
    made = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    assert made == {file.name: file.read_bytes() for file in (EXAMPLES / "velora").iterdir()}
