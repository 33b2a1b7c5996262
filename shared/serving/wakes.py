"""Asking for a wake, and noting use: what a request causes beside its answer.

Both are bounded however many requests come: one call per model at a time, and one per span.
"""

from __future__ import annotations

import asyncio
import logging
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

log = logging.getLogger(__name__)


class Waker(Protocol):
    """Who can bring a model back. Both calls only leave a wish; they do not wait for it to come true."""

    async def wake(self, model: str) -> None:
        """Have the sleeping model woken."""

    async def nudge(self, model: str) -> None:
        """Have the model's run looked at: its endpoint does not answer, although it should."""


class Notes(Protocol):
    """Where the use of models is noted."""

    async def note_use(self, model: str, at: datetime) -> None:
        """Note that the model was used at `at`; later than what is noted already."""


class Gate:
    """Lets one call per key through at a time, and one per pause; the others share its result."""

    def __init__(
        self,
        call: Callable[[str], Awaitable[None]],
        *,
        pause: float,
        timeout: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Guard `call`.

        Args:
            call: What is asked for.
            pause: Least seconds between the starts of two calls of the same key.
            timeout: Most seconds to wait for one.
            clock: Seconds that only grow.
        """
        self._call = call
        self._pause = pause
        self._timeout = timeout
        self._clock = clock
        self._calls: dict[str, tuple[float, asyncio.Task[bool]]] = {}

    async def ask(self, key: str) -> bool:
        """Have the call made, or join the last one; whether it went well within the time."""
        now = self._clock()
        begun, task = self._calls.get(key, (0.0, None))
        if task is None or (task.done() and now - begun >= self._pause):
            self._forget(now)
            task = asyncio.get_running_loop().create_task(self._made(key))
            self._calls[key] = (now, task)
        done, _ = await asyncio.wait({task}, timeout=self._timeout)
        return bool(done) and not task.cancelled() and task.result()

    def _forget(self, now: float) -> None:
        """Let go of calls that hold no further one back: their keys may be names as callers spell them."""
        over = [
            key
            for key, (begun, task) in self._calls.items()
            if task.done() and now - begun >= self._pause
        ]
        for key in over:
            del self._calls[key]

    async def _made(self, key: str) -> bool:
        try:
            await self._call(key)
        except Exception as error:  # noqa: BLE001 - the request is answered all the same
            log.warning("Could not ask for the model %r: %r", key, error)
            return False
        return True


class Use:
    """How a model is being used: requests under way, and when one last began or ended."""

    __slots__ = ("active", "last", "noting")

    def __init__(self) -> None:
        self.active = 0
        self.last = 0.0
        self.noting: asyncio.Task[None] | None = None


class Uses:
    """Notes that models are used, off the hot path.

    The first use is noted at once, then the latest every `every` seconds for as long as there is any; a
    request that still runs counts as use. A note that fails is logged and made up for by the next.
    """

    def __init__(self, notes: Notes, *, every: float) -> None:
        self._notes = notes
        self._every = every
        self._uses: dict[str, Use] = {}

    def began(self, model: str) -> Use:
        """A request for `model` sets out; give what this returns to `ended`."""
        use = self._uses.get(model)
        if use is None:
            use = self._uses[model] = Use()
        use.active += 1
        use.last = time.time()
        if use.noting is None:
            use.noting = asyncio.get_running_loop().create_task(self._noting(model, use))
        return use

    @staticmethod
    def ended(use: Use) -> None:
        """The request is done, however it ended."""
        use.active -= 1
        use.last = time.time()

    async def close(self) -> None:
        """Stop noting."""
        tasks = [use.noting for use in self._uses.values() if use.noting is not None]
        self._uses.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _noting(self, model: str, use: Use) -> None:
        noted = 0.0
        while use.active or use.last > noted:
            noted = time.time() if use.active else use.last
            try:
                await self._notes.note_use(model, datetime.fromtimestamp(noted, UTC))
            except Exception as error:  # noqa: BLE001 - never hurts a request
                log.warning("Could not note the use of %r: %r", model, error)
            await asyncio.sleep(self._every)
        if self._uses.get(model) is use:
            del self._uses[model]
