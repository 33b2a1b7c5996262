"""What Azure's runtime accepts and rejects; holds the pinned `azure-functions-runtime` to it.

The outcome of each of these apps was the same under Azure's own Python worker 4.34.0.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.host.process import HostProcess

if TYPE_CHECKING:
    from pathlib import Path

HEAD = """
import functools, typing
import azure.functions as func
app = func.FunctionApp()
"""
QUEUE = '@app.queue_trigger(arg_name="m", queue_name="q-1", connection="STORE")\n'
EVENT = '@app.event_grid_trigger(arg_name="e")\n'
OUTPUT = '@app.queue_output(arg_name="o", queue_name="q-2", connection="STORE")\n'

REJECTED = {
    "argument's name is not the parameter's": (
        HEAD + QUEUE + "def f(message: func.QueueMessage): ...",
        "cannot load the f function",
    ),
    "further parameter with a default": (
        HEAD + QUEUE + "def f(m: func.QueueMessage, extra=1): ...",
        "extra",
    ),
    "decorator that hides the signature": (
        HEAD
        + "def wrap(inner):\n    def outer(*a, **k): return inner(*a, **k)\n    return outer\n"
        + QUEUE
        + "@wrap\ndef f(m: func.QueueMessage): ...",
        "cannot load the outer function",
    ),
    "type of another trigger": (
        HEAD + QUEUE + "def f(m: func.EventGridEvent): ...",
        "corresponding function parameter's Python type annotation EventGridEvent",
    ),
    "list of events": (
        HEAD + EVENT + "def f(e: typing.List[func.EventGridEvent]): ...",
        "do not match the corresponding function parameter's Python type annotation List",
    ),
    "optional message": (
        HEAD + QUEUE + "def f(m: typing.Optional[func.QueueMessage]): ...",
        "binding m has invalid non-type annotation",
    ),
    "output that is not Out": (
        HEAD + OUTPUT + QUEUE + "def f(m: func.QueueMessage, o: str): ...",
        "Out",
    ),
    "two apps": (HEAD + "other = func.FunctionApp()\n" + EVENT + "def f(e): ...", "More than one"),
    "one name twice": (
        HEAD + EVENT + "def f(e): ...\n" + EVENT + "def f(e): ...",
        "does not have a unique function name",
    ),
    "import that fails": (HEAD + "import not_there_at_all\n", "not_there_at_all"),
    "schedule that is none": (
        HEAD
        + '@app.timer_trigger(arg_name="t", schedule="every day")\n'
        + "def f(t: func.TimerRequest): ...",
        "'every day' has 2 fields",
    ),
}
ACCEPTED = {
    "annotations as texts": "from __future__ import annotations\n"
    + HEAD
    + QUEUE
    + "def f(m: func.QueueMessage) -> None: ...",
    "message as a text": HEAD + QUEUE + "def f(m: str): ...",
}


def load(folder: Path, code: str, host_json: object = None) -> HostProcess:
    folder.mkdir(exist_ok=True)
    (folder / "function_app.py").write_text(code)
    (folder / "host.json").write_text(json.dumps(host_json or {"version": "2.0"}))
    storage = "UseDevelopmentStorage=true"
    process = HostProcess(
        folder, folder / "state", {"STORE": storage, "AzureWebJobsStorage": storage}, "--check"
    )
    process.wait()
    return process


@pytest.mark.parametrize("name", REJECTED)
def test_what_azure_rejects_does_not_load(tmp_path: Path, name: str) -> None:
    code, reason = REJECTED[name]
    process = load(tmp_path, code)
    assert process.process.returncode == 1, process.output
    assert "none of its functions runs" in process.output
    assert reason in process.output
    assert "Traceback" not in process.output


@pytest.mark.parametrize("name", ACCEPTED)
def test_what_azure_accepts_loads(tmp_path: Path, name: str) -> None:
    process = load(tmp_path, ACCEPTED[name])
    assert process.process.returncode == 0, process.output
    assert "[host] f: queue q-1" in process.lines


def test_all_that_the_host_refuses_is_told_at_once(tmp_path: Path) -> None:
    code = (
        HEAD
        + """
@app.function_name("host")
@app.route(route="a")
def one(req: func.HttpRequest): ...

@app.route(route="administration")
def two(req: func.HttpRequest): ...

