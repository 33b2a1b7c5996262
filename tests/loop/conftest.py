"""A whole stack: every real part in a process of its own, as `python -m local up` starts it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from local.processes import tail
from local.stack import NotRunning, Stack, running_environment
from tests.loop.droptune import Droptune, eventually
from tests.sdk_warnings import SDK_WARNINGS


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The SDK is imported by the first test that asks it what is there."""
    for item in items:
        if Path(item.path).parent == Path(__file__).parent:
            for each in SDK_WARNINGS:
                item.add_marker(pytest.mark.filterwarnings(each))


ROOT = Path(__file__).parents[2]

QUICK = {
    "DROPTUNE_LOOK_AT_JOB": "1s",
    "DROPTUNE_LOOK_AT_ROLLOUT": "1s",
    "RECONCILE_SCHEDULE": "*/2 * * * * *",
    "SWEEP_SCHEDULE": "*/10 * * * * *",
    "CLEANUP_SCHEDULE": "*/2 * * * * *",
    # The example's data is prepared in the function, a little more by a job.
    "DROPTUNE_PREPARE_IN_FUNCTION_UP_TO": "1 MB",
    "DROPTUNE_PREPARE_NODES": "3",
}


@dataclass
class KillableStack:
    """A stack under `python -m local up`, whose parts can be killed as power cuts kill."""

    state: Path
    process: subprocess.Popen[bytes] | None = field(default=None)

    def start(self) -> None:
        with (self.state.parent / "up.log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "local",
                    "up",
                    "--state",
                    str(self.state),
                    "--pace",
                    "instant",
                ],
                cwd=ROOT,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.wait_until_up()

    def wait_until_up(self) -> None:
        def up() -> bool:
            assert self.process is not None
            assert self.process.poll() is None, (self.state.parent / "up.log").read_text()[-3000:]
            try:
                running_environment(self.state)
                Droptune(self.state, self.environment).runs("none")
            except (OSError, NotRunning) as error:
                said.append(f"{type(error).__name__}: {error}")
                return False
            return True

        def told() -> str:
            logs = [self.state.parent / "up.log", *sorted((self.state / "logs").glob("*.log"))]
            return "".join([said[-1] if said else "", *(tail(log) for log in logs)])

        said: list[str] = []
        eventually(up, "the stack answers", 300, told)

    @property
    def environment(self) -> dict[str, str]:
        return running_environment(self.state)

    def tree(self) -> list[psutil.Process]:
        assert self.process is not None
        try:
            root = psutil.Process(self.process.pid)
        except psutil.NoSuchProcess:
            return []
        return [root, *root.children(recursive=True)]

    def kill_host(self) -> None:
        """SIGKILL the Functions host; the supervisor starts it again."""
        for process in self.tree():
            try:
                if "local.host" in process.cmdline():
                    process.kill()
                    process.wait(60)
            except psutil.NoSuchProcess:
                continue

    def kill(self) -> None:
        """SIGKILL everything at once, the supervisor first, so that it can mend nothing."""
        for process in self.tree():
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        assert self.process is not None
        self.process.wait(60)

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(120)
            except subprocess.TimeoutExpired:
                self.kill()  # rather than beside the tests that follow
                raise


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One stack for all tests that do not break it."""
    state = tmp_path_factory.mktemp("stack") / "state"
    lines: list[str] = []
    with Stack(state, pace="instant", settings=QUICK, tell=lines.append) as running:
        yield running


@pytest.fixture
def droptune(stack: Stack) -> Droptune:
    """The stack as its users reach it, with the example's data uploaded."""
    client = Droptune(stack.state, stack.environment)
    client.upload_example()
    return client


@pytest.fixture
def killable(tmp_path: Path) -> Iterator[KillableStack]:
    """A stack of the test's own, to be killed."""
    import json

    state = tmp_path / "state"
    state.mkdir()
    (state / "settings.json").write_text(json.dumps(QUICK))
    stack = KillableStack(state)
    stack.start()
    try:
        yield stack
    finally:
        stack.stop()


@pytest.fixture
def sdk(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Make an unmodified MLClient for a stack: what is really in the workspace."""

    def client(environment: dict[str, str]) -> Any:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        from azure.ai.ml import MLClient
        from azure.identity import DefaultAzureCredential

        return MLClient(
            DefaultAzureCredential(),
            os.environ["AZURE_SUBSCRIPTION_ID"],
            os.environ["AZURE_RESOURCE_GROUP"],
            os.environ["AZUREML_WORKSPACE"],
        )

    return client
