"""`demo`: the whole loop, on a stack that starts for it and ends with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from local.cli.signals import interruptible

if TYPE_CHECKING:
    from local.stack import Stack


def run(stack: Stack) -> int:
    """Start `stack`, play the demo, end the stack; returns the exit code.

    Raises:
        StartFailed: The stack cannot start; nothing is left running.
    """
    from local.demo import run as play

    with interruptible(), stack:
        return play(stack)
