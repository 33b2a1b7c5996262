"""The control plane behaves as the public recordings of azure-ai-ml show Azure to.

Each test says what was recorded (Azure/azure-sdk-assets, 2023 to 2026): status, headers, what is
null, what comes back of what was sent.
"""

from __future__ import annotations

import re

import pytest
import requests

from local.azureml.server import ControlPlane
from tests.wire.conftest import make_client, pointed_at
from tests.wire.online import SIZE, Arm, fresh, register
from tests.wire.test_control_plane_types import CLUSTER, pass_time, poll, until

NEVER = "0001-01-01T00:00:00+00:00"
ENDPOINT = {"location": "eastus", "properties": {"authMode": "Key"}}


@pytest.fixture(scope="module")
def arm(tmp_path_factory, plane_settings):
    """A control plane at Azure's pace whose clock stands still, asked by REST."""
    settings = plane_settings(tmp_path_factory.mktemp("recorded"), pace="minutes")
    with ControlPlane(settings) as plane:
        requests.put(f"{plane.url}/_emulator/clock", json={"frozen": True}, timeout=10)
        with pointed_at(plane):
            arm = Arm(plane)
        yield arm


@pytest.fixture(scope="module")
def model(arm, tmp_path_factory):
    with pointed_at(arm.plane):
        return register(make_client(), tmp_path_factory.mktemp("models"))


@pytest.fixture
def endpoint(arm):
    path = f"onlineEndpoints/{fresh('recorded')}"
    arm.ask("PUT", path, json=ENDPOINT)
    until(arm, path, "Succeeded")
    yield path
    arm.ask("DELETE", path)
    until(arm, path, None)


def deployment(model: str, **changed) -> dict:
    properties = {"endpointComputeType": "Managed", "model": model, "instanceType": SIZE}
    return {"location": "eastus", "properties": {**properties, **changed}}


def test_an_endpoint_is_made_as_recorded(arm):
    """201 with the operation in a header and in the resource, no address yet, thirty minutes."""
    name = fresh("recorded")
    made = arm.ask("PUT", f"onlineEndpoints/{name}", json=ENDPOINT)
    assert made.status_code == 201
    assert made.headers["x-ms-async-operation-timeout"] == "PT30M"
    assert made.headers["Location"].split("?")[0].endswith(f"/onlineEndpoints/{name}")
    assert "Retry-After" not in made.headers
    operation = made.headers["Azure-AsyncOperation"]
    assert re.search(r"/locations/eastus/mfeOperationsStatus/oeidp:[-\w]+:[-\w]+\?", operation)
    shown = made.json()
    assert shown["properties"]["properties"]["AzureAsyncOperationUri"] == operation
    assert shown["properties"]["scoringUri"] is shown["properties"]["swaggerUri"] is None
    assert shown["identity"].keys() == {"type", "principalId", "tenantId"}
    assert "createdByType" not in shown["systemData"]
    until(arm, f"onlineEndpoints/{name}", "Succeeded")
    arm.ask("DELETE", f"onlineEndpoints/{name}")


def test_an_operation_says_updating_and_no_end_until_it_has_ended(arm, endpoint):
    """`Updating`, an end in the year 1, 0 per cent; then `Succeeded`, a real end, 0 per cent."""
    changed = arm.ask("PUT", endpoint, json=ENDPOINT)
    under_way = poll(arm, changed)
    assert (under_way["status"], under_way["endTime"]) == ("Updating", NEVER)
    assert under_way["percentComplete"] == 0.0
    assert under_way["id"].endswith(under_way["name"])
    until(arm, endpoint, "Succeeded")
    ended = poll(arm, changed)
    assert (ended["status"], ended["percentComplete"]) == ("Succeeded", 0.0)
    assert ended["endTime"] > ended["startTime"] == under_way["startTime"]


def test_an_endpoint_is_deleted_as_recorded(arm):
    """202 with a body of `null`, and a `Location` that says 202 until it is gone, then 204."""
    path = f"onlineEndpoints/{fresh('recorded')}"
    arm.ask("PUT", path, json=ENDPOINT)
    until(arm, path, "Succeeded")
    gone = arm.ask("DELETE", path)
    assert (gone.status_code, gone.text) == (202, "null")
    result = gone.headers["Location"].removeprefix(arm.plane.url)
    assert "/locations/eastus/mfeOperationResults/oeidp:" in result
    assert arm.ask("GET", result, params={"api-version": None}).status_code == 202
    until(arm, path, None)
    assert arm.ask("GET", result, params={"api-version": None}).status_code == 204


