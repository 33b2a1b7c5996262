"""The test control of models, clusters and jobs: what it does, what it refuses, how it is taken back."""

from __future__ import annotations

import uuid

import pytest
import requests
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError

from local.azureml.server import ControlPlane
from tests.wire.conftest import make_client, pointed_at
from tests.wire.job_making import data_file, fine_tune, wait_for


@pytest.fixture
def control(control_plane):
    """Ask the test control: `control(method, path, body)`; orders are taken back afterwards."""

    def asked(method: str, path: str, body: dict | None = None) -> requests.Response:
        url = f"{control_plane.url}/_emulator/{path}"
        return requests.request(method, url, json=body, timeout=30)

    yield asked
    asked("DELETE", "job-orders")


@pytest.mark.parametrize(
    ("method", "path", "body", "said"),
    [
        ("PUT", "registry-models/Phi-4/8", {"archived": True}, "Unknown keys"),
        ("PUT", "computes/c1", {"fail": True}, "Unknown keys"),
        ("PUT", "computes/c1", {"times": 0}, "times"),
        ("PUT", "computes/c1", {"priority": "Spot"}, "priority"),
        ("POST", "job-orders", {"at": "Queued", "do": "hold"}, "malformed"),
        ("POST", "job-orders", {"job": "(", "at": "Queued", "do": "hold"}, "malformed"),
        ("POST", "job-orders", {"job": "x", "at": "Later", "do": "hold"}, "at must be one of"),
        ("POST", "job-orders", {"job": "x", "at": "Queued", "do": "sing"}, "do fail or hold"),
        ("POST", "job-orders", {"job": "x", "when": "Queued"}, "Unknown keys"),
        ("PUT", "quota", {"used": {"StandardNCADSA100v4Family": "all"}}, "used must be cores"),
    ],
)
def test_a_wrong_order_is_refused_with_what_is_wrong(control, method, path, body, said):
    """A test that misspells its control must not pass for the wrong reason."""
    answered = control(method, path, body)
    assert answered.status_code == 400
    assert said in answered.json()["error"]["message"]


def test_a_model_is_archived_and_restored(control, registry_client):
    """`latest` finds it again once the change is taken back."""
    from azure.ai.ml.exceptions import ValidationException

    assert control("PUT", "registry-models/Phi-4/8", {"isArchived": True}).ok
    with pytest.raises(ValidationException, match="does not exist"):
        registry_client.models.get("Phi-4", label="latest")
    assert registry_client.models.get("Phi-4", "8").version == "8"
    assert control("DELETE", "registry-models/Phi-4/8").status_code == 200
    assert control("DELETE", "registry-models/Phi-4/8").status_code == 204
    assert registry_client.models.get("Phi-4", label="latest").version == "8"


def test_a_new_model_is_there_until_it_is_taken_back(control, registry_client):
    """With what it was given, and nothing else."""
    name = f"model-{uuid.uuid4().hex[:8]}"
    assert control("PUT", f"registry-models/{name}/1", {"tags": {"task": "chat-completion"}}).ok
    assert registry_client.models.get(name, label="latest").tags == {"task": "chat-completion"}
    control("DELETE", f"registry-models/{name}/1")
    with pytest.raises(ResourceNotFoundError):
        registry_client.models.get(name, "1")


def make_cluster(client, name: str, size: str = "Standard_DS2_v2", **more):
    from azure.ai.ml.entities import AmlCompute

    cluster = AmlCompute(name=name, size=size, max_instances=1, **more)
    return client.compute.begin_create_or_update(cluster).result()


def test_a_cluster_fails_as_often_as_was_ordered(control, ml_client):
    """Its state and Azure's words tell; the next one of that name comes up."""
    name = f"c-{uuid.uuid4().hex[:8]}"
    control("PUT", f"computes/{name}", {"code": "AllocationFailed", "message": "No machines."})
    with pytest.raises(HttpResponseError, match="No machines"):
        make_cluster(ml_client, name)
    failed = ml_client.compute.get(name)
    assert (failed.provisioning_state, failed.provisioning_errors) == (
        "Failed",
        "AllocationFailed",
    )
    ml_client.compute.begin_delete(name).result()
    assert make_cluster(ml_client, name).provisioning_state == "Succeeded"
    ml_client.compute.begin_delete(name).result()


def test_a_cluster_is_refused_at_once_where_that_was_ordered(control, ml_client):
    """Nothing is left of it."""
    name = f"c-{uuid.uuid4().hex[:8]}"
    control("PUT", f"computes/{name}", {"code": "Busy", "message": "Not now.", "refuse": True})
    with pytest.raises(HttpResponseError, match="Not now"):
        make_cluster(ml_client, name)
    with pytest.raises(ResourceNotFoundError):
        ml_client.compute.get(name)


def test_a_cluster_without_quota_for_one_node_fails_as_on_azure(ml_client):
    """Whatever its minimum: with the code and the numbers that users report."""
    name = f"c-{uuid.uuid4().hex[:8]}"
    with pytest.raises(HttpResponseError, match="vCPU quota of 0") as refused:
        make_cluster(ml_client, name, "Standard_ND40rs_v2")
    assert refused.value.error.code == "ClusterMinNodesExceedCoreQuota"
    assert ml_client.compute.get(name).provisioning_state == "Failed"
    ml_client.compute.begin_delete(name).result()


def test_a_job_on_hold_goes_on_when_the_order_is_taken_back(
    control, ml_client, registry_client, tmp_path
):
    """It shows the status that was ordered until then, and completes afterwards."""
    job = fine_tune(registry_client, data_file(tmp_path))
    order = {"job": job.name, "at": "Running", "do": "hold", "status": "NotResponding"}
    name = control("POST", "job-orders", order).json()["name"]
    ml_client.jobs.create_or_update(job)
    wait_for(ml_client, job.name, "NotResponding")
    (shown,) = control("GET", "job-orders").json()["value"]
    assert (shown["name"], shown["times"]) == (name, 0)
    assert control("DELETE", f"job-orders/{name}").status_code == 204
    assert wait_for(ml_client, job.name) == "Completed"


def test_a_job_fails_as_ordered_and_its_steps_with_it(
    control, ml_client, registry_client, tmp_path
):
    """With the code and the words of the order, for as many jobs as it says."""
    jobs = [fine_tune(registry_client, data_file(tmp_path / each)) for each in "ab"]
    order = {"job": jobs[0].name, "at": "Queued", "do": "fail", "message": "PreemptionError"}
    control("POST", "job-orders", order)
    for job in jobs:
        ml_client.jobs.create_or_update(job)
    assert wait_for(ml_client, jobs[0].name) == "Failed"
    assert wait_for(ml_client, jobs[1].name) == "Completed"


def test_a_job_that_was_silent_when_the_control_plane_ended_goes_on(plane_settings, tmp_path):
    """Orders are forgotten with the process that had them; the job is not."""
    settings = plane_settings(tmp_path / "state")
    with ControlPlane(settings) as plane, pointed_at(plane):
        client = make_client()
        job = fine_tune(make_client("azureml"), data_file(tmp_path / "data"))
        order = {"job": job.name, "at": "Running", "do": "hold", "status": "NotResponding"}
        requests.post(f"{plane.url}/_emulator/job-orders", json=order, timeout=30)
        client.jobs.create_or_update(job)
        wait_for(client, job.name, "NotResponding")
    with ControlPlane(settings) as plane, pointed_at(plane):
        assert wait_for(make_client(), job.name) == "Completed"
