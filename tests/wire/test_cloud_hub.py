"""Hub datasets through the real libraries, against a hub on this machine.

The libraries read the hub's address when they are imported, hence a process of its own for each look.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
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
token = sys.argv[3]
try:
    if sys.argv[2] == "problems":
        told = [[each.place, each.reason, each.mend] for each in hub.problems(dataset, token)]
    elif sys.argv[2] == "size":
        told = hub.size(dataset, token)
    elif sys.argv[2] == "memory":
        from pathlib import Path
        status = Path("/proc/self/status")
        peak = lambda: 1024 * int(status.read_text().partition("VmHWM:")[2].split()[0])
        found = hub.sources(dataset, token)
        few, many = (found[split][0] for split in ("test", "train"))
        list(few.blocks())
        before, size = peak(), 0
        for block in many.blocks():
            size += len(block)
        told = [size, peak() - before]
    else:
        told = {
            split: [found[0].identity, b"".join(found[0].blocks()).decode()]
            for split, found in hub.sources(dataset, token).items()
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

    def looked(what, *, address=hub.url, token="", **dataset):
        given = {"hub": "someone/chats", "splits": {"train": "train", "test": "test"}, **dataset}
        environment = {
            **os.environ,
            "HF_ENDPOINT": address,
            "HF_HOME": str(tmp_path / "home"),
            "PYTHONPATH": str(REPOSITORY),
        }
        environment.pop("HF_TOKEN", None)
        command = [sys.executable, "-c", PROGRAM, json.dumps(given), what, token]
        found = subprocess.run(
            command,
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=280,
            check=False,
        )
        assert found.returncode == 0, found.stderr
        assert not token or token not in found.stdout + found.stderr
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


def as_parquet(rows, **how):
    body = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), body, **how)
    return body.getvalue()


def in_formats():
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["question", "answer"])
    writer.writerows([f"q{n}", "a, b"] for n in range(40))
    return {
        "parquet": ({"train.parquet": as_parquet(ROWS, row_group_size=7)}, ROWS),
        "csv": (
            {"train.csv": text.getvalue().encode()},
            [{"question": f"q{n}", "answer": "a, b"} for n in range(40)],
        ),
        "packed": ({"train.jsonl.gz": gzip.compress(LINES)}, ROWS),
        "tools of many shapes": (
            {
                "train.jsonl": b"".join(
                    json.dumps({**row, "tools": [{"name": "f", "of": {f"x{n % 3}": n}}]}).encode()
                    + b"\n"
                    for n, row in enumerate(ROWS)
                )
            },
            None,
        ),
    }


@pytest.mark.parametrize("form", in_formats())
def test_every_format_of_the_hub_gives_the_same_rows(look, form):
    """Parquet, as most of the hub's datasets are, goes by columns; the others row by row."""
    files, rows = in_formats()[form]
    with Hub("someone/chats", files) as hub:
        found = look("sources", address=hub.url, splits={"train": "train"})
    told = [json.loads(line) for line in found["train"][1].splitlines()]
    if rows is None:
        assert [row["messages"] for row in told] == [row["messages"] for row in ROWS]
    else:
        assert told == rows


def test_the_named_configuration_is_read(look):
    """A dataset of several configurations is told apart by name; without one, that is the problem."""
    card = b"""---
configs:
- config_name: few
  data_files: few.jsonl
- config_name: all
  data_files: all.jsonl
---
"""
    few = b"".join(LINES.splitlines(keepends=True)[:3])
    files = {"README.md": card, "few.jsonl": few, "all.jsonl": LINES}
    with Hub("someone/chats", files) as hub:
        splits = {"train": "train"}
        found = look("sources", address=hub.url, config="few", splits=splits)
        (problem,) = look("problems", address=hub.url, splits=splits)
    assert found["train"][0] == f"hub:someone/chats@{COMMIT}/few/train"
    assert [json.loads(line) for line in found["train"][1].splitlines()] == ROWS[:3]
    assert problem[0] == "dataset.config"
    assert "few" in problem[1]


def test_a_private_dataset_needs_the_token_of_the_settings(look):
    """Without it, or with another, it does not exist; the token is told nowhere."""
    with Hub("someone/chats", CHATS, token="hf_right") as hub:
        assert look("problems", address=hub.url, token="hf_right") == []
        found = look("sources", address=hub.url, token="hf_right")
        assert [json.loads(line) for line in found["train"][1].splitlines()] == ROWS
        ((place, said, _),) = look("problems", address=hub.url, token="hf_wrong")
        assert place == "dataset.hub"
        assert "DROPTUNE_HUB_TOKEN" in said
        ((_, said, _),) = look("problems", address=hub.url)
        assert "or it is private" in said
        kind, said = look("sources", address=hub.url, token="hf_wrong")
        assert kind == "DataRejected"


def test_a_dataset_that_is_a_program_is_refused_and_never_run(look, tmp_path):
    """Nothing of what its author wrote is executed."""
    program = f"open({str(tmp_path / 'ran')!r}, 'w')\n".encode()
    with Hub("someone/chats", {"chats.py": program, "train.jsonl": LINES}) as hub:
        ((place, said, mend),) = look("problems", address=hub.url)
        kind, _ = look("sources", address=hub.url)
    assert place == "dataset.hub"
    assert "is a program" in said
    assert mend
    assert kind == "DataRejected"
    assert not (tmp_path / "ran").exists()


def test_a_dataset_without_rows_is_told(look):
    """A model card alone is no dataset."""
    with Hub("someone/chats", {"README.md": b"# Hello\n"}) as hub:
        ((place, said, _),) = look("problems", address=hub.url)
    assert place == "dataset.hub"
    assert "no files of rows" in said


def test_a_folder_of_that_name_is_not_taken_for_the_dataset(look, tmp_path):
    """The library would rather read a local folder; the manifest's author means the hub."""
    (tmp_path / "someone" / "chats").mkdir(parents=True)
    (tmp_path / "someone" / "chats" / "train.jsonl").write_bytes(b'{"messages": "other"}\n')
    found = look("sources")
    assert [json.loads(line) for line in found["train"][1].splitlines()] == ROWS
    ((_, said, _),) = look("problems", hub="../..")
    assert "'../..'" in said


def test_memory_does_not_grow_with_a_row_group(look):
    """A quarter of a gigabyte in one row group; the library would hold it whole."""
    row = {
        "messages": [
            {"role": "user", "content": "q" * 100},
            {"role": "assistant", "content": "a" * 6000},
        ]
    }
    files = {
        "test.parquet": as_parquet([row] * 10),
        "train.parquet": as_parquet([row] * 40_000, row_group_size=1 << 20, use_dictionary=False),
    }
    with Hub("someone/chats", files) as hub:
        size, grown = look("memory", address=hub.url)
    assert size > 240e6
    assert grown < 150e6
