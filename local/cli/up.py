"""`up`: run the stack until Ctrl-C."""

from __future__ import annotations

import signal
import threading
import time
from typing import TYPE_CHECKING

from rich.console import Console

if TYPE_CHECKING:
    from types import FrameType

    from local.stack import Stack


def run(stack: Stack) -> int:
    """Run `stack` until SIGINT or SIGTERM; returns the exit code.

    Raises:
        StartFailed: It cannot start; nothing is left running.
    """
    console = Console(highlight=False, soft_wrap=True)
    stop = threading.Event()
    interrupted = False

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        nonlocal interrupted
        stop.set()
        if not interrupted:
            interrupted = True
            raise KeyboardInterrupt  # a start that is under way is broken off, once

    before = {
        number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)
    }
    begun = time.monotonic()
    try:
        console.print("Starting. The first time takes longer.")
        with stack:
            _greet(console, stack, time.monotonic() - begun)
            while not stop.wait(0.5) and stack.failure is None:
                continue
            return 1 if stack.failure else 0
    except KeyboardInterrupt:
        return 0
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if stack.failure is not None:
            console.print(f"The stack broke: {stack.failure}", style="red")
        elif stop.is_set():
            console.print("Everything is ended.")


def _greet(console: Console, stack: Stack, seconds: float) -> None:
    environment = stack.environment
    console.print(f"The stack is up after {seconds:.0f} s: {', '.join(sorted(stack.pids))}.")
    console.print(f"  Droptune   {environment['DROPTUNE_URL']}", style="bold")
    console.print(f"  Azure ML   {environment['REGISTRY_DISCOVERY_ENDPOINT_URL']}")
    console.print(f"  MLflow     http://127.0.0.1:{stack.kept.ports['mlflow']}")
    console.print(f"  Logs       {stack.state / 'logs'}")
    console.print('In another shell: eval "$(python -m local env)". Ctrl-C ends everything.')
