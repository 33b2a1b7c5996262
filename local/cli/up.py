"""`up`: run the stack until Ctrl-C."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from rich.console import Console

from local.cli.commands import command
from local.cli.signals import interruptible

if TYPE_CHECKING:
    from local.stack import Stack


def run(stack: Stack) -> int:
    """Run `stack` until SIGINT or SIGTERM; returns the exit code.

    Raises:
        StartFailed: It cannot start; nothing is left running.
    """
    console = Console(highlight=False, soft_wrap=True)
    begun = time.monotonic()
    with interruptible() as stopped:
        try:
            console.print("Starting. The first time takes longer.")
            with stack:
                _greet(console, stack, time.monotonic() - begun)
                while stack.failure is None:
                    stopped.wait(0.5)
                failure = stack.failure
        except KeyboardInterrupt:
            console.print("Everything is ended.")
            return 0
    console.print(f"The stack broke: {failure}", style="red", markup=False)
    return 1


def _greet(console: Console, stack: Stack, seconds: float) -> None:
    environment = stack.environment
    console.print(f"The stack is up after {seconds:.0f} s: {', '.join(sorted(stack.pids))}.")
    console.print(f"  Droptune   {environment['DROPTUNE_URL']}", style="bold")
    console.print(f"  Azure ML   {environment['REGISTRY_DISCOVERY_ENDPOINT_URL']}")
    console.print(f"  MLflow     http://127.0.0.1:{stack.kept.ports['mlflow']}")
    console.print(f"  Logs       {stack.state / 'logs'}")
    console.print(f'In another shell: eval "$({command(stack.state, "env")})"', markup=False)
    console.print(f"Drop a manifest:  {command(stack.state, 'drop', 'examples/velora-chat.json')}")
    console.print("Ctrl-C ends everything.")
