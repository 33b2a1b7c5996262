"""Data prepared by a real command job, on one node and on several: the same bytes as in a function."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from hub_server import COMMIT, Hub

from local.azureml.plane import REPOSITORY
from shared.cloud import data_job, data_jobs, storage
from shared.cloud.arm import Place
from shared.cloud.data_jobs import DataCompute
from shared.cloud.data_plans import Plan, folder_of, read_plan, refused_by, write_plan
from shared.cloud.datasets import BlobSink, CloudPreparation
from shared.cloud.workspace import AzureWorkspace
from shared.errors import Busy, DataRejected, Refused, Unavailable
from shared.runs.failures import of_job
from shared.runs.manifest import Dataset
from shared.runs.ports import DataJobRequest, DataPlan, JobState
from tests.memory import conversations, jsonl
from tests.wire.job_making import wait_for
from tests.wire.test_cloud_datasets import as_parquet, put

FILES = ("train.jsonl", "validation.jsonl", "test.jsonl", "dropped.jsonl", "prompts.jsonl")
RUN = "chat-0123456789-g1"


@pytest.fixture
def preparation(connection):
    return CloudPreparation(connection, "droptune_datasets")


@pytest.fixture
def workspace(control_plane, connection):
    names = control_plane.plane.settings
    compute = DataCompute(
        cluster="",
        size="Standard_DS3_v2",
        environment="",
        storage=connection,
        datastore="droptune_datasets",
    )
    made = AzureWorkspace(
        Place(names.subscription, names.group, names.workspace),
        data=compute,
        metadata_url=control_plane.environment["ARM_CLOUD_METADATA_URL"],
    )
    yield made
    made.close()


@pytest.fixture
def dataset(connection):
    """Four files of two formats, with refused rows, and rows that stand in several of them."""
    rows = conversations(90)
    put(connection, "a.jsonl", jsonl(*rows[:40], b"not JSON"))
    put(connection, "b.jsonl", jsonl(*rows[30:60], *rows[85:]))
    put(connection, "c.parquet", as_parquet(rows[50:85]))
    put(connection, "held.jsonl", jsonl(*rows[80:]))
    return Dataset.model_validate(
        {
            "files": {"train": ["a.jsonl", "b.jsonl", "c.parquet"], "test": "held.jsonl"},
            "max_dropped_fraction": 0.9,
        }
    )


def contents(connection, fingerprint):
    """Every file in the fingerprint's folder by its name there."""
    container = connection.container(storage.DATASETS)
    return {
        name.removeprefix(f"{fingerprint}/"): container.download_blob(name).readall()
        for name in container.list_blob_names(name_starts_with=f"{fingerprint}/")
    }


def forget(connection, fingerprint):
    container = connection.container(storage.DATASETS)
    for name in container.list_blob_names(name_starts_with=f"{fingerprint}/"):
        container.delete_blob(name)


def request_for(plan, name):
    return DataJobRequest(
        name=name,
        display_name="data-chat-1",
        experiment="droptune-chat",
        run=RUN,
        fingerprint=plan.fingerprint,
        nodes=plan.nodes,
        at_most=timedelta(minutes=10),
    )


@pytest.mark.parametrize("nodes", [1, 3])
def test_a_job_prepares_what_a_function_prepares(
    *, nodes, workspace, preparation, dataset, connection, ml_client
):
    """The unmodified SDK submits it; fingerprint, bytes and report are the same, and nothing else is left."""
    here = preparation.prepare(dataset, 64, lambda: None)
    expected = contents(connection, here.fingerprint)
    forget(connection, here.fingerprint)
    name = f"{RUN}-d{nodes}"
    plan = preparation.plan(dataset, 64, name, nodes)
    assert (plan.fingerprint, plan.nodes) == (here.fingerprint, nodes)
    assert preparation.finished(plan.fingerprint, name) is None
    job = workspace.submit_data_job(request_for(plan, name))
    assert (job.name, job.state) == (name, JobState.ACTIVE)
    assert workspace.submit_data_job(request_for(plan, name)).name == name
    assert wait_for(ml_client, name, seconds=240) == "Completed"
    found = contents(connection, plan.fingerprint)
    assert expected.pop("report.html")[:9] == found.pop("report.html")[:9]  # it tells the seconds
    reports = [json.loads(each.pop("report.json")) | {"seconds": 0} for each in (expected, found)]
    assert found == expected
    assert reports[0] == reports[1]
    assert replace(preparation.finished(plan.fingerprint, name)) == here
    kept = ml_client.jobs.get(name)
    assert kept.tags["droptune_run"] == RUN
    assert not {key for key, value in kept.environment_variables.items() if "Key" in value}


