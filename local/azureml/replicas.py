"""Scoring processes: started, asked whether they are well, started again, ended; never orphaned.

Each deployment is one or more processes that load its model and answer on a port of their own. A
process leads a session of its own, so that all it started ends with it, and its pid and creation
time are in the store, so that a control plane that was killed finds and ends at its next start
what it left behind (on Linux the kernel ends it even before).
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
from local.processes import TETHER

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from local.azureml.deployment_settings import Probe
    from local.azureml.state import Store

LOG = logging.getLogger("local.azureml")
KIND = "replica"
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
        log: The file that its output is appended to.
        variables: Environment variables on top of our own.
    """

    deployment_id: str
    command: tuple[str, ...]
    replicas: int
    liveness: Probe
    poll: float
    budget: float
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
        self, program: Program, number: int, store: Store, session: aiohttp.ClientSession
    ) -> None:
        self.program = program
        self.port = 0
        self.ready = asyncio.Event()
        self.failed: str | None = None
        self._store = store
        self._session = session
        self._key = f"{program.deployment_id}#{number}-{time.monotonic_ns()}"
        self._process: asyncio.subprocess.Process | None = None
        self._settled = asyncio.Event()
        self._watcher = asyncio.get_running_loop().create_task(self._run(), name=self._key)

    @property
    def url(self) -> str:
        """`http://127.0.0.1:PORT`."""
        return f"http://127.0.0.1:{self.port}"

    async def settled(self) -> None:
        """Return when it is ready or has failed."""
        await self._settled.wait()

    async def stop(self) -> None:
        """End it and wait until it is gone."""
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
                LOG.warning("%s: %s", self._key, reason)
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
            await end(process)
            self._store.delete(KIND, self._key)

    async def _spawn(self) -> asyncio.subprocess.Process:
        self.port = free_port()
        command = [each.replace("{port}", str(self.port)) for each in self.program.command]
        self.program.log.parent.mkdir(parents=True, exist_ok=True)
        own = {key: value for key, value in os.environ.items() if key not in _PRIVATE}
        with self.program.log.open("ab") as output:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-S", "-E", str(TETHER), str(os.getpid())),
                *command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=own | dict(self.program.variables),
                cwd=REPOSITORY,
                start_new_session=True,
            )
        self._process = process
        with contextlib.suppress(psutil.NoSuchProcess):
            born = psutil.Process(process.pid).create_time()
            self._store.put(KIND, self._key, {"pid": process.pid, "created": born})
        return process

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
    """End a process and its group: SIGTERM, `GRACE` seconds, SIGKILL. Shielded from cancelling."""
    _signal_group(process.pid, signal.SIGTERM)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(GRACE):
            await process.wait()
    _signal_group(process.pid, signal.SIGKILL)
    await process.wait()


def _signal_group(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


class Fleet:
    """All scoring processes of the control plane.

    Args:
        store: Where pids are kept.
        session: The HTTP client for probes and for scoring.
    """

    def __init__(self, store: Store, session: aiohttp.ClientSession) -> None:
        self.session = session
        self._store = store
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
            Replica(program, number, self._store, self.session)
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
        await _stop(before)

    async def retire(self, deployment_id: str) -> None:
        """End a deployment's processes, if it has any."""
        key = deployment_id.lower()
        await _stop(self._serving.pop(key, []) + self._starting.pop(key, []))

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


async def _stop(replicas: list[Replica]) -> None:
    await asyncio.gather(*(each.stop() for each in replicas))


def end_leftovers(store: Store) -> int:
    """End the processes that an earlier control plane left; says how many were alive. Blocks."""
    alive = []
    for document in list(store.each(KIND)):
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(document.body["pid"])
            if process.create_time() == document.body["created"]:
                alive.append(process)
    for number in (signal.SIGTERM, signal.SIGKILL):
        for process in alive:
            if process.is_running():
                _signal_group(process.pid, number)
        psutil.wait_procs(alive, timeout=GRACE)
    store.delete_under(KIND, "")
    return len(alive)