@pytest.mark.parametrize("path", ["onlineEndpoints/nobody", "onlineEndpoints/no/deployments/no"])
def test_deleting_what_is_not_there_is_204(arm, path):
    """Without a body, and without an operation."""
    gone = arm.ask("DELETE", path)
    assert (gone.status_code, gone.content) == (204, b"")
    assert "Azure-AsyncOperation" not in gone.headers


def test_a_deployment_is_made_and_changed_as_recorded(arm, endpoint, model):
    """Defaults filled in; a change answers 201 Creating and keeps its size and maker to itself."""
    path = f"{endpoint}/deployments/blue"
    made = arm.ask("PUT", path, json=deployment(model))
    assert made.status_code == 201
    assert "/mfeOperationsStatus/odidp:" in made.headers["Azure-AsyncOperation"]
    shown = made.json()
    probe = {
        "failureThreshold": 30,
        "successThreshold": 1,
        "timeout": "PT2S",
        "period": "PT10S",
        "initialDelay": "PT10S",
    }
    assert shown["properties"]["livenessProbe"] == shown["properties"]["readinessProbe"] == probe
    assert shown["properties"]["requestSettings"] == {
        "maxQueueWait": "PT0S",
        "requestTimeout": "PT5S",
        "maxConcurrentRequestsPerInstance": 1,
    }
    assert shown["properties"]["environmentVariables"] == {}
    assert shown["sku"] == {"name": "Default", "tier": "Standard", "capacity": 1}
    assert "identity" not in shown
    done = until(arm, path, "Succeeded")
    assert done["properties"]["environmentVariables"]["AZUREML_MODEL_DIR"].startswith("/var/")
    changed = arm.ask("PUT", path, json=done | {"tags": {"a": "1"}})
    assert changed.status_code == 201
    properties = changed.json()["properties"]
    assert (properties["provisioningState"], properties["instanceType"]) == ("Creating", None)
    assert changed.json()["systemData"].keys() == {"lastModifiedAt"}
    address = changed.headers["Azure-AsyncOperation"]
    assert properties["properties"] == {"AzureAsyncOperationUri": address}
    until(arm, path, "Succeeded")


def test_a_log_is_withheld_while_its_deployment_is_made(arm, endpoint, model):
    """200 with a sentence instead of the log; a container that is none is refused by name."""
    path = f"{endpoint}/deployments/blue"
    arm.ask("PUT", path, json=deployment(model))
    withheld = arm.ask("POST", f"{path}/getLogs", json={"containerType": "StorageInitializer"})
    assert withheld.status_code == 200
    assert "creating state so logs can't be retrieved" in withheld.json()["content"]
    until(arm, path, "Succeeded")
    log = arm.ask("POST", f"{path}/getLogs", json={}).json()["content"]
    assert "starting to serve" in log
    bad = arm.ask("POST", f"{path}/getLogs", json={"containerType": "inference-server"})
    assert bad.status_code == 400
    assert "Allowed values" in bad.json()["error"]["details"][0]["message"]


