"""Online endpoints and deployments through the unmodified SDK."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import requests
from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceNotFoundError

from local.azureml.server import ControlPlane
from tests.wire.conftest import make_client, pointed_at
from tests.wire.online import (
    SIZE,
    Arm,
    Caller,
    deploy,
    deployment,
    fresh,
    make_endpoint,
    register,
    set_traffic,
)


@pytest.fixture(scope="module")
def model(ml_client, tmp_path_factory):
    """A registered MLflow model."""
    return register(ml_client, tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def arm(control_plane):
    return Arm(control_plane)


@pytest.fixture
def quota(control_plane):
    """Change the quota through the test control; what a test changed is put back."""
    url = f"{control_plane.url}/_emulator/quota"
    before = requests.get(url, timeout=10).json()

    def change(**wanted):
        answered = requests.put(url, json=wanted, timeout=10)
        assert answered.status_code == 200, answered.text
        return answered.json()

    yield change
    change(
        **{key: before[key] for key in ("limits", "endpoints", "deployments", "out_of_capacity")}
    )


def gone(pid: int, within: float = 60.0) -> bool:
    try:
        psutil.Process(pid).wait(within)
    except psutil.NoSuchProcess:
        return True
    except psutil.TimeoutExpired:
        return False
    return True


def eventually(holds, within: float = 60.0):
    """The first true answer of `holds`; for what only the passing of time on a real process shows."""
    deadline = time.monotonic() + within
    while not (found := holds()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


def test_an_endpoint_lives_through_the_sdk(ml_client):
    """An endpoint is made, found, listed, and gone after its deletion."""
    name = fresh("endpoint")
    made = make_endpoint(ml_client, name, tags={"droptune_run": "r1"}, description="one")
    assert made.provisioning_state == "Succeeded"
    assert made.scoring_uri.startswith("https://localhost:")
    assert made.scoring_uri.endswith(f"/endpoints/{name}/score")
    found = ml_client.online_endpoints.get(name)
    assert (found.tags, found.description) == ({"droptune_run": "r1"}, "one")
    assert name in {each.name for each in ml_client.online_endpoints.list()}
    ml_client.online_endpoints.begin_delete(name).result()
    with pytest.raises(ResourceNotFoundError, match="ARMResourceNotFoundFix"):
        ml_client.online_endpoints.get(name)


def test_an_endpoint_has_no_address_while_it_is_made(control_plane, arm):
    """PUT answers 201 Creating with an operation to poll and a null scoring address."""
    name = fresh("endpoint")
    body = {"location": "eastus", "properties": {"authMode": "Key"}}
    clock = f"{control_plane.url}/_emulator/clock"
    requests.put(clock, json={"frozen": True}, timeout=10)
    try:
        answered = arm.ask("PUT", f"onlineEndpoints/{name}", json=body)
        assert answered.status_code == 201
        shown = answered.json()["properties"]
        assert (shown["provisioningState"], shown["scoringUri"]) == ("Creating", None)
        assert shown["traffic"] == shown["mirrorTraffic"] == {}
        assert "Azure-AsyncOperation" in answered.headers
        assert answered.headers["Location"].split("?")[0].endswith(f"/onlineEndpoints/{name}")
    finally:
        requests.put(clock, json={"frozen": False}, timeout=10)
    arm.ask("DELETE", f"onlineEndpoints/{name}")


def test_deleting_a_missing_endpoint_or_deployment_is_204(arm, ml_client):
    """What is not there is deleted already."""
    assert arm.ask("DELETE", "onlineEndpoints/nobody").status_code == 204
    name = make_endpoint(ml_client).name
    assert arm.ask("DELETE", f"onlineEndpoints/{name}/deployments/none").status_code == 204
    ml_client.online_endpoints.begin_delete(name).result()


@pytest.mark.parametrize("name", ["ab", "1abc", "a_b_c", "abc-", "a" * 33])
def test_a_bad_name_is_refused(arm, name):
    """Names that the real service does not take are 400 and quote the name."""
    body = {"location": "eastus", "properties": {"authMode": "Key"}}
    answered = arm.ask("PUT", f"onlineEndpoints/{name}", json=body)
    assert answered.status_code == 400
    error = answered.json()["error"]
    assert error["code"] == "BadRequest"
    assert error["details"][0]["code"] == "InferencingClientCallFailed"
    assert name in json.loads(error["details"][0]["message"])["errors"][""][0]


def test_a_name_that_others_in_the_region_have_is_refused(control_plane, ml_client):
    """Endpoint names are unique in a region, not in a workspace."""
    url = f"{control_plane.url}/_emulator/endpoint-names/somebody-elses"
    requests.put(url, timeout=10).raise_for_status()
    with pytest.raises(HttpResponseError, match="needs to be unique within a region"):
        make_endpoint(ml_client, "Somebody-Elses")
    requests.delete(url, timeout=10).raise_for_status()
    make_endpoint(ml_client, "Somebody-Elses")
    ml_client.online_endpoints.begin_delete("Somebody-Elses").result()


def test_endpoints_are_listed_page_by_page_and_by_tag(ml_client, arm):
    """A list carries on through `nextLink` and can be narrowed by tags."""
    names = [make_endpoint(ml_client, tags={"page": "yes"}).name for _ in range(3)]
    make_endpoint(ml_client, other := fresh("endpoint"))
    params = {"count": 2, "tags": "page=yes"}
    first = arm.ask("GET", "onlineEndpoints", params=params).json()
    second = arm.session.get(first["nextLink"], timeout=10).json()
    listed = [row["name"] for row in first["value"] + second["value"]]
    assert (len(first["value"]), sorted(listed)) == (2, sorted(names))
    assert "nextLink" not in second
    for name in [*names, other]:
        ml_client.online_endpoints.begin_delete(name).result()


def test_the_number_of_endpoints_is_bounded(ml_client, quota):
    """One endpoint more than the subscription allows is refused with used and limit."""
    there = len(list(ml_client.online_endpoints.list()))
    quota(endpoints=there)
    with pytest.raises(HttpResponseError, match=rf"Endpoint Quota reached.*{there}/{there}"):
        make_endpoint(ml_client)


def test_keys_are_listed_and_renewed(ml_client):
    """Each key is renewed alone, and the other one stays good."""
    name = make_endpoint(ml_client).name
    before = ml_client.online_endpoints.get_keys(name)
    assert before.primary_key != before.secondary_key
    ml_client.online_endpoints.begin_regenerate_keys(name, key_type="primary").result()
    after = ml_client.online_endpoints.get_keys(name)
    assert after.primary_key != before.primary_key
    assert after.secondary_key == before.secondary_key
    ml_client.online_endpoints.begin_delete(name).result()


def test_a_deployment_answers_through_invoke_and_is_deleted(ml_client, model, tmp_path):
    """A registered model is deployed, given traffic, invoked, read the logs of, and deleted."""
    name = make_endpoint(ml_client).name
    made = deploy(ml_client, name, model, environment_variables={"COLOR": "teal"})
    assert (made.provisioning_state, made.instance_type) == ("Succeeded", SIZE)
    assert made.request_settings.request_timeout_ms == 5000
    set_traffic(ml_client, name, blue=100)
    request = tmp_path / "request.json"
    request.write_text(json.dumps({"input_data": {"input_string": []}}))
    answered = json.loads(ml_client.online_endpoints.invoke(name, request_file=str(request)))
    assert answered["asked"] == {"input_data": {"input_string": []}}
    assert (answered["color"], answered["shape"], answered["storage"]) == ("teal", "mlflow", None)
    logs = ml_client.online_deployments.get_logs("blue", name, lines=1)
    assert logs == "asked /score\n"
    fetched = ml_client.online_deployments.get_logs(
        "blue", name, lines=50, container_type="storage-initializer"
    )
    assert "Download of the model completed" in fetched
    assert [each.name for each in ml_client.online_deployments.list(name)] == ["blue"]
    set_traffic(ml_client, name)
    ml_client.online_deployments.begin_delete("blue", name).result()
    assert list(ml_client.online_deployments.list(name)) == []
    assert gone(answered["pid"])
    ml_client.online_endpoints.begin_delete(name).result()


def test_deleting_an_endpoint_ends_its_processes_and_all_that_they_started(ml_client, tmp_path):
    """Neither a scoring process nor a child of its survives its endpoint."""
    child = tmp_path / "child"
    name = make_endpoint(ml_client).name
    deploy(ml_client, name, register(ml_client, tmp_path, child=str(child)))
    pid = Caller(ml_client, name).ask(to="blue").json()["pid"]
    ml_client.online_endpoints.begin_delete(name).result()
    assert gone(pid)
    assert gone(int(child.read_text()))


@pytest.mark.parametrize(
    ("base_image", "environment", "shape"),
    [
        ("mcr.microsoft.com/azureml/curated/foundation-model-inference:63", None, "inference"),
        (
            None,
            "azureml://registries/azureml/environments/foundation-model-serve/versions/9",
            "serve",
        ),
    ],
)
def test_the_model_or_the_environment_decides_the_server(
    ml_client, tmp_path, base_image, environment, shape
):
    """A foundation model's image, or the environment of the deployment, picks the request shapes."""
    name = make_endpoint(ml_client).name
    chosen = register(ml_client, tmp_path, base_image=base_image)
    deploy(ml_client, name, chosen, environment=environment)
    answered = Caller(ml_client, name).ask(to="blue").json()
    assert answered["shape"] == f"foundation-model-{shape}"
    ml_client.online_endpoints.begin_delete(name).result()


