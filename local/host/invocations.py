"""Running functions: each invocation is bounded, told of, and its outputs are written."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from azure.core.exceptions import AzureError

from local.host.functions import HttpTrigger, TimerTrigger
from local.host.logs import HOST
from local.host.runtime import Result

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import timedelta

    from local.host.functions import Function
    from local.host.outputs import OutputWriter
    from local.host.runtime import Runtime

TIMED_OUT: Final = 3
"""Exit code after an invocation exceeded functionTimeout; the real host kills its worker."""
_FREQUENT: Final = (HttpTrigger, TimerTrigger)
"""Triggers whose successes are not worth a line each."""
_SETTLING: Final = 5.0
"""Seconds for messages to be given back before a timed-out process ends in any case."""

log = logging.getLogger(HOST)


@dataclass(slots=True)
class _Running:
    function: str
    started: float
    task: asyncio.Task[Any]


class Invocations:
    """Runs functions and knows which are running.

    Args:
        runtime: What runs them.
        outputs: What writes their outputs.
    """

    def __init__(self, runtime: Runtime, outputs: OutputWriter) -> None:
        self.runtime = runtime
        self._outputs = outputs
        self._running: dict[str, _Running] = {}
        self._expired = ""
        self._idle = asyncio.Event()
        self._idle.set()
        self.timed_out = asyncio.Event()

    @property
    def count(self) -> int:
        """How many are running."""
        return len(self._running)

    async def drained(self) -> None:
        """Wait until none is running."""
        await self._idle.wait()

    def current_function(self) -> str | None:
        """The function that the calling thread or task runs, for log lines."""
        invocation = self.runtime.current_invocation()
        running = self._running.get(invocation) if invocation else None
        return running.function if running else None

    async def run(
        self,
        function: Function,
        datum: Any,
        metadata: Mapping[str, Any],
        data: Mapping[str, Any] | Callable[[], Mapping[str, Any]],
        *,
        attempt: str = "",
        tries: int = 0,
    ) -> Result:
        """Invoke a function and write its outputs; failures are results, never raised.

        Args:
            function: Which.
            datum: The trigger's argument.
            metadata: Trigger metadata, as Datums.
            data: What placeholders in output paths may name, or a call that makes it.
            attempt: For the log, such as `try 2 of 5`.
            tries: Earlier tries under the function's retry policy.
        """
        invocation = str(uuid.uuid4())
        task = asyncio.current_task()
        assert task is not None
        running = _Running(function.name, time.monotonic(), task)
        self._running[invocation] = running
        self._idle.clear()
        try:
            result = await self.runtime.invoke(
                invocation,
                function.id,
                (function.trigger.argument, datum),
                metadata,
                tries=tries,
                most_tries=function.retry.limit if function.retry else 0,
            )
            if result.ok and function.outputs:
                known = data() if callable(data) else data
                result = await self._write(function, result, known)
        except asyncio.CancelledError:
            if not self._expired:
                raise
            task.uncancel()
            result = Result(ok=False, error=self._expired)
        finally:
            del self._running[invocation]
            if not self._running:
                self._idle.set()
        if not result.ok:
            self._tell(function, result, time.monotonic() - running.started, attempt)
        elif not isinstance(function.trigger, _FREQUENT):
            seconds = time.monotonic() - running.started
            log.info("done (%.2f s)", seconds, extra={"function": function.name})
        return result

    async def _write(self, function: Function, result: Result, data: Mapping[str, Any]) -> Result:
        try:
            await self._outputs.write(function, result, data)
        except (AzureError, LookupError, ValueError) as error:
            return Result(ok=False, error=f"its output was not written: {error}")
        return result

    def _tell(self, function: Function, result: Result, seconds: float, attempt: str) -> None:
        note = f"{seconds:.2f} s, {attempt}" if attempt else f"{seconds:.2f} s"
        log.error("failed (%s): %s", note, result.error, extra={"function": function.name})
        if result.trace:
            hidden = {"function": function.name, "file_only": True}
            log.error("%s", result.trace, extra=hidden)

    def watch(self, limit: timedelta) -> threading.Thread:
        """Start the thread that ends the process when an invocation exceeds `limit`.

        A thread, since an app that blocks the loop would block a task too. First every invocation
        is cancelled, so that messages are given back; `timed_out` is set for the host to end with
        code 3.
        """
        loop = asyncio.get_running_loop()
        seconds = limit.total_seconds()
        thread = threading.Thread(
            target=self._watch, args=(loop, seconds), name="function-timeout", daemon=True
        )
        thread.start()
        return thread

    def _watch(self, loop: asyncio.AbstractEventLoop, seconds: float) -> None:
        while True:
            time.sleep(min(1.0, seconds / 4))
            now = time.monotonic()
            late = [r for r in tuple(self._running.values()) if now - r.started > seconds]
            if not late:
                continue
            log.critical(
                "ran longer than functionTimeout (%g s): the process ends, to be started again",
                seconds,
                extra={"function": late[0].function},
            )
            loop.call_soon_threadsafe(self._expire, late[0].function, seconds)
            time.sleep(_SETTLING)
            logging.shutdown()
            os._exit(TIMED_OUT)

    def _expire(self, function: str, seconds: float) -> None:
        self._expired = f"TimeoutError: {function} ran longer than functionTimeout ({seconds:g} s)"
        self.timed_out.set()
        for running in tuple(self._running.values()):
            running.task.cancel()
