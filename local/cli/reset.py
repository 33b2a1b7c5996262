"""`reset`: forget everything that the stack keeps."""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING

from local.stack import NotRunning, running_environment
from local.supervision import end_leftovers

if TYPE_CHECKING:
    from pathlib import Path

OURS = ("stack.json", "azurite", "eventgrid", "azureml", "host", "mlflow")
"""A folder is a stack's state when it holds one of these; no other folder is ever removed."""


def reset(state: Path, *, sure: bool) -> int:
    """Remove the state folder, after asking unless `sure`; returns the exit code."""
    state = state.absolute()
    if not state.exists():
        print("There is nothing to forget.")
        return 0
    if _runs(state):
        print("A stack runs. End it first (Ctrl-C where it was started).", file=sys.stderr)
        return 1
    if not any((state / name).exists() for name in OURS):
        print(f"{state} is not a stack's state; it is left alone.", file=sys.stderr)
        return 1
    if not sure and not _agrees(state):
        print("Nothing was removed.")
        return 1
    end_leftovers(state / "processes.json", str(state))
    shutil.rmtree(state)
    print(f"Removed {state}.")
    return 0


def _runs(state: Path) -> bool:
    try:
        running_environment(state)
    except NotRunning:
        return False
    return True


def _agrees(state: Path) -> bool:
    try:
        answer = input(f"Remove {state} with every run, model and key in it? [y/N] ")
    except EOFError:
        return False
    return answer.strip().lower() in ("y", "yes")
