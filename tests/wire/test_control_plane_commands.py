"""Command jobs, submitted by the unmodified SDK and run as processes of this machine."""

from __future__ import annotations

import time
import uuid
from typing import TYPE_CHECKING

import psutil
import pytest
import requests
from azure.core.exceptions import HttpResponseError

from tests.ended import has_ended
from tests.wire.job_making import a_command, wait_for

if TYPE_CHECKING:
    from pathlib import Path


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


def test_every_node_is_told_its_number(ml_client, control_plane, code):
    """Three nodes are three processes, numbered as for PyTorch; the log says which wrote what."""
    job = a_command(
        "python -m package.tell",
        code,
        instance_count=3,
        distribution={"type": "pytorch", "process_count_per_instance": 1},
    )
    ml_client.jobs.create_or_update(job)
    assert wait_for(ml_client, job.name) == "Completed"
    log = log_of(ml_client, control_plane, job.name)
    assert {f"[{rank}] told {rank} 3 None" for rank in range(3)} <= set(log.splitlines())


def test_inputs_come_and_outputs_go(ml_client, control_plane, tmp_path):
    """A literal, a file and a folder are in the command's place; the output folder is uploaded."""
    from azure.ai.ml import Input, Output

    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a.txt").write_text("alpha\n")
    (tmp_path / "b.txt").write_text("beta\n")
    job = a_command(
        "cat ${{inputs.folder}}/a.txt ${{inputs.file}} > ${{outputs.made}}/c.txt;"
        " echo ${{inputs.word}} >> ${{outputs.made}}/c.txt",
        inputs={
            "folder": Input(type="uri_folder", path=str(tmp_path / "folder")),
            "file": Input(type="uri_file", path=str(tmp_path / "b.txt")),
            "word": "gamma",
        },
        outputs={"made": Output(type="uri_folder")},
    )
    ml_client.jobs.create_or_update(job)
    assert wait_for(ml_client, job.name) == "Completed"
    ml_client.jobs.download(job.name, download_path=str(tmp_path / "down"), output_name="made")
    made = tmp_path / "down" / "named-outputs" / "made" / "c.txt"
    assert made.read_text() == "alpha\nbeta\ngamma\n"


def test_a_command_that_fails_fails_the_job_with_the_end_of_its_log(ml_client, ask, control_plane):
    """One node's exit ends the others; the message has what it printed last."""
    job = a_command(
        "if [ $RANK = 1 ]; then echo the disk is full; exit 3; else sleep 300; fi",
        instance_count=2,
        distribution={"type": "pytorch", "process_count_per_instance": 1},
    )
    ml_client.jobs.create_or_update(job)
    assert wait_for(ml_client, job.name) == "Failed"
    workspace = control_plane.plane.workspace_id
    error = ask(f"/history/v1.0{workspace}/runs/{job.name}/details")["error"]["error"]
    assert error["code"] == "UserError"
    assert "exited with status code 3" in error["message"]
    assert "[1] the disk is full" in error["message"]


def processes_with(mark: str) -> list[psutil.Process]:
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if any(mark in each for each in process.info["cmdline"] or []) and not has_ended(process)
    ]


def sleeping(seconds: str) -> list[psutil.Process]:
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if process.info["cmdline"] == ["sleep", seconds]
    ]


def wait_until(holds) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_cancelled_command_leaves_no_process(ml_client, tmp_path):
    """All nodes end."""
    job = a_command(
        f"touch {tmp_path}/$RANK; sleep 301; true",
        instance_count=2,
        distribution={"type": "pytorch", "process_count_per_instance": 1},
    )
    ml_client.jobs.create_or_update(job)
    wait_until(lambda: {each.name for each in tmp_path.iterdir()} == {"0", "1"})
    ml_client.jobs.begin_cancel(job.name).wait()
    assert wait_for(ml_client, job.name) == "Canceled"
    assert not processes_with(str(tmp_path))


def test_a_command_over_its_time_is_cancelled(ml_client):
    """As Azure does with `limits.timeout`."""
    job = a_command("sleep 300", timeout=1)
    ml_client.jobs.create_or_update(job)
    assert wait_for(ml_client, job.name) == "Canceled"


def test_a_node_that_is_killed_fails_the_job(ml_client, tmp_path):
    """The status is the signal's, as a shell tells it."""
    job = a_command(f"touch {tmp_path}/up; kill -9 $$")
    ml_client.jobs.create_or_update(job)
    assert wait_for(ml_client, job.name) == "Failed"


