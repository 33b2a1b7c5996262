"""The training process of a job: started, adopted, watched, ended.

Its contract is a folder: it reads `job.json`, appends to `std_log.txt` and `steps.jsonl`, may leave
properties of the job's root run in `properties.json`, and writes `result.json` as its very last
act. It is started in a process group of its own and may outlive the control plane, which finds it
again by its pid and its start.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
from typing import TYPE_CHECKING, Any

import psutil

from local import processes
from local.azureml.plane import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

GRACE_SECONDS = 1.0
_ENDS = ("Completed", "Failed", "Canceled")
WATCH_SECONDS = 0.1
# The job gets no keys: what it may read was brought to its folder, what it makes is taken there.
_WITHHELD = ("AZURE_STORAGE_CONNECTION_STRING", "IDENTITY_ENDPOINT", "IDENTITY_HEADER")


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file so that it is whole or not there."""
    partial = path.with_suffix(".partial")
    with partial.open("w", encoding="utf-8") as stream:
        json.dump(content, stream, indent=1)
        stream.flush()
        os.fsync(stream.fileno())
    partial.replace(path)


def read_result(folder: Path) -> dict[str, Any] | None:
    """What the process left in `result.json`, or None if it left nothing.

    Returns:
        `{"status": "Completed"}`, `{"status": "Failed", "error": {"code", "message"}}`, or of a
        command that took longer than it may `{"status": "Canceled"}`.
    """
    try:
        result = json.loads((folder / "result.json").read_text("utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as problem:
        return _broken(f"result.json is not JSON: {problem}")
    if not isinstance(result, dict) or result.get("status") not in _ENDS:
        return _broken("result.json says neither Completed, Failed nor Canceled")
    return result


def _broken(why: str) -> dict[str, Any]:
    return {"status": "Failed", "error": {"code": "SystemError", "message": why}}


def read_steps(folder: Path, seen: int) -> Iterator[tuple[str, str, str]]:
    """The whole lines of `steps.jsonl` after the first `seen`, as (step, status, time)."""
    try:
        text = (folder / "steps.jsonl").read_text("utf-8")
    except FileNotFoundError:
        return
    for line in text[: text.rfind("\n") + 1].splitlines()[seen:]:
        try:
            step = json.loads(line)
            yield str(step["step"]), str(step["status"]), str(step["time"])
        except (ValueError, KeyError, TypeError):
            yield "", "", ""  # a torn line of a killed attempt still counts as seen


def read_properties(folder: Path) -> dict[str, str]:
    """The properties of the job's root run that the process left in `properties.json`; none so far, or none at all."""
    try:
        told = json.loads((folder / "properties.json").read_text("utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return (
        {str(name): str(value) for name, value in told.items()} if isinstance(told, dict) else {}
    )


def last_lines(folder: Path, number: int = 20) -> str:
    """The end of the log, for an error message."""
    try:
        with (folder / "std_log.txt").open("rb") as stream:
            stream.seek(max(0, stream.seek(0, os.SEEK_END) - 8192))
            text = stream.read().decode(errors="replace")
    except FileNotFoundError:
        return ""
    return "\n".join(text.splitlines()[-number:])


def start(command: Sequence[str], folder: Path) -> psutil.Process:
    """Start the process of the job in `folder`.

    Raises:
        OSError: The command cannot be run.
    """
    environment = {key: value for key, value in os.environ.items() if key not in _WITHHELD}
    environment["PYTHONUNBUFFERED"] = "1"
    with (folder / "std_log.txt").open("ab") as log:
        return psutil.Popen(
            [*command, str(folder)],
            cwd=REPOSITORY,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def adopt(kept: Mapping[str, Any] | None, folder: Path) -> psutil.Process | None:
    """The job's process if it still lives, though another control plane started it.

    Args:
        kept: `pid` and `started` as noted at its start, or None: a control plane that was killed
            between the start and the note left a process that only its arguments tell.
        folder: The job's folder.
    """
    if kept is not None and (process := processes.find(kept["pid"], kept["started"])) is not None:
        return process
    for process in psutil.process_iter(["cmdline"]):
        arguments = process.info["cmdline"] or []
        if len(arguments) > 1 and arguments[-1] == str(folder) and _lives(process):
            return process
    return None


def _lives(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


async def ended(process: psutil.Process) -> None:
    """Return once the process is gone.

    It is looked at again and again: an adopted process is no child, so nothing reports its end.
    """
    while _lives(process):  # noqa: ASYNC110
        await asyncio.sleep(WATCH_SECONDS)
    _reap(process)


def _reap(process: psutil.Process) -> None:
    """Take a child that is gone off the process table."""
    if isinstance(process, psutil.Popen):
        process.wait()


def end_group(pid: int) -> None:
    """End what a process that died has left of its group."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


async def kill(process: psutil.Process) -> None:
    """End the process and its group: SIGTERM, and SIGKILL for what remains after a while."""
    for each in (signal.SIGTERM, signal.SIGKILL):
        if not _lives(process):
            _reap(process)  # it may have ended by itself
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, each)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(ended(process), GRACE_SECONDS)
