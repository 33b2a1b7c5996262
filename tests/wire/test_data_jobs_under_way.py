"""A job that prepares data, stuck, silent or endless: the rules of a job that trains, over the wire."""

from __future__ import annotations

import pytest

from shared.cloud.data_jobs import DataCompute
from shared.cloud.datasets import CloudPreparation
from shared.runs import reconciler
from shared.runs.phases import Phase
from tests.memory import conversations, jsonl
from tests.wire.conftest import travelling
from tests.wire.test_cloud_datasets import put


@pytest.fixture
def journey(control_plane, connection):
    """Runs whose data a real command job prepares."""
    compute = DataCompute(
        cluster="",
        size="Standard_DS3_v2",
        environment="",
        storage=connection,
        datastore="droptune_datasets",
    )
    put(connection, "a.jsonl", jsonl(*conversations(60)))
    with travelling(control_plane, connection, compute) as journey:
        journey.use_jobs_for_data(CloudPreparation(connection, "droptune_datasets"))
        yield journey


def test_a_data_job_without_machines_is_told_then_cancelled(journey, ml_client):
    """The run fails with what to do; nothing is left that bills."""
    run = journey.drop()
    journey.order(job=f"{run}-d1$", at="Queued", do="hold")
    found = journey.play(run, lambda found: "no machines since" in found.why)
    assert found.phase is Phase.RECEIVED
    found = journey.ended(run, step=1800)
    assert found.phase is Phase.FAILED
    assert found.facts.training_failure == "job-stuck-queued"
    assert f"job {run}-d1 is Queued and has had no machines for 1d" in found.why
    assert ml_client.jobs.get(f"{run}-d1").status == "Canceled"
    assert journey.workspace.job(f"{run}-d2") is None


def test_a_data_job_that_does_not_respond_is_cancelled_and_tried_again(journey, ml_client):
    """The second one prepares the data, and the run goes on from there; the record says what became of the first."""
    run = journey.drop()
    journey.order(job=f"{run}-d1$", at="Running", do="hold", status="NotResponding")
    journey.play(run, lambda found: "no response since" in found.why)
    journey.play(run, lambda found: found.facts.data_job == f"{run}-d2", step=600)
    assert ml_client.jobs.get(f"{run}-d1").status == "Canceled"
    found = journey.play(run, lambda found: found.facts.rows, within=240, step=1)
    assert sum(found.facts.rows.values()) == 60
    assert f"data, attempt 1: job {run}-d1 did not respond and was cancelled" in found.facts.notes
    reconciler.cancel(journey.sim.world, run, "seen enough")
    journey.ended(run)


def test_a_data_job_that_works_for_too_long_is_cancelled(journey, ml_client):
    """Counted from its first sight of machines; the kind says whose time it was."""
    run = journey.drop()
    journey.order(job=f"{run}-d1$", at="Running", do="hold")
    found = journey.play(run, lambda found: found.facts.data_begun_at is not None)
    assert found.why == f"job {run}-d1 prepares the data: Running"
    found = journey.ended(run, step=3600)
    assert found.phase is Phase.FAILED
    assert found.facts.training_failure == "preparation-too-long"
    assert "took longer than 1d. Give the data as more files" in found.why
    assert ml_client.jobs.get(f"{run}-d1").status == "Canceled"
