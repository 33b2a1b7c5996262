"""A killed control plane goes on where it was; events reach a topic that was away."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import psutil
import pytest

from local.azureml.plane import REPOSITORY, Topic
from local.azureml.server import ControlPlane
from local.ports import free_ports
from tests.ended import has_ended
from tests.wire.conftest import make_client, pointed_at
from tests.wire.job_making import data_file, fine_tune, held, wait_for
from tests.wire.test_control_plane_commands import a_command
from tests.wire.topic_server import TopicServer

TERMINAL = {"Completed", "Failed", "Canceled"}

# A control plane in a process of its own, with the stand-in for training.
PROGRAM = """
import json, sys, time
from pathlib import Path
from local.azureml.plane import Settings
from local.azureml.server import ControlPlane
from local.certificates import Certificates
given = json.loads(sys.argv[1])
certificates = Certificates(*map(Path, given.pop("certificates")))
command = tuple(given.pop("train_command"))
settings = Settings(state=Path(given.pop("state")), certificates=certificates,
                    train_command=command, **given)
with ControlPlane(settings):
    print("ready", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def doomed(plane_settings, tmp_path):
    """Start a control plane as a process that can be killed; whatever is left ends with the test."""
    settings = plane_settings(tmp_path / "state")
    ports = tuple(free_ports(["https", "identity"]).values())
    given = {
        "state": str(settings.state),
        "certificates": [
            str(settings.certificates.certificate),
            str(settings.certificates.key),
            str(settings.certificates.bundle),
        ],
        "storage": settings.storage,
        "tracking_uri": settings.tracking_uri,
        "train_command": settings.train_command,
        "pace": "instant",
    }
    program = PROGRAM.replace(
        "ControlPlane(settings)",
        f"ControlPlane(settings, port={ports[0]}, identity_port={ports[1]})",
    )
    child = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", program, json.dumps(given)],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    yield child, settings, ports
    child.kill()
    child.wait()
    child.stdout.close()
    for process in trainers(settings.state):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def trainers(state: Path) -> list[psutil.Process]:
    """The live training processes of a state folder."""
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if any(str(state / "jobs") in each for each in process.info["cmdline"] or [])
        and not has_ended(process)
    ]


def environment_of(settings, ports, header):
    """What an SDK needs to reach the doomed process."""
    url = f"https://localhost:{ports[0]}"
    return {
        "ARM_CLOUD_METADATA_URL": f"{url}/metadata/endpoints?api-version=2019-05-01",
        "REGISTRY_DISCOVERY_ENDPOINT_URL": f"{url}/",
        "REQUESTS_CA_BUNDLE": str(settings.certificates.bundle),
        "IDENTITY_ENDPOINT": f"http://127.0.0.1:{ports[1]}/msi/token",
        "IDENTITY_HEADER": header,
        "AZURE_SUBSCRIPTION_ID": settings.subscription,
        "AZURE_RESOURCE_GROUP": settings.group,
        "AZUREML_WORKSPACE": settings.workspace,
        "AZUREML_CURRENT_CLOUD": "DroptuneLocal",
    }


def header_of(settings) -> str:
    """The identity header that the state folder holds."""
    import sqlite3

    path = settings.state / "control-plane.sqlite"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        query = "select body from documents where kind = 'secret' and key = 'identity-header'"
        return json.loads(connection.execute(query).fetchone()[0])["value"]


def test_a_killed_control_plane_adopts_what_trains(doomed, tmp_path, monkeypatch):
    """After SIGKILL the job's process lives on; the next control plane waits for its end."""
    child, settings, ports = doomed
    for name, value in environment_of(settings, ports, header_of(settings)).items():
        monkeypatch.setenv(name, value)
    client, registry = make_client(), make_client("azureml")
    with held(tmp_path / "data") as (train, release):
        job = client.jobs.create_or_update(fine_tune(registry, train))
        wait_for(client, job.name, "Running")
        marker = settings.state / "jobs" / job.name / "started"
        wait_until(marker.exists)
        (trainer,) = trainers(settings.state)
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        assert trainer.is_running()
        with ControlPlane(settings, port=ports[0], identity_port=ports[1]):
            assert client.jobs.get(job.name).status == "Running"
            assert [each.pid for each in trainers(settings.state)] == [trainer.pid]
            release.touch()
            assert wait_for(client, job.name) == "Completed"


def test_a_killed_control_plane_starts_again_what_died_with_it(doomed, tmp_path, monkeypatch):
    """After SIGKILL of both, the next control plane starts the training again; no death counts."""
    child, settings, ports = doomed
    for name, value in environment_of(settings, ports, header_of(settings)).items():
        monkeypatch.setenv(name, value)
    client, registry = make_client(), make_client("azureml")
    with held(tmp_path / "data") as (train, release):
        job = client.jobs.create_or_update(fine_tune(registry, train))
        wait_until((settings.state / "jobs" / job.name / "started").exists)
        (trainer,) = trainers(settings.state)
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        trainer.kill()
        wait_until(lambda: has_ended(trainer))
        release.touch()
        with ControlPlane(settings, port=ports[0], identity_port=ports[1]):
            assert wait_for(client, job.name) == "Completed"


