"""The parts of the control plane that need no server: state, clock, inputs; and its command line."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest

from local.azureml import registry
from local.azureml.clock import Clock
from local.azureml.component_inputs import bind, check_inputs
from local.azureml.plane import REPOSITORY
from local.azureml.state import Conflict, Store
from local.ports import free_ports


@pytest.fixture
def store(tmp_path):
    """An empty store."""
    with contextlib.closing(Store(tmp_path / "state.sqlite")) as opened:
        yield opened


def test_ids_ignore_case_and_keep_their_writing(store):
    """A document is found in any case, and shows its id as it was written."""
    store.put("x", "/A/B", {"n": 1})
    assert store.get("x", "/a/b").id == "/A/B"
    assert store.get("y", "/a/b") is None


def test_a_guarded_write_meets_its_version(store):
    """A write over another version than expected is refused and changes nothing."""
    store.put("x", "a", {"n": 1}, expected_version=0)
    with pytest.raises(Conflict):
        store.put("x", "a", {"n": 2}, expected_version=0)
    store.put("x", "a", {"n": 3}, expected_version=1)
    with pytest.raises(Conflict):
        store.put("x", "a", {"n": 4}, expected_version=1)
    assert store.get("x", "a").body == {"n": 3}


@pytest.mark.parametrize("newest_first", [False, True])
@pytest.mark.parametrize("keep_odd", [False, True])
def test_pages_are_full_and_miss_nothing(store, newest_first, keep_odd):
    """Paging yields each kept document once, in order, in pages of the size asked for."""
    for number in range(25):
        store.put("x", f"/p/{number:02}", {"n": number})
    store.put("x", "/q/1", {"n": 1})
    keep = (lambda body: body["n"] % 2 == 1) if keep_odd else None
    wanted = [number for number in range(25) if not keep_odd or number % 2]
    seen, sizes, token = [], [], None
    while True:
        page = store.list("x", "/p/", limit=4, token=token, newest_first=newest_first, keep=keep)
        seen += [each.body["n"] for each in page.documents]
        sizes.append(len(page.documents))
        if (token := page.token) is None:
            break
    assert seen == (wanted[::-1] if newest_first else wanted)
    assert all(size == 4 for size in sizes[:-1])


def test_a_failed_transaction_leaves_nothing(store):
    """What was written before the failure is not there."""

    def fail():
        with store.transaction():
            store.put("x", "a", {})
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert store.get("x", "a") is None


async def test_sleepers_follow_a_moved_clock():
    """Whoever sleeps wakes as soon as the clock has been moved past the moment."""
    clock = Clock()
    clock.freeze()
    sleeper = asyncio.create_task(clock.sleep(3600))
    await asyncio.sleep(0)
    clock.advance(timedelta(seconds=3599))
    done, _ = await asyncio.wait((sleeper,), timeout=0.05)
    assert not done
    clock.advance(timedelta(seconds=1))
    await asyncio.wait_for(sleeper, 60)


def test_a_clock_can_be_set_frozen_and_released():
    """A frozen clock stands still; released it goes on from there."""
    clock, moment = Clock(), datetime(2030, 1, 1, tzinfo=UTC)
    clock.freeze()
    clock.set(moment)
    assert clock.now() == clock.now() == moment
    clock.release()
    assert timedelta() <= clock.now() - moment < timedelta(minutes=1)


def literal(value):
    return {"type": "literal", "value": value}


def declared():
    identity = "azureml://registries/azureml/components/chat_completion_pipeline/versions/0.0.82"
    return registry.find_component(identity)["inputs"]


def test_defaults_are_filled_in_and_literals_read_by_type():
    """Text becomes the declared JSON type; what is not given has its default."""
    inputs, problems = check_inputs(
        declared(), {"num_train_epochs": literal("3"), "learning_rate": literal("5e-6")}
    )
    assert problems == []
    assert inputs.literals["num_train_epochs"] == 3
    assert inputs.literals["learning_rate"] == 5e-6
    assert inputs.literals["adam_epsilon"] == 1e-8
    assert inputs.literals["task_name"] == "ChatCompletion"


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("num_train_epochs", "1.5", "is no integer"),
        ("num_train_epochs", True, "is no integer"),
        ("num_train_epochs", "0", "below the minimum 1"),
        ("learning_rate", "nan", "is no number"),
        ("apply_lora", "yes", "is none of true, false"),
        ("train_file_path", "text", "needs an address"),
        ("learning_rate_min", "1", "is unknown"),
    ],
)
def test_what_the_component_cannot_take_is_told(name, value, said):
    """A value of another type, outside of an enum or below a minimum, and an unknown name."""
    _, problems = check_inputs(declared(), {name: literal(value)})
    (problem,) = problems
    assert name in problem
    assert said in problem


def test_a_path_of_another_type_is_told():
    """A folder where a file is declared is a problem."""
    given = {"train_file_path": {"type": "uri_folder", "uri": "azureml://x"}}
    _, problems = check_inputs(declared(), given)
    assert problems == ["input train_file_path: it is of type uri_file, given is uri_folder"]


def test_bindings_reach_the_pipelines_own_inputs():
    """`${{parent.inputs.x}}` is replaced; one that names nothing else than inputs is a problem."""
    parent = {"epochs": {"jobInputType": "literal", "value": "2"}}
    given = {
        "num_train_epochs": {"job_input_type": "literal", "value": "${{parent.inputs.epochs}}"},
        "seed": {"job_input_type": "literal", "value": "${{parent.inputs.left_out}}"},
        "optim": {"job_input_type": "literal", "value": "${{parent.outputs.model}}"},
    }
    bound, problems = bind(given, parent)
    assert bound == {"num_train_epochs": {"type": "literal", "value": "2", "uri": None}}
    assert problems == ["input optim: ${{parent.outputs.model}} is no input of the pipeline"]


def command(*arguments, **environment):
    """Run the command line to its end."""
    return subprocess.run(
        [sys.executable, "-m", "local.azureml", *arguments],
        cwd=REPOSITORY,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_command_line_explains_itself():
    """`--help` names every option and the environment variable."""
    shown = command("--help").stdout
    for each in ("--pace", "--datastore", "--topic-endpoint", "AZURE_STORAGE_CONNECTION_STRING"):
        assert each in shown


def test_bad_settings_are_told_at_once(tmp_path):
    """Everything that is missing is in one message, without a traceback."""
    done = command(
        *("--state", str(tmp_path), "--port", "1", "--identity-port", "1"),
        *("--certificates", str(tmp_path), "--topic-endpoint", "http://x", "--datastore", "a"),
        AZURE_STORAGE_CONNECTION_STRING="",
    )
    assert done.returncode == 2
    for each in ("AZURE_STORAGE_CONNECTION_STRING", "--topic-key-file", "--datastore a"):
        assert each in done.stderr
    assert "Traceback" not in done.stderr


def test_the_process_says_that_it_is_ready_and_ends_at_a_signal(tmp_path, certificates):
    """It prints its address once it serves, and exits 0 after SIGTERM."""
    storage = "AccountName=a;AccountKey=eA==;BlobEndpoint=https://127.0.0.1:1/a"
    folder = str(certificates.bundle.parent)
    ports = free_ports(["https", "identity"])
    child = subprocess.Popen(
        [
            *(sys.executable, "-m", "local.azureml", "--state", str(tmp_path)),
            *("--port", str(ports["https"]), "--identity-port", str(ports["identity"])),
            *("--certificates", folder, "--pace", "instant"),
        ],
        cwd=REPOSITORY,
        env={**os.environ, "AZURE_STORAGE_CONNECTION_STRING": storage},
        stdout=subprocess.PIPE,
        text=True,
    )
    with child:
        try:
            assert "control plane ready at https://localhost:" in child.stdout.readline()
            child.send_signal(signal.SIGTERM)
            assert child.wait(timeout=60) == 0
        finally:
            child.kill()
