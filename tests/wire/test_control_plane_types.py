"""Every body of the control plane agrees with Azure's types, in every state and by either client.

`azure_shapes.py` says where the types are from and holds each answer to them. Here resources go
through their lives by the unmodified SDK on a control plane at once, and by plain REST, with the
newest stable version and an older preview, on one whose clock stands still between two looks.
"""

from __future__ import annotations

import time

import pytest
import requests
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError

from local.azureml.server import ControlPlane
from tests.wire.azure_shapes import RECORDED, problems, watching
from tests.wire.conftest import make_client, pointed_at
from tests.wire.job_making import a_command, data_file, fine_tune, held, wait_for
from tests.wire.online import SIZE, Arm, deploy, fresh, make_endpoint, register, set_traffic

STABLE = {"api-version": "2025-12-01"}
PREVIEW = {"api-version": "2024-01-01-preview"}
CLUSTER = {
    "location": "eastus",
    "properties": {
        "computeType": "AmlCompute",
        "properties": {
            "vmSize": "STANDARD_DS3_V2",
            "scaleSettings": {"maxNodeCount": 2, "nodeIdleTimeBeforeScaleDown": "PT2M"},
            "userAccountCredentials": {
                "adminUserName": "azureuser",
                "adminUserPassword": "secret",
            },
        },
    },
}


@pytest.fixture
def watch():
    """Every answer of the test is held to its type; what was wrong with any of them fails it."""
    with watching() as watch:
        yield watch
    assert not watch.untyped
    assert not watch.found, "\n".join(sorted(set(watch.found)))


@pytest.fixture(scope="module")
def slow(tmp_path_factory, plane_settings):
    """A control plane on which everything takes its minutes, and whose clock stands still."""
    settings = plane_settings(tmp_path_factory.mktemp("slow"), pace="minutes")
    with ControlPlane(settings) as plane:
        requests.put(f"{plane.url}/_emulator/clock", json={"frozen": True}, timeout=10)
        yield plane


@pytest.fixture(scope="module")
def arm(slow):
    with pointed_at(slow):
        return Arm(slow)


@pytest.fixture(scope="module")
def model(slow, tmp_path_factory):
    with pointed_at(slow):
        return register(make_client(), tmp_path_factory.mktemp("models"))


def pass_time(plane: ControlPlane, seconds: float = 1000) -> None:
    url = f"{plane.url}/_emulator/clock"
    requests.put(url, json={"advance": seconds}, timeout=10).raise_for_status()


def look(arm: Arm, path: str) -> dict:
    """The resource by the newest stable version, after a look by a preview and at its list."""
    arm.ask("GET", path, params=PREVIEW)
    arm.ask("GET", path.rpartition("/")[0], params=STABLE)
    answered = arm.ask("GET", path, params=STABLE)
    return answered.json() if answered.content else {}


def state(arm: Arm, path: str, key: str = "provisioningState") -> str | None:
    return look(arm, path).get("properties", {}).get(key)


def until(arm: Arm, path: str, wanted: str | None, key: str = "provisioningState") -> dict:
    """The resource once it is as `wanted` (None: gone); for what a real process must do first."""
    deadline = time.monotonic() + 180
    while state(arm, path, key) != wanted:
        assert time.monotonic() < deadline, look(arm, path)
        pass_time(arm.plane)
        time.sleep(0.05)
    return look(arm, path)


def poll(arm: Arm, answered: requests.Response) -> dict:
    """The status of the operation that an answer began."""
    address = answered.headers["Azure-AsyncOperation"].removeprefix(arm.plane.url)
    return arm.ask("GET", address, params={"api-version": None}).json()


def test_an_endpoint_has_azures_shape_from_creating_to_deleting(watch, arm):
    """Creating, Succeeded, Updating by PUT and by PATCH, Deleting, in lists as by itself."""
    path = f"onlineEndpoints/{fresh('typed')}"
    body = {"location": "eastus", "properties": {"authMode": "Key"}, "tags": {"a": "1"}}
    made = arm.ask("PUT", path, json=body, params=STABLE)
    assert state(arm, path) == "Creating"
    assert poll(arm, made)["status"] == "Updating"
    until(arm, path, "Succeeded")
    assert poll(arm, made)["status"] == "Succeeded"
    arm.ask("POST", f"{path}/listKeys", params=STABLE)
    arm.ask("PUT", path, json=body | {"tags": {"c": "3"}}, params=STABLE)
    assert state(arm, path) == "Updating"
    until(arm, path, "Succeeded")
    arm.ask("PATCH", path, json={"tags": {"b": "2"}}, params=STABLE)
    until(arm, path, "Succeeded")
    gone = arm.ask("DELETE", path, params=STABLE)
    assert state(arm, path) == "Deleting"
    until(arm, path, None)
    assert poll(arm, gone)["status"] == "Succeeded"
    assert watch.states["workspaces/onlineEndpoints"] == {
        *("Creating", "Succeeded", "Updating", "Deleting")
    }


