"""The command line's own work: what it uploads, prints and waits for."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import psutil
import pytest
from azure.storage.blob import BlobServiceClient
from openai import OpenAI

from local import containers, kept, processes
from local.cli import main
from local.cli.chat import NoAnswer, ask
from local.cli.commands import command
from local.cli.drop import BadDrop, _files
from local.ports import free_port
from local.stack import DEFAULT_STATE


class Answers:
    """An HTTP server in place of Droptune: answers by path, one after the other; the last stays."""

    def __init__(self, port):
        self.replies = {}
        self.asked = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def _reply(self):
                length = int(self.headers.get("Content-Length", 0))
                headers = {name.lower(): value for name, value in self.headers.items()}
                outer.asked.append((self.path, headers, self.rfile.read(length)))
                queue = outer.replies.get(self.path.partition("?")[0], [(404, {}, {})])
                status, headers, body = queue.pop(0) if len(queue) > 1 else queue[0]
                self.send_response(status)
                for name, value in {"Content-Type": "application/json", **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(json.dumps(body).encode())

            do_GET = do_POST = _reply  # noqa: N815 - http.server's names

            def log_message(self, *_):
                return

        self.server = HTTPServer(("127.0.0.1", port), Handler)
        self.url = f"http://127.0.0.1:{port}"


@contextmanager
def answering(port=None):
    made = Answers(port or free_port())
    thread = threading.Thread(target=made.server.serve_forever)
    thread.start()
    try:
        yield made
    finally:
        made.server.shutdown()
        thread.join()
        made.server.server_close()


@pytest.fixture
def droptune(tmp_path, azurite, certificates):
    """A state folder that looks as a running stack's does, over real storage."""
    made = kept.load_or_make(tmp_path)
    ports = {**made.ports, "blob": azurite.blob_port, "queue": azurite.queue_port}
    file = tmp_path / "stack.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "ports": ports}))
    own = psutil.Process(os.getpid())
    supervisor = {"name": "supervisor", "pid": own.pid, "started": processes.started(own)}
    record = {"supervisor": supervisor, "services": []}
    (tmp_path / "processes.json").write_text(json.dumps(record))
    (tmp_path / "host").mkdir()
    (tmp_path / "host" / "keys.json").write_text('{"host": "h-key"}')
    (tmp_path / "certificates").symlink_to(certificates.bundle.parent)
    containers.ensure(azurite.connection_string, certificates.bundle)
    with answering(ports["host"]) as made:
        made.state = tmp_path
        yield made


def run(phase, since="2026-01-01T00:00:00Z", **more):
    return {"id": "r-1", "manifest": "m.json", "phase": phase, "since": since, **more}


