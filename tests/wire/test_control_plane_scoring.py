"""The scoring gateway: keys, routing, bounds and what it says for the container."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest
import requests

from tests.wire.online import Arm, Caller, deploy, make_endpoint, register, set_traffic, token


@pytest.fixture(scope="module")
def served(ml_client, tmp_path_factory):
    """An endpoint with the deployments blue (all traffic) and green."""
    folder = tmp_path_factory.mktemp("models")
    name = make_endpoint(ml_client).name
    for color in ("blue", "green"):
        deploy(
            ml_client,
            name,
            register(ml_client, folder),
            color,
            environment_variables={"COLOR": color},
        )
    set_traffic(ml_client, name, blue=100)
    yield name
    ml_client.online_endpoints.begin_delete(name).result()


@pytest.fixture(scope="module")
def caller(ml_client, served):
    return Caller(ml_client, served)


def test_either_key_opens_and_nothing_else_does(ml_client, served, caller):
    """Both keys are good; a wrong one, none, and ARM's own token are 401 in the gateway's words."""
    keys = ml_client.online_endpoints.get_keys(served)
    assert caller.ask(key=keys.secondary_key).status_code == 200
    wrong = caller.ask(key="wrong")
    assert (wrong.status_code, wrong.text) == (401, "key_auth_access_denied")
    none = requests.post(caller.url, json={}, timeout=10)
    assert (none.status_code, none.text) == (401, "key_auth_bad_header_forbidden")
    assert caller.ask(key=token("https://ml.azure.com")).status_code == 401


def test_the_header_routes_and_the_answer_names_the_deployment(caller):
    """`azureml-model-deployment` overrides traffic, in any case; the answer carries it back."""
    for asked, answered in ((None, "blue"), ("green", "green"), ("GREEN", "green")):
        response = caller.ask({"n": 1}, to=asked)
        assert response.json()["color"] == answered
        assert response.headers["azureml-model-deployment"] == answered
        assert response.headers["azureml-model-session"] == answered
    assert caller.ask(to="nobody").status_code == 404


def test_traffic_is_split_by_weight(ml_client, served, caller):
    """Over many requests each deployment gets its share."""
    set_traffic(ml_client, served, blue=80, green=20)
    try:
        colors = Counter(caller.ask().json()["color"] for _ in range(200))
    finally:
        set_traffic(ml_client, served, blue=100)
    # Five standard deviations around 160.
    assert 130 < colors["blue"] < 190
    assert colors["blue"] + colors["green"] == 200


def test_no_positive_weight_is_404(ml_client, served, caller):
    """Without traffic only the header reaches a deployment."""
    set_traffic(ml_client, served)
    try:
        response = caller.ask()
        assert response.status_code == 404
        assert "positive weight" in response.text
        assert caller.ask(to="blue").status_code == 200
    finally:
        set_traffic(ml_client, served, blue=100)


def test_an_unknown_endpoint_is_404(caller):
    """There is nothing behind another name."""
    assert caller.ask(url=caller.url.replace("/endpoint-", "/nobody-")).status_code == 404


def test_what_the_model_refuses_is_424_with_its_own_status(caller):
    """A container's non-200 becomes 424; headers carry its status and reason, the body passes."""
    response = caller.ask({"status": 500})
    assert response.status_code == 424
    assert response.headers["ms-azureml-model-error-statuscode"] == "500"
    assert response.headers["ms-azureml-model-error-reason"] == "Internal Server Error"
    assert response.json()["asked"] == {"status": 500}
    assert response.headers["azureml-model-deployment"] == "blue"


def test_openai_paths_are_passed_on_and_streamed(caller):
    """`/v1/chat/completions` lies beside `/score`; server-sent events come through."""
    url = caller.url.removesuffix("/score") + "/v1/chat/completions"
    assert caller.ask({"model": "x"}, url=url).json()["path"] == "/v1/chat/completions"
    with caller.ask({"stream": True}, url=url, stream=True) as response:
        assert response.headers["Content-Type"] == "text/event-stream"
        assert response.headers["azureml-model-deployment"] == "blue"
        assert response.text == "data: 0\n\ndata: 1\n\ndata: 2\n\n"


def test_a_request_id_is_given_and_the_callers_own_comes_back(caller):
    """`x-ms-client-request-id` is for the client; `x-request-id` is the gateway's."""
    response = caller.ask(headers={"x-ms-client-request-id": "mine", "x-request-id": "mine"})
    assert response.headers["x-ms-client-request-id"] == "mine"
    assert response.headers["x-request-id"] != "mine"


def test_a_slow_model_is_408(ml_client, served, tmp_path):
    """The deployment's request time-out bounds a request."""
    from azure.ai.ml.entities import OnlineRequestSettings

    gate = tmp_path / "gate"
    name = make_endpoint(ml_client).name
    settings = OnlineRequestSettings(request_timeout_ms=1500)
    deploy(ml_client, name, register(ml_client, tmp_path), request_settings=settings)
    caller = Caller(ml_client, name)
    response = caller.ask({"hold": str(gate)}, to="blue")
    gate.touch()
    assert (response.status_code, response.text) == (408, "upstream request timeout")
    assert caller.ask(to="blue").status_code == 200
    ml_client.online_endpoints.begin_delete(name).result()


