"""`python -m local.azureml.command_process JOB_DIR`: the nodes of a command job, as processes of this machine.

It keeps the contract of `local.azureml.training`: it reads `job.json`, and `result.json` is its very last act. Each
process gets its environment and the command in a shell; what they print goes to the job's log, with the process's
number before each line when there are several. The first that fails ends the others, as on Azure ML. It leads a
process group of its own, which all that the command starts belongs to and ends with.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import psutil

from local.azureml.training import last_lines, write_json
from local.processes import TETHER, end_processes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Child = subprocess.Popen[bytes]

GRACE_SECONDS = 5.0
_LOOK_SECONDS = 0.05


def main(folder: Path) -> int:
    """Run the job in `folder` to its result."""
    job = json.loads((folder / "job.json").read_text("utf-8"))
    started = _first_start(folder)
    log = sys.stdout.buffer
    children, readers = _start(job, log)
    late = False
    while not late:
        statuses = [child.poll() for child in children]
        if None not in statuses or any(statuses):
            break
        late = job["timeout"] is not None and time.time() - started > job["timeout"]
        time.sleep(_LOOK_SECONDS)
    failed = next((status for status in statuses if status), None)
    _end(children)
    for reader in readers:
        reader.join()
    write_json(folder / "result.json", _result(folder, failed, late=late))
    return 0


def _first_start(folder: Path) -> float:
    """When the job began, which a second start does not change."""
    note = folder / "began"
    if not note.exists():
        note.write_text(str(time.time()), "utf-8")
    return float(note.read_text("utf-8"))


def _start(job: Mapping[str, Any], log: IO[bytes]) -> tuple[list[Child], list[threading.Thread]]:
    shell = shutil.which("bash") or "sh"
    several = len(job["processes"]) > 1
    children, readers = [], []
    lock = threading.Lock()
    for number, own in enumerate(job["processes"]):
        child = subprocess.Popen(
            # Tied to this process: one that is killed leaves no node behind.
            [
                sys.executable,
                "-S",
                "-E",
                str(TETHER),
                str(os.getpid()),
                shell,
                "-c",
                job["command"],
            ],
            cwd=job["folder"],
            env={**job["environment"], **own},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        mark = f"[{number}] ".encode() if several else b""
        reader = threading.Thread(target=_copy, args=(child, log, mark, lock))
        reader.start()
        children.append(child)
        readers.append(reader)
    return children, readers


def _copy(child: Child, log: IO[bytes], mark: bytes, lock: threading.Lock) -> None:
    assert child.stdout is not None
    for line in child.stdout:
        with lock:
            log.write(mark + line)
            log.flush()


def _end(children: Sequence[Child]) -> None:
    """End whatever is left of the nodes, as a container's end would: they share this process's group."""
    end_processes(_others_of_this_group(), grace=GRACE_SECONDS)
    for child in children:
        child.wait()


def _others_of_this_group() -> list[psutil.Process]:
    own, found = os.getpgrp(), []
    for process in psutil.process_iter():
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if process.pid != os.getpid() and os.getpgid(process.pid) == own:
                found.append(process)
    return found


def _result(folder: Path, failed: int | None, *, late: bool) -> dict[str, Any]:
    if late:
        return {"status": "Canceled"}
    if failed is None:
        return {"status": "Completed"}
    status = failed if failed > 0 else 128 - failed
    message = (
        f"Execution failed. User process 'bash' exited with status code {status}. Please check log "
        f"file 'user_logs/std_log.txt' for error details. Error: {last_lines(folder)}"
    )
    return {"status": "Failed", "error": {"code": "UserError", "message": message}}


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
