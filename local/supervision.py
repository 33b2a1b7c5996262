"""Keeps a set of services running, and leaves none behind.

One thread starts, watches, restarts and ends them all: Linux ties a child to the thread that made
it, and a single thread needs no locks. What runs is written down with its start, so that
the next start finds what a killed supervisor could not end.
"""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import msgspec
import psutil

from local import processes
from local.processes import StartFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from local.processes import Child

MARK: Final = "DROPTUNE_STACK"
"""Variable that every process of a stack inherits: the state folder it belongs to."""

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
"""Seconds before a service that died is started again: doubling from the first to the longest."""

HEALTHY_AFTER = 10.0
"""A service that lived this many seconds starts over with the first pause."""

ASK_EVERY, DEAF_AFTER = 10.0, 90.0
"""How often a running service is asked whether it is well, and how long it may fail to say so."""


@dataclass(frozen=True, slots=True)
class Service:
    """A process to keep running.

    Attributes:
        name: For people: `control plane`.
        command: Program and arguments.
        log: File that its output is appended to.
        ready: Asks it once, quickly, whether it answers.
        environment: Variables on top of the supervisor's own.
        needs: Names of services that must answer before this one is started.
        may_start: A further condition for the start.
        prepare: Done right before each start.
        settle: Done once it answers for the first time, before services that need it start.
        patience: Seconds that it may take to answer.
        awaited: Whether the start waits for its answer; those that use another one wait by themselves.
    """

    name: str
    command: Sequence[str]
    log: Path
    ready: Callable[[], bool]
    environment: Mapping[str, str] = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    may_start: Callable[[], bool] = lambda: True
    prepare: Callable[[], None] = lambda: None
    settle: Callable[[], None] = lambda: None
    patience: float = 120.0
    awaited: bool = True