def test_more_than_twice_the_concurrency_is_429(ml_client, tmp_path):
    """One is worked on and one waits; the third is refused at once, and later ones are not."""
    from azure.ai.ml.entities import OnlineRequestSettings

    gate = tmp_path / "gate"
    name = make_endpoint(ml_client).name
    settings = OnlineRequestSettings(
        request_timeout_ms=60_000, max_concurrent_requests_per_instance=1
    )
    deploy(ml_client, name, register(ml_client, tmp_path), request_settings=settings)
    callers = [Caller(ml_client, name) for _ in range(5)]
    with ThreadPoolExecutor(5) as pool:
        held = [pool.submit(each.ask, {"hold": str(gate)}, to="blue") for each in callers]
        while sum(each.done() for each in held) < 3:
            time.sleep(0.01)  # the refusals come while the others are held
        gate.touch()
        statuses = Counter(each.result().status_code for each in held)
    assert statuses == {200: 2, 429: 3}
    assert callers[0].ask(to="blue").status_code == 200
    ml_client.online_endpoints.begin_delete(name).result()


def test_a_request_in_hand_ends_before_its_deployment_does(ml_client, tmp_path):
    """Deleting a deployment lets the requests that it has be answered first."""
    from azure.ai.ml.entities import OnlineRequestSettings

    gate = tmp_path / "gate"
    name = make_endpoint(ml_client).name
    settings = OnlineRequestSettings(request_timeout_ms=60_000)
    deploy(ml_client, name, register(ml_client, tmp_path), request_settings=settings)
    caller = Caller(ml_client, name)
    with ThreadPoolExecutor(1) as pool:
        held = pool.submit(caller.ask, {"hold": str(gate)}, to="blue")
        while "asked" not in ml_client.online_deployments.get_logs("blue", name, lines=9):
            assert not held.done()
        poller = ml_client.online_deployments.begin_delete("blue", name)
        assert Caller(ml_client, name).ask(to="blue").status_code == 404
        gate.touch()
        assert held.result().status_code == 200
    poller.result()
    ml_client.online_endpoints.begin_delete(name).result()


def test_a_dead_process_is_424_and_comes_back(ml_client, tmp_path):
    """A container that crashes under a request is started again."""
    name = make_endpoint(ml_client).name
    deploy(ml_client, name, register(ml_client, tmp_path))
    caller = Caller(ml_client, name)
    before = caller.ask(to="blue").json()["pid"]
    response = caller.ask({"die": True}, to="blue")
    assert response.status_code == 424
    assert response.headers["ms-azureml-model-error-statuscode"] == "502"
    deadline = time.monotonic() + 60
    while (again := caller.ask(to="blue")).status_code != 200:
        assert (again.status_code, time.monotonic() < deadline) == (424, True)
        time.sleep(0.05)  # a real process starts
    assert again.json()["pid"] != before
    ml_client.online_endpoints.begin_delete(name).result()


def test_a_process_that_keeps_dying_is_left_alone(ml_client, tmp_path):
    """After three deaths in a row there is no fourth start: requests say that it is not ready."""
    name = make_endpoint(ml_client).name
    deploy(ml_client, name, register(ml_client, tmp_path))
    caller = Caller(ml_client, name)
    died: set[int] = set()
    deadline = time.monotonic() + 120
    while len(died) < 3:
        assert time.monotonic() < deadline
        if (well := caller.ask(to="blue")).status_code == 200:
            died.add(well.json()["pid"])
            caller.ask({"die": True}, to="blue")
        time.sleep(0.05)  # a real process starts
    children = {each.pid for each in psutil.Process().children()}
    for _ in range(10):
        assert caller.ask(to="blue").status_code == 424
        time.sleep(0.05)
    log = ml_client.online_deployments.get_logs("blue", name, lines=99)
    assert log.count("starting to serve") == 3
    assert {each.pid for each in psutil.Process().children()} <= children
    ml_client.online_endpoints.begin_delete(name).result()


def test_an_ill_process_is_replaced(ml_client, tmp_path):
    """A container whose liveness probe fails often enough is ended and started again."""
    from azure.ai.ml.entities import ProbeSettings

    probe = ProbeSettings(initial_delay=100, period=1, failure_threshold=1)
    name = make_endpoint(ml_client).name
    deploy(ml_client, name, register(ml_client, tmp_path), liveness_probe=probe)
    caller = Caller(ml_client, name)
    before = caller.ask({"ill": True}, to="blue").json()["pid"]
    with contextlib.suppress(psutil.NoSuchProcess):  # it may be gone by now
        psutil.Process(before).wait(60)
    deadline = time.monotonic() + 60
    while (again := caller.ask(to="blue")).status_code != 200:
        assert time.monotonic() < deadline
        time.sleep(0.05)  # a real process starts
    assert again.json()["pid"] != before
    ml_client.online_endpoints.begin_delete(name).result()


@pytest.mark.parametrize("mode", ["aml_token", "aad_token"])
def test_tokens_instead_of_keys(ml_client, control_plane, tmp_path, mode):
    """AMLToken takes the endpoint's own token, AADToken one for Azure ML; keys are refused."""
    name = make_endpoint(ml_client, auth_mode=mode).name
    deploy(ml_client, name, register(ml_client, tmp_path))
    url = ml_client.online_endpoints.get(name).scoring_uri
    good = ml_client.online_endpoints.get_keys(name).access_token if mode == "aml_token" else None
    good = good or token("https://ml.azure.com")
    for key, status in ((good, 200), ("wrong", 401), (token(control_plane.url), 401)):
        headers = {"Authorization": f"Bearer {key}", "azureml-model-deployment": "blue"}
        assert requests.post(url, json={}, headers=headers, timeout=10).status_code == status
    assert Arm(control_plane).ask("POST", f"onlineEndpoints/{name}/listKeys").status_code == 400
    ml_client.online_endpoints.begin_delete(name).result()
