"""Ctrl-C and SIGTERM end a program the same orderly way."""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType


@contextmanager
def interruptible() -> Iterator[threading.Event]:
    """Raise KeyboardInterrupt at the first SIGINT or SIGTERM, and set the event that is yielded.

    Further signals are taken and do nothing: ending the stack is bounded in time, and breaking that off
    would leave processes behind. For the main thread.
    """
    stopped = threading.Event()

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        if not stopped.is_set():
            stopped.set()
            raise KeyboardInterrupt

    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, on_signal) for number in numbers}
    try:
        yield stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