@pytest.mark.parametrize(
    ("traffic", "said"),
    [
        ({"blue": 60}, "sum to 0 or 100; they sum to 60"),
        ({"blue": 50, "green": 50}, "'green' in the endpoint's traffic does not exist"),
    ],
)
def test_bad_traffic_is_refused_and_changes_nothing(ml_client, model, traffic, said):
    """Traffic sums to 0 or 100 over deployments that are there."""
    name = make_endpoint(ml_client).name
    deploy(ml_client, name, model)
    set_traffic(ml_client, name, blue=100)
    with pytest.raises(HttpResponseError, match=said):
        set_traffic(ml_client, name, **traffic)
    assert ml_client.online_endpoints.get(name).traffic == {"blue": 100}
    ml_client.online_endpoints.begin_delete(name).result()


def test_mirrored_traffic_is_not_emulated(arm):
    """What the emulator does not do is 501, never ignored."""
    properties = {"authMode": "Key", "mirrorTraffic": {"blue": 10}}
    body = {"location": "eastus", "properties": properties}
    answered = arm.ask("PUT", f"onlineEndpoints/{fresh('endpoint')}", json=body)
    assert answered.status_code == 501
    assert "mirrored traffic" in answered.json()["error"]["message"]


def test_a_deployment_with_traffic_cannot_be_deleted(ml_client, model):
    """Traffic goes first, then the deployment; the endpoint goes with both."""
    name = make_endpoint(ml_client).name
    deploy(ml_client, name, model)
    set_traffic(ml_client, name, blue=100)
    with pytest.raises(HttpResponseError, match="while it has traffic") as refused:
        ml_client.online_deployments.begin_delete("blue", name).result()
    assert refused.value.status_code == 400
    ml_client.online_endpoints.begin_delete(name).result()


