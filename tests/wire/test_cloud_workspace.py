"""Azure ML through the adapters: the unmodified SDK and plain REST against the control plane."""

from __future__ import annotations

import contextlib
import json
import threading
import time
import uuid
from datetime import UTC, datetime, timedelta

import pytest
import requests
from azure.core.exceptions import ResourceExistsError
from azure.storage.blob import BlobServiceClient
from online import Arm as Plain
from online import fresh, make_endpoint, register

from shared.cloud import metrics, sdk, storage
from shared.cloud.arm import Arm, Place
from shared.cloud.registry import ComponentReference
from shared.cloud.workspace import AzureWorkspace, workspace_from
from shared.errors import Busy, Denied, Missing, Refused, Throttled, Unavailable
from shared.runs.machines import Allowance, ClusterRequest, Priority, VmSize
from shared.runs.naming import TAG
from shared.runs.ports import DeploymentRequest, JobRequest, JobState, ModelRequest, Provisioning

GPU = "Standard_NC24ads_A100_v4"
SIZE = "Standard_DS2_v2"
QUESTION = [{"role": "user", "content": "Who are you?"}]


@pytest.fixture(scope="module")
def place(control_plane):
    settings = control_plane.plane.settings
    return Place(settings.subscription, settings.group, settings.workspace)


@pytest.fixture(scope="module")
def workspace(control_plane, place):
    """The adapter, pointed at the control plane by environment alone."""
    for cached in (storage.credential, sdk._workspace_client, sdk._registry_client):
        cached.cache_clear()
    metadata = control_plane.environment["ARM_CLOUD_METADATA_URL"]
    workspace = AzureWorkspace(place, metrics_endpoint=control_plane.url, metadata_url=metadata)
    yield workspace
    workspace.close()


@pytest.fixture
def faults(control_plane):
    """Break answers through the test control; what is left of a fault is taken back."""
    url = f"{control_plane.url}/_emulator/faults"

    def add(**fault):
        answered = requests.post(url, json=fault, timeout=10)
        assert answered.ok, answered.text

    yield add
    requests.delete(url, timeout=10)


def eventually(look, wanted, within=120.0):
    """What `look` gives once it is `wanted`; for what only real processes decide."""
    deadline = time.monotonic() + within
    while not wanted(found := look()):
        assert time.monotonic() < deadline, found
        time.sleep(0.05)
    return found


@pytest.fixture
def orders(connection):
    """Upload a train file that tells the training process what to do; gives the splits."""

    def put(do, **more):
        folder = uuid.uuid4().hex
        container = connection.container(storage.DATASETS)
        for split in ("train", "validation", "test"):
            line = json.dumps({"do": do, **more}) + "\n"
            container.get_blob_client(f"{folder}/{split}.jsonl").upload_blob(line.encode())
        base = f"azureml://datastores/droptune_datasets/paths/{folder}"
        return {split: f"{base}/{split}.jsonl" for split in ("train", "validation", "test")}

    return put


def a_job(workspace, splits, **changed):
    name = f"try-{uuid.uuid4().hex[:10]}-g1"
    usual = {
        "name": f"{name}-a1",
        "display_name": "Phi-4-try-1",
        "experiment": "droptune-try",
        "run": name,
        "foundation_model": workspace.foundation_model("azureml", "Phi-4", "latest").id,
        "component": workspace.component().id,
        "splits": splits,
        "parameters": {"learning_rate": 5e-6, "apply_lora": "true", "precision": "16"},
        "cluster": None,
        "size": GPU,
        "nodes": 1,
        "gpus": 1,
        "lineage": {"droptune_manifest": "try.json"},
    }
    return JobRequest(**(usual | changed))


def ended(workspace, name):
    return eventually(
        lambda: workspace.job(name), lambda job: job and job.state is not JobState.ACTIVE
    )


# The registry -----------------------------------------------------------------------------------


