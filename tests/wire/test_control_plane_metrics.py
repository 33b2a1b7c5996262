"""Azure Monitor's metrics of the requests that were really served."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
import requests

from local.azureml.server import ControlPlane
from tests.wire.conftest import make_client, pointed_at
from tests.wire.online import (
    Arm,
    Caller,
    deploy,
    fresh,
    make_endpoint,
    register,
    set_traffic,
    token,
)

NAMESPACE = "Microsoft.MachineLearningServices/workspaces/onlineEndpoints"
SPAN = timedelta(hours=1)


@pytest.fixture(scope="module")
def served(ml_client, tmp_path_factory):
    """An endpoint that answered 3 requests on blue, failed one on green, and refused one."""
    folder = tmp_path_factory.mktemp("models")
    endpoint = make_endpoint(ml_client)
    model = register(ml_client, folder)
    for color in ("blue", "green"):
        deploy(ml_client, endpoint.name, model, color)
    set_traffic(ml_client, endpoint.name, blue=100)
    caller = Caller(ml_client, endpoint.name)
    assert [caller.ask().status_code for _ in range(3)] == [200] * 3
    assert caller.ask({"status": 500}, to="green").status_code == 424
    assert caller.ask(key="wrong").status_code == 401
    yield endpoint
    ml_client.online_endpoints.begin_delete(endpoint.name).result()


@pytest.fixture(scope="module")
def arm(control_plane):
    return Arm(control_plane)


@pytest.fixture(scope="module")
def batch(control_plane):
    """Ask the metrics data plane, with a token of its own audience."""

    def ask(ids, **changed):
        now = datetime.now(UTC)
        usual = {
            "starttime": (now - SPAN).isoformat(),
            "endtime": (now + timedelta(minutes=1)).isoformat(),
            "interval": "PT1M",
            "metricnamespace": NAMESPACE,
            "metricnames": "RequestsPerMinute",
            "aggregation": "Total",
            "api-version": "2024-02-01",
        }
        subscription = control_plane.plane.settings.subscription
        return requests.post(
            f"{control_plane.url}/subscriptions/{subscription}/metrics:getBatch",
            params={**usual, **changed},
            json={"resourceids": ids},
            headers={"Authorization": f"Bearer {token('https://metrics.monitor.azure.com')}"},
            timeout=30,
        )

    return ask


def total(metric) -> float:
    return sum(
        point.get("total", 0) for series in metric["timeseries"] for point in series["data"]
    )


def by_dimension(metric) -> dict[tuple[str, ...], float]:
    return {
        tuple(value["value"] for value in series["metadatavalues"]): sum(
            point.get("total", 0) for point in series["data"]
        )
        for series in metric["timeseries"]
    }


def one(arm, name, **changed):
    params = {
        "metricnames": "RequestsPerMinute",
        "aggregation": "Total",
        "interval": "FULL",
        "api-version": "2023-10-01",
        **changed,
    }
    path = f"onlineEndpoints/{name}/providers/Microsoft.Insights/metrics"
    return arm.ask("GET", path, params=params)


def test_requests_are_counted_whatever_their_end(arm, served):
    """Answered, failed and refused requests all count, as one metric of the endpoint."""
    answered = one(arm, served.name).json()
    assert (answered["namespace"], answered["resourceregion"]) == (NAMESPACE, "eastus")
    [metric] = answered["value"]
    assert metric["name"]["value"] == "RequestsPerMinute"
    assert metric["unit"] == "Count"
    assert total(metric) == 5


def test_requests_are_told_apart_by_dimension(arm, served):
    """Splitting by deployment and status class shows where the requests ended."""
    chosen = "deployment eq '*' and statusCodeClass eq '*'"
    [metric] = one(arm, served.name, **{"$filter": chosen}).json()["value"]
    assert by_dimension(metric) == {("blue", "2xx"): 3, ("green", "4xx"): 1, ("", "4xx"): 1}
    chosen = "statusCodeClass eq '2xx'"
    [metric] = one(arm, served.name, **{"$filter": chosen}).json()["value"]
    assert by_dimension(metric) == {("2xx",): 3}
    chosen = "modelStatusCode eq '500'"
    [metric] = one(arm, served.name, **{"$filter": chosen}).json()["value"]
    assert by_dimension(metric) == {("500",): 1}


def test_latency_is_measured(arm, served):
    """Latency has a mean and percentiles, in milliseconds, in order."""
    names = "RequestLatency,RequestLatency_P50,RequestLatency_P99"
    answered = one(arm, served.name, metricnames=names, aggregation="").json()
    mean, median, most = (
        next(point["average"] for point in metric["timeseries"][0]["data"] if "average" in point)
        for metric in answered["value"]
    )
    assert 0 < mean < 30_000
    assert 0 < median <= most


def test_a_batch_answers_for_each_resource_in_order(ml_client, batch, served):
    """Two resources, one of them idle: an idle one has no time series."""
    idle = make_endpoint(ml_client, tags={"x": "y"})
    values = batch([idle.id, served.id]).json()["values"]
    assert [each["resourceid"] for each in values] == [idle.id, served.id]
    assert values[0]["value"][0]["timeseries"] == []
    assert total(values[1]["value"][0]) == 5
    points = values[1]["value"][0]["timeseries"][0]["data"]
    assert len(points) in (61, 62)
    assert {"starttime", "endtime", "interval", "namespace", "resourceregion"} <= set(values[0])
    ml_client.online_endpoints.begin_delete(idle.name).result()


def test_a_batch_takes_fifty_resources(batch, served):
    """The fifty-first is refused, in Azure Monitor's flat error shape."""
    base = served.id.rsplit("/", 1)[0]
    ids = [f"{base}/gone-{number}" for number in range(51)]
    assert len(batch(ids[:50]).json()["values"]) == 50
    refused = batch(ids)
    assert refused.status_code == 400
    assert refused.json()["code"] == "BadRequest"
    assert "50" in refused.json()["message"]