def test_env_prints_what_a_shell_can_eval(droptune, capsys):
    """Every variable comes through a real shell unchanged; stdout holds exports only."""
    assert main(["env", "--state", str(droptune.state)]) == 0
    printed = capsys.readouterr().out
    shown = 'eval "$TEXT"; printf "%s|%s" "$DROPTUNE_URL" "$AZURE_STORAGE_CONNECTION_STRING"'
    out = subprocess.run(
        ["sh", "-c", shown],
        env={"TEXT": printed, "PATH": os.environ["PATH"]},
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    url, storage = out.split("|")
    assert url == droptune.url
    assert storage.startswith("DefaultEndpointsProtocol=https;AccountName=devstoreaccount1;")
    assert all(line.startswith("export ") for line in printed.splitlines())
    assert {line.split("=")[0].removeprefix("export ") for line in printed.splitlines()} == {
        "ARM_CLOUD_METADATA_URL", "REGISTRY_DISCOVERY_ENDPOINT_URL", "REQUESTS_CA_BUNDLE",
        "SSL_CERT_FILE", "IDENTITY_ENDPOINT", "IDENTITY_HEADER", "AZURE_SUBSCRIPTION_ID",
        "AZURE_RESOURCE_GROUP", "AZUREML_WORKSPACE", "AZURE_STORAGE_CONNECTION_STRING",
        "DROPTUNE_URL", "DROPTUNE_API_KEY",
    }  # fmt: skip


def test_drop_uploads_data_then_the_manifest_and_tells_the_run(
    droptune, azurite, tmp_path, capsys
):
    """Data lies in `data` under its relative path, the manifest in `manifests`."""
    folder = tmp_path / "work"
    (folder / "rows").mkdir(parents=True)
    (folder / "rows" / "a.jsonl").write_bytes(b"{}\n")
    manifest = folder / "m.json"
    manifest.write_text(
        json.dumps({"name": "m", "dataset": {"files": {"train": ["rows/a.jsonl"]}}})
    )
    droptune.replies["/api/runs"] = [
        (200, {}, {"runs": []}),
        (200, {}, {"runs": []}),
        (200, {}, {"runs": [run("received")]}),
    ]
    assert main(["drop", str(manifest), "--state", str(droptune.state)]) == 0
    assert "run r-1 is received" in capsys.readouterr().out
    with BlobServiceClient.from_connection_string(azurite.connection_string) as blobs:
        data = blobs.get_blob_client("data", "rows/a.jsonl")
        assert data.download_blob().readall() == b"{}\n"
        sent = blobs.get_blob_client("manifests", "m.json").get_blob_properties()
        assert sent.content_settings.content_type == "application/json"
        assert data.get_blob_properties().last_modified <= sent.last_modified
    path, headers, _ = droptune.asked[0]
    assert path == "/api/runs?manifest=m.json"
    assert headers["x-functions-key"] == "h-key"


def test_a_rejected_manifest_is_told_with_its_reason(droptune, tmp_path, capsys):
    """Exit code 1, so that scripts notice."""
    manifest = tmp_path / "m.json"
    manifest.write_text("not json: [")
    droptune.replies["/api/runs"] = [
        (200, {}, {"runs": [run("serving")]}),
        (200, {}, {"runs": [run("rejected", "2026-02-01T00:00:00Z", why="no dataset")]}),
    ]
    assert main(["drop", str(manifest), "--state", str(droptune.state)]) == 1
    assert "rejected: no dataset" in capsys.readouterr().out


def test_a_manifest_with_many_problems_is_told_line_by_line(droptune, tmp_path, capsys):
    """Each problem stands by itself, as in `status`."""
    manifest = tmp_path / "m.json"
    manifest.write_text("{}")
    problems = [{"place": "name", "reason": "is required"}, {"place": "x", "reason": "is [odd]"}]
    rejected = run("rejected", why="2 problems: …; …", problems=problems)
    droptune.replies["/api/runs"] = [(200, {}, {"runs": []}), (200, {}, {"runs": [rejected]})]
    droptune.replies["/api/runs/r-1"] = [(200, {}, rejected)]
    assert main(["drop", str(manifest), "--state", str(droptune.state)]) == 1
    assert capsys.readouterr().out.splitlines()[-3:] == [
        "run r-1 is rejected: 2 problems",
        "    name: is required",
        "    x: is [odd]",
    ]


def test_drop_names_every_missing_file(tmp_path):
    """All of them at once, before anything is uploaded."""
    with pytest.raises(BadDrop, match=r"(?s)m\.json: there is no.*x\.csv: there is no"):
        _files(tmp_path / "m.json", [tmp_path / "x.csv"])


def test_drop_leaves_addresses_and_files_elsewhere_alone(tmp_path):
    """https data is fetched by Droptune; paths out of the manifest's folder are not followed."""
    (tmp_path / "secret").write_text("x")
    folder = tmp_path / "in"
    folder.mkdir()
    manifest = folder / "m.yaml"
    manifest.write_text("dataset: {files: ['https://x/y.jsonl', ../secret, /etc/hosts, gone.csv]}")
    assert _files(manifest, []) == [("manifests", "m.yaml", manifest)]


def test_drop_takes_along_what_patterns_and_deepspeed_name(tmp_path):
    """A pattern means on this machine what it means in the container; nothing else is uploaded."""
    for name in ("velora/a.csv", "velora/b.jsonl", "velora/more/c.csv", "ds.json", "other/d.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_text("x")
    manifest = tmp_path / "m.json"

    def uploaded(files, **finetune):
        manifest.write_text(json.dumps({"dataset": {"files": files}, "finetune": finetune}))
        return [name for container, name, _ in _files(manifest, []) if container == "data"]

    assert uploaded("velora/*.csv") == ["velora/a.csv"]
    assert uploaded(["velora/**/*.csv"], deepspeed="ds.json") == [
        "velora/a.csv",
        "velora/more/c.csv",
        "ds.json",
    ]
    assert uploaded("no/*.csv") == []


def test_what_to_type_next_names_the_state_folder(tmp_path, capsys):
    """Who runs a stack elsewhere can copy what a command says."""
    assert command(DEFAULT_STATE, "status", "r-1") == "python -m local status r-1"
    assert command(tmp_path, "env") == f"python -m local env --state {tmp_path}"
    assert main(["env", "--state", str(tmp_path)]) == 1
    assert f"python -m local up --state {tmp_path}" in capsys.readouterr().err


def test_status_gives_each_problem_a_line(droptune, capsys):
    """Ten problems in one sentence are read by nobody."""
    problems = [
        {"place": "idle.after", "reason": "is no span", "mend": "Write 2h"},
        {"place": "name", "reason": "is required"},
    ]
    step = {"at": "2026-01-01T00:00:00Z", "from": "received", "to": "rejected", "why": "2 …; …"}
    record = run("rejected", timeline=[step], problems=problems)
    droptune.replies["/api/runs/r-1"] = [(200, {}, record)]
    assert main(["status", "r-1", "--state", str(droptune.state)]) == 0
    assert capsys.readouterr().out.splitlines()[-3:] == [
        "  2026-01-01T00:00:00Z  received → rejected  2 problems:",
        "    idle.after: is no span. Write 2h",
        "    name: is required",
    ]


def test_status_lists_runs_plainly_when_not_on_a_terminal(droptune, capsys):
    """One run a line, columns by tab: fit for cut and grep."""
    droptune.replies["/api/runs"] = [(200, {}, {"runs": [run("serving", endpoint="e-1")]})]
    assert main(["status", "--state", str(droptune.state)]) == 0
    assert capsys.readouterr().out == "r-1\tm.json\tserving\t2026-01-01T00:00:00Z\te-1\t\n"


def test_status_of_a_run_shows_its_timeline_and_an_unknown_one_is_told(droptune, capsys):
    """When, from, to, why, for a person; brackets in a reason are text."""
    step = {"at": "2026-01-01T00:00:00Z", "from": None, "to": "received", "why": "[dropped]"}
    droptune.replies["/api/runs/r-1"] = [(200, {}, run("received", timeline=[step]))]
    assert main(["status", "r-1", "--state", str(droptune.state)]) == 0
    assert "2026-01-01T00:00:00Z  · → received  [dropped]" in capsys.readouterr().out
    assert main(["status", "r-2", "--state", str(droptune.state)]) == 1
    assert "There is no run r-2" in capsys.readouterr().err


ANSWER = {
    "id": "c", "object": "chat.completion", "created": 1, "model": "m",
    "choices": [{"index": 0, "finish_reason": "stop",
                 "message": {"role": "assistant", "content": "At nine."}}],
}  # fmt: skip
ASLEEP = {"error": {"message": "m is waking.", "type": "unavailable", "code": "waking"}}
COMPLETIONS = "/api/v1/chat/completions"


def test_chat_waits_for_a_model_that_wakes_and_prints_only_the_answer(droptune, capsys):
    """503 with Retry-After is waited out and told on stderr; stdout is the answer."""
    droptune.replies[COMPLETIONS] = [(503, {"Retry-After": "0"}, ASLEEP), (200, {}, ANSWER)]
    assert main(["chat", "m", "When?", "--state", str(droptune.state)]) == 0
    printed = capsys.readouterr()
    assert printed.out == "At nine.\n"
    assert "m is waking. Asking again in 0 s." in printed.err
    _, headers, body = droptune.asked[0]
    assert headers["authorization"] == f"Bearer {kept.load(droptune.state).api_key}"
    assert json.loads(body)["messages"] == [{"role": "user", "content": "When?"}]


@pytest.mark.parametrize(
    ("status", "headers", "patience"), [(404, {}, 10), (503, {"Retry-After": "30"}, 10)]
)
def test_chat_gives_up_with_the_servers_words(status, headers, patience):
    """What waiting cannot mend, or would take too long, is one line."""
    with answering() as server:
        server.replies[COMPLETIONS] = [(status, headers, ASLEEP)]
        with (
            OpenAI(base_url=f"{server.url}/api/v1", api_key="k", max_retries=0) as client,
            pytest.raises(NoAnswer, match="m: m is waking"),
        ):
            ask(client, "m", [{"role": "user", "content": "x"}], [].append, patience=patience)


def test_reset_removes_a_stacks_state_and_nothing_else(tmp_path, capsys):
    """A folder that no stack made is left alone; without a yes nothing goes."""
    state, other = tmp_path / "state", tmp_path / "other"
    kept.load_or_make(state)
    other.mkdir()
    (other / "thesis.txt").write_text("x")
    assert main(["reset", "--yes", "--state", str(other)]) == 1
    assert (other / "thesis.txt").exists()
    assert main(["reset", "--yes", "--state", str(state)]) == 0
    assert not state.exists()
    assert main(["reset", "--yes", "--state", str(state)]) == 0
    assert "nothing to forget" in capsys.readouterr().out


def test_the_demo_begins_with_nothing_and_spares_what_is_not_its_own(
    tmp_path, capsys, monkeypatch
):
    """An earlier demo's state goes; a folder that no stack made, or `up`'s own state, stays."""
    up = tmp_path / "up"
    earlier, other = up / "demo", tmp_path / "other"
    for state in (up, earlier):
        kept.load_or_make(state)
    other.mkdir()
    (other / "thesis.txt").write_text("x")
    begun = []
    monkeypatch.setattr("local.stack.Stack.start", lambda stack: begun.append(stack.state))
    monkeypatch.setattr("local.demo.run", lambda stack: 0 if not stack.state.exists() else 1)
    assert main(["demo", "--state", str(other)]) == 1
    assert "not a stack's state" in capsys.readouterr().err
    assert main(["demo", "--state", str(earlier)]) == 0
    assert begun == [earlier]
    assert (other / "thesis.txt").exists()
    assert (up / "stack.json").exists()


def test_reset_forgets_the_demo_as_well(tmp_path):
    """Also when nothing but a demo ever ran there."""
    kept.load_or_make(tmp_path / "state" / "demo")
    assert main(["reset", "--yes", "--state", str(tmp_path / "state")]) == 0
    assert not (tmp_path / "state").exists()


def test_reset_refuses_while_a_stack_runs(droptune, capsys):
    """Its files are in use."""
    assert main(["reset", "--yes", "--state", str(droptune.state)]) == 1
    assert "A stack runs" in capsys.readouterr().err
    assert droptune.state.exists()
