"""Real processes and what they leave behind: the MLflow server, training jobs, scoring."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import requests

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[2]
TRAIN_PYTHON = ROOT / ".venv-train/bin/python"
EXAMPLE = ROOT / "examples/velora"
BASE_MODEL = ROOT / "local/compute/base_model"
SHORT_FINETUNE = {
    "num_train_epochs": 5,
    "per_device_train_batch_size": 16,
    "per_device_eval_batch_size": 40,
    "learning_rate": 0.002,
    "lr_scheduler_type": "cosine",
    "logging_steps": 4,
    "save_total_limit": 2,
}


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def until(
    condition: Callable[[], Any], *, within: float, process: subprocess.Popen[str] | None = None
) -> Any:
    """Wait for a condition of the outside world; fail loudly when it does not come or the process dies."""
    end = time.monotonic() + within
    while time.monotonic() < end:
        if value := condition():
            return value
        if process is not None and process.poll() is not None:
            pytest.fail(f"the process ended with {process.returncode} before it got there")
        time.sleep(0.02)
    pytest.fail(f"did not happen within {within} s")


def answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=2).status_code == 200
    except (requests.ConnectionError, requests.Timeout):  # it may listen before it can answer
        return False


@contextmanager
def running(command: list[str], log: Path) -> Iterator[subprocess.Popen[str]]:
    """A process in a group of its own, which ends with the block, children and all."""
    with log.open("a") as output:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            # MLflow's job executor is of no use here and keeps five more processes busy.
            env=os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
            stdout=output,
            stderr=output,
            text=True,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
                try:
                    process.wait(30)
                except subprocess.TimeoutExpired:
                    os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@dataclass(frozen=True)
class Mlflow:
    """A tracking server, over its REST API."""

    uri: str

    def post(self, path: str, body: dict[str, Any]) -> Any:
        response = requests.post(f"{self.uri}/api/2.0/mlflow/{path}", json=body, timeout=60)
        response.raise_for_status()
        return response.json()

    def new_run(self) -> str:
        return str(self.post("runs/create", {"experiment_id": "0"})["run"]["info"]["run_id"])

    def run(self, run_id: str) -> dict[str, Any]:
        response = requests.get(
            f"{self.uri}/api/2.0/mlflow/runs/get", params={"run_id": run_id}, timeout=60
        )
        data = response.json()["run"]["data"]
        return {
            kind: {x["key"]: x["value"] for x in data.get(kind, [])} for kind in ("params", "tags")
        }

    def metric(self, run_id: str, name: str) -> list[tuple[int, float]]:
        response = requests.get(
            f"{self.uri}/api/2.0/mlflow/metrics/get-history",
            params={"run_id": run_id, "metric_key": name},
            timeout=60,
        )
        return [(int(m.get("step", 0)), m["value"]) for m in response.json().get("metrics", [])]


@dataclass(frozen=True)
class JobFolder:
    """A job's folder as the control plane makes it."""

    folder: Path
    run_id: str

    @property
    def command(self) -> list[str]:
        return [str(TRAIN_PYTHON), "-m", "local.compute.finetune", str(self.folder)]

    @property
    def log(self) -> Path:
        return self.folder / "std_log.txt"

    @property
    def mlflow_model(self) -> Path:
        return self.folder / "outputs/mlflow_model_folder"

    @property
    def pytorch_model(self) -> Path:
        return self.folder / "outputs/pytorch_model_folder"

    @property
    def result(self) -> dict[str, Any]:
        return json.loads((self.folder / "result.json").read_text())

    @property
    def properties(self) -> dict[str, str]:
        return json.loads((self.folder / "properties.json").read_text())

    @property
    def steps(self) -> list[tuple[str, str]]:
        lines = (self.folder / "steps.jsonl").read_text().splitlines()
        return [(told["step"], told["status"]) for told in map(json.loads, lines)]

    def run(self) -> int:
        with self.log.open("a") as log:
            return subprocess.run(
                self.command, cwd=ROOT, stdout=log, stderr=log, timeout=580, check=False
            ).returncode

    def start(self) -> Any:
        return running(self.command, self.log)

    def says(self, text: str) -> bool:
        return self.log.exists() and text in self.log.read_text()


@dataclass(frozen=True)
class Scoring:
    """A scoring process."""

    url: str
    process: subprocess.Popen[str]

    def post(self, path: str, body: Any) -> requests.Response:
        return requests.post(f"{self.url}{path}", json=body, timeout=120)

    def score(self, messages: Any, **parameters: Any) -> requests.Response:
        data = {"input_string": messages, "parameters": parameters}
        return self.post("/score", {"input_data": data, "params": {}})


@contextmanager
def serving(model: Path, shape: str, log: Path) -> Iterator[Scoring]:
    port = free_port()
    command = [str(TRAIN_PYTHON), "-m", "local.compute.score", "--model", str(model)]
    command += ["--port", str(port), "--shape", shape, "--name", "velora"]
    with running(command, log) as process:
        url = f"http://127.0.0.1:{port}"
        until(lambda: answers(f"{url}/"), within=240, process=process)
        yield Scoring(url, process)