def test_a_deployment_has_azures_shape_from_creating_to_deleting(watch, arm, model):
    """Creating, Succeeded, Updating, Deleting; its sizes and its log with it."""
    endpoint = f"onlineEndpoints/{fresh('typed')}"
    arm.ask("PUT", endpoint, json={"location": "eastus", "properties": {"authMode": "Key"}})
    until(arm, endpoint, "Succeeded")
    path = f"{endpoint}/deployments/blue"
    body = {
        "location": "eastus",
        "properties": {"endpointComputeType": "Managed", "model": model, "instanceType": SIZE},
        "sku": {"name": "Default", "capacity": 1},
    }
    made = arm.ask("PUT", path, json=body, params=STABLE)
    assert state(arm, path) == "Creating"
    assert poll(arm, made)["status"] == "Updating"
    arm.ask("POST", f"{path}/getLogs", json={}, params=STABLE)
    until(arm, path, "Succeeded")
    arm.ask("GET", f"{path}/skus", params=STABLE)
    arm.ask("POST", f"{path}/getLogs", json={"tail": 5}, params=STABLE)
    arm.ask("PUT", path, json=body | {"tags": {"a": "1"}}, params=STABLE)
    assert state(arm, path) == "Updating"
    until(arm, path, "Succeeded")
    arm.ask("PATCH", path, json={"sku": {"capacity": 2}}, params=STABLE)
    until(arm, path, "Succeeded")
    arm.ask("DELETE", path, params=STABLE)
    assert state(arm, path) == "Deleting"
    until(arm, path, None)
    arm.ask("DELETE", endpoint, params=STABLE)
    until(arm, endpoint, None)


def test_a_failed_deployment_has_azures_shape(watch, arm, tmp_path, slow):
    """The resource and the operation of a deployment whose container never gets well."""
    with pointed_at(slow):
        broken = register(make_client(), tmp_path, start="crash")
    endpoint = f"onlineEndpoints/{fresh('typed')}"
    arm.ask("PUT", endpoint, json={"location": "eastus", "properties": {"authMode": "Key"}})
    until(arm, endpoint, "Succeeded")
    properties = {
        "endpointComputeType": "Managed",
        "model": broken,
        "instanceType": SIZE,
        "livenessProbe": {"initialDelay": "PT1S", "period": "PT1S", "failureThreshold": 1},
        "readinessProbe": {"initialDelay": "PT1S", "period": "PT1S", "failureThreshold": 1},
    }
    body = {"location": "eastus", "properties": properties}
    made = arm.ask("PUT", f"{endpoint}/deployments/blue", json=body, params=STABLE)
    until(arm, f"{endpoint}/deployments/blue", "Failed")
    assert poll(arm, made)["error"]["code"] == "ResourceNotReady"
    arm.ask("DELETE", endpoint)
    until(arm, endpoint, None)


def test_a_cluster_has_azures_shape_from_creating_to_deleting(watch, arm):
    """Creating of a new and of a changed cluster, Succeeded, Deleting; no password in any."""
    path = f"computes/{fresh('typed')}"
    made = arm.ask("PUT", path, json=CLUSTER, params=STABLE)
    arm.ask("PUT", f"{path}-too", json=CLUSTER, params=PREVIEW)
    assert poll(arm, made) == {"status": "InProgress"}
    assert state(arm, path) == "Creating"
    settled = until(arm, path, "Succeeded")
    assert poll(arm, made) == {"status": "Succeeded", "percentComplete": 100.0}
    account = settled["properties"]["properties"]["userAccountCredentials"]
    assert account == {"adminUserName": "azureuser", "adminUserPassword": None}
    changed = arm.ask("PUT", path, json=CLUSTER, params=STABLE).json()["properties"]
    assert (changed["provisioningState"], changed["computeLocation"]) == ("Creating", "eastus")
    until(arm, path, "Succeeded")
    arm.ask("DELETE", path, params={**STABLE, "underlyingResourceAction": "Delete"})
    assert state(arm, path) == "Deleting"
    until(arm, path, None)