def test_what_cannot_be_deployed_is_refused_with_every_reason(ml_client, arm):
    """An unknown model and an unknown size are told at once."""
    name = make_endpoint(ml_client).name
    properties = {
        "endpointComputeType": "Managed",
        "instanceType": "Standard_NC999",
        "model": f"{arm.plane.plane.workspace_id}/models/nobody/versions/1",
    }
    body = {"location": "eastus", "properties": properties}
    answered = arm.ask("PUT", f"onlineEndpoints/{name}/deployments/blue", json=body)
    assert answered.status_code == 400
    errors = json.loads(answered.json()["error"]["details"][0]["message"])["errors"]
    assert set(errors) == {"Model", "VmSize"}
    ml_client.online_endpoints.begin_delete(name).result()


def test_bad_settings_are_refused_together(ml_client, model):
    """Instances, time-outs and thresholds out of bounds are told in one answer."""
    from azure.ai.ml.entities import OnlineRequestSettings

    name = make_endpoint(ml_client).name
    requests_wanted = OnlineRequestSettings(
        request_timeout_ms=200_000, max_concurrent_requests_per_instance=-1
    )
    with pytest.raises(HttpResponseError) as refused:
        deploy(ml_client, name, model, instance_count=51, request_settings=requests_wanted)
    assert refused.value.status_code == 400
    for place in ("Capacity", "RequestTimeout", "MaxConcurrentRequestsPerInstance"):
        assert place in str(refused.value)
    ml_client.online_endpoints.begin_delete(name).result()