def test_a_cluster_is_made_as_recorded(arm):
    """201 Creating without nodes, without `Location` and time-out; a change is Creating again."""
    path = f"computes/{fresh('recorded')}"
    made = arm.ask("PUT", path, json=CLUSTER)
    assert made.status_code == 201
    assert not {"Location", "x-ms-async-operation-timeout", "Retry-After"} & set(made.headers)
    assert "&service=new" in made.headers["Azure-AsyncOperation"]
    shown = made.json()
    assert shown["tags"] is shown["properties"]["provisioningWarnings"] is None
    assert "computeLocation" not in shown["properties"]
    cluster = shown["properties"]["properties"]
    assert cluster["vmSize"] == "STANDARD_DS3_V2"
    assert cluster["nodeStateCounts"] is cluster["allocationState"] is None
    assert "userAccountCredentials" not in cluster
    assert poll(arm, made) == {"status": "InProgress"}
    settled = until(arm, path, "Succeeded")["properties"]["properties"]
    assert (settled["vmSize"], settled["allocationState"]) == ("Standard_DS3_v2", "Steady")
    assert settled["nodeStateCounts"]["idleNodeCount"] == 0
    assert settled["propertyBag"] == {}
    assert poll(arm, made) == {"status": "Succeeded", "percentComplete": 100.0}
    changed = arm.ask("PUT", path, json=CLUSTER)
    assert changed.status_code == 201
    assert changed.json()["properties"]["provisioningState"] == "Creating"
    assert changed.json()["tags"] == {}
    pass_time(arm.plane)
    gone = arm.ask("DELETE", path, params={"underlyingResourceAction": "Delete"})
    assert (gone.status_code, gone.content) == (202, b"")
    assert "Location" not in gone.headers


def test_a_missing_cluster_is_an_empty_404(arm):
    """No error object, and marked as a standard answer."""
    missing = arm.ask("GET", "computes/nobody")
    assert (missing.status_code, missing.content) == (404, b"")
    assert missing.headers["x-ms-response-type"] == "standard"


def test_a_missing_model_is_nested(arm):
    """UserError around ModelNotFound, with the additional information of the front end."""
    missing = arm.ask("GET", "models/nobody/versions", params={"$top": "1"})
    error = missing.json()["error"]
    assert (missing.status_code, error["code"]) == (404, "UserError")
    assert error["message"] == "The specified resource was not found."
    assert error["details"] == [
        {
            "code": "ModelNotFound",
            "message": "Model container with name: nobody not found.",
            "details": [],
            "additionalInfo": [],
        }
    ]


@pytest.mark.parametrize(("anonymous", "stage"), [(False, "Development"), (True, "Logged")])
def test_a_model_is_registered_as_recorded(arm, anonymous, stage):
    """201 with its address; `resourcegroups` comes back as `resourceGroups`; again it is 200."""
    names = arm.plane.plane.settings
    uri = (
        f"azureml://subscriptions/{names.subscription}/resourcegroups/{names.group}"
        f"/workspaces/{names.workspace}/datastores/workspaceblobstore/paths/somewhere/model"
    )
    path = f"models/{fresh('recorded')}"
    body = {"properties": {"modelUri": uri, "modelType": "custom_model", "isAnonymous": anonymous}}
    preview = {"api-version": "2023-08-01-preview"}
    made = arm.ask("PUT", f"{path}/versions/1", json=body, params=preview)
    assert made.status_code == 201
    assert made.headers["Location"] == f"{made.url}"
    properties = made.json()["properties"]
    assert (properties["stage"], properties["flavors"]) == (stage, {})
    assert properties["autoDeleteSetting"] is properties["intellectualProperty"] is None
    assert "/resourceGroups/" in properties["modelUri"]
    pass_time(arm.plane, 1)
    again = arm.ask("PUT", f"{path}/versions/1", json=body).json()["systemData"]
    assert again["lastModifiedAt"] > again["createdAt"]
    listed = arm.ask("GET", f"{path}/versions").json()["value"]
    assert len(listed) == (0 if anonymous else 1)


def test_a_datastore_is_made_as_recorded(arm):
    """201 with its address; the key never comes back but as a signature of it."""
    properties = {
        "datastoreType": "AzureBlob",
        "accountName": "somebody",
        "containerName": "stuff",
        "endpoint": "core.windows.net",
        "protocol": "https",
        "credentials": {
            "credentialsType": "AccountKey",
            "secrets": {"secretsType": "AccountKey", "key": "c2VjcmV0"},
        },
    }
    path, params = "datastores/recorded", {"skipValidation": "true"}
    made = arm.ask("PUT", path, json={"properties": properties}, params=params)
    assert made.status_code == 201
    assert made.headers["Location"].endswith("skipValidation=true")
    shown = made.json()["properties"]
    assert shown["credentials"] == {"credentialsType": "AccountKey"}
    assert shown["subscriptionId"] is shown["resourceGroup"] is shown["properties"] is None
    assert shown["serviceDataAccessAuthIdentity"] == "None"
    signed = arm.ask("POST", f"{path}/listSecrets", json={"expirableSecret": True}).json()
    assert signed["secretsType"] == "Sas"
    assert signed["sasToken"].startswith("?")
    token = dict(each.split("=", 1) for each in signed["sasToken"][1:].split("&"))
    assert (token["srt"], set(token["sp"])) == ("co", set("rcuwdl"))
    plain = arm.ask("POST", f"{path}/listSecrets").json()
    assert plain == {"secretsType": "AccountKey", "key": "c2VjcmV0"}
    properties["credentials"] = {"credentialsType": "None"}
    arm.ask("PUT", path, json={"properties": properties})
    refused = arm.ask("POST", f"{path}/listSecrets", json={"expirableSecret": True})
    assert refused.status_code == 400
    assert refused.json()["error"]["message"] == "No secrets for credentials of type None."