def test_a_compute_instance_has_azures_shape(watch, arm, slow):
    """Put there by the test control, shown and listed among the clusters, replaced by none, deleted as they are."""
    name = fresh("typed")
    control = f"{slow.url}/_emulator/compute-instances/{name}"
    assert requests.put(control, json={"size": "Standard_None"}, timeout=10).status_code == 400
    assert requests.put(control, json={}, timeout=10).status_code == 200
    path = f"computes/{name}"
    shown = look(arm, path)["properties"]
    assert (shown["computeType"], shown["provisioningState"]) == ("ComputeInstance", "Succeeded")
    assert name in {each["name"] for each in arm.ask("GET", "computes").json()["value"]}
    assert arm.ask("PUT", path, json=CLUSTER, params=STABLE).status_code == 501
    arm.ask("DELETE", path, params={**STABLE, "underlyingResourceAction": "Delete"})
    until(arm, path, None)


def test_the_test_control_of_compute_instances_leaves_a_cluster_alone(arm, slow):
    """409: it neither replaces nor removes what is no compute instance."""
    name = fresh("typed")
    path, control = f"computes/{name}", f"{slow.url}/_emulator/compute-instances/{name}"
    arm.ask("PUT", path, json=CLUSTER, params=STABLE)
    before = until(arm, path, "Succeeded")
    assert requests.put(control, json={}, timeout=10).status_code == 409
    assert requests.delete(control, timeout=10).status_code == 409
    assert look(arm, path) == before
    arm.ask("DELETE", path, params={**STABLE, "underlyingResourceAction": "Delete"})
    until(arm, path, None)
    assert requests.delete(control, timeout=10).status_code == 204


def test_a_job_has_azures_shape_from_not_started_to_completed(watch, arm, slow, tmp_path):
    """NotStarted, Preparing, Queued, Running, Finalizing and Completed of a pipeline job."""
    with held(tmp_path / "data") as (train, _):
        with pointed_at(slow):
            job = fine_tune(make_client("azureml"), train)
            make_client().jobs.create_or_update(job)
        path = f"jobs/{job.name}"
        assert state(arm, path, "status") == "NotStarted"
        for seconds, status in ((10, "Preparing"), (61, "Queued"), (301, "Running")):
            pass_time(slow, seconds)
            deadline = time.monotonic() + 180
            while state(arm, path, "status") != status:
                assert time.monotonic() < deadline
    deadline = time.monotonic() + 180
    while state(arm, path, "status") == "Running":
        assert time.monotonic() < deadline
    assert state(arm, path, "status") == "Finalizing"
    done = until(arm, path, "Completed", "status")["properties"]
    assert done["outputs"]["trained_model"]["uri"].startswith("azureml://subscriptions/")
    shown = look(arm, path)
    shown["properties"]["description"] = "sent back"
    again = arm.ask("PUT", path, json=shown, params=STABLE)
    assert (again.status_code, again.json()["properties"]["description"]) == (200, "sent back")
    assert watch.states["workspaces/jobs"] >= {"NotStarted", "Queued", "Running", "Completed"}


def test_a_command_job_has_azures_shape_from_not_started_to_completed(watch, arm, slow, tmp_path):
    """With all that one may ask for, in each status; its code and its environment with it."""
    from azure.ai.ml import Input, ManagedIdentityConfiguration, Output

    code, data, release = tmp_path / "code", tmp_path / "data.txt", tmp_path / "release"
    code.mkdir()
    (code / "tell.py").write_text("print('told')\n")
    data.write_text("alpha\n")
    job = a_command(
        f"python tell.py; cat ${{{{inputs.data}}}} > ${{{{outputs.made}}}}/${{{{inputs.word}}}}; "
        f"until test -e {release}; do sleep 0.05; done",
        code,
        inputs={"data": Input(type="uri_file", path=str(data)), "word": "x"},
        outputs={"made": Output(type="uri_folder")},
        environment_variables={"OWN": "yes"},
        instance_count=2,
        distribution={"type": "pytorch", "process_count_per_instance": 1},
        identity=ManagedIdentityConfiguration(),
        timeout=3600,
        description="typed",
    )
    with pointed_at(slow):
        make_client().jobs.create_or_update(job)
    path = f"jobs/{job.name}"
    made = look(arm, path)["properties"]
    assert (made["jobType"], made["status"]) == ("Command", "NotStarted")
    look(arm, made["codeId"])
    for version in (STABLE, PREVIEW):
        assert arm.ask("GET", made["environmentId"], params=version).status_code == 200
    for seconds, status in ((10, "Preparing"), (61, "Queued"), (301, "Running")):
        pass_time(slow, seconds)
        while state(arm, path, "status") != status:
            time.sleep(0.05)
    release.touch()
    done = until(arm, path, "Completed", "status")["properties"]
    assert done["outputs"]["made"]["uri"].startswith("azureml://subscriptions/")
    assert done["limits"] == {"jobLimitsType": "Command", "timeout": "PT1H"}
    shown = look(arm, path)
    shown["properties"]["description"] = "sent back"
    assert arm.ask("PUT", path, json=shown, params=STABLE).status_code == 200
    assert watch.states["workspaces/jobs"] >= {"NotStarted", "Queued", "Running", "Completed"}


