"""Jobs: real processes, driven and watched by the unmodified SDK."""

from __future__ import annotations

import io
import sys

import pytest
import requests
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError

from tests.wire.job_making import data_file, fine_tune, held, wait_for


def submit(ml_client, job):
    return ml_client.jobs.create_or_update(job)


@pytest.fixture(scope="module")
def completed(ml_client, registry_client, tmp_path_factory):
    """A job that has completed."""
    train = data_file(tmp_path_factory.mktemp("data"))
    job = submit(ml_client, fine_tune(registry_client, train))
    assert wait_for(ml_client, job.name) == "Completed"
    return job.name


def test_a_local_file_is_uploaded_trained_on_and_the_model_kept(
    ml_client, completed, azurite, tmp_path
):
    """A submitted pipeline runs a process whose output lies in the default datastore."""
    job = ml_client.jobs.get(completed)
    assert (job.status, job.tags["droptune_run"]) == ("Completed", "r1")
    ml_client.jobs.download(completed, download_path=tmp_path, output_name="trained_model")
    found = {each.name for each in tmp_path.rglob("*") if each.is_file()}
    assert found == {"MLmodel", "weights.bin"}


def test_metrics_are_read_through_the_workspaces_tracking(ml_client, completed):
    """`mlflow.get_run(job name)` and the metric history work through `azureml://`."""
    import mlflow
    from mlflow.tracking import MlflowClient

    mlflow.set_tracking_uri(ml_client.workspaces.get("droptune-local").mlflow_tracking_uri)
    run = mlflow.get_run(completed)
    assert run.info.run_id == completed
    assert run.info.status == "FINISHED"
    assert run.data.metrics["train_loss"] == 1.0
    history = MlflowClient().get_metric_history(completed, "train_loss")
    assert [(each.step, each.value) for each in history] == [(0, 3.0), (1, 2.0), (2, 1.0)]
    with pytest.raises(mlflow.exceptions.MlflowException, match="not found"):
        mlflow.get_run("nobody")


def test_properties_of_the_root_run_are_the_jobs(ml_client, registry_client, ask, tmp_path):
    """What the process leaves there shows with the job and in run history, not as a tag; what was sent stays."""
    from mlflow.tracking import MlflowClient

    left = {"__azureml_ft_training_tokens": "120", "mine": "theirs"}
    job = fine_tune(registry_client, data_file(tmp_path, properties=left))
    job.properties = {"mine": "ours"}
    made = submit(ml_client, job)
    assert "__azureml_ft_training_tokens" not in made.properties
    assert wait_for(ml_client, job.name) == "Completed"
    shown = ml_client.jobs.get(job.name).properties
    history = f"/history/v1.0{made.id.partition('/jobs/')[0]}/runs/{job.name}"
    for properties in (shown, ask(history)["properties"]):
        assert (properties["__azureml_ft_training_tokens"], properties["mine"]) == ("120", "ours")
    uri = ml_client.workspaces.get("droptune-local").mlflow_tracking_uri
    assert not left.keys() & MlflowClient(tracking_uri=uri).get_run(job.name).data.tags.keys()


def test_children_are_the_components_steps(ml_client, completed):
    """The pipeline's child runs are listed with their statuses."""
    children = list(ml_client.jobs.list(parent_job_name=completed))
    assert {each.display_name: each.status for each in children} == dict.fromkeys(
        ("validation", "model_import", "preprocess", "finetune", "model_converter"), "Completed"
    )


def test_stream_prints_the_log(ml_client, completed, monkeypatch):
    """`jobs.stream` prints what the training process printed."""
    output = io.StringIO()
    monkeypatch.setattr(sys, "stdout", output)
    ml_client.jobs.stream(completed)
    assert "Execution Summary" in output.getvalue()


def test_stream_follows_a_running_job(ml_client, registry_client, tmp_path, monkeypatch):
    """The log of a job that still runs is streamed until its end."""
    job = submit(ml_client, fine_tune(registry_client, data_file(tmp_path)))
    output = io.StringIO()
    monkeypatch.setattr(sys, "stdout", output)
    ml_client.jobs.stream(job.name)
    assert f"training {job.name} with" in output.getvalue()
    assert "step 2 loss 1.0" in output.getvalue()


