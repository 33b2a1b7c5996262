"""The test control that lets deployments fail and answer badly, through the unmodified SDK."""

from __future__ import annotations

import pytest
import requests
from azure.core.exceptions import HttpResponseError
from online import Caller, deploy, make_endpoint, register


@pytest.fixture
def control(control_plane):
    """Calls of the test control; everything set is taken back."""

    def call(method, path, body=None):
        url = f"{control_plane.url}/_emulator/{path}"
        return requests.request(method, url, json=body, timeout=10)

    yield call
    for path in ("deployment-failures", "scoring-failures"):
        assert call("DELETE", path).status_code == 204


def test_a_deployment_fails_with_code_message_and_log_of_choice(control, ml_client, tmp_path):
    """The SDK raises what the operation ended with; the next deployment is well again."""
    endpoint, model = make_endpoint(ml_client).name, register(ml_client, tmp_path)
    failure = {"code": "ImageBuildFailure", "message": "conda", "log": "the end", "size": "ds2"}
    assert control("POST", "deployment-failures", failure).status_code == 201
    with pytest.raises(HttpResponseError, match="ImageBuildFailure"):
        deploy(ml_client, endpoint, model)
    assert "the end" in ml_client.online_deployments.get_logs("blue", endpoint, lines=10)
    found = ml_client.online_deployments.get("blue", endpoint)
    assert found.provisioning_state == "Failed"
    assert "mfeOperationsStatus" in found.properties["AzureAsyncOperationUri"]
    assert deploy(ml_client, endpoint, model, "green").provisioning_state == "Succeeded"


def test_a_deployment_answers_as_it_is_told_and_only_that_one(control, ml_client, tmp_path):
    """Statuses, bodies and headers are the gateway's; other deployments are as before."""
    endpoint, model = make_endpoint(ml_client).name, register(ml_client, tmp_path)
    for name in ("blue", "green"):
        deploy(ml_client, endpoint, model, name)
    caller = Caller(ml_client, endpoint)
    set_up = {"deployment": f"^{endpoint}/green$", "status": 424, "model_status": 503}
    made = control("POST", "scoring-failures", set_up).json()
    answer = caller.ask(to="green")
    assert (answer.status_code, caller.ask(to="blue").status_code) == (424, 200)
    assert answer.headers["ms-azureml-model-error-statuscode"] == "503"
    (left,) = control("GET", "scoring-failures").json()["value"]
    assert left == made | {"times": made["times"] - 1}
    assert control("DELETE", f"scoring-failures/{made['name']}").status_code == 204
    control("POST", "scoring-failures", {"status": 200, "body": "{}", "times": 1})
    assert (caller.ask(to="green").json(), caller.ask(to="green").status_code) == ({}, 200)


@pytest.mark.parametrize("path", ["deployment-failures", "scoring-failures"])
@pytest.mark.parametrize("body", [{"colour": 1}, {"deployment": "("}, {"times": 0}])
def test_bad_input_is_named(control, path, body):
    """400, with what is wrong."""
    answer = control("POST", path, body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "BadFailure")