@pytest.mark.parametrize("ending", ["Failed", "Canceled"])
def test_an_ended_command_job_has_azures_shape(watch, ml_client, tmp_path, ending):
    """One that failed and one that was cancelled, in the SDK's hands, alone and in the list."""
    job = a_command("exit 3" if ending == "Failed" else f"touch {tmp_path}/up; sleep 300")
    ml_client.jobs.create_or_update(job)
    if ending == "Canceled":
        while not (tmp_path / "up").exists():
            time.sleep(0.05)
        ml_client.jobs.begin_cancel(job.name).result()
    assert wait_for(ml_client, job.name) == ending
    assert job.name in {found.name for found in ml_client.jobs.list()}
    assert ending in watch.states["workspaces/jobs"]


@pytest.mark.parametrize("ending", ["Failed", "Canceled"])
def test_an_ended_job_has_azures_shape(watch, ml_client, registry_client, tmp_path, ending):
    """A job that failed and one that was cancelled, in the SDK's hands."""
    if ending == "Failed":
        job = fine_tune(registry_client, data_file(tmp_path, "fail"))
        ml_client.jobs.create_or_update(job)
    else:
        with held(tmp_path) as (train, _):
            job = fine_tune(registry_client, train)
            ml_client.jobs.create_or_update(job)
            wait_for(ml_client, job.name, "Running")
            ml_client.jobs.begin_cancel(job.name).result()
            wait_for(ml_client, job.name, "Canceled")
    wait_for(ml_client, job.name, ending)
    list(ml_client.jobs.list())
    assert ending in watch.states["workspaces/jobs"]


def test_the_sdk_is_answered_in_azures_shape(watch, ml_client, tmp_path):
    """Endpoint, deployment, traffic, cluster, model and datastore through the unmodified SDK."""
    from azure.ai.ml.entities import AccountKeyConfiguration, AmlCompute, AzureBlobDatastore

    model = register(ml_client, tmp_path)
    name = make_endpoint(ml_client).name
    deploy(ml_client, name, model)
    set_traffic(ml_client, name, blue=100)
    set_traffic(ml_client, name)
    ml_client.online_endpoints.get_keys(name)
    ml_client.online_deployments.begin_delete("blue", name).result()
    ml_client.online_endpoints.begin_delete(name).result()
    token = make_endpoint(ml_client, auth_mode="aml_token").name
    ml_client.online_endpoints.get_keys(token)
    ml_client.online_endpoints.begin_delete(token).result()
    cluster = AmlCompute(name=fresh("typed"), size=SIZE, max_instances=1)
    ml_client.compute.begin_create_or_update(cluster).result()
    ml_client.compute.begin_delete(cluster.name).result()
    ml_client.models.archive(name=model.split("/")[-3])
    store = AzureBlobDatastore(
        name="typed",
        account_name="somebody",
        container_name="stuff",
        credentials=AccountKeyConfiguration(account_key="c2VjcmV0"),
    )
    ml_client.datastores.create_or_update(store)
    ml_client.datastores.get("typed", include_secrets=True)
    ml_client.datastores.delete("typed")
    assert len(watch.states) >= 7


def test_what_is_only_read_has_azures_shape(watch, arm):
    """Workspace, datastores and their secrets, models and their containers, sizes, quotas."""
    location = arm.plane.plane.workspace_id.split("/resourceGroups")[0]
    location += "/providers/Microsoft.MachineLearningServices/locations/eastus"
    paths = [
        arm.plane.plane.workspace_id,
        *("datastores", "datastores/workspaceblobstore", "datastores/droptune_datasets"),
        *("models", "computes", "jobs", "onlineEndpoints"),
        *(f"{location}/{each}" for each in ("vmSizes", "usages", "quotas")),
    ]
    for version in (STABLE, PREVIEW):
        for path in paths:
            assert arm.ask("GET", path, params=version).status_code == 200
        for asked in ({"expirableSecret": True, "expireAfterHours": 1}, {}):
            secrets = "datastores/workspaceblobstore/listSecrets"
            answered = arm.ask("POST", secrets, json=asked, params=version)
            assert answered.json()["secretsType"] == ("Sas" if asked else "AccountKey")


