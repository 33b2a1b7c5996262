"""Scoring processes: started, asked whether they are well, started again, ended; never orphaned.

Each deployment is one or more processes that load its model and answer on a port of their own. A
process leads a session of its own, so that all it started ends with it. It and its children carry
a mark in their environment, the state folder of their control plane: what a killed one left behind
is found by that mark at the next start and ended (on Linux the kernel ends the processes
themselves even before).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING

import aiohttp
import psutil

from local.azureml.plane import REPOSITORY
from local.ports import free_port
from local.processes import TETHER, end_processes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from local.azureml.deployment_settings import Probe

LOG = logging.getLogger("local.azureml")
MARK = "AZUREML_EMULATOR_STATE"
"""The environment variable that names the state folder of the control plane."""
GRACE = 1.0
"""Seconds between SIGTERM and SIGKILL: the control plane itself has two to end."""
MOST_DEATHS = 3
"""Deaths within `DEATHS_WINDOW` after which a process is left alone."""
DEATHS_WINDOW = 120.0
_FIRST_POLL = 0.05
_PRIVATE = ("AZURE_STORAGE_CONNECTION_STRING", "AzureWebJobsStorage", "IDENTITY_HEADER")


class NotReady(Exception):
    """A deployment's processes did not come up; the message says why."""


@dataclass(frozen=True, slots=True)
class Program:
    """What to run for one deployment.

    Attributes:
        deployment_id: Whose it is.
        command: The program; `--port P` is put in where `{port}` stands.
        replicas: How many processes.
        liveness: How a process that serves is watched.
        poll: Longest time between two questions to a process that starts, in seconds.
        budget: Seconds until a process that does not answer has failed.
        drain: Seconds that requests in hand have to end when the processes are replaced.
        log: The file that its output is appended to.
        variables: Environment variables on top of our own.
    """

    deployment_id: str
    command: tuple[str, ...]
    replicas: int
    liveness: Probe
    poll: float
    budget: float
    drain: float
    log: Path
    variables: Mapping[str, str] = field(default_factory=dict)


class Replica:
    """One scoring process and its successors, watched by a task.

    Attributes:
        port: Where the present process answers.
        ready: Set while it does.
        failed: Why it is left alone, once it died too often.
    """

    def __init__(
        self, program: Program, number: int, mark: str, session: aiohttp.ClientSession
    ) -> None:
        self.program = program
        self.port = 0
        self.ready = asyncio.Event()
        self.failed: str | None = None
        self._mark = mark
        self._session = session
        self._name = f"{program.deployment_id}#{number}"
        self._pending = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._settled = asyncio.Event()
        self._watcher = asyncio.get_running_loop().create_task(self._run(), name=self._name)

    @property
    def url(self) -> str:
        """`http://127.0.0.1:PORT`."""
        return f"http://127.0.0.1:{self.port}"

    async def settled(self) -> None:
        """Return when it is ready or has failed."""
        await self._settled.wait()

    @contextlib.contextmanager
    def in_hand(self) -> Iterator[None]:
        """Hold off its replacement while a request is with it."""
        self._pending += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._pending -= 1
            if self._pending == 0:
                self._idle.set()

    async def stop(self, drain: float = 0.0) -> None:
        """End it and wait until it is gone; requests in hand have `drain` seconds to end."""
        if drain > 0:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._idle.wait(), drain)
        self._watcher.cancel()
        await asyncio.wait([self._watcher])

    async def _run(self) -> None:
        """Start the process, watch it, start it again; until it is stopped or died too often."""
        deaths: list[float] = []
        try:
            while True:
                reason = await self._live()
                now = time.monotonic()
                deaths = [each for each in deaths if now - each < DEATHS_WINDOW] + [now]
                LOG.warning("%s: %s", self._name, reason)
                if len(deaths) >= MOST_DEATHS:
                    self.failed = reason
                    self._settled.set()
                    return
        except OSError as problem:
            self.failed = f"The scoring process could not be started: {problem}"
            self._settled.set()

    async def _live(self) -> str:
        """One process from its start to its end; returns why it ended."""
        process = await self._spawn()
        try:
            return await self._watch(process)
        finally:
            self.ready.clear()
            await _surely(asyncio.ensure_future(end(process)))

    async def _spawn(self) -> asyncio.subprocess.Process:
        self.port = free_port()
        command = [each.replace("{port}", str(self.port)) for each in self.program.command]
        self.program.log.parent.mkdir(parents=True, exist_ok=True)
        own = {key: value for key, value in os.environ.items() if key not in _PRIVATE}
        with self.program.log.open("ab") as output:
            return await asyncio.create_subprocess_exec(
                *(sys.executable, "-S", "-E", str(TETHER), str(os.getpid())),
                *command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=own | dict(self.program.variables) | {MARK: self._mark},
                cwd=REPOSITORY,
                start_new_session=True,
            )

    async def _watch(self, process: asyncio.subprocess.Process) -> str:
        ended = asyncio.ensure_future(process.wait())
        try:
            wait = _FIRST_POLL
            while not await self._answers(self.program.liveness.timeout):
                if await _within(ended, wait):
                    return f"The user container exited with code {process.returncode}."
                wait = min(2 * wait, self.program.poll)
            self.ready.set()
            self._settled.set()
            return await self._watch_well(process, ended)
        finally:
            ended.cancel()

    async def _watch_well(
        self, process: asyncio.subprocess.Process, ended: asyncio.Future[int]
    ) -> str:
        """Ask a process that came up once in a period, until it ends or stays ill."""
        probe, failures = self.program.liveness, 0
        while failures < probe.failure_threshold:
            if await _within(ended, probe.period):
                return f"The user container exited with code {process.returncode}."
            failures = 0 if await self._answers(probe.timeout) else failures + 1
        return f"Liveness probe failed {failures} times in a row: GET / was not answered with 200."

    async def _answers(self, timeout: float) -> bool:  # noqa: ASYNC109  the probe's own setting
        try:
            async with self._session.get(
                f"{self.url}/", timeout=aiohttp.ClientTimeout(total=timeout)
            ) as response:
                return response.status == HTTPStatus.OK
        except (aiohttp.ClientError, TimeoutError, OSError):
            return False