def test_a_batch_is_of_one_resource_type(batch, served):
    """A deployment, a workspace or another subscription's endpoint cannot be in the batch."""
    workspace = served.id.split("/onlineEndpoints")[0]
    for stranger in (workspace, f"{served.id}/deployments/blue"):
        refused = batch([served.id, stranger])
        assert refused.status_code == 400
        assert stranger in refused.json()["message"]


def test_a_batch_needs_a_token(control_plane, served):
    """No token and a token for something else are 401."""
    subscription = control_plane.plane.settings.subscription
    url = f"{control_plane.url}/subscriptions/{subscription}/metrics:getBatch"
    for headers in ({}, {"Authorization": f"Bearer {token('https://storage.azure.com')}"}):
        answered = requests.post(url, json={}, headers=headers, timeout=10)
        assert answered.status_code == 401


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"metricnames": "Nonsense"}, "Valid metrics: .*RequestsPerMinute"),
        ({"interval": "PT7M"}, "Supported time grains are: PT1M"),
        ({"aggregation": "Median"}, "Invalid aggregation: median"),
        ({"starttime": "yesterday"}, "Invalid time: yesterday"),
        ({"filter": "color eq 'blue'"}, "does not support requested dimension"),
    ],
)
def test_a_bad_query_is_refused(batch, served, changed, said):
    """What Azure Monitor refuses is 400 and says what would do."""
    import re

    refused = batch([served.id], **changed)
    assert refused.status_code == 400
    assert re.search(said, refused.json()["message"])


@pytest.mark.parametrize(
    "changed", [{"metricnames": "NetworkBytes"}, {"rollupby": "deployment"}, {"orderby": "x"}]
)
def test_what_is_not_counted_is_501(batch, served, changed):
    """Metrics and options that only the real service has are refused, not answered with nothing."""
    assert batch([served.id], **changed).status_code == 501


def test_metrics_of_a_missing_endpoint_are_404(arm):
    """ARM knows no such resource."""
    assert one(arm, "nobody").status_code == 404


def test_metrics_come_late_when_they_are_told_to(control_plane, arm, served):
    """The ingestion delay hides the last minutes, as on Azure."""
    url = f"{control_plane.url}/_emulator/metrics"
    requests.put(url, json={"delay": 3600}, timeout=10).raise_for_status()
    try:
        assert one(arm, served.name).json()["value"][0]["timeseries"] == []
    finally:
        requests.put(url, json={"delay": 0}, timeout=10).raise_for_status()
    assert total(one(arm, served.name).json()["value"][0]) == 5
    assert requests.put(url, json={"delay": -1}, timeout=10).status_code == 400


def test_counts_survive_a_restart_and_a_deletion(plane_settings, tmp_path):
    """What was counted is there after a restart, and for the id of an endpoint that is gone."""
    settings = plane_settings(tmp_path / "plane")
    name = fresh("endpoint")
    with ControlPlane(settings) as plane, pointed_at(plane):
        client = make_client()
        make_endpoint(client, name)
        assert Caller(client, name).ask().status_code == 404
    with ControlPlane(settings) as plane, pointed_at(plane):
        assert total(one(Arm(plane), name).json()["value"][0]) == 1