def test_the_workspaces_own_datastore_is_as_recorded(arm):
    """It has no tags and no maker, and reads with the workspace's identity."""
    shown = arm.ask("GET", "datastores/workspaceblobstore").json()
    assert shown["properties"]["tags"] is None
    assert shown["properties"]["isDefault"]
    identity = shown["properties"]["serviceDataAccessAuthIdentity"]
    assert identity == "WorkspaceSystemAssignedIdentity"
    assert "createdBy" not in shown["systemData"]
    assert shown["systemData"]["lastModifiedByType"] == "Application"


def test_a_registrys_model_is_as_recorded(arm):
    """Asked for by itself it has the model's name; its type is short."""
    base = (
        "/regional/mferp/managementfrontend/subscriptions/"
        f"{arm.plane.plane.settings.subscription}/resourceGroups/registries"
        "/providers/Microsoft.MachineLearningServices/registries/azureml"
    )
    params = {"api-version": "2021-10-01-dataplanepreview"}
    one = arm.ask("GET", f"{base}/models/Phi-4/versions/8", params=params).json()
    assert (one["name"], one["type"]) == ("Phi-4", "models")
    assert one["id"] == "azureml://registries/azureml/models/Phi-4/versions/8"
    assert not {"provisioningState", "stage"} & set(one["properties"])


def test_an_api_version_that_never_was_is_refused(arm):
    """As Resource Manager refuses it: with the type, the supported versions and locations."""
    path = "onlineEndpoints/any/deployments/any/getLogs"
    refused = arm.ask("POST", path, params={"api-version": "2023-01-15"})
    error = refused.json()["error"]
    assert (refused.status_code, error["code"]) == (400, "NoRegisteredProviderFound")
    start = (
        "No registered resource provider found for location 'eastus' and API version '2023-01-15' "
        "for type 'workspaces/onlineEndpoints/deployments'. The supported api-versions are '"
    )
    assert error["message"].startswith(start)
    assert "2025-12-01" in error["message"]
    assert error["message"].endswith("The supported locations are 'eastus'.")


@pytest.mark.parametrize(
    ("path", "version"),
    [
        ("jobs", "2021-07-01"),
        ("/subscriptions/{}/metrics:getBatch", "2022-01-01"),
        ("onlineEndpoints/e/providers/Microsoft.Insights/metrics", "2022-01-01"),
    ],
)
def test_an_api_version_of_another_shape_is_not_emulated(arm, path, version):
    """Azure had or may have it; the emulator does not, and says so."""
    subscription = arm.plane.plane.settings.subscription
    method = "POST" if "Batch" in path else "GET"
    headers = {}
    if method == "POST":
        headers["Authorization"] = arm.session.headers["Authorization"]
    params = {"api-version": version}
    refused = arm.ask(method, path.format(subscription), params=params, headers=headers)
    assert refused.status_code == 501
    assert version in refused.json()["error"]["message"]


def test_the_subscriptions_api_versions_are_resource_managers(arm):
    """They are not the provider's."""
    path = f"/subscriptions/{arm.plane.plane.settings.subscription}"
    assert arm.ask("GET", path, params={"api-version": "2022-12-01"}).status_code == 200
    refused = arm.ask("GET", path, params={"api-version": "2023-08-01-preview"})
    assert refused.json()["error"]["code"] == "InvalidApiVersionParameter"
