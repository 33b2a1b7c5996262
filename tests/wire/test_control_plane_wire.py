"""ARM's manners, faults and the clock, over plain REST."""

from __future__ import annotations

import pytest
import requests
from azure.core.exceptions import HttpResponseError

from local.azureml.server import ControlPlane
from tests.wire.conftest import make_client, pointed_at

WORKSPACE = (
    "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/droptune"
    "/providers/Microsoft.MachineLearningServices/workspaces/droptune-local"
)


@pytest.fixture
def get(control_plane):
    """A GET that may be refused: `get(path, token=..., **query)`."""
    from azure.identity import DefaultAzureCredential

    def asked(path, *, token=None, resource=None, **query):
        if token is None:
            scope = f"{resource or control_plane.url}/.default"
            token = DefaultAzureCredential().get_token(scope).token
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        url = f"{control_plane.url}{path}"
        return requests.get(url, params=query, headers=headers, timeout=10)

    return asked


@pytest.fixture
def emulator(control_plane):
    """The test control of the session's control plane; faults are taken back at the end."""

    def call(method, path, body=None):
        url = f"{control_plane.url}/_emulator/{path}"
        answered = requests.request(method, url, json=body, timeout=10)
        answered.raise_for_status()
        return answered.json() if answered.content else None

    yield call
    call("DELETE", "faults")