def test_a_runner_that_dies_takes_its_nodes_along_and_is_started_again(
    ml_client, control_plane, tmp_path
):
    """The command runs anew, from its beginning; nothing of the first start is left."""
    long = f"302.{uuid.uuid4().int % 10**9:09}"  # no other test run of this machine sleeps so long
    job = a_command(
        f"echo up >> {tmp_path}/starts; test $(wc -l < {tmp_path}/starts) = 2 || sleep {long}"
    )
    ml_client.jobs.create_or_update(job)
    # Not the shell: while it counts the lines, it is two processes of one command line.
    wait_until(lambda: sleeping(long))
    (node,) = sleeping(long)
    (runner,) = processes_with(str(control_plane.plane.settings.state / "jobs" / job.name))
    runner.kill()
    assert wait_for(ml_client, job.name) == "Completed"
    wait_until(lambda: has_ended(node))
    assert (tmp_path / "starts").read_text() == "up\nup\n"


def test_azure_refuses_what_cannot_run(ml_client):
    """Unknown compute, more nodes than a cluster has, and everything else that is wrong at once."""
    from azure.ai.ml.entities import AmlCompute

    with pytest.raises(HttpResponseError, match="Unknown compute target 'nowhere'"):
        ml_client.jobs.create_or_update(a_command("true", compute="nowhere"))
    ml_client.compute.begin_create_or_update(
        AmlCompute(name="two-nodes", size="Standard_DS2_v2", max_instances=2)
    ).result()
    many = {
        "distribution": {"type": "pytorch", "process_count_per_instance": 1},
        "compute": "two-nodes",
    }
    with pytest.raises(HttpResponseError, match=r"asks for 3 nodes .* at most 2"):
        ml_client.jobs.create_or_update(a_command("true", instance_count=3, **many))
    with pytest.raises(HttpResponseError, match="'Standard_None' is not supported"):
        ml_client.jobs.create_or_update(a_command("true", instance_type="Standard_None"))
    with pytest.raises(HttpResponseError, match=r"environment .*/versions/7 is not found"):
        ml_client.jobs.create_or_update(a_command("true", environment="azureml:nothing:7"))


def test_what_would_be_ignored_is_refused(ml_client, control_plane):
    """501, with what it is."""
    from azure.ai.ml import Input, UserIdentityConfiguration

    instance = f"{control_plane.url}/_emulator/compute-instances/workstation"
    requests.put(instance, json={}, timeout=10).raise_for_status()
    cases = [
        ({"compute": "workstation"}, "compute of type 'ComputeInstance'"),
        (
            {"distribution": {"type": "mpi", "process_count_per_instance": 1}},
            "distribution of type 'Mpi'",
        ),
        ({"instance_count": 2}, "several nodes without a distribution"),
        ({"identity": UserIdentityConfiguration()}, "identity of type 'UserIdentity'"),
        (
            {
                "docker_args": "--gpus all",
                "environment": "azureml://registries/azureml/environments/x/versions/1",
            },
            "environment of a registry",
        ),
        (
            {
                "inputs": {
                    "x": Input(
                        type="mltable", path="azureml://datastores/workspaceblobstore/paths/x/"
                    )
                }
            },
            "input of type 'mltable'",
        ),
    ]
    for changed, said in cases:
        with pytest.raises(HttpResponseError, match=said) as refused:
            ml_client.jobs.create_or_update(a_command("true", **changed))
        assert refused.value.status_code == 501
    requests.delete(instance, timeout=10).raise_for_status()


def test_the_same_job_again_is_the_job_that_is_there(ml_client):
    """Another command under its name is refused."""
    job = a_command("true")
    ml_client.jobs.create_or_update(job)
    assert wait_for(ml_client, job.name) == "Completed"
    other = a_command("false")
    other.name = job.name
    with pytest.raises(HttpResponseError, match=r"existing job's Command cannot be changed"):
        ml_client.jobs.create_or_update(other)


def test_jobs_are_listed_by_their_type(ml_client):
    """Both kinds stand in one list."""
    job = a_command("true")
    ml_client.jobs.create_or_update(job)
    assert wait_for(ml_client, job.name) == "Completed"
    assert job.name in {found.name for found in ml_client.jobs.list()}