async def _within(ended: asyncio.Future[int], seconds: float) -> bool:
    """Wait for the end, at most so long; True if it came."""
    await asyncio.wait([ended], timeout=seconds)
    return ended.done()


async def end(process: asyncio.subprocess.Process) -> None:
    """End a process and its group: SIGTERM, `GRACE` seconds, SIGKILL."""
    _signal_group(process.pid, signal.SIGTERM)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(GRACE):
            await process.wait()
    _signal_group(process.pid, signal.SIGKILL)
    await process.wait()


async def _surely(task: asyncio.Future[None]) -> None:
    """Wait for the end of `task` even if the waiter is cancelled meanwhile; then be cancelled."""
    cancelled = False
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            cancelled = True
    if cancelled:
        raise asyncio.CancelledError
    task.result()


def _signal_group(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


class Fleet:
    """All scoring processes of the control plane.

    Args:
        state: The control plane's state folder, the mark of its processes.
        session: The HTTP client for probes and for scoring.
    """

    def __init__(self, state: Path, session: aiohttp.ClientSession) -> None:
        self.session = session
        self._mark = str(state.resolve())
        self._serving: dict[str, list[Replica]] = {}
        self._starting: dict[str, list[Replica]] = {}
        self._turn = 0

    async def roll_out(self, program: Program) -> None:
        """Start a deployment's processes; when all are ready they take over from those before.

        Raises:
            NotReady: They did not come up; those before go on.
        """
        key = program.deployment_id.lower()
        fresh = [
            Replica(program, number, self._mark, self.session)
            for number in range(program.replicas)
        ]
        self._starting[key] = fresh
        try:
            await _all_ready(fresh, program.budget)
        except BaseException:
            await _stop(fresh)
            raise
        finally:
            self._starting.pop(key, None)
        before, self._serving[key] = self._serving.get(key, []), fresh
        await _stop(before, program.drain)

    async def retire(self, deployment_id: str, drain: float = 0.0) -> None:
        """End a deployment's processes, if it has any; requests in hand have `drain` seconds."""
        key = deployment_id.lower()
        await _stop(self._serving.pop(key, []) + self._starting.pop(key, []), drain)

    def pick(self, deployment_id: str) -> Replica | None:
        """A process of the deployment that is ready, in turn; None if there is none."""
        ready = [
            each for each in self._serving.get(deployment_id.lower(), []) if each.ready.is_set()
        ]
        self._turn += 1
        return ready[self._turn % len(ready)] if ready else None

    def serves(self, deployment_id: str) -> bool:
        """Whether the deployment has processes, well or not."""
        return deployment_id.lower() in self._serving

    async def close(self) -> None:
        """End everything."""
        every = [*self._serving.values(), *self._starting.values()]
        await _stop([replica for replicas in every for replica in replicas])
        self._serving.clear()


async def _all_ready(replicas: list[Replica], budget: float) -> None:
    try:
        async with asyncio.timeout(budget):
            await asyncio.gather(*(each.settled() for each in replicas))
    except TimeoutError:
        raise NotReady(
            f"Readiness probe failed: GET / was not answered with 200 within {budget:g} seconds."
        ) from None
    for each in replicas:
        if each.failed is not None:
            raise NotReady(f"User container has crashed or terminated: {each.failed}")


async def _stop(replicas: list[Replica], drain: float = 0.0) -> None:
    await asyncio.gather(*(each.stop(drain) for each in replicas))


def end_leftovers(state: Path) -> int:
    """End the processes that an earlier control plane with that state folder left.

    It blocks until they are gone.

    Returns:
        How many there were, their children included.
    """
    mark, left = str(state.resolve()), []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.environ().get(MARK) == mark:
                left.append(process)
    end_processes(left, grace=GRACE)
    return len(left)