def test_a_model_version_has_azures_shape(watch, arm):
    """A version and its container: made, made again, found, listed, by old and new versions."""
    path = f"models/{fresh('typed')}"
    uri = "azureml://datastores/workspaceblobstore/paths/somewhere/"
    body = {"properties": {"modelUri": uri, "tags": {"a": "1"}}}
    for params, status in ((STABLE, 201), (PREVIEW, 200), (STABLE, 200)):
        answered = arm.ask("PUT", f"{path}/versions/1", json=body, params=params)
        assert answered.status_code == status
        assert ("Location" in answered.headers) is (status == 201)
    look(arm, f"{path}/versions/1")
    arm.ask("PUT", path, json={"properties": {"isArchived": True}}, params=STABLE)
    look(arm, path)


@pytest.mark.parametrize(
    ("kind", "name", "version"),
    [("models", "Phi-4", "8"), ("components", "chat_completion_pipeline", "0.0.82")],
)
def test_a_registrys_assets_have_azures_shape(watch, arm, kind, name, version):
    """Containers and versions on the registry's own API version."""
    found = requests.get(
        f"{arm.plane.url}/registrymanagement/v1.0/registries/azureml/discovery", timeout=10
    ).json()
    base = (
        f"/regional/mferp/managementfrontend/subscriptions/{found['subscriptionId']}"
        f"/resourceGroups/{found['resourceGroup']}"
        "/providers/Microsoft.MachineLearningServices/registries/azureml"
    )
    params = {"api-version": "2021-10-01-dataplanepreview"}
    for path in ("", f"/{name}", f"/{name}/versions", f"/{name}/versions/{version}"):
        answered = arm.ask("GET", f"{base}/{kind}{path}", params=params)
        assert answered.status_code == 200


def test_errors_have_azures_shape(watch, arm, ml_client):
    """Refusals of every family: of ARM, of the front end, of inferencing, of the emulator."""
    for method, path, body in (
        ("GET", "onlineEndpoints/nobody", None),
        ("GET", "jobs/nobody", None),
        ("GET", "models/nobody/versions/1", None),
        ("PUT", "onlineEndpoints/a_b", {"location": "eastus", "properties": {"authMode": "Key"}}),
        ("PUT", "onlineEndpoints/abc", {"location": "eastus", "properties": {"authMode": "?"}}),
        ("GET", "schedules", None),
    ):
        assert arm.ask(method, path, json=body, params=STABLE).status_code >= 400
    with pytest.raises(ResourceNotFoundError):
        ml_client.online_endpoints.get("nobody")
    with pytest.raises(HttpResponseError):
        ml_client.online_deployments.get("nobody", "nobody")


def test_the_checker_sees_what_is_wrong():
    """An unknown field, a wrong type, no value of the enum, a missing field, a shown secret."""
    right = {"allocationState": "Steady", "currentNodeCount": 0, "osType": "Linux"}
    lacks = tuple(
        f"properties.{each}"
        for each in (
            "errors",
            "nodeStateCounts",
            "targetNodeCount",
            "allocationStateTransitionTime",
        )
    )
    base = {
        "computeType": "AmlCompute",
        **dict.fromkeys(("createdOn", "modifiedOn", "isAttachedCompute", "provisioningErrors")),
        "provisioningState": "Succeeded",
    }
    assert problems("Compute", {**base, "properties": right}, may_lack=lacks) == []
    for wrong, said in (
        ({"osTypes": "Linux"}, "properties.osTypes is no field"),
        ({"currentNodeCount": "0"}, "properties.currentNodeCount is '0', not of int"),
        ({"currentNodeCount": True}, "properties.currentNodeCount is True"),
        ({"osType": "linux"}, "properties.osType is 'linux'"),
        ({"scaleSettings": {"minNodeCount": 0}}, "scaleSettings.maxNodeCount is missing"),
        ({"scaleSettings": []}, "scaleSettings is [], not an object"),
        ({"errors": {}}, "properties.errors is {}, not a list"),
    ):
        [found] = problems("Compute", {**base, "properties": {**right, **wrong}}, may_lack=lacks)
        assert said in found
    assert (
        "write-only"
        in problems(
            "DatastoreCredentials", {"credentialsType": "AccountKey", "secrets": {"key": "k"}}
        )[0]
    )
    assert "computeType is 'AKS'" in problems("Compute", {"computeType": "AKS"})[0]
    assert RECORDED["Usage"]["fields"]["currentValue"]