FUNCTION = """
import json, sys
from shared.cloud.datasets import BlobSink, CloudPreparation
from shared.cloud.storage import StorageConnection
from shared.runs.manifest import Dataset

storage, dataset, job, token = sys.argv[1:]
preparation = CloudPreparation(StorageConnection(storage), "droptune_datasets", hub_token=token)
dataset = Dataset.model_validate(json.loads(dataset))
if job:
    plan = preparation.plan(dataset, 64, job, 3)
    print(json.dumps([plan.fingerprint, plan.nodes]))
else:
    print(json.dumps([preparation.prepare(dataset, 64, lambda: None).fingerprint, 1]))
"""


@pytest.fixture
def as_a_function(azurite, tmp_path, monkeypatch):
    """What a function does with a dataset of a hub: prepare it, or write down the plan of a job.

    In a process of its own: the hub's libraries read its address when they are imported.
    """
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))

    def done(hub, dataset, job="", token=""):
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        found = subprocess.run(
            [
                sys.executable,
                "-c",
                FUNCTION,
                azurite.connection_string,
                json.dumps(dataset),
                job,
                token,
            ],
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert found.returncode == 0, found.stderr
        return json.loads(found.stdout)

    return done


def hub_files():
    """A split of five files, of which one is as large as the others together, with refused and repeated rows."""
    rows = conversations(120)
    bodies = [rows[:60], rows[50:70], rows[70:80], rows[75:95], [*rows[95:105], b"not JSON"]]
    files = {f"train-{n}.jsonl": jsonl(*body) for n, body in enumerate(bodies)}
    return files | {"test.jsonl": jsonl(*rows[100:])}


def test_nodes_share_a_split_of_a_hub_dataset_as_they_share_files(
    *, workspace, as_a_function, connection, ml_client
):
    """By bytes; what they write is what a function writes, at the commit that the revision stood for."""
    given = {
        "hub": "someone/chats",
        "splits": {"train": "train", "test": "test"},
        "max_dropped_fraction": 0.9,
    }
    name = f"{RUN}-d21"
    with Hub("someone/chats", hub_files()) as hub:
        fingerprint, _ = as_a_function(hub, given)
        expected = contents(connection, fingerprint)
        forget(connection, fingerprint)
        assert as_a_function(hub, given, name) == [fingerprint, 3]
        plan = read_plan(BlobSink(connection, "d", fingerprint), name)
        assert plan.dataset["revision"] == COMMIT
        assert plan.shares == [1, 1, 4]  # a file of 20 rows, one of 60, and four of 61 together
        workspace.submit_data_job(request_for(DataPlan(fingerprint, 3), name))
        assert wait_for(ml_client, name, seconds=240) == "Completed"
    found = contents(connection, fingerprint)
    assert {each: found[each] for each in FILES} == {each: expected[each] for each in FILES}
    dropped = [json.loads(line) for line in found["dropped.jsonl"].splitlines()]
    broken = [(row["source"], row["line"]) for row in dropped if row["reason"] == "not_json"]
    assert broken == [(f"hub:someone/chats@{COMMIT}/train-4.jsonl", 11)]
    assert not [each for each in found if each.startswith("parts/")]


def test_rows_that_are_not_fit_are_told_by_the_report(
    workspace, preparation, connection, ml_client
):
    """The job did its work; whoever asks for the data is told what is wrong with it."""
    put(connection, "few.jsonl", jsonl(*conversations(3)))
    dataset = Dataset.model_validate({"files": "few.jsonl"})
    name = f"{RUN}-d11"
    plan = preparation.plan(dataset, None, name, 4)
    assert plan.nodes == 1  # one file is one share
    workspace.submit_data_job(request_for(plan, name))
    assert wait_for(ml_client, name, seconds=240) == "Completed"
    with pytest.raises(DataRejected, match="fewer than 10"):
        preparation.finished(plan.fingerprint, name)


def environment_of(connection, rank=0, nodes=1):
    return {
        data_job.ADDRESS: connection.blob_address,
        data_job.DATASTORE: "droptune_datasets",
        data_job.AT_MOST: "60",
        "RANK": str(rank),
        "WORLD_SIZE": str(nodes),
    }


@pytest.fixture
def here(control_plane):
    """What a node does, in this process, with the control plane's identity."""
    storage.credential.cache_clear()
    yield data_job.main
    storage.credential.cache_clear()


def test_sources_that_cannot_be_read_are_written_down(here, preparation, connection):
    """There is no report then; the run is told by what the job left."""
    put(connection, "broken.parquet", b"PAR1 and nothing else")
    put(connection, "good.jsonl", jsonl(*conversations(20)))
    dataset = Dataset.model_validate({"files": ["broken.parquet", "good.jsonl"]})
    plan = preparation.plan(dataset, None, "j1", 1)
    assert here([plan.fingerprint, "j1"], environment_of(connection)) == 1
    assert not preparation.sink(plan.fingerprint).exists("report.json")
    with pytest.raises(DataRejected, match="is not Parquet"):
        preparation.finished(plan.fingerprint, "j1")
    assert preparation.finished(plan.fingerprint, "another") is None


def test_data_that_changed_since_the_plan_is_not_prepared(here, preparation, connection, caplog):
    """The fingerprint is of what was there then."""
    put(connection, "a.jsonl", jsonl(*conversations(20)))
    dataset = Dataset.model_validate({"files": "a.jsonl"})
    plan = preparation.plan(dataset, None, "j2", 1)
    put(connection, "a.jsonl", jsonl(*conversations(21)))
    assert here([plan.fingerprint, "j2"], environment_of(connection)) == 1
    assert "the data changed since the job was submitted" in caplog.text
    assert preparation.finished(plan.fingerprint, "j2") is None
    assert preparation.fingerprint(dataset, None) != plan.fingerprint


def test_a_node_of_a_finished_job_has_nothing_to_do(here, preparation, dataset, connection):
    """Started again after the plan is gone, it sees the report and ends well."""
    prepared = preparation.prepare(dataset, None, lambda: None)
    assert here([prepared.fingerprint, "j3"], environment_of(connection)) == 0


def test_a_node_without_its_fellows_does_not_wait_for_ever(
    here, preparation, dataset, connection, caplog
):
    """What it did itself stays, and looks like nothing finished."""
    plan = preparation.plan(dataset, None, "j4", 3)
    patience = {data_job.AT_MOST: "0"}
    assert here([plan.fingerprint, "j4"], environment_of(connection, 1, 3) | patience) == 1
    assert "nodes [0, 2] have not read their share in time" in caplog.text
    assert preparation.finished(plan.fingerprint, "j4") is None
    assert here([plan.fingerprint, "j4"], environment_of(connection, 0, 2) | patience) == 1
    assert "its plan needs 3" in caplog.text


def test_a_job_that_begins_anew_goes_on_from_what_its_nodes_left(
    here, preparation, dataset, connection, monkeypatch
):
    """Azure ML starts all nodes again when it lost one: the same bytes come out, and no mark is left."""
    expected = preparation.prepare(dataset, None, lambda: None)
    wanted = {name: contents(connection, expected.fingerprint)[name] for name in FILES}
    forget(connection, expected.fingerprint)
    plan = preparation.plan(dataset, None, "j7", 3)
    lonely = environment_of(connection, 1, 3) | {data_job.AT_MOST: "0"}
    assert here([plan.fingerprint, "j7"], lonely) == 1
    assert preparation.sink(plan.fingerprint).exists(f"{folder_of('j7')}/0001-read")
    monkeypatch.setattr(data_job, "_LOOK_SECONDS", 0.05)
    ends: dict[int, int] = {}

    def node(rank: int) -> None:
        ends[rank] = here([plan.fingerprint, "j7"], environment_of(connection, rank, 3))

    threads = [threading.Thread(target=node, args=(rank,)) for rank in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ends == {0: 0, 1: 0, 2: 0}
    found = contents(connection, plan.fingerprint)
    assert {name: found[name] for name in FILES} == wanted
    assert not [name for name in found if name.startswith("parts/")]


def test_storage_that_does_not_answer_is_a_failure_of_the_infrastructure(
    *, here, preparation, dataset, connection, monkeypatch, caplog
):
    """So the run tries again with another job."""
    plan = preparation.plan(dataset, None, "j8", 1)
    monkeypatch.setattr(data_job, "_LOOK_SECONDS", 0.01)

    def away(*_, **__):
        raise Unavailable("no connection")

    monkeypatch.setattr(data_job, "prepare", away)
    assert here([plan.fingerprint, "j8"], environment_of(connection)) == 1
    assert caplog.text.count("trying again") == 4
    assert of_job("UserError", caplog.messages[-1]) == "job-infrastructure"


def test_parts_are_one_file_once_they_are_joined(preparation, connection):
    """Nothing shows before; joined twice is the same; blocks that somebody's write cleared away are told of."""
    sink = preparation.sink("f00d")
    receipts: list[list[str]] = [[], [], []]
    for number in (2, 0, 1):
        with sink.write_part("train.jsonl", receipts[number]) as write:
            write(f"part {number}\n".encode())
            write(b"" if number else b"more of 0\n")
    assert not sink.exists("train.jsonl")
    for _ in range(2):
        sink.join("train.jsonl", receipts)
        assert sink.read("train.jsonl") == b"part 0\nmore of 0\npart 1\npart 2\n"
    late: list[str] = []
    with sink.write_part("train.jsonl", late) as write:
        write(b"late\n")
    with sink.write("train.jsonl") as write:
        write(b"somebody else's\n")
    with pytest.raises(Busy):
        sink.join("train.jsonl", [late])
    assert b"".join(sink.blocks("train.jsonl")) == b"somebody else's\n"


def test_only_the_jobs_own_folder_is_removed(preparation, connection):
    """Other jobs' folders and the data stay."""
    sink = preparation.sink("f00d")
    for name in ("parts/j1/a", "parts/j1/b/c", "parts/j10/a", "train.jsonl"):
        with sink.write(name) as write:
            write(b"x")
    sink.remove(folder_of("j1"))
    assert set(contents(connection, "f00d")) == {"parts/j10/a", "train.jsonl"}


def test_a_plan_does_not_change_under_its_job(preparation, dataset):
    """Settings may, between a submission whose answer was lost and the next."""
    first = preparation.plan(dataset, None, "j5", 3)
    assert preparation.plan(dataset, None, "j5", 1) == first
    assert preparation.plan(dataset, None, "j6", 1).nodes == 1


def test_a_plan_and_a_refusal_are_read_as_they_were_written(preparation):
    """And what is not there refuses nothing."""
    sink = preparation.sink("f00d")
    plan = Plan(dataset={"files": {"train": ["a.jsonl"]}}, max_seq_length=None, shares=[2, 1])
    write_plan(sink, "j", plan)
    assert read_plan(sink, "j") == plan
    assert refused_by(sink, "j") == []


def test_without_compute_for_it_no_job_is_submitted(control_plane):
    """The adapter says so."""
    workspace = AzureWorkspace(Place("s", "g", "w"))
    with pytest.raises(Refused, match="no compute"):
        workspace.submit_data_job(None)


def test_the_code_of_a_job_is_the_same_bytes_each_time(tmp_path):
    """So that it is uploaded once: modules only, of the parts that the job needs."""
    for each in ("one", "two"):
        data_jobs.gather(tmp_path / each)
    one, two = (
        {
            path.relative_to(tmp_path / each): path.read_bytes()
            for path in (tmp_path / each).rglob("*")
            if path.is_file()
        }
        for each in ("one", "two")
    )
    assert one == two
    assert {path.suffix for path in one} == {".py"}
    assert {path.parts[1] for path in one} == set(data_jobs.PARTS)
    assert Path("shared/cloud/data_job.py") in one
