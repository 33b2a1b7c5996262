"""Data prepared by a real command job, on one node and on several: the same bytes as in a function."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from shared.cloud import data_job, data_jobs, storage
from shared.cloud.arm import Place
from shared.cloud.data_jobs import DataCompute
from shared.cloud.data_plans import Plan, folder_of, read_plan, refused_by, write_plan
from shared.cloud.datasets import CloudPreparation
from shared.cloud.workspace import AzureWorkspace
from shared.errors import Busy, DataRejected, Refused
from shared.runs.manifest import Dataset
from shared.runs.ports import DataJobRequest, JobState
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
        address=connection.blob_address,
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
    nodes, workspace, preparation, dataset, connection, ml_client
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
    reports = [json.loads(each.pop("report.json")) | {"seconds": 0} for each in (expected, found)]
    assert found == expected
    assert reports[0] == reports[1]
    assert replace(preparation.finished(plan.fingerprint, name)) == here
    kept = ml_client.jobs.get(name)
    assert kept.tags["droptune_run"] == RUN
    assert not {key for key, value in kept.environment_variables.items() if "Key" in value}
