"""Hub datasets through the real libraries, against a hub on this machine.

The libraries read the hub's address when they are imported, hence a process of its own for each look.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from hub_server import COMMIT, Hub

from local.azureml.plane import REPOSITORY
from local.ports import free_port

ROWS = [
    {"messages": [{"role": "user", "content": f"q{n}"}, {"role": "assistant", "content": "a"}]}
    for n in range(40)
]
LINES = b"".join(json.dumps(row).encode() + b"\n" for row in ROWS)
CHATS = {"README.md": b"# Chats\n", "train.jsonl": LINES, "test.jsonl": LINES}

PROGRAM = """
import json, sys
from shared.cloud import hub
from shared.errors import DroptuneError
from shared.runs.manifest import Dataset

dataset = Dataset.model_validate(json.loads(sys.argv[1]))
try:
    if sys.argv[2] == "problems":
        told = [[each.place, each.reason, each.mend] for each in hub.problems(dataset)]
    elif sys.argv[2] == "size":
        told = hub.size(dataset)
    else:
        told = {
            split: [found[0].identity, b"".join(found[0].blocks()).decode()]
            for split, found in hub.sources(dataset).items()
        }
except DroptuneError as error:
    told = [type(error).__name__, str(error)]
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def hub():
    with Hub("someone/chats", CHATS) as running:
        yield running


@pytest.fixture
def look(hub, tmp_path):
    """What the adapter tells of a dataset, in a process that knows only this hub."""

    def looked(what, *, address=hub.url, **dataset):
        given = {"hub": "someone/chats", "splits": {"train": "train", "test": "test"}, **dataset}
        environment = {
            **os.environ,
            "HF_ENDPOINT": address,
            "HF_HOME": str(tmp_path / "home"),
            "PYTHONPATH": str(REPOSITORY),
        }
        command = [sys.executable, "-c", PROGRAM, json.dumps(given), what]
        found = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=120, check=False
        )
        assert found.returncode == 0, found.stderr
        return json.loads(found.stdout.splitlines()[-1])

    return looked


def test_rows_stream_from_the_commit_that_the_revision_names(look):
    """Each split's rows come out whole and in order; the identity holds the commit."""
    found = look("sources")
    assert set(found) == {"train", "test"}
    for split, (identity, lines) in found.items():
        assert identity == f"hub:someone/chats@{COMMIT}/{split}"
        assert [json.loads(line) for line in lines.splitlines()] == ROWS


@pytest.mark.parametrize(
    ("wrong", "place", "said"),
    [
        ({"hub": "some/other"}, "dataset.hub", "there is no dataset 'some/other'"),
        ({"revision": "nope"}, "dataset.hub", "has no revision 'nope'"),
        ({"config": "what"}, "dataset.config", "'what' not found"),
        ({"splits": {"train": "trian"}}, "dataset.splits.train", "has no split 'trian'"),
    ],
)
def test_what_the_hub_does_not_have_is_told_before_any_row_is_read(look, wrong, place, said):
    """Dataset, revision, configuration, split: each wrong name has its own place."""
    (problem,) = look("problems", **wrong)
    assert problem[0] == place
    assert said in problem[1]


def test_a_right_dataset_has_no_problems_and_a_slip_is_recognised(look):
    """The nearest split's name is offered."""
    assert look("problems") == []
    ((_, _, mend),) = look("problems", splits={"train": "trian"})
    assert mend == "Did you mean 'train'?"


def test_a_hub_that_is_not_there_is_unavailable(look):
    """No connection is something to try again, not a problem of the manifest's."""
    kind, said = look("problems", address=f"http://127.0.0.1:{free_port()}")
    assert kind == "Unavailable"
    assert "someone/chats" in said


def test_files_that_cannot_be_read_reject_the_data(look):
    """The author is told which dataset, not shown a traceback."""
    with Hub(
        "someone/chats", {"train.jsonl": LINES + b"{nonsense", "test.jsonl": LINES}
    ) as broken:
        kind, said = look("sources", address=broken.url)
    assert kind == "DataRejected"
    assert "someone/chats" in said


def test_the_size_of_a_hub_dataset_is_that_of_its_files(look):
    """Asked of the hub, nothing is read; it decides whether a function or a job prepares it."""
    assert look("size") == sum(map(len, CHATS.values()))