@app.route(route="same/{x}", methods=["GET", "POST"])
def three(req: func.HttpRequest): ...

@app.route(route="SAME/{x}", methods=["POST"])
def four(req: func.HttpRequest): ...

@app.route(route="x/{id:whatever}")
def five(req: func.HttpRequest): ...

@app.blob_trigger(arg_name="b", path="c/{name}", connection="STORE")
def six(b: func.InputStream): ...

@app.queue_trigger(arg_name="m", queue_name="%MISSING%", connection="NOWHERE")
def seven(m: func.QueueMessage): ...

@app.queue_trigger(arg_name="m", queue_name="fine", connection="STORE")
@app.retry(strategy="fixed_delay", max_retry_count="2", delay_interval="00:00:01")
def eight(m: func.QueueMessage): ...

@app.timer_trigger(arg_name="t", schedule="0 0 0 * * 7")
def nine(t: func.TimerRequest): ...

@app.event_grid_trigger(arg_name="e")
@app.cosmos_db_output(arg_name="d", database_name="d", container_name="c", connection="STORE")
def ten(e: func.EventGridEvent, d: func.Out[func.Document]): ...

@app.service_bus_queue_trigger(arg_name="m", queue_name="q", connection="STORE")
def eleven(m: func.ServiceBusMessage): ...
"""
    )
    process = load(tmp_path, code)
    assert process.process.returncode == 1
    for place, reason in {
        "host": "cannot be a function's name",
        "two": "begins with 'admin'",
        "four": "is also that of 'three'",
        "five": "'whatever()' is not a route constraint",
        "six": "EVENT_GRID",
        "seven": "Set the app setting MISSING",
        "eight": "no retry policies",
        "nine": "weekday is 7; it must be 0 to 6",
        "ten": "no cosmosdb binding of direction out",
        "eleven": "no servicebustrigger",
    }.items():
        told = [line for line in process.lines if line.startswith(f"[host]   {place}:")]
        assert any(reason in line for line in told), (place, process.output)
    assert any("NOWHERE" in line for line in process.lines)


def test_a_folder_without_functions_is_told(tmp_path: Path) -> None:
    process = load(tmp_path, HEAD)
    assert process.process.returncode == 1
    assert "no functions found" in process.output


def test_a_bad_host_json_is_told_with_each_place(tmp_path: Path) -> None:
    process = load(
        tmp_path,
        HEAD,
        {
            "version": "2.0",
            "functionTimeout": "soon",
            "extensions": {"queues": {"batchSize": 33, "visibilityTimeout": "30"}},
        },
    )
    assert process.process.returncode == 1
    for place in ("functionTimeout", "queues.batchSize", "queues.visibilityTimeout"):
        assert place in process.output


def test_local_settings_fill_the_environment_but_do_not_override_it(tmp_path: Path) -> None:
    app = tmp_path / "app"
    app.mkdir()
    (app / "host.json").write_text('{"version": "2.0"}')
    (app / "function_app.py").write_text(
        HEAD
        + '@app.timer_trigger(arg_name="t", schedule="%WHEN%")\ndef f(t: func.TimerRequest): ...\n'
        + '@app.queue_trigger(arg_name="m", queue_name="%WHERE%", connection="STORE")\n'
        + "def g(m: func.QueueMessage): ..."
    )
    file = tmp_path / "local.settings.json"
    storage = "UseDevelopmentStorage=true"
    values = {"WHEN": "*/5 * * * * *", "WHERE": "file", "STORE": storage}
    file.write_text(json.dumps({"IsEncrypted": False, "Values": values}))
    process = HostProcess(
        app, tmp_path / "state", {"WHERE": "environment"}, "--check", "--settings", str(file)
    )
    assert process.wait() == 0, process.output
    assert "g: queue environment" in process.output


def test_settings_that_are_not_texts_are_all_told(tmp_path: Path) -> None:
    file = tmp_path / "local.settings.json"
    file.write_text(json.dumps({"Values": {"ONE": 1, "TWO": True, "THREE": "fine"}}))
    process = HostProcess(tmp_path, tmp_path / "state", {}, "--check", "--settings", str(file))
    assert process.wait() == 1
    assert "Values.ONE" in process.output
    assert "Values.TWO" in process.output
    assert "THREE" not in process.output