def test_a_deployment_needs_its_endpoint(arm):
    """A deployment of an endpoint that is not there is ARM's ParentResourceNotFound."""
    body = {"location": "eastus", "properties": {"endpointComputeType": "Managed"}}
    answered = arm.ask("PUT", "onlineEndpoints/nobody/deployments/blue", json=body)
    assert answered.status_code == 404
    assert answered.json()["error"]["code"] == "ParentResourceNotFound"


def test_quota_is_taken_with_a_fifth_in_reserve(ml_client, model, quota, arm):
    """One DS2 takes twice its two cores; what is short is refused in the service's words."""
    name = make_endpoint(ml_client).name
    used = quota()["in_use"].get("standardDSv2Family", 0)
    quota(limits={"standardDSv2Family": used + 5})
    deploy(ml_client, name, model)
    assert quota()["in_use"]["standardDSv2Family"] == used + 4
    subscription = arm.plane.plane.settings.subscription
    location = "providers/Microsoft.MachineLearningServices/locations/eastus"
    rows = arm.ask("GET", f"/subscriptions/{subscription}/{location}/usages").json()["value"]
    family = [each for each in rows if each["name"]["value"] == "standardDSv2Family"]
    [row] = [each for each in family if "dedicatedCores" in each["type"]]
    assert (row["currentValue"], row["limit"]) == (used + 4, used + 5)
    with pytest.raises(
        HttpResponseError, match=rf"Not enough quota.*limit: {used + 4}/{used + 5}.*needed: 4"
    ):
        deploy(ml_client, name, model, "green")
    ml_client.online_deployments.begin_delete("blue", name).result()
    assert quota()["in_use"].get("standardDSv2Family", 0) == used
    ml_client.online_endpoints.begin_delete(name).result()


def test_a_region_without_machines_fails_the_deployment(ml_client, model, quota):
    """Lack of capacity shows as a failed operation, and the deployment must be made anew."""
    name = make_endpoint(ml_client).name
    quota(out_of_capacity=[SIZE.upper()])
    with pytest.raises(
        HttpResponseError, match=r"lack of Azure Machine Learning capacity"
    ) as failed:
        deploy(ml_client, name, model)
    assert failed.value.error.code == "OutOfQuota"
    assert ml_client.online_deployments.get("blue", name).provisioning_state == "Failed"
    quota(out_of_capacity=[])
    with pytest.raises(HttpResponseError, match=r"unrecoverable state\. Delete and re-create"):
        deploy(ml_client, name, model)
    ml_client.online_deployments.begin_delete("blue", name).result()
    assert deploy(ml_client, name, model).provisioning_state == "Succeeded"
    ml_client.online_endpoints.begin_delete(name).result()


def test_the_number_of_deployments_is_bounded(ml_client, model, quota):
    """One deployment more than an endpoint may have is refused."""
    name = make_endpoint(ml_client).name
    quota(deployments=1)
    deploy(ml_client, name, model)
    with pytest.raises(HttpResponseError, match="has 1 deployments: that is the most"):
        deploy(ml_client, name, model, "green")
    ml_client.online_endpoints.begin_delete(name).result()


