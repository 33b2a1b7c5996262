"""The whole stack; Azurite and Event Grid are real, stand-ins take the other parts' place."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import psutil
import pytest
from azure.storage.blob import BlobServiceClient
from azure.storage.queue import QueueServiceClient

from local import containers, kept, supervision
from local.cli import main
from local.eventgrid.configuration import parse
from local.processes import StartFailed
from local.stack import EVENT_GRID, HOST, MLFLOW, PLANE, NotRunning, Stack, running_environment
from local.topics import configuration

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


def stack(state, **options):
    """A stack whose control plane, tracking and host are stand-ins."""
    state.mkdir(parents=True, exist_ok=True)
    ports = kept.load_or_make(state).ports
    base = [sys.executable, str(HERE / "stand_in.py")]
    certificates = state / "certificates"
    tls = ["--tls", str(certificates / "server.pem"), str(certificates / "server.key")]
    commands = {
        MLFLOW: [*base, str(ports["mlflow"])],
        PLANE: [*base, str(ports["control_plane"]), *tls],
        HOST: [*base, str(ports["host"]), "--keys", str(state / "host" / "keys.json")],
    }
    return Stack(state, commands=commands, **options)


@pytest.fixture
def folder(tmp_path, azurite, monkeypatch):
    """A state folder; Azurite is installed, and its certificates are the stack's own."""
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    monkeypatch.delenv("SSL_CERT_FILE")
    return tmp_path / "state"


def test_the_stack_starts_with_storage_ready_and_ends_without_a_trace(folder, monkeypatch):
    """Containers and queue are there, Event Grid is up, and after stop nothing runs."""
    with stack(folder) as running:
        assert set(running.pids) == {"Azurite", MLFLOW, PLANE, EVENT_GRID, HOST}
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", running.environment["REQUESTS_CA_BUNDLE"])
        storage = running.environment["AZURE_STORAGE_CONNECTION_STRING"]
        with BlobServiceClient.from_connection_string(storage) as blobs:
            found = {container.name for container in blobs.list_containers()}
        with QueueServiceClient.from_connection_string(storage) as queues:
            assert [queue.name for queue in queues.list_queues()] == [containers.QUEUE]
        assert found == set(containers.CONTAINERS)
        assert running_environment(folder) == running.environment
    assert not supervision.marked(str(folder))
    with pytest.raises(NotRunning):
        running_environment(folder)


def test_ports_and_keys_survive_a_restart(folder):
    """Addresses that people have pasted somewhere stay good."""
    with stack(folder) as running:
        before = running.environment
    with stack(folder) as running:
        assert running.environment == before


def test_one_stack_runs_on_a_state_folder(folder):
    """A second one is refused in a line, and the first goes on."""
    with stack(folder) as running:
        with pytest.raises(StartFailed, match="A stack runs already"):
            stack(folder).start()
        assert len(running.pids) == 5


def test_a_port_taken_by_another_program_is_named(folder):
    """The error says which port of whom, and what to do."""
    made = stack(folder)
    port = kept.load_or_make(folder).ports["host"]
    import socket

    with socket.socket() as other:
        other.bind(("127.0.0.1", port))
        other.listen()
        with pytest.raises(StartFailed, match=rf"{port} \(host\).*stack\.json"):
            made.start()
    assert not supervision.marked(str(folder))


def test_the_host_gets_the_app_settings_and_settings_json_wins_over_defaults(folder):
    """Defaults, then settings.json, then what the constructor is given."""
    made = stack(folder, settings={"CLEANUP_SCHEDULE": "0 0 * * * *"})
    overrides = {"DROPTUNE_MAX_RUNS": "7", "CLEANUP_SCHEDULE": "never"}
    (folder / "settings.json").write_text(json.dumps(overrides))
    with made as running:
        url = running.environment["DROPTUNE_URL"]
        with urllib.request.urlopen(f"{url}/healthz") as answer:
            seen = json.load(answer)["env"]
        assert running.app_settings.items() <= seen.items()
    assert seen["DROPTUNE_MAX_RUNS"] == "7"
    assert seen["CLEANUP_SCHEDULE"] == "0 0 * * * *"
    assert seen["AzureWebJobsStorage"] == running.environment["AZURE_STORAGE_CONNECTION_STRING"]
    assert running.environment["DROPTUNE_API_KEY"] not in json.dumps(seen)


