"""Making fine-tuning jobs as the notebook does, and command jobs, for tests of the control plane."""

from __future__ import annotations

import contextlib
import json
import time
import uuid
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from azure.ai.ml import MLClient
    from azure.ai.ml.entities import PipelineJob

CONDA = {"name": "tests", "dependencies": ["python=3.11"]}
TERMINAL = {"Completed", "Failed", "Canceled"}


def data_file(folder: Path, do: str = "complete", **more: object) -> Path:
    """A train file whose first line tells the training process what to do."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "train.jsonl"
    path.write_text(json.dumps({"do": do, **more}) + "\n")
    return path


def fine_tune(registry_client: MLClient, train: str | Path, **parameters: object) -> PipelineJob:
    """A pipeline of one step around the registry's component, not submitted yet."""
    from azure.ai.ml import Input
    from azure.ai.ml.dsl import pipeline

    component = registry_client.components.get("chat_completion_pipeline", label="latest")
    usual: dict[str, object] = {
        "task_name": "ChatCompletion",
        "mlflow_model_path": Input(
            type="mlflow_model", path="azureml://registries/azureml/models/Phi-4/versions/8"
        ),
        "train_file_path": Input(type="uri_file", path=str(train)),
        "instance_type_finetune": "Standard_NC24ads_A100_v4",
        "num_train_epochs": 1,
        "learning_rate": 5e-6,
        "precision": "16",
    }

    @pipeline(name=f"chat-{uuid.uuid4().hex[:8]}")
    def create():
        step = component(**{**usual, **parameters})
        return {"trained_model": step.outputs.mlflow_model_folder}

    job = create()
    job.name = f"job-{uuid.uuid4().hex[:10]}"
    job.experiment_name = "tests"
    job.tags = {"droptune_run": "r1"}
    job.settings.force_rerun = True
    return job


def a_command(command_line: str, code: Path | None = None, **more: object) -> Any:
    """A command job in an environment of its own, not submitted yet."""
    from azure.ai.ml import command
    from azure.ai.ml.entities import Environment

    usual = {
        "experiment_name": "tests",
        "environment": Environment(
            image="mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04", conda_file=CONDA
        ),
        "tags": {"droptune_run": "r1"},
    }
    job = command(command=command_line, code=None if code is None else str(code), **usual | more)
    job.name = f"command-{uuid.uuid4().hex[:10]}"
    return job


def wait_for(client: MLClient, name: str, *wanted: str, seconds: float = 180) -> str:
    """The job's status, once it is one of `wanted` (or terminal, with nothing given)."""
    deadline = time.monotonic() + seconds
    while (status := client.jobs.get(name).status) not in (wanted or TERMINAL):
        assert status not in TERMINAL, f"{name} ended as {status}"
        assert time.monotonic() < deadline, f"{name} is still {status}"
        time.sleep(0.05)
    return status


@contextlib.contextmanager
def held(folder: Path) -> Iterator[tuple[Path, Path]]:
    """A train file that holds its training, and the file that lets it go; released at the end."""
    release = folder / "release"
    train = data_file(folder, "hold", until=str(release))
    try:
        yield train, release
    finally:
        release.touch()
