"""Start, time-out and end of the host's process."""

from __future__ import annotations

import base64
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from tests.host.conftest import OFFLINE
from tests.host.process import ROOT, SAMPLE, HostProcess, eventually

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.host.conftest import Account

SHORT = {"AzureFunctionsJobHost__functionTimeout": "00:00:01"}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_well(tmp_path: Path, number: int) -> None:
    with HostProcess(SAMPLE, tmp_path, OFFLINE) as host:
        assert host.end(number) == 0
        assert "Traceback" not in host.output


@pytest.mark.parametrize("route", ["asleep/60", "blocking/60"])
def test_a_function_that_does_not_end_does_not_hold_the_host(tmp_path: Path, route: str) -> None:
    with HostProcess(SAMPLE, tmp_path, OFFLINE, "--drain", "0.2") as host:
        with ThreadPoolExecutor() as pool:
            asked = pool.submit(host.get, f"/api/{route}")
            host.sees("started")
            host.process.terminate()
            assert host.wait(20) == 0
            asked.exception()  # cut off
        assert "did not end in 0.2 s" in host.output


@pytest.mark.parametrize("route", ["asleep/60", "blocking/60", "hog/60"])
def test_a_function_that_exceeds_functiontimeout_ends_the_process_with_3(
    tmp_path: Path, route: str
) -> None:
    """Whether it waits, blocks a thread or blocks the loop."""
    with HostProcess(SAMPLE, tmp_path, {**OFFLINE, **SHORT}) as host, ThreadPoolExecutor() as pool:
        asked = pool.submit(host.get, f"/api/{route}")
        assert host.wait() == 3
        assert "ran longer than functionTimeout (1 s)" in host.output
        asked.exception()  # answered 500 or cut off, as it came


def test_a_message_whose_function_timed_out_is_given_back(
    account: Account, start: Callable[..., HostProcess]
) -> None:
    queue = account.queues.get_queue_client(account.orders)
    queue.create_queue()
    queue.send_message(base64.b64encode(b'{"wait": 60}').decode())
    host = start(**SHORT)
    assert host.wait() == 3
    again = eventually(queue.receive_message, "the message again")
    assert again.dequeue_count == 2


def test_the_log_tells_no_sdk_chatter(account: Account, start: Callable[..., HostProcess]) -> None:
    queue = account.queues.get_queue_client(account.orders)
    queue.create_queue()
    queue.send_message(base64.b64encode(b"tea").decode())
    host = start()
    host.sees("order")
    host.says("took tea")
    assert all(line.startswith("[") for line in host.lines), host.output
    assert "Request URL" not in host.output + (host.state / "host.log").read_text()


def test_levels_of_host_json_hold(tmp_path: Path) -> None:
    environment = {
        **OFFLINE,
        "AzureFunctionsJobHost__logging__logLevel__Function.echo": "Warning",
    }
    with HostProcess(SAMPLE, tmp_path, environment) as host:
        host.get("/api/echo/5/x")
        host.get("/api/broken")
        host.says("[broken]")
        assert "echoing" not in host.output


def test_storage_that_is_not_there_is_told_once_and_waited_for(tmp_path: Path) -> None:
    nowhere = (
        "DefaultEndpointsProtocol=http;AccountName=a;AccountKey=eA==;"
        "BlobEndpoint=http://127.0.0.1:9/a;QueueEndpoint=http://127.0.0.1:9/a;"
    )
    environment = {
        **{name: value for name, value in OFFLINE.items() if not name.endswith("Disabled")},
        "STORE": nowhere,
        "AzureWebJobsStorage": nowhere,
    }
    with HostProcess(SAMPLE, tmp_path, environment) as host:
        assert host.get("/api/hello").text == "hello"
        host.says("queue orders does not answer")
        assert host.end() == 0


def test_a_port_that_is_taken_is_told(tmp_path: Path) -> None:
    with HostProcess(SAMPLE, tmp_path, OFFLINE) as host:
        port = str(urlsplit(host.url).port)
        other = HostProcess(SAMPLE, tmp_path / "other", OFFLINE, "--port", port)
        assert other.wait() == 1
        assert "cannot start" in other.output
        assert "Traceback" not in other.output


def test_help_says_what_there_is() -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "local.host", "--help"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    ).stdout
    for option in ("--app", "--port", "--state", "--settings", "--drain", "--check", "--no-keys"):
        assert option in shown
