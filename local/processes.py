"""Start and end child processes so that none outlives its use.

Every child leads a session of its own: a Ctrl-C in the terminal reaches the parent alone, which
then ends the children in its own order, and a child's whole process group can be ended at once.
"""

from __future__ import annotations

import os
import signal
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    Child = subprocess.Popen[bytes]

TETHER = Path(__file__).with_name("tether.py")
GRACE = 5.0
"""Seconds between SIGTERM and SIGKILL."""

_ONE_START = 0.5
"""Two readings of one process's start, in seconds since boot, differ by less than this."""


class StartFailed(Exception):
    """A process did not become ready; the message says why and shows the end of its log."""


def spawn(
    command: Sequence[str],
    *,
    log: Path,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> Child:
    """Start `command` in a session of its own, tied to this process, output appended to `log`.

    Call it from a thread that lives as long as the child should: Linux ties a child to the thread
    that made it, not to the process.

    Args:
        command: Program and arguments.
        log: File that stdout and stderr are appended to; its folder is made.
        environment: The child's whole environment; this process's own when None.
        folder: The child's working directory.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    tethered = [sys.executable, "-S", "-E", str(TETHER), str(os.getpid()), *command]
    with log.open("ab") as output:
        return subprocess.Popen(
            tethered,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=None if environment is None else dict(environment),
            cwd=folder,
            start_new_session=True,
        )


def end(children: Iterable[Child], *, grace: float = GRACE, descendants: bool = True) -> None:
    """End children and all that they started: SIGTERM, `grace` seconds, SIGKILL.

    Returns when they are gone. Children that already ended are reaped, and what is left of their
    process groups is ended as well; with `descendants` also what they started in other groups.
    """
    children = list(children)
    doomed = {p for child in children for p in _family(child.pid)} if descendants else set()
    for child in children:
        _signal_group(child.pid, signal.SIGTERM)
    deadline = time.monotonic() + grace
    for child in children:
        try:
            child.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            continue
    for child in children:
        _signal_group(child.pid, signal.SIGKILL)
    end_processes(doomed, grace=0)
    for child in children:
        child.wait()


def end_processes(processes: Iterable[psutil.Process], *, grace: float = GRACE) -> None:
    """End processes that need not be our children: SIGTERM, `grace` seconds, SIGKILL.

    psutil compares creation times, so a reused pid is never hit.
    """
    alive = [process for process in processes if process.is_running()]
    if grace:
        _each(alive, psutil.Process.terminate)
        _, alive = psutil.wait_procs(alive, timeout=grace)
    _each(alive, psutil.Process.kill)
    psutil.wait_procs(alive, timeout=GRACE)


def _each(processes: list[psutil.Process], act: Callable[[psutil.Process], None]) -> None:
    for process in processes:
        try:
            act(process)
        except psutil.NoSuchProcess:
            continue


def _family(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _signal_group(group: int, number: signal.Signals) -> None:
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):  # macOS says EPERM for a group of zombies
        return


def started(process: psutil.Process) -> float:
    """Seconds from the machine's boot to the process's start; with its pid, its identity.

    A creation time alone will not do: it is counted from a boot time in whole seconds that the kernel
    derives anew whenever the clock is corrected, so one process may seem to be made a second earlier
    or later than before. The difference of the two stays what it is.

    Raises:
        psutil.NoSuchProcess: It is gone.
    """
    since: float = process.create_time() - psutil.boot_time()
    return since


def find(pid: int, since_boot: float) -> psutil.Process | None:
    """The process that has this pid and this `started`, if it lives; never one that took its pid."""
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        return process if abs(started(process) - since_boot) < _ONE_START else None
    except psutil.Error:
        return None


def answers(url: str, *, authority: Path | None = None, timeout: float = 2.0) -> int | None:
    """Ask `url` once: the HTTP status of whatever answers, or None when nothing does.

    Args:
        url: http or https.
        authority: PEM with the certificates to trust, for https.
        timeout: Seconds to wait for an answer.
    """
    context = ssl.create_default_context(cafile=authority) if authority else None
    # An opener of its own without proxies: the question never leaves this machine.
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
    )
    try:
        with opener.open(url, timeout=timeout) as answer:
            status: int = answer.status
            return status
    except urllib.error.HTTPError as error:
        error.close()
        return error.code
    except (OSError, urllib.error.URLError):
        return None


def wait_until_ready(
    child: Child, ready: Callable[[], bool], *, name: str, log: Path, timeout: float
) -> None:
    """Ask `ready` until it says yes.

    Raises:
        StartFailed: The child ended before, or was not ready within `timeout` seconds.
    """
    deadline = time.monotonic() + timeout
    while not ready():
        if (status := child.poll()) is not None:
            raise StartFailed(f"{name} ended at once with status {status}.{tail(log)}")
        if time.monotonic() > deadline:
            raise StartFailed(f"{name} was not ready after {timeout:g} s.{tail(log)}")
        time.sleep(0.05)  # between two questions to a process that is starting; nothing else tells


def tail(log: Path, lines: int = 12) -> str:
    """The end of a log file, indented, ready to stand after a sentence."""
    try:
        with log.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - 8192))
            text = file.read().decode(errors="replace").splitlines()[-lines:]
    except OSError:
        return ""
    return "".join(f"\n  | {line}" for line in [f"{log}:", *text])
