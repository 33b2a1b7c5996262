"""Real processes for the tests of training and scoring.

Gives: a real MLflow server on SQLite (`mlflow_server`), job folders as the control plane makes them
(`new_job`) and a finished example job that many tests read (`trained`). Nothing is mocked; the training
environment `.venv-train` runs every process.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from .processes import (
    BASE_MODEL,
    EXAMPLE,
    SHORT_FINETUNE,
    TRAIN_PYTHON,
    JobFolder,
    Mlflow,
    answers,
    free_port,
    running,
    until,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture(scope="session")
def mlflow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mlflow]:
    """`mlflow server` on SQLite, as the laptop's stack runs it."""
    folder, port = tmp_path_factory.mktemp("mlflow"), free_port()
    command = [str(TRAIN_PYTHON.with_name("mlflow")), "server", "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db"]
    command += ["--artifacts-destination", str(folder / "artifacts")]
    command += ["--host", "127.0.0.1", "--port", str(port)]
    with running(command, folder / "log") as process:
        until(lambda: answers(f"http://127.0.0.1:{port}/health"), within=240, process=process)
        yield Mlflow(f"http://127.0.0.1:{port}")


@pytest.fixture(scope="session")
def new_job(
    tmp_path_factory: pytest.TempPathFactory, mlflow_server: Mlflow
) -> Callable[..., JobFolder]:
    """Make a job folder; inputs not given are the example's, None leaves one out."""

    def make(tracking_uri: str | None = None, **inputs: Any) -> JobFolder:
        folder = tmp_path_factory.mktemp("job")
        job = JobFolder(folder, mlflow_server.new_run())
        asked = {"task_name": "ChatCompletion", "mlflow_model_path": str(BASE_MODEL)}
        asked |= {
            f"{s}_file_path": str(EXAMPLE / f"{s}.jsonl") for s in ("train", "validation", "test")
        }
        asked |= inputs
        about = {
            "name": folder.name,
            "experiment": "tests",
            "tracking_uri": tracking_uri or mlflow_server.uri,
            "tracking_run_id": job.run_id,
            "inputs": {name: value for name, value in asked.items() if value is not None},
            "outputs": {path.name: str(path) for path in (job.mlflow_model, job.pytorch_model)},
        }
        (folder / "job.json").write_text(json.dumps(about))
        return job

    return make


@pytest.fixture(scope="session")
def trained(new_job: Callable[..., JobFolder]) -> JobFolder:
    """The example job, finished."""
    job = new_job(**SHORT_FINETUNE)
    assert job.run() == 0, job.log.read_text()
    return job