def test_the_component_tells_its_own_inputs(workspace):
    """Types, defaults, minima and allowed values come from the specification, in their own types."""
    component = workspace.component()
    assert component.id == (
        f"azureml://registries/azureml/components/chat_completion_pipeline/versions/{component.version}"
    )
    assert len(component.inputs) == 69
    assert component.inputs["learning_rate"].default == pytest.approx(2e-5)
    assert component.inputs["num_train_epochs"].minimum == 1
    assert component.inputs["num_train_epochs"].default == 1
    assert component.inputs["precision"].enum == ("32", "16")
    assert component.inputs["apply_lora"].enum == ("true", "false")
    assert component.inputs["train_file_path"].type == "uri_file"
    assert component.inputs["mlflow_model_path"].type == "mlflow_model"
    assert component.inputs["huggingface_id"].default is None


def test_a_component_that_is_not_there_is_missing(place, control_plane):
    """A wrong version of the component is told as missing."""
    metadata = control_plane.environment["ARM_CLOUD_METADATA_URL"]
    wrong = AzureWorkspace(place, ComponentReference(version="9.9.9"), metadata_url=metadata)
    with pytest.raises(Missing, match="chat_completion_pipeline"):
        wrong.component()


def test_the_latest_model_is_resolved_with_its_publishers_defaults(workspace):
    """`latest` becomes a version; the defaults come as a mapping."""
    model = workspace.foundation_model("azureml", "Phi-4", "latest")
    assert model.id == f"azureml://registries/azureml/models/Phi-4/versions/{model.version}"
    assert model.version.isdigit()
    assert model.defaults["apply_lora"] == "true"
    assert workspace.foundation_model("azureml", "Phi-4", model.version) == model


def test_an_archived_model_is_missing_unless_it_is_pinned(workspace):
    """The newest that is not archived is `latest`; who names a version gets it."""
    with pytest.raises(Missing, match="no model 'Phi-3-mini-4k-instruct' that is not archived"):
        workspace.foundation_model("azureml", "Phi-3-mini-4k-instruct", "latest")
    pinned = workspace.foundation_model("azureml", "Phi-3-mini-4k-instruct", "15")
    assert pinned.version == "15"
    assert pinned.defaults["learning_rate_min"] == pytest.approx(5e-7)


@pytest.mark.parametrize(
    ("registry", "name", "version"),
    [
        ("azureml", "nobody", "latest"),
        ("azureml", "nobody", "1"),
        ("azureml", "Phi-4", "999"),
        ("nowhere", "Phi-4", "latest"),
    ],
)
def test_what_is_not_in_a_registry_is_missing(workspace, registry, name, version):
    """A wrong registry, name or version is told as missing and named."""
    with pytest.raises(Missing) as raised:
        workspace.foundation_model(registry, name, version)
    assert registry in str(raised.value)


def test_a_size_is_found_whatever_its_case(workspace):
    """Its family, cores and GPUs, none for a size without, and `None` for what the region lacks."""
    assert workspace.vm_size(GPU.upper()) == VmSize(GPU, "StandardNCADSA100v4Family", 24, 1)
    assert workspace.vm_size("Standard_NC48ads_A100_v4").gpus == 2
    assert workspace.vm_size(SIZE).gpus == 0
    assert workspace.vm_size("Standard_Imaginary") is None


def test_a_sizes_quotas_are_those_of_its_family_and_priority(workspace):
    """A family is listed once for each priority; low-priority nodes count against the region's total."""
    size = workspace.vm_size(GPU)
    (dedicated,) = workspace.quota(size, Priority.DEDICATED)
    assert dedicated == Allowance("StandardNCADSA100v4Family", 192, 0)
    family, total = workspace.quota(size, Priority.LOW)
    assert family == Allowance("StandardNCADSA100v4Family", None, 0)
    assert total == Allowance("TotalLowPriorityCores", 192, 0)


def test_every_version_of_a_model_is_listed_archived_or_not(workspace):
    """What `latest` does not find is found here, newest first."""
    versions = workspace.model_versions("azureml", "Phi-3-mini-4k-instruct")
    assert [(each.version, each.archived) for each in versions] == [("15", True), ("14", True)]
    assert workspace.model_versions("azureml", "nobody") == []
    with pytest.raises(Missing):
        workspace.model_versions("nowhere", "Phi-4")


