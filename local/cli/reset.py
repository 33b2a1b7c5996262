"""`reset`: forget everything that the stack keeps."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from local.stack import NotRunning, running_environment
from local.supervision import end_leftovers

if TYPE_CHECKING:
    from pathlib import Path

OURS = ("stack.json", "azurite", "eventgrid", "azureml", "host", "mlflow", "demo/stack.json")
"""A folder is a stack's state when it holds one of these; no other folder is ever removed."""


class NotForgotten(Exception):
    """The folder stays: a stack runs on it, or no stack made it."""


def reset(state: Path, *, sure: bool) -> int:
    """Remove the state folder, after asking unless `sure`; returns the exit code.

    Raises:
        NotForgotten: A stack runs on it, or no stack made it.
    """
    state = state.absolute()
    if not state.exists():
        print("There is nothing to forget.")
        return 0
    check(state)
    if not sure and not _agrees(state):
        print("Nothing was removed.")
        return 1
    forget(state)
    print(f"Removed {state}.")
    return 0


def forget(state: Path) -> None:
    """Remove a stack's state folder, if there is one, and end what a killed stack left of itself.

    Raises:
        NotForgotten: A stack runs on it, or no stack made it.
    """
    state = state.absolute()
    if not state.exists():
        return
    check(state)
    for folder in (state / "demo", state):
        end_leftovers(folder / "processes.json", str(folder))
    shutil.rmtree(state)


def check(state: Path) -> None:
    """Make sure that `state` is a stack's, or empty, and not in use.

    Raises:
        NotForgotten: It is something else, or in use.
    """
    if any(_runs(folder) for folder in (state, state / "demo")):
        raise NotForgotten("A stack runs. End it first (Ctrl-C where it was started).")
    if any(state.iterdir()) and not any((state / name).exists() for name in OURS):
        raise NotForgotten(f"{state} is not a stack's state; it is left alone.")


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
