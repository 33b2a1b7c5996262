"""Command jobs, submitted by the unmodified SDK and run as processes of this machine."""

from __future__ import annotations

import os
import time
import uuid
from typing import TYPE_CHECKING

import psutil
import pytest
from azure.core.exceptions import HttpResponseError

from tests.wire.job_making import wait_for

if TYPE_CHECKING:
    from pathlib import Path

CONDA = {"name": "tests", "dependencies": ["python=3.11"]}


@pytest.fixture
def code(tmp_path: Path) -> Path:
    """A folder of code: one module that tells what it was given."""
    folder = tmp_path / "code"
    (folder / "package").mkdir(parents=True)
    (folder / "package" / "__init__.py").write_text("")
    (folder / "package" / "tell.py").write_text(
        "import os, sys\n"
        "print('told', *sys.argv[1:], os.environ.get('RANK'), os.environ.get('WORLD_SIZE'), os.environ.get('OWN'))\n"
    )
    return folder


def a_command(command_line: str, code: Path | None = None, **more):
    from azure.ai.ml import command
    from azure.ai.ml.entities import Environment

    usual = {
        "experiment_name": "tests",
        "environment": Environment(image="mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04", conda_file=CONDA),
        "tags": {"droptune_run": "r1"},
    }
    job = command(command=command_line, code=None if code is None else str(code), **usual | more)
    job.name = f"command-{uuid.uuid4().hex[:10]}"
    return job


def log_of(client, control_plane, name: str) -> str:
    folder = control_plane.plane.settings.state / "jobs" / name
    return (folder / "std_log.txt").read_text()


def test_a_command_runs_with_its_code_and_its_variables(ml_client, control_plane, code):
    """Code is uploaded, fetched and run; the job's own environment variables are there."""
    job = a_command("python -m package.tell hello", code, environment_variables={"OWN": "yes"})
    made = ml_client.jobs.create_or_update(job)
    assert (made.name, made.status) == (job.name, "NotStarted")
    assert wait_for(ml_client, job.name) == "Completed"
    assert "told hello None None yes" in log_of(ml_client, control_plane, job.name)
    found = ml_client.jobs.get(job.name)
    assert found.type == "command"
    assert found.command == "python -m package.tell hello"
    assert found.tags == {"droptune_run": "r1"}