def test_a_model_is_registered_from_a_jobs_output(ml_client, completed):
    """`azureml://jobs/…/outputs/…` becomes a path in the datastore, and the job is named."""
    from azure.ai.ml.entities import Model

    model = Model(
        name="from-job",
        path=f"azureml://jobs/{completed}/outputs/trained_model",
        type="mlflow_model",
    )
    made = ml_client.models.create_or_update(model)
    assert made.path.endswith(
        f"/datastores/workspaceblobstore/paths/azureml/{completed}/trained_model/"
    )
    assert made.job_name == completed


def test_a_failing_job_fails_with_its_reason_and_log(ml_client, registry_client, tmp_path):
    """The process's own error becomes the job's, and streaming raises it."""
    from azure.ai.ml.exceptions import JobException

    job = submit(ml_client, fine_tune(registry_client, data_file(tmp_path, "fail")))
    with pytest.raises(JobException, match=r"Bad data\."):
        ml_client.jobs.stream(job.name)
    assert wait_for(ml_client, job.name) == "Failed"
    steps = {
        each.display_name: each.status for each in ml_client.jobs.list(parent_job_name=job.name)
    }
    assert steps["finetune"] == "Failed"


def test_a_missing_input_fails_the_job(ml_client, registry_client):
    """An address with nothing behind it fails the job as the user's error, naming the input."""
    from azure.ai.ml.exceptions import JobException

    path = "azureml://datastores/droptune_datasets/paths/nowhere/train.jsonl"
    job = submit(ml_client, fine_tune(registry_client, path))
    assert wait_for(ml_client, job.name) == "Failed"
    with pytest.raises(JobException, match="train_file_path: nothing is at azureml://datastores"):
        ml_client.jobs.stream(job.name)


def test_data_of_a_declared_datastore_is_used(ml_client, registry_client, azurite, tmp_path):
    """Inputs in a datastore without credentials reach the job."""
    from azure.storage.blob import BlobServiceClient

    with BlobServiceClient.from_connection_string(azurite.connection_string) as service:
        container = service.get_container_client("datasets")
        if not container.exists():
            container.create_container()
        container.upload_blob("abc/train.jsonl", data_file(tmp_path).read_bytes(), overwrite=True)
    path = "azureml://datastores/droptune_datasets/paths/abc/train.jsonl"
    job = submit(ml_client, fine_tune(registry_client, path))
    assert wait_for(ml_client, job.name) == "Completed"


def test_a_process_that_dies_is_started_again(ml_client, registry_client, tmp_path):
    """A training process that ends without a result is started again in the same folder."""
    job = submit(ml_client, fine_tune(registry_client, data_file(tmp_path, "die-once")))
    assert wait_for(ml_client, job.name) == "Completed"


def test_a_process_that_keeps_dying_fails_the_job(ml_client, registry_client, tmp_path):
    """After three deaths the job is Failed, and says so with the end of its log."""
    from azure.ai.ml.exceptions import JobException

    job = submit(ml_client, fine_tune(registry_client, data_file(tmp_path, "die")))
    assert wait_for(ml_client, job.name) == "Failed"
    with pytest.raises(JobException, match=r"(?s)died 3 times without a result.*about to die"):
        ml_client.jobs.stream(job.name)


def test_cancel_ends_the_process(ml_client, registry_client, tmp_path, control_plane):
    """A cancelled job goes to Canceled, its process and its running step end."""
    import psutil

    with held(tmp_path) as (train, _release):
        job = submit(ml_client, fine_tune(registry_client, train))
        wait_for(ml_client, job.name, "Running")
        folder = str(control_plane.plane.settings.state / "jobs" / job.name)

        def processes():
            return [
                each
                for each in psutil.process_iter(["cmdline"])
                if folder in (each.info["cmdline"] or [])
            ]

        while not processes():
            assert ml_client.jobs.get(job.name).status == "Running"
        ml_client.jobs.begin_cancel(job.name).result()
        assert wait_for(ml_client, job.name) == "Canceled"
        assert processes() == []
    ml_client.jobs.begin_cancel(job.name).result()  # again is no error
    statuses = {each.status for each in ml_client.jobs.list(parent_job_name=job.name)}
    assert "Running" not in statuses


