"""`demo`: the whole loop, on a stack that starts for it and ends with it.

It begins with nothing each time: over the state of an earlier run its manifest would be served already.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from local.cli.reset import forget
from local.cli.signals import interruptible

if TYPE_CHECKING:
    from local.stack import Stack


def run(stack: Stack) -> int:
    """Forget the state of `stack`, start it, play the demo, end it; returns the exit code.

    The state stays until the next demo, with its logs.

    Raises:
        NotForgotten: A stack runs on the state, or it is none's; nothing was done.
        StartFailed: The stack cannot start; nothing is left running.
    """
    from local.demo import run as play

    with interruptible():
        forget(stack.state)
        print("Starting the stack …", flush=True)
        with stack:
            return play(stack)
