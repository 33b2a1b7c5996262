"""Which checkpoints of a killed job can be trusted.

The trainer writes a checkpoint file by file; a process that dies in between leaves a torn folder that
loads half. So a mark is put into each folder once everything in it has reached the disk, and only
marked folders are resumed from.
"""

from __future__ import annotations

import json
import os
import shutil
from typing import TYPE_CHECKING, Any, Final

from local.compute.job import write_atomically

if TYPE_CHECKING:
    from pathlib import Path

MARK: Final = "complete"


def mark_complete(checkpoint: Path) -> None:
    """Mark a checkpoint as whole, after its files have reached the disk."""
    for path in checkpoint.rglob("*"):
        if path.is_file():
            handle = os.open(path, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
    write_atomically(checkpoint / MARK, "")


def newest_complete(folder: Path) -> Path | None:
    """The newest whole checkpoint in `folder`; torn ones are deleted."""
    whole = []
    for path in folder.glob("checkpoint-*"):
        if (path / MARK).is_file():
            whole.append(path)
        else:
            shutil.rmtree(path)
    return max(whole, key=step_of, default=None)


def step_of(checkpoint: Path) -> int:
    """The global step at which a checkpoint was saved."""
    return int(checkpoint.name.rsplit("-", 1)[1])


def log_history(checkpoint: Path) -> list[dict[str, Any]]:
    """Everything the trainer had logged by then: entries `{"step": …, name: value, …}`."""
    state = json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
    return list(state["log_history"])