def test_a_cluster_is_made_found_and_deleted(workspace, ml_client):
    """As the SDK sees it: no nodes while idle, tagged as ours, of the priority that was asked for."""
    name = f"c-{uuid.uuid4().hex[:8]}"
    assert workspace.cluster(name) is None
    request = ClusterRequest(name, "run-1", GPU, 2, Priority.LOW, timedelta(minutes=5))
    workspace.create_cluster(request)
    workspace.create_cluster(request)
    made = workspace.cluster(name)
    assert (made.provisioning, made.run, made.size) == (Provisioning.SUCCEEDED, "run-1", GPU)
    assert (made.least, made.most, made.nodes) == (0, 2, 0)
    assert made.priority is Priority.LOW
    shown = ml_client.compute.get(name)
    assert (shown.size, shown.tier, shown.tags) == (GPU, "low_priority", {TAG: "run-1"})
    assert shown.idle_time_before_scale_down == 300
    workspace.delete_cluster(name)
    assert workspace.cluster(name) is None
    workspace.delete_cluster(name)


def test_a_cluster_that_failed_says_why(workspace, control_plane):
    """Azure's own code and words."""
    name = f"c-{uuid.uuid4().hex[:8]}"
    fault = {"code": "AllocationFailed", "message": "No machines."}
    requests.put(f"{control_plane.url}/_emulator/computes/{name}", json=fault, timeout=10)
    workspace.create_cluster(
        ClusterRequest(name, "run-1", GPU, 1, Priority.DEDICATED, timedelta(minutes=5))
    )
    failed = workspace.cluster(name)
    assert failed.provisioning is Provisioning.FAILED
    assert failed.error == "AllocationFailed: No machines."
    workspace.delete_cluster(name)


def test_the_place_is_one_line(workspace, place):
    """Subscription, group and workspace are in it."""
    for part in (place.subscription, place.group, place.workspace):
        assert part in workspace.place


# Jobs and models --------------------------------------------------------------------------------


def test_a_job_is_trained_measured_and_registered(workspace, orders, ml_client):
    """From submission to a registered model, with tag, lineage and inputs as they were asked for."""
    request = a_job(workspace, orders("complete"))
    assert workspace.job(request.name) is None
    job = workspace.submit(request)
    assert (job.name, job.state) == (request.name, JobState.ACTIVE)
    assert request.name in (job.url or "")
    assert ended(workspace, request.name).state is JobState.COMPLETED

    found = ml_client.jobs.get(request.name)
    assert found.tags[TAG] == request.run
    assert found.properties["droptune_manifest"] == "try.json"
    assert (found.display_name, found.experiment_name) == ("Phi-4-try-1", "droptune-try")
    assert found.settings.force_rerun is True
    (node,) = found.jobs.values()
    assert node.component == request.component
    given = {name: value._data for name, value in node.inputs.items()}
    assert given["compute_finetune"] == "serverless"
    assert given["instance_type_finetune"] == GPU
    assert given["precision"] == "16"
    assert given["train_file_path"].path == request.splits["train"]
    assert "huggingface_id" not in given

    measured = workspace.measured(request.name)
    assert measured.last == {"train_loss": 1.0}
    assert measured.curves == {"train_loss": [(0, 3.0), (1, 2.0), (2, 1.0)]}
    assert measured.tokens == {}

    model = ModelRequest(
        name=fresh("droptuned"),
        version="abc-g1",
        job=request.name,
        run=request.run,
        description="tried",
        tags={"gate": "passed"},
        lineage={"droptune_job": request.name},
    )
    assert not workspace.has_model(model.name, model.version)
    workspace.register(model)
    workspace.register(model)
    assert workspace.has_model(model.name, model.version)
    (version,) = ml_client.models.list(name=model.name)
    registered = ml_client.models.get(model.name, version=version.version)
    assert registered.tags == {TAG: request.run, "gate": "passed"}
    assert registered.properties["droptune_job"] == request.name
    assert registered.type == "mlflow_model"