class _Watched:
    """A service and what became of it."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.child: Child | None = None
        self.started = 0.0
        self.answered = 0.0
        self.asked = 0.0
        self.is_ready = False
        self.is_settled = False
        self.pause = FIRST_PAUSE
        self.not_before = 0.0

    @property
    def is_up(self) -> bool:
        """Whether the start need not wait for it any longer."""
        return self.is_ready or (self.child is not None and not self.service.awaited)


class Supervisor:
    """Runs services until stopped.

    Args:
        services: What to run.
        record: File that says what runs.
        mark: What `MARK` is set to.
        folder: Working directory of the services.
        tell: Gets one line for each thing worth knowing.
        grace: Seconds between SIGTERM and SIGKILL.
    """

    def __init__(
        self,
        services: Iterable[Service],
        *,
        record: Path,
        mark: str,
        folder: Path,
        tell: Callable[[str], None],
        grace: float = processes.GRACE,
    ) -> None:
        self._watched = {service.name: _Watched(service) for service in services}
        self._record = record
        self._mark = mark
        self._folder = folder
        self._tell = tell
        self._grace = grace
        self._stop = threading.Event()
        self._up = threading.Event()
        self._failure: BaseException | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start everything; returns when every awaited service answers.

        Raises:
            StartFailed: One ended or did not answer in time; everything is ended again.
        """
        end_leftovers(self._record, self._mark)
        self._thread = threading.Thread(target=self._run, name="supervisor")
        self._thread.start()
        try:
            self._up.wait()
        except BaseException:
            self.stop()
            raise
        if self._failure is not None:
            self.stop()
            raise self._failure

    def stop(self) -> None:
        """End everything; returns when no process is left."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    @property
    def pids(self) -> dict[str, int]:
        """The process of each service that runs now."""
        alive = ((name, watched.child) for name, watched in self._watched.items())
        return {name: child.pid for name, child in alive if child and child.poll() is None}

    @property
    def failure(self) -> BaseException | None:
        """What ended the supervision, if something did."""
        return self._failure

    # Everything below happens in the supervisor's thread.

    def _run(self) -> None:
        try:
            self._bring_up()
            self._up.set()
            while not self._stop.wait(0.2):
                for watched in self._watched.values():
                    self._watch(watched)
        except BaseException as error:  # noqa: BLE001 - handed to whoever called start()
            self._failure = error
        finally:
            self._end_all()
            self._up.set()

    def _bring_up(self) -> None:
        """Start each service as soon as what it needs answers, until all that are awaited do."""
        while not all(watched.is_up for watched in self._watched.values()):
            if self._stop.wait(0.05):
                raise StartFailed("The start was broken off.")
            for watched in self._watched.values():
                if watched.child is None:
                    self._start_if_possible(watched)
                elif not watched.is_ready:
                    self._check_start(watched)

    def _start_if_possible(self, watched: _Watched) -> None:
        service = watched.service
        if all(self._watched[name].is_ready for name in service.needs) and service.may_start():
            service.prepare()
            watched.child = processes.spawn(
                service.command,
                log=service.log,
                environment={**os.environ, **service.environment, MARK: self._mark},
                folder=self._folder,
            )
            watched.started = time.monotonic()
            watched.is_ready = False
            self._write_record()

    def _check_start(self, watched: _Watched) -> None:
        """See whether a service that was started answers yet."""
        service, child = watched.service, watched.child
        assert child is not None
        if service.ready():
            self._note_answer(watched)
        elif (status := child.poll()) is not None:
            raise StartFailed(
                f"{service.name} ended at once, {_how(status)}.{processes.tail(service.log)}"
            )
        elif time.monotonic() - watched.started > service.patience:
            raise StartFailed(
                f"{service.name} did not answer within {service.patience:g} s."
                f"{processes.tail(service.log)}"
            )

    def _note_answer(self, watched: _Watched) -> None:
        if not watched.is_settled:
            watched.service.settle()
        watched.is_ready = watched.is_settled = True
        watched.answered = watched.asked = time.monotonic()

    def _watch(self, watched: _Watched) -> None:
        """Start again what died or does not answer any more."""
        now = time.monotonic()
        service, child = watched.service, watched.child
        if child is None:
            if now >= watched.not_before:
                self._start_if_possible(watched)
            return
        if (status := child.poll()) is not None:
            self._start_later(watched, f"ended, {_how(status)}")
        elif not watched.is_ready:
            self._watch_restart(watched, now)
        elif now - watched.asked >= ASK_EVERY:
            watched.asked = now
            if service.ready():
                watched.answered = now
            elif now - watched.answered > DEAF_AFTER:
                self._start_later(watched, f"has not answered for {DEAF_AFTER:g} s")

    def _watch_restart(self, watched: _Watched, now: float) -> None:
        if watched.service.ready():
            if watched.is_settled:
                self._tell(f"{watched.service.name} answers again")
            self._note_answer(watched)
        elif now - watched.started > watched.service.patience:
            self._start_later(watched, f"did not answer within {watched.service.patience:g} s")

    def _start_later(self, watched: _Watched, why: str) -> None:
        now = time.monotonic()
        child, watched.child, watched.is_ready = watched.child, None, False
        if child is not None:
            # Its own process group only: work that it handed out may go on without it.
            processes.end([child], grace=self._grace, descendants=False)
        if now - watched.started > HEALTHY_AFTER:
            watched.pause = FIRST_PAUSE
        watched.not_before = now + watched.pause
        self._tell(
            f"{watched.service.name} {why}; starting it again in {watched.pause:g} s "
            f"({watched.service.log})"
        )
        watched.pause = min(2 * watched.pause, LONGEST_PAUSE)

    def _end_all(self) -> None:
        """End what needs others first, then those others, then whatever else carries our mark."""
        for has_needs in (True, False):
            children = [
                watched.child
                for watched in self._watched.values()
                if watched.child is not None and bool(watched.service.needs) is has_needs
            ]
            processes.end(children, grace=self._grace)
        processes.end_processes(marked(self._mark), grace=self._grace)
        self._record.unlink(missing_ok=True)

    def _write_record(self) -> None:
        noted = _Record(
            _noted("supervisor", os.getpid()),
            [
                _noted(name, watched.child.pid)
                for name, watched in self._watched.items()
                if watched.child is not None
            ],
        )
        partial = self._record.with_suffix(".partial")
        partial.write_bytes(msgspec.json.format(msgspec.json.encode(noted), indent=1))
        partial.replace(self._record)


class _Noted(msgspec.Struct):
    """A process as the record has it: what it is, and what tells it from all others."""

    name: str
    pid: int
    started: float


class _Record(msgspec.Struct):
    """What runs: the content of the record."""

    supervisor: _Noted
    services: list[_Noted]


def _noted(name: str, pid: int) -> _Noted:
    try:
        return _Noted(name, pid, processes.started(psutil.Process(pid)))
    except psutil.NoSuchProcess:  # it has ended already
        return _Noted(name, pid, 0.0)


def _read(record: Path) -> _Record | None:
    """What was written down; None when nothing was, or by another version."""
    try:
        return msgspec.json.decode(record.read_bytes(), type=_Record)
    except (OSError, msgspec.MsgspecError):
        return None


def end_leftovers(record: Path, mark: str) -> list[str]:
    """End the services of a supervisor that was killed; returns their names.

    A process counts when it has the pid and start that were written down, or is in the
    process group of one that had and carries the mark. Work that a service handed out to groups of
    their own goes on: the service adopts it when it is back.
    """
    noted = _read(record)
    if noted is None:
        return []
    by_group = {entry.pid: entry for entry in noted.services}
    left = {
        process: by_group[group].name
        for process in marked(mark)
        if (group := _group(process.pid)) in by_group
    }
    for entry in noted.services:
        if (process := processes.find(entry.pid, entry.started)) is not None:
            left[process] = entry.name
    processes.end_processes(left)
    record.unlink(missing_ok=True)
    return sorted(set(left.values()))


def supervisor_runs(record: Path) -> bool:
    """Whether the supervisor that wrote `record` is alive."""
    noted = _read(record)
    return noted is not None and (
        processes.find(noted.supervisor.pid, noted.supervisor.started) is not None
    )


def marked(mark: str) -> list[psutil.Process]:
    """Every process, but this one and its ancestors, that inherited our mark."""
    spared = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid not in spared and process.environ().get(MARK) == mark:
                found.append(process)
        except psutil.Error:  # somebody else's, or gone
            continue
    return found


def _group(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except OSError:
        return None


def _how(status: int) -> str:
    return f"killed by signal {-status}" if status < 0 else f"status {status}"