def test_a_job_that_ended_cannot_be_cancelled(ml_client, completed):
    """Cancelling a completed job is refused with its state."""
    with pytest.raises(HttpResponseError, match="terminal state Completed"):
        ml_client.jobs.begin_cancel(completed).result()


def test_the_same_job_again_is_the_same_job(ml_client, registry_client, tmp_path):
    """A PUT of an existing name with the same content answers the job that is there."""
    job = fine_tune(registry_client, data_file(tmp_path))
    first = submit(ml_client, job)
    again = submit(ml_client, job)
    assert again.name == first.name
    assert wait_for(ml_client, job.name) == "Completed"
    assert [each.name for each in ml_client.jobs.list()].count(job.name) == 1


def test_another_job_of_the_same_name_is_refused(ml_client, registry_client, tmp_path):
    """Azure's immutable-job error names what differs."""
    job = fine_tune(registry_client, data_file(tmp_path))
    submit(ml_client, job)
    other = fine_tune(registry_client, data_file(tmp_path), num_train_epochs=2)
    other.name = job.name
    with pytest.raises(HttpResponseError, match=r"A job with this name already exists.*Jobs"):
        submit(ml_client, other)
    wait_for(ml_client, job.name)


def test_tags_of_a_job_can_change(ml_client, completed):
    """Labels of a fetched job may be changed, as the SDK does it."""
    job = ml_client.jobs.get(completed)
    job.tags = {**job.tags, "note": "good"}
    ml_client.jobs.create_or_update(job)
    assert ml_client.jobs.get(completed).tags["note"] == "good"


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"num_train_epochs": 0}, "num_train_epochs: .*below the minimum 1"),
        ({"precision": "8"}, "precision: '8' is none of 32, 16"),
        ({"learning_rate": "fast"}, "learning_rate: 'fast' is no number"),
        ({"instance_type_finetune": "Standard_NC999"}, "Standard_NC999"),
        ({"compute_finetune": "nobody"}, "Unknown compute target 'nobody'"),
    ],
)
def test_bad_parameters_are_refused(ml_client, registry_client, tmp_path, parameters, message):
    """Values outside of the component's types, enums and minima, and unknown compute, are 400."""
    job = fine_tune(registry_client, data_file(tmp_path), **parameters)
    with pytest.raises(HttpResponseError, match=message) as refused:
        submit(ml_client, job)
    assert refused.value.status_code == 400
    with pytest.raises(ResourceNotFoundError):
        ml_client.jobs.get(job.name)


def test_all_problems_are_told_at_once(ml_client, registry_client, tmp_path):
    """Two bad values are both in the refusal."""
    job = fine_tune(registry_client, data_file(tmp_path), num_train_epochs=0, precision="8")
    with pytest.raises(
        HttpResponseError, match=r"precision.*num_train_epochs|num_train.*precision"
    ):
        submit(ml_client, job)


def test_a_job_on_a_cluster_runs(ml_client, registry_client, tmp_path):
    """A job whose computes are an existing cluster is taken."""
    from azure.ai.ml.entities import AmlCompute

    cluster = AmlCompute(name="for-jobs", size="Standard_NC24ads_A100_v4", max_instances=1)
    ml_client.compute.begin_create_or_update(cluster).result()
    names = ("model_import", "preprocess", "finetune")
    computes = {f"compute_{name}": "for-jobs" for name in names}
    job = submit(ml_client, fine_tune(registry_client, data_file(tmp_path), **computes))
    assert wait_for(ml_client, job.name) == "Completed"


def test_a_missing_job_is_not_found(ml_client):
    """An unknown job is 404."""
    with pytest.raises(ResourceNotFoundError):
        ml_client.jobs.get("nobody")


def test_the_log_address_is_signed(completed, control_plane):
    """A log is not readable without the signature that details give."""
    url = f"{control_plane.url}/artifacts/{completed}/user_logs/std_log.txt"
    assert requests.get(url, timeout=10).status_code == 403