def test_a_crashing_container_fails_the_deployment_with_its_log(ml_client, tmp_path):
    """A process that dies at its start ends in ResourceNotReady; its output is in the logs."""
    name = make_endpoint(ml_client).name
    bad = register(ml_client, tmp_path, start="crash")
    with pytest.raises(HttpResponseError, match="exited with code 1") as failed:
        deploy(ml_client, name, bad)
    assert failed.value.error.code == "ResourceNotReady"
    assert "cannot load the model" in ml_client.online_deployments.get_logs("blue", name, lines=9)
    ml_client.online_endpoints.begin_delete(name).result()


def test_a_container_that_never_answers_fails_when_its_probes_are_used_up(ml_client, tmp_path):
    """Initial delay and failures times period bound the start of a container."""
    from azure.ai.ml.entities import ProbeSettings

    short = ProbeSettings(initial_delay=1, period=1, failure_threshold=2)
    name = make_endpoint(ml_client).name
    mute = register(ml_client, tmp_path, start="mute")
    with pytest.raises(HttpResponseError, match="Readiness probe failed") as failed:
        deploy(ml_client, name, mute, liveness_probe=short, readiness_probe=short)
    assert failed.value.error.code == "ResourceNotReady"
    ml_client.online_endpoints.begin_delete(name).result()


def test_a_model_without_files_fails_the_deployment(ml_client, control_plane, arm):
    """A registered model whose files are not there is BadArgument."""
    from azure.ai.ml.entities import Model

    plane = control_plane.plane
    path = (
        f"azureml://subscriptions/{plane.settings.subscription}/resourcegroups/"
        f"{plane.settings.group}/workspaces/{plane.settings.workspace}"
        "/datastores/workspaceblobstore/paths/nothing/here"
    )
    asset = Model(name=fresh("model"), version="1", path=path, type="mlflow_model")
    registered = ml_client.models.create_or_update(asset)
    name = make_endpoint(ml_client).name
    with pytest.raises(HttpResponseError, match="could not be downloaded") as failed:
        deploy(ml_client, name, registered.id)
    assert failed.value.error.code == "BadArgument"
    ml_client.online_endpoints.begin_delete(name).result()


def test_one_operation_at_a_time(ml_client, tmp_path):
    """While a deployment is made, changing or deleting it is 409; its endpoint can still go."""
    gate = tmp_path / "gate"
    slow = register(ml_client, tmp_path, until=str(gate))
    name = make_endpoint(ml_client).name
    poller = ml_client.online_deployments.begin_create_or_update(deployment(name, slow))
    with pytest.raises(ResourceExistsError, match="operation in progress") as refused:
        ml_client.online_deployments.begin_delete("blue", name).result()
    assert refused.value.status_code == 409
    with pytest.raises(ResourceExistsError):
        ml_client.online_deployments.begin_create_or_update(deployment(name, slow))
    ml_client.online_endpoints.begin_delete(name).result()
    with pytest.raises((HttpResponseError, ResourceNotFoundError)):
        poller.result()


def test_scaling_by_patch_takes_cores_and_processes(ml_client, model, arm, quota):
    """PATCH of `sku.capacity` changes the instances, and the quota with them."""
    name = make_endpoint(ml_client).name
    deploy(ml_client, name, model)
    before = quota()["in_use"]["standardDSv2Family"]
    path = f"onlineEndpoints/{name}/deployments/blue"
    assert arm.ask("PATCH", path, json={"sku": {"capacity": 2}}).status_code == 202
    found = eventually(
        lambda: (
            (row := arm.ask("GET", path).json())["properties"]["provisioningState"] == "Succeeded"
            and row
        )
    )
    assert found["sku"]["capacity"] == 2
    assert quota()["in_use"]["standardDSv2Family"] == before + 2
    caller = Caller(ml_client, name)
    assert len({caller.ask(to="blue").json()["pid"] for _ in range(4)}) == 2
    skus = arm.ask("GET", f"{path}/skus").json()["value"]
    assert skus[0]["capacity"]["maximum"] == 50
    ml_client.online_endpoints.begin_delete(name).result()