def test_wrong_settings_are_named(folder):
    """settings.json takes strings; anything else is told with its name."""
    made = stack(folder)
    (folder / "settings.json").write_text('{"DROPTUNE_MAX_RUNS": 7}')
    with pytest.raises(StartFailed, match=r"settings\.json.*DROPTUNE_MAX_RUNS"):
        made.start()


RUN = """
import sys
sys.path[:0] = [{root!r}]
from pathlib import Path
from tests.stack.test_stack import stack
from local.cli.up import run
sys.exit(run(stack(Path({folder!r}))))
"""


def test_an_interrupted_stack_leaves_no_process_behind(folder):
    """Ctrl-C ends `up` with code 0, and every process it started."""
    with _up(folder) as process:
        process.send_signal(signal.SIGINT)
        assert process.wait(120) == 0
    assert not supervision.marked(str(folder))


def test_a_killed_stack_starts_again_where_it_was(folder, monkeypatch):
    """After SIGKILL of everything the next start has the same addresses and the same blobs."""
    with _up(folder) as process:
        before = running_environment(folder)
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", before["REQUESTS_CA_BUNDLE"])
        storage = before["AZURE_STORAGE_CONNECTION_STRING"]
        with BlobServiceClient.from_connection_string(storage) as blobs:
            blobs.get_blob_client("data", "x").upload_blob(b"1")
        doomed = supervision.marked(str(folder))
        process.kill()
        for one in doomed:
            with contextlib.suppress(psutil.NoSuchProcess):  # tied to the one that was killed
                one.kill()
    psutil.wait_procs(doomed, timeout=60)
    told = []
    with stack(folder, tell=told.append) as running:
        assert running.environment == before
        with BlobServiceClient.from_connection_string(storage) as blobs:
            assert blobs.get_blob_client("data", "x").download_blob().readall() == b"1"
    assert not supervision.marked(str(folder))


def _up(folder):
    code = RUN.format(root=str(ROOT), folder=str(folder))
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=ROOT, text=True, env=os.environ
    )
    for line in process.stdout:
        if "Ctrl-C" in line:
            return process
    raise AssertionError(f"up ended with {process.wait()}")


def test_the_topics_that_the_stack_makes_are_understood_by_event_grid(tmp_path):
    """The configuration is valid, and wants manifests and Droptune's own jobs only."""
    made = kept.load_or_make(tmp_path)
    jobs, storage = parse(configuration(made, events_key="e", blobs_key="b"))
    [job] = jobs.subscriptions
    [manifest] = storage.subscriptions
    change = {"eventType": "Microsoft.MachineLearningServices.RunStatusChanged", "subject": "s"}
    assert job.wants.matches({**change, "data": {"runTags": {"droptune_run": "r"}}})
    assert not job.wants.matches({**change, "data": {"runTags": {}}})

    def upload(name, size, container="manifests"):
        return {
            "eventType": "Microsoft.Storage.BlobCreated",
            "subject": f"/blobServices/default/containers/{container}/blobs/{name}",
            "data": {"contentLength": size},
        }

    assert manifest.wants.matches(upload("a/b.yaml", 262_144))
    assert not manifest.wants.matches(upload("a.json", 262_145))
    assert not manifest.wants.matches(upload("a.txt", 10))
    assert not manifest.wants.matches(upload("a.json", 10, "data"))


@pytest.mark.parametrize(
    "command",
    [["env"], ["status"], ["status", "r"], ["drop", "m.json"], ["chat", "m", "hi"], ["demo-less"]],
)
def test_commands_say_so_when_no_stack_runs(tmp_path, capsys, command):
    """One clear line on stderr, exit code 1, nothing to eval on stdout."""
    if command == ["demo-less"]:
        with pytest.raises(SystemExit):
            main([*command, "--state", str(tmp_path)])
        return
    (tmp_path / "m.json").write_text("{}")
    command = [str(tmp_path / part) if part == "m.json" else part for part in command]
    assert main([*command, "--state", str(tmp_path)]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "python -m local up" in printed.err