def test_without_a_token_it_is_401(get):
    """A request without a bearer token is refused as ARM refuses it."""
    refused = get(WORKSPACE, token="", **{"api-version": "2024-10-01"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (401, "AuthenticationFailed")
    assert "WWW-Authenticate" in refused.headers


def test_a_foreign_token_is_401(get):
    """A token that this identity endpoint did not issue is refused."""
    refused = get(WORKSPACE, token="a.b.c", **{"api-version": "2024-10-01"})
    assert refused.json()["error"]["code"] == "InvalidAuthenticationToken"


def test_a_token_for_another_resource_is_401(get):
    """A token whose audience is another resource is refused."""
    refused = get(WORKSPACE, resource="https://vault.azure.net", **{"api-version": "2024-10-01"})
    assert refused.json()["error"]["code"] == "InvalidAuthenticationTokenAudience"


def test_the_identity_endpoint_wants_its_header(control_plane):
    """Without the right X-IDENTITY-HEADER there is no token."""
    url = control_plane.environment["IDENTITY_ENDPOINT"]
    refused = requests.get(url, params={"resource": "https://ml.azure.com"}, timeout=10)
    assert refused.status_code == 401


def test_the_api_version_is_required(get):
    """ARM requests need a well-formed api-version."""
    assert get(WORKSPACE).json()["error"]["code"] == "MissingApiVersionParameter"
    refused = get(WORKSPACE, **{"api-version": "new"})
    assert refused.json()["error"]["code"] == "InvalidApiVersionParameter"


def test_what_is_not_emulated_is_501_and_says_what(get):
    """An unknown route is 501, names itself, and says where to read on."""
    refused = get(f"{WORKSPACE}/schedules", **{"api-version": "2024-10-01"})
    error = refused.json()["error"]
    assert (refused.status_code, error["code"]) == (501, "NotEmulated")
    assert "schedules" in error["message"]
    assert "docs/EMULATOR.md" in error["message"]


def test_another_subscription_is_not_found(get):
    """Only the one subscription exists."""
    other = WORKSPACE.replace("0001/", "0009/")
    refused = get(other, **{"api-version": "2024-10-01"})
    assert refused.json()["error"]["code"] == "SubscriptionNotFound"


def test_errors_carry_azures_envelope(get):
    """Errors have code, message, details and Azure's additional information; ids correlate."""
    refused = get(f"{WORKSPACE}/models/nobody", **{"api-version": "2024-10-01"})
    error = refused.json()["error"]
    assert error["details"][0]["code"] == "ModelNotFound"
    assert [each["type"] for each in error["additionalInfo"]] == [
        "ComponentName",
        "Correlation",
        "Environment",
        "Location",
        "Time",
    ]
    assert refused.headers["x-ms-correlation-request-id"]
    assert refused.headers["x-ms-response-type"] == "error"


def test_a_bad_continuation_token_is_refused(get):
    """A `$skipToken` that the server did not write is 400."""
    query = {"api-version": "2024-10-01", "$skipToken": "%%%"}
    assert get(f"{WORKSPACE}/computes", **query).status_code == 400


def test_a_fault_meets_the_next_requests_only(emulator, ml_client):
    """A fault answers as told, as often as told; then all is well again."""
    fault = {
        "method": "GET",
        "path": "/jobs$",
        "times": 1,
        "status": 403,
        "code": "AuthorizationFailed",
        "message": "No.",
    }
    emulator("POST", "faults", fault)
    with pytest.raises(HttpResponseError, match="AuthorizationFailed"):
        list(ml_client.jobs.list())
    list(ml_client.jobs.list())


def test_the_sdk_retries_throttling(emulator, ml_client):
    """429 with Retry-After is retried by the unmodified SDK and then succeeds."""
    fault = {"path": "/jobs$", "status": 429, "code": "TooManyRequests", "retry_after": 0}
    emulator("POST", "faults", fault)
    list(ml_client.jobs.list())
    assert emulator("GET", "faults") == {"value": []}


def test_a_lost_answer_did_its_work(emulator, control_plane):
    """`after` with `reset` does the work and drops the connection."""
    from azure.identity import DefaultAzureCredential

    emulator("POST", "faults", {"method": "PUT", "path": "/lost$", "after": True, "reset": True})
    token = DefaultAzureCredential().get_token(f"{control_plane.url}/.default").token
    headers = {"Authorization": f"Bearer {token}"}
    url = f"{control_plane.url}{WORKSPACE}/models/lost?api-version=2024-10-01"
    with pytest.raises(requests.ConnectionError):
        requests.put(url, json={"properties": {}}, headers=headers, timeout=10)
    assert requests.get(url, headers=headers, timeout=10).status_code == 200


def test_a_malformed_fault_is_refused(control_plane):
    """A fault with unknown keys or a bad pattern is 400 and names it."""
    url = f"{control_plane.url}/_emulator/faults"
    for bad, named in (({"path": "("}, "malformed"), ({"what": 1}, "what"), ({}, "path")):
        refused = requests.post(url, json=bad, timeout=10)
        assert refused.status_code == 400
        assert named in refused.json()["error"]["message"]


def test_requests_are_counted_by_route(emulator, get):
    """The count of requests by method and route can be read and reset."""
    emulator("DELETE", "counts")
    get(f"{WORKSPACE}/models/nobody", **{"api-version": "2024-10-01"})
    counts = emulator("GET", "counts")["requests"]
    assert [each for each in counts if each.endswith("/models/{model}")]


def test_transitions_follow_the_clock(plane_settings, tmp_path):
    """At a slow pace a cluster is made when the clock says so, and not before."""
    from azure.ai.ml.entities import AmlCompute

    with ControlPlane(plane_settings(tmp_path, pace="minutes")) as plane, pointed_at(plane):
        client, url = make_client(), f"{plane.url}/_emulator/clock"
        requests.put(url, json={"frozen": True}, timeout=10).raise_for_status()
        cluster = AmlCompute(name="slow", size="Standard_NC24ads_A100_v4", max_instances=1)
        client.compute.begin_create_or_update(cluster)
        assert client.compute.get("slow").provisioning_state == "Creating"
        requests.put(url, json={"advance": 31}, timeout=10).raise_for_status()
        assert client.compute.get("slow").provisioning_state == "Creating"
        requests.put(url, json={"advance": 2}, timeout=10).raise_for_status()
        assert client.compute.get("slow").provisioning_state == "Succeeded"


def test_a_job_walks_through_its_statuses_on_the_clock(plane_settings, tmp_path, azurite):
    """Each status of a job lasts as long as the timetable says."""
    from tests.wire.job_making import data_file, fine_tune, wait_for

    settings = plane_settings(tmp_path / "state", pace="minutes")
    with ControlPlane(settings) as plane, pointed_at(plane):
        client, registry = make_client(), make_client("azureml")
        url = f"{plane.url}/_emulator/clock"
        requests.put(url, json={"frozen": True}, timeout=10).raise_for_status()
        train = data_file(tmp_path / "data")
        job = client.jobs.create_or_update(fine_tune(registry, train))
        assert client.jobs.get(job.name).status == "NotStarted"
        for seconds, status in ((5, "Preparing"), (60, "Queued"), (300, "Finalizing")):
            requests.put(url, json={"advance": seconds}, timeout=10).raise_for_status()
            wait_for(client, job.name, status)
        requests.put(url, json={"advance": 60}, timeout=10).raise_for_status()
        assert wait_for(client, job.name) == "Completed"


def test_a_taken_port_is_told(control_plane, plane_settings, tmp_path):
    """A control plane whose port is taken fails to start with the reason."""
    with (
        pytest.raises(OSError, match="in use"),
        ControlPlane(plane_settings(tmp_path), port=control_plane.plane.port),
    ):
        pass
