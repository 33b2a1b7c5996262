"""The steps of Microsoft's chat-completion notebook, in order, with the unmodified SDK.

Nothing here knows of the local stack but the environment. The job really trains, and the deployment
is a process that really answers.
"""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING

import pytest
from azure.core.exceptions import ResourceNotFoundError

from local.azureml.plane import REPOSITORY
from local.azureml.server import ControlPlane
from tests.wire.conftest import make_client, pointed_at

if TYPE_CHECKING:
    from collections.abc import Iterator

SIZE = "Standard_NC24ads_A100_v4"
DATA = REPOSITORY / "examples" / "velora"
PYTHON = str(REPOSITORY / ".venv-train" / "bin" / "python")


@pytest.fixture
def laptop(plane_settings, tmp_path) -> Iterator[None]:
    """The environment of a control plane that trains and scores for real."""
    settings = plane_settings(
        tmp_path / "state",
        train_command=(PYTHON, "-m", "local.compute.finetune"),
        score_command=(PYTHON, "-m", "local.compute.score"),
    )
    with ControlPlane(settings) as plane, pointed_at(plane):
        yield


def get_or_create_cluster(workspace):
    """The notebook's cluster: found, or made."""
    from azure.ai.ml.entities import AmlCompute

    try:
        return workspace.compute.get("gpu-cluster")
    except ResourceNotFoundError:
        wanted = AmlCompute(name="gpu-cluster", size=SIZE, max_instances=2)
        return workspace.compute.begin_create_or_update(wanted).result()


def gpus_of(workspace, size: str) -> int:
    """How many GPUs a VM size has."""
    found = [each for each in workspace.compute.list_sizes() if each.name.lower() == size.lower()]
    return found[0].gpus


def make_pipeline(registry, model, gpus: int):
    """The pipeline of the notebook over local files, with the model's own defaults."""
    from azure.ai.ml import Input
    from azure.ai.ml.dsl import pipeline

    component = registry.components.get("chat_completion_pipeline", label="latest")
    defaults = json.loads(model.tags["model_specific_defaults"])
    parameters = {
        "apply_lora": "true",
        "learning_rate": 1e-3,
        **{key: value for key, value in defaults.items() if key in component.inputs},
        "max_steps": 8,
    }
    for name in ("precision", "deepspeed_stage"):
        parameters[name] = str(parameters[name])

    @pipeline()
    def create():
        step = component(
            mlflow_model_path=Input(type="mlflow_model", path=model.id),
            compute_model_import="gpu-cluster",
            compute_preprocess="gpu-cluster",
            compute_finetune="gpu-cluster",
            train_file_path=Input(type="uri_file", path=str(DATA / "train.jsonl")),
            validation_file_path=Input(type="uri_file", path=str(DATA / "validation.jsonl")),
            test_file_path=Input(type="uri_file", path=str(DATA / "test.jsonl")),
            number_of_gpu_to_use_finetuning=gpus,
            task_name="ChatCompletion",
            **parameters,
        )
        return {"trained_model": step.outputs.mlflow_model_folder}

    made = create()
    made.settings.force_rerun = True
    made.settings.continue_on_step_failure = False
    return made


def register(workspace, job: str):
    """The job's model, registered."""
    from azure.ai.ml.constants import AssetTypes
    from azure.ai.ml.entities import Model

    return workspace.models.create_or_update(
        Model(
            path=f"azureml://jobs/{job}/outputs/trained_model",
            name="Phi-4-velora",
            type=AssetTypes.MLFLOW_MODEL,
            description="fine-tuned",
        )
    )


def deploy(workspace, model, endpoint: str) -> None:
    """Endpoint, deployment `demo`, all traffic to it."""
    from azure.ai.ml.entities import (
        ManagedOnlineDeployment,
        ManagedOnlineEndpoint,
        OnlineRequestSettings,
        ProbeSettings,
    )

    wanted = ManagedOnlineEndpoint(name=endpoint, auth_mode="key")
    workspace.online_endpoints.begin_create_or_update(wanted).wait()
    demo = ManagedOnlineDeployment(
        name="demo",
        endpoint_name=endpoint,
        model=model.id,
        instance_type=SIZE,
        instance_count=1,
        liveness_probe=ProbeSettings(initial_delay=600),
        request_settings=OnlineRequestSettings(request_timeout_ms=90000),
    )
    workspace.online_deployments.begin_create_or_update(demo).wait()
    made = workspace.online_endpoints.get(endpoint)
    made.traffic = {"demo": 100}
    workspace.online_endpoints.begin_create_or_update(made).result()


def ask(workspace, endpoint: str, folder) -> object:
    """Invoke the deployment with a question of the test split."""
    with (DATA / "test.jsonl").open() as lines:
        messages = json.loads(next(lines))["messages"][:-1]
    request = folder / "request.json"
    parameters = {"do_sample": False, "max_new_tokens": 16}
    body = {"input_data": {"input_string": messages, "parameters": parameters}}
    request.write_text(json.dumps(body))
    return json.loads(
        workspace.online_endpoints.invoke(
            endpoint_name=endpoint, deployment_name="demo", request_file=str(request)
        )
    )


@pytest.mark.timeout(900)  # it trains and loads torch twice
@pytest.mark.usefixtures("laptop")
def test_the_notebook_runs_from_its_first_cell_to_its_last(tmp_path, capsys):
    """Clients, model, compute, sizes, component, job, model, endpoint, answer, clean-up."""
    workspace, registry = make_client(), make_client("azureml")
    foundation = registry.models.get("Phi-4", label="latest")
    cluster = get_or_create_cluster(workspace)
    assert cluster.provisioning_state == "Succeeded"
    gpus = gpus_of(workspace, cluster.size)
    assert gpus == 1

    pipeline = make_pipeline(registry, foundation, gpus)
    job = workspace.jobs.create_or_update(pipeline, experiment_name="chat-velora")
    workspace.jobs.stream(job.name)
    assert workspace.jobs.get(job.name).status == "Completed"
    assert "loss" in capsys.readouterr().out

    model = register(workspace, job.name)
    assert (model.version, model.job_name) == ("1", job.name)

    endpoint = f"velora-{uuid.uuid4().hex[:8]}"
    deploy(workspace, model, endpoint)
    answer = ask(workspace, endpoint, tmp_path)
    assert isinstance(answer, dict | list)
    assert answer

    workspace.online_endpoints.begin_delete(name=endpoint).wait()
    with pytest.raises(ResourceNotFoundError):
        workspace.online_endpoints.get(endpoint)