def test_an_update_that_fails_leaves_the_old_process_serving(ml_client, model, tmp_path):
    """A deployment whose new model does not start is Failed and answers with the old one."""
    name = make_endpoint(ml_client).name
    deploy(ml_client, name, model)
    before = Caller(ml_client, name).ask(to="blue").json()
    with pytest.raises(HttpResponseError, match="ResourceNotReady"):
        deploy(ml_client, name, register(ml_client, tmp_path, start="crash"))
    assert ml_client.online_deployments.get("blue", name).provisioning_state == "Failed"
    assert Caller(ml_client, name).ask(to="blue").json()["pid"] == before["pid"]
    fixed = register(ml_client, tmp_path)
    assert deploy(ml_client, name, fixed).provisioning_state == "Succeeded"
    after = Caller(ml_client, name).ask(to="blue").json()
    assert after["output"] != before["output"]
    assert gone(before["pid"])
    ml_client.online_endpoints.begin_delete(name).result()


def test_a_foundation_model_of_the_registry_is_a_model_to_deploy(ml_client, arm):
    """The id of a registry model is found, and one that is not there is refused."""
    name = make_endpoint(ml_client).name
    with pytest.raises(HttpResponseError, match=r"nobody.* was not found"):
        deploy(ml_client, name, "azureml://registries/azureml/models/nobody/versions/1")
    ml_client.online_endpoints.begin_delete(name).result()


def test_a_restart_brings_deployments_back(plane_settings, tmp_path):
    """A control plane that is stopped and started again serves what it served."""
    settings = plane_settings(tmp_path / "plane")
    with ControlPlane(settings) as plane, pointed_at(plane):
        client = make_client()
        name = make_endpoint(client).name
        deploy(client, name, register(client, tmp_path))
        set_traffic(client, name, blue=100)
        first = Caller(client, name)
        pid = first.ask().json()["pid"]
    assert gone(pid)
    with ControlPlane(settings) as plane, pointed_at(plane):
        again = Caller(make_client(), name)
        assert again.key == first.key
        answered = eventually(lambda: (a := again.ask()).status_code == 200 and a)
        assert answered.json()["pid"] != pid


def test_a_killed_control_plane_leaves_no_orphan_and_goes_on(plane_settings, tmp_path):
    """SIGKILL while a deployment is made: started again, it ends what was left and finishes."""
    gate = tmp_path / "gate"
    settings = plane_settings(tmp_path / "plane")
    code = (
        "import sys, pickle, asyncio\n"
        "from local.azureml.server import ControlPlane\n"
        "with ControlPlane(pickle.load(sys.stdin.buffer)) as plane:\n"
        "    print(__import__('json').dumps(plane.environment), flush=True)\n"
        "    __import__('threading').Event().wait()\n"
    )
    victim = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    assert victim.stdin
    assert victim.stdout
    try:
        victim.stdin.write(pickle.dumps(settings))
        victim.stdin.close()
        environment = json.loads(victim.stdout.readline())
        with pytest.MonkeyPatch.context() as patch:
            for key, value in environment.items():
                patch.setenv(key, value)
            patch.setenv("AZUREML_CURRENT_CLOUD", "DroptuneLocal")
            client = make_client()
            name = make_endpoint(client).name
            child = tmp_path / "child"
            slow = register(client, tmp_path, until=str(gate), child=str(child))
            client.online_deployments.begin_create_or_update(deployment(name, slow))
            eventually(lambda: child.exists() and child.read_text())
            started = psutil.Process(victim.pid).children(recursive=True)
            assert int(child.read_text()) in {each.pid for each in started}
    finally:
        victim.kill()
        victim.wait()
        victim.stdout.close()
    with ControlPlane(settings) as plane, pointed_at(plane):
        assert all(gone(each.pid) for each in started)
        gate.touch()
        client = make_client()
        state = eventually(
            lambda: (
                client.online_deployments.get("blue", name).provisioning_state != "Creating"
                and client.online_deployments.get("blue", name).provisioning_state
            )
        )
        assert state == "Succeeded"
        assert Caller(client, name).ask(to="blue").status_code == 200