def test_a_killed_control_plane_adopts_a_command_and_learns_how_it_ended(
    doomed, tmp_path, monkeypatch
):
    """All nodes of a command job live on; their end is known though nobody watched when it came."""
    child, settings, ports = doomed
    for name, value in environment_of(settings, ports, header_of(settings)).items():
        monkeypatch.setenv(name, value)
    client = make_client()
    several = {
        "instance_count": 2,
        "distribution": {"type": "pytorch", "process_count_per_instance": 1},
    }
    line = (
        f"touch {tmp_path}/up-$RANK; until test -e {tmp_path}/go; do sleep 0.1; done; exit $RANK"
    )
    job = client.jobs.create_or_update(a_command(line, **several))
    wait_until(lambda: all((tmp_path / f"up-{rank}").exists() for rank in (0, 1)))
    (runner,) = trainers(settings.state)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    (tmp_path / "go").touch()
    wait_until(lambda: has_ended(runner))
    with ControlPlane(settings, port=ports[0], identity_port=ports[1]):
        assert wait_for(client, job.name) == "Failed"  # node 1 ended with status 1


def test_stopping_leaves_no_process_behind_and_the_job_goes_on_later(plane_settings, tmp_path):
    """A stopped control plane ends its training; started again, the job completes."""
    settings = plane_settings(tmp_path / "state")
    with held(tmp_path / "data") as (train, release):
        with ControlPlane(settings) as plane, pointed_at(plane):
            client, registry = make_client(), make_client("azureml")
            job = client.jobs.create_or_update(fine_tune(registry, train))
            wait_until((settings.state / "jobs" / job.name / "started").exists)
        assert trainers(settings.state) == []
        release.touch()
        with ControlPlane(settings) as plane, pointed_at(plane):
            assert wait_for(make_client(), job.name) == "Completed"


def wait_until(true, seconds=60.0):
    """Wait for a condition that something else brings about."""
    import time

    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "It did not happen."
        time.sleep(0.02)


def test_every_status_is_an_event_even_if_the_topic_was_away(plane_settings, tmp_path):
    """Events of the job and its children arrive once the topic is back, none lost, in order."""
    with TopicServer() as server:
        server.away = True
        topic = Topic(f"http://127.0.0.1:{server.port}/topics/azureml/api/events", "key")
        settings = plane_settings(tmp_path / "state", topic=topic)
        with ControlPlane(settings) as plane, pointed_at(plane):
            client, registry = make_client(), make_client("azureml")
            train = data_file(tmp_path / "data")
            job = client.jobs.create_or_update(fine_tune(registry, train))
            assert wait_for(client, job.name) == "Completed"
            wait_until(lambda: server.refused > 0)
        server.away = False
        with ControlPlane(settings):
            wait_until(
                lambda: any(
                    each["eventType"].endswith("RunCompleted")
                    and each["data"]["runId"] == job.name
                    for each in server.events
                )
            )
    root = [each for each in server.events if each["data"]["runId"] == job.name]
    changed = [each for each in root if each["eventType"].endswith(".RunStatusChanged")]
    assert [each["data"]["runStatus"] for each in changed] == [
        "NotStarted",
        "Preparing",
        "Queued",
        "Running",
        "Finalizing",
        "Completed",
    ]
    (completed,) = [each for each in root if each["eventType"].endswith(".RunCompleted")]
    assert "runStatus" not in completed["data"]
    assert completed["data"]["runTags"]["droptune_run"] == "r1"
    assert completed["data"]["runType"] == "azureml.PipelineRun"
    assert completed["subject"].endswith(f"/runs/{job.name}")
    children = Counter(
        each["data"]["runProperties"]["azureml.moduleName"]
        for each in server.events
        if each["data"]["runType"] == "azureml.StepRun"
        and each["eventType"].endswith("RunCompleted")
    )
    assert children["finetune"] == 1
    assert len(children) == 5


def test_no_more_jobs_train_at_once_than_there_are_slots(plane_settings, tmp_path):
    """With one slot a second job stays Queued until the first has trained."""
    settings = plane_settings(tmp_path / "state", training_slots=1)
    with (
        held(tmp_path / "first") as (first_data, first_release),
        held(tmp_path / "second") as (second_data, second_release),
        ControlPlane(settings) as plane,
        pointed_at(plane),
    ):
        client, registry = make_client(), make_client("azureml")
        first = client.jobs.create_or_update(fine_tune(registry, first_data))
        wait_until((settings.state / "jobs" / first.name / "started").exists)
        second = client.jobs.create_or_update(fine_tune(registry, second_data))
        wait_for(client, second.name, "Queued")
        assert len(trainers(settings.state)) == 1
        assert client.jobs.get(second.name).status == "Queued"
        first_release.touch()
        wait_until((settings.state / "jobs" / second.name / "started").exists)
        second_release.touch()
        assert wait_for(client, first.name) == "Completed"
        assert wait_for(client, second.name) == "Completed"