def test_a_submission_whose_answer_is_lost_gives_one_job(workspace, orders, faults, control_plane):
    """The work was done, the answer was not heard; doing it again finds the same job."""
    request = a_job(workspace, orders("complete"))
    faults(method="PUT", path=f"/jobs/{request.name}$", status=503, after=True)
    with pytest.raises(Unavailable):
        workspace.submit(request)
    assert workspace.submit(request).name == request.name
    assert ended(workspace, request.name).state is JobState.COMPLETED


def test_two_who_submit_at_once_get_the_same_job(workspace, orders):
    """However many submit, there is one job, and nobody is told of a failure."""
    request = a_job(workspace, orders("complete"))
    jobs, start = [], threading.Barrier(3)

    def submit():
        start.wait()
        jobs.append(workspace.submit(request))

    threads = [threading.Thread(target=submit) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [job.name for job in jobs] == [request.name] * 3
    ended(workspace, request.name)


def test_a_failed_job_says_why(workspace, orders):
    """The training's own message reaches the record; the data's fault is not worth repeating."""
    request = a_job(workspace, orders("fail"))
    workspace.submit(request)
    job = ended(workspace, request.name)
    assert job.state is JobState.FAILED
    assert job.error
    assert job.code == "UserError"


def test_a_cancelled_job_ends_as_cancelled(workspace, orders, tmp_path):
    """Cancelling is begun at once and may be asked for twice, or for what is not there."""
    request = a_job(workspace, orders("hold", until=str(tmp_path / "never")))
    workspace.submit(request)
    workspace.cancel_job(request.name)
    workspace.cancel_job(request.name)
    assert ended(workspace, request.name).state is JobState.CANCELLED
    workspace.cancel_job(request.name)
    workspace.cancel_job("nobody-0-g1-a1")


def test_cancelling_a_job_that_has_ended_does_nothing(workspace, orders):
    """Azure refuses that; we take it as done."""
    request = a_job(workspace, orders("complete"))
    workspace.submit(request)
    ended(workspace, request.name)
    workspace.cancel_job(request.name)
    assert workspace.job(request.name).state is JobState.COMPLETED


def test_a_job_on_a_cluster_that_is_not_there_is_refused(workspace, orders):
    """What Azure will not run is told with its reason."""
    with pytest.raises(Refused, match="no-such-cluster"):
        workspace.submit(a_job(workspace, orders("complete"), cluster="no-such-cluster"))


def test_metrics_of_no_job_are_missing(workspace):
    """Asking for the metrics of a job that is not there says so, soon."""
    with pytest.raises(Missing):
        workspace.measured("nobody-0-g1-a1")


# Endpoints and deployments ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def model(ml_client, azurite, tmp_path_factory):
    """The name of a registered MLflow model, version 1."""
    blobs = BlobServiceClient.from_connection_string(azurite.connection_string)
    with contextlib.suppress(ResourceExistsError):
        blobs.create_container("azureml-blobstore")
    return (
        register(ml_client, tmp_path_factory.mktemp("models")).split("/models/")[1].split("/")[0]
    )


@pytest.fixture
def endpoint(workspace):
    """An endpoint that stands, gone afterwards."""
    name = f"e-{uuid.uuid4().hex[:8]}"
    workspace.create_endpoint(name, "run-1")
    eventually(
        lambda: workspace.endpoint(name),
        lambda found: found and found.provisioning is Provisioning.SUCCEEDED,
    )
    yield name
    eventually(lambda: _deleted(workspace, name), lambda done: done)


def _deleted(workspace, name):
    try:
        workspace.delete_endpoint(name)
    except Busy:
        return False
    return workspace.endpoint(name) is None


def asked_for(endpoint, model, name="blue", **changed):
    usual = {
        "endpoint": endpoint,
        "name": name,
        "run": "run-1",
        "model": model,
        "model_version": "1",
        "instance_type": SIZE,
        "instances": 1,
        "attempt": 1,
        "startup": timedelta(minutes=15),
        "request_timeout": timedelta(seconds=90),
        "concurrent_requests": 8,
    }
    return DeploymentRequest(**(usual | changed))


def deploy(workspace, endpoint, model, name="blue", **changed):
    workspace.create_deployment(asked_for(endpoint, model, name, **changed))
    return eventually(
        lambda: workspace.deployment(endpoint, name),
        lambda found: found and found.provisioning is not Provisioning.WORKING,
    )


def split(workspace, endpoint, **traffic):
    workspace.set_traffic(endpoint, traffic)
    return eventually(
        lambda: workspace.endpoint(endpoint),
        lambda found: found.provisioning is Provisioning.SUCCEEDED,
    )


def test_an_endpoint_is_made_deployed_asked_and_deleted(workspace, endpoint, model):
    """One endpoint's whole life, each step begun by a call that does not wait."""
    found = workspace.endpoint(endpoint)
    assert (found.run, found.traffic) == ("run-1", {})
    assert found.scoring_uri.startswith("https://")
    assert workspace.deployments(endpoint) == []
    assert workspace.deployment(endpoint, "blue") is None

    made = deploy(workspace, endpoint, model)
    assert (made.provisioning, made.run) == (Provisioning.SUCCEEDED, "run-1")
    assert [each.name for each in workspace.deployments(endpoint)] == ["blue"]
    assert workspace.ask(endpoint, "blue", QUESTION).startswith("model-")
    assert workspace.logs(endpoint, "blue")

    assert split(workspace, endpoint, blue=100).traffic == {"blue": 100}
    answer = requests.post(
        found.scoring_uri,
        json={},
        headers={"Authorization": f"Bearer {workspace.key(endpoint)}"},
        timeout=10,
    )
    assert answer.ok
    with pytest.raises(Refused, match="traffic"):
        workspace.delete_deployment(endpoint, "blue")
    assert split(workspace, endpoint).traffic == {}
    workspace.delete_deployment(endpoint, "blue")
    eventually(lambda: workspace.deployment(endpoint, "blue"), lambda gone: gone is None)
    workspace.delete_deployment(endpoint, "blue")


def test_what_is_not_there_is_none_and_may_be_deleted(workspace):
    """Reading gives nothing, deleting changes nothing, and neither is an error."""
    assert workspace.endpoint("no-such-endpoint") is None
    assert workspace.deployment("no-such-endpoint", "blue") is None
    assert workspace.deployments("no-such-endpoint") == []
    assert workspace.logs("no-such-endpoint", "blue") == ""
    workspace.delete_endpoint("no-such-endpoint")
    workspace.delete_deployment("no-such-endpoint", "blue")
    with pytest.raises(Missing):
        workspace.key("no-such-endpoint")
    with pytest.raises(Missing):
        workspace.ask("no-such-endpoint", "blue", QUESTION)


def test_a_deployment_is_made_as_a_language_model_needs_it(
    workspace, endpoint, model, control_plane
):
    """Time-out, probes, size and tag are on the wire as they were asked for."""
    deploy(workspace, endpoint, model, instances=2)
    body = Plain(control_plane).ask("GET", f"onlineEndpoints/{endpoint}/deployments/blue").json()
    properties = body["properties"]
    assert properties["requestSettings"]["requestTimeout"] == "PT90S"
    assert properties["livenessProbe"]["initialDelay"] == "PT600S"
    assert properties["readinessProbe"]["initialDelay"] == "PT10S"
    assert (body["sku"]["capacity"], properties["instanceType"]) == (2, SIZE)
    assert body["tags"] == {TAG: "run-1", "droptune_attempt": "1"}


def test_only_what_is_ours_is_changed(workspace, ml_client, model):
    """An endpoint without our tag is neither deleted nor given traffic, nor made again."""
    name = make_endpoint(ml_client, f"theirs-{uuid.uuid4().hex[:6]}").name
    assert workspace.endpoint(name).run is None
    for touch in (
        lambda: workspace.delete_endpoint(name),
        lambda: workspace.set_traffic(name, {}),
        lambda: workspace.create_endpoint(name, "run-1"),
    ):
        with pytest.raises(Refused, match="not made by Droptune"):
            touch()
    assert workspace.endpoint(name).provisioning is Provisioning.SUCCEEDED


def test_a_deployment_of_others_is_left_alone(workspace, endpoint, ml_client, model):
    """A deployment without our tag on our endpoint is not deleted."""
    from online import deploy as deploy_theirs

    arm_id = ml_client.models.get(model, version="1").id
    deploy_theirs(ml_client, endpoint, arm_id, "theirs")
    assert workspace.deployment(endpoint, "theirs").run is None
    with pytest.raises(Refused, match="not made by Droptune"):
        workspace.delete_deployment(endpoint, "theirs")


def test_traffic_changes_nothing_else(workspace, endpoint, model, control_plane):
    """The PUT that moves traffic keeps tags, authentication and identity as they were."""
    deploy(workspace, endpoint, model)
    before = Plain(control_plane).ask("GET", f"onlineEndpoints/{endpoint}").json()
    split(workspace, endpoint, blue=100)
    after = Plain(control_plane).ask("GET", f"onlineEndpoints/{endpoint}").json()
    assert after["properties"]["traffic"] == {"blue": 100}
    for body in (before, after):
        body["properties"].pop("traffic")
        body["properties"]["properties"].pop("AzureAsyncOperationUri")
        body["systemData"].pop("lastModifiedAt")
    assert after == before


def test_a_deployment_that_crashes_says_so(workspace, endpoint, model, ml_client, tmp_path):
    """A failed deployment is failed, with what its log said at hand."""
    broken = register(ml_client, tmp_path, start="crash").split("/models/")[1].split("/")[0]
    made = deploy(workspace, endpoint, broken, attempt=2)
    assert made.provisioning is Provisioning.FAILED
    assert (made.attempt, made.instance_type) == (2, SIZE)
    assert made.error.startswith("ResourceNotReady: User container has crashed or terminated")
    assert "cannot load the model" in workspace.logs(endpoint, "blue")


def test_no_thread_is_left_behind(workspace, endpoint, model):
    """Beginning operations starts no poller; only the control plane, in this process, may start its own."""
    before = {thread.ident for thread in threading.enumerate()}
    workspace.create_deployment(asked_for(endpoint, model, "green"))
    names = [t.name for t in threading.enumerate() if t.ident not in before]
    assert [name for name in names if not name.startswith(("asyncio_", "waitpid-"))] == []
    eventually(
        lambda: workspace.deployment(endpoint, "green"),
        lambda found: found.provisioning is Provisioning.SUCCEEDED,
    )


@pytest.mark.parametrize(
    ("status", "kind"),
    [(429, Throttled), (409, Busy), (500, Unavailable), (503, Unavailable), (403, Denied)],
)
def test_azures_refusals_have_our_names(workspace, faults, status, kind):
    """Whatever Azure answers, the step learns whether to try again."""
    faults(method="GET", path="/onlineEndpoints/x$", status=status, times=2, retry_after="7")
    with pytest.raises(kind) as raised:
        workspace.endpoint("x")
    if status in (429, 503):
        assert raised.value.retry_after == timedelta(seconds=7)


def test_a_connection_that_breaks_once_is_not_noticed(workspace, faults):
    """One short further try covers a dropped connection."""
    faults(method="GET", path="/onlineEndpoints/x$", reset=True)
    assert workspace.endpoint("x") is None


def test_a_cloud_that_is_not_there_is_unavailable(place):
    """No metadata, no connection: something to try again, not a bug."""
    from local.ports import free_port

    away = Arm(f"https://localhost:{free_port()}/metadata/endpoints?api-version=2019-05-01")
    with pytest.raises(Unavailable):
        away.ask("GET", place.path, "looking")
    away.close()


def test_standing_endpoints_are_listed_with_owner_and_age(workspace, endpoint):
    """The listing for finding orphans tells owner and age."""
    found = {each.name: each for each in workspace.standing()}
    assert found[endpoint].run == "run-1"
    assert not found[endpoint].deleting
    assert abs(found[endpoint].created_at - datetime.now(UTC)) < timedelta(hours=1)


# Metrics ----------------------------------------------------------------------------------------


def test_use_is_measured_and_no_use_is_certain(workspace, endpoint, model):
    """An endpoint that was asked has a time that is not in the future; one that was not has none."""
    since = datetime.now(UTC) - timedelta(hours=2)
    assert workspace.last_requests([endpoint], since) == {endpoint: None}
    deploy(workspace, endpoint, model)
    asked = datetime.now(UTC)
    workspace.ask(endpoint, "blue", QUESTION)
    found = eventually(
        lambda: workspace.last_requests([endpoint, "never-made"], since),
        lambda measured: measured.get(endpoint) is not None,
    )
    assert asked - timedelta(minutes=1) <= found[endpoint] <= datetime.now(UTC)


@pytest.mark.parametrize("told", [(502, Unavailable), (500, Refused)])
def test_a_container_that_is_not_there_is_told_from_one_that_fails(
    workspace, control_plane, endpoint, model, told
):
    """The first may be asked again: a process or node that is replaced comes back by itself."""
    answered, error = told
    deploy(workspace, endpoint, model)
    address = f"{control_plane.url}/_emulator/scoring-failures"
    failure = {"deployment": "/blue$", "status": 424, "model_status": answered}
    made = requests.post(address, json=failure, timeout=10)
    assert made.status_code == 201, made.text
    with pytest.raises(error):
        workspace.ask(endpoint, "blue", QUESTION)
    requests.delete(f"{address}/{made.json()['name']}", timeout=10)


def test_each_deployment_is_seen_by_itself(workspace, endpoint, model):
    """Requests, failures and latency by deployment; one that nobody asked is not there."""
    since = datetime.now(UTC)
    for name in ("blue", "green"):
        deploy(workspace, endpoint, model, name)
    for _ in range(3):
        workspace.ask(endpoint, "blue", QUESTION)
    headers = {
        "Authorization": f"Bearer {workspace.key(endpoint)}",
        "azureml-model-deployment": "blue",
    }
    uri = workspace.endpoint(endpoint).scoring_uri
    for status, answered in ((500, 424), (200, 200)):
        answer = requests.post(uri, json={"status": status}, headers=headers, timeout=10)
        assert answer.status_code == answered
    seen = workspace.seen(endpoint, since)
    assert set(seen) == {"blue"}
    assert (seen["blue"].requests, seen["blue"].failed) == (5, 1)
    assert seen["blue"].error_rate == pytest.approx(0.2)
    assert seen["blue"].latency > 0


def test_many_endpoints_are_measured_in_batches(workspace, control_plane, faults):
    """120 endpoints take three calls; a batch that fails leaves its own endpoints out."""
    names = [f"e-{number}" for number in range(120)]
    since = datetime.now(UTC) - timedelta(hours=1)
    faults(method="POST", path="getBatch", status=429, times=1, retry_after="9")
    measured = workspace.last_requests(names, since)
    assert list(measured) == names[metrics.BATCH :]


def test_what_cannot_be_measured_is_told_not_guessed(workspace, faults):
    """When nothing could be measured, that is an error, not an idle endpoint."""
    faults(method="POST", path="getBatch", status=503, times=4, retry_after="9")
    with pytest.raises(Unavailable):
        workspace.last_requests(["a"], datetime.now(UTC) - timedelta(hours=1))


def test_settings_name_the_workspace(control_plane, place, monkeypatch):
    """The app settings and the cloud's environment are all that is needed."""
    from shared import settings

    for name, value in control_plane.environment.items():
        monkeypatch.setenv(name, value)
    read = settings.read(
        {
            **control_plane.environment,
            "DROPTUNE_STORAGE": "UseDevelopmentStorage=true",
        }
    )
    named = workspace_from(read)
    assert named.endpoint("nobody") is None
    assert named.place == place.line
    named.close()
