"""Where a model answers, known without looking: the scoring path's short memory of the records.

Looking into records and asking Azure for keys takes a hundred times as long as a request's own share. So
what was found is used for some seconds without a look; then one look is started beside the requests, which go
on with what is known; only a model that is not known yet, or was doubted, is waited for, by all who ask
for it together. Everything runs on one event loop, hence no locks.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from shared.serving.options import Options

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from datetime import datetime

    from shared.runs.endpoints import Rest

log = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Target:
    """Where a serving model answers.

    Attributes:
        scoring_uri: The endpoint's address.
        key: The endpoint's key; sent to it alone, never shown.
        run: The run that owns the endpoint.
        deployment: The deployment that is trusted: the live one, also while a canary has a share.
    """

    scoring_uri: str
    key: str
    run: str
    deployment: str | None = None

    def __repr__(self) -> str:
        """Without the key: this ends up in logs."""
        return f"Target({self.scoring_uri!r}, run={self.run!r})"


@dataclass(frozen=True, slots=True)
class Resting:
    """A model that exists but does not serve.

    Attributes:
        rest: Why not (anything but `serving`).
        retry_after: Seconds after which it may be worth asking again, if somebody can tell.
    """

    rest: Rest
    retry_after: float | None = None


Found = Target | Resting | None
"""What is known about a model; `None`: there is no such model."""


@dataclass(frozen=True, slots=True)
class Listed:
    """A model that exists, and since when it is as it is."""

    model: str
    since: datetime
    rest: Rest


class Source(Protocol):
    """The records, as slow as they are. Errors are those of `shared.errors`."""

    async def find(self, model: str) -> Found:
        """What the records say about the model of this name."""

    async def models(self) -> Sequence[Listed]:
        """Every model that serves, rests or will serve."""


class _Entry(Generic[T]):
    __slots__ = ("fresh_until", "loaded_at", "stale_until", "value")

    def __init__(self, value: T, loaded_at: float, fresh: float, stale: float) -> None:
        self.value = value
        self.loaded_at = loaded_at
        self.fresh_until = loaded_at + fresh
        self.stale_until = loaded_at + stale


class Memory(Generic[T]):
    """Values that are loaded one at a time per key, and used again for a while.

    Args:
        load: Gets the value of a key.
        spans: For how many seconds a value is fresh, and until when it may be used while a look is under way.
        pause: Seconds between looks that fail, and the age below which a value is not doubted.
        timeout: Seconds for one look.
        clock: Seconds that only grow.
        limit: Most values kept.
    """

    def __init__(
        self,
        load: Callable[[str], Awaitable[T]],
        spans: Callable[[T], tuple[float, float]],
        *,
        pause: float,
        timeout: float,
        clock: Callable[[], float] = time.monotonic,
        limit: int = 1000,
    ) -> None:
        self._load = load
        self._spans = spans
        self._pause = pause
        self._timeout = timeout
        self._clock = clock
        self._limit = limit
        self._entries: dict[str, _Entry[T]] = {}
        self._looks: dict[str, asyncio.Task[T]] = {}

    async def get(self, key: str) -> T:
        """The value of `key`; waits only when none is known that may still be used.

        Raises:
            Exception: What the look raised, when there is nothing else to give.
        """
        entry = self._entries.get(key)
        if entry is not None:
            now = self._clock()
            if now < entry.fresh_until:
                return entry.value
            if now < entry.stale_until:
                self._look(key)
                return entry.value
        return await asyncio.shield(self._look(key))

    def doubt(self, key: str, value: T) -> None:
        """Forget `value` for `key`: the world contradicted it. The next who asks waits for a look.

        Only that very value is forgotten, so that many who are contradicted at once cause one look; and
        only if it is old enough for a look to tell something new.
        """
        entry = self._entries.get(key)
        if (
            entry is not None
            and entry.value is value
            and self._clock() - entry.loaded_at >= self._pause
        ):
            del self._entries[key]
            self._looks.pop(key, None)  # it may have looked before the world changed

    def _look(self, key: str) -> asyncio.Task[T]:
        task = self._looks.get(key)
        if task is None:
            task = asyncio.get_running_loop().create_task(self._looked(key))
            self._looks[key] = task
            task.add_done_callback(_noticed)
        return task

    async def _looked(self, key: str) -> T:
        me = asyncio.current_task()
        try:
            async with asyncio.timeout(self._timeout):
                value = await self._load(key)
        except Exception as error:
            entry = self._entries.get(key)
            now = self._clock()
            if entry is None or now >= entry.stale_until:
                raise
            entry.fresh_until = now + self._pause
            log.warning("Going on with what is known about %r: %r", key, error)
            return entry.value
        else:
            if self._looks.get(key) is me:
                self._keep(key, value)
            return value
        finally:
            if self._looks.get(key) is me:
                del self._looks[key]

    def _keep(self, key: str, value: T) -> None:
        self._entries.pop(key, None)
        while len(self._entries) >= self._limit:
            del self._entries[next(iter(self._entries))]
        self._entries[key] = _Entry(value, self._clock(), *self._spans(value))


def _noticed(task: asyncio.Task[T]) -> None:
    """Take note of a look's error, for which nobody may be waiting any more."""
    if not task.cancelled():
        task.exception()


class Directory:
    """What the scoring path knows about models."""

    def __init__(
        self,
        source: Source,
        options: Options | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Remember what `source` says, for as long as `options` allow."""
        bounds = options or Options()

        def spans(found: Found) -> tuple[float, float]:
            if isinstance(found, Target):
                return bounds.fresh, max(bounds.fresh, bounds.stale)
            return bounds.resting_fresh, bounds.resting_fresh

        self._found: Memory[Found] = Memory(
            source.find, spans, pause=bounds.doubt_pause, timeout=bounds.find_timeout, clock=clock
        )
        self._listed: Memory[Sequence[Listed]] = Memory(
            lambda _: source.models(),
            lambda _: (bounds.resting_fresh, bounds.resting_fresh),
            pause=bounds.doubt_pause,
            timeout=bounds.find_timeout,
            clock=clock,
        )

    def find(self, model: str) -> Awaitable[Found]:
        """What is known about `model`. Awaiting it raises what the source raised, if nothing is known."""
        return self._found.get(model)

    def doubt(self, model: str, found: Found) -> None:
        """`found` proved wrong: look again before the next request."""
        self._found.doubt(model, found)

    async def models(self) -> Sequence[Listed]:
        """Every model there is."""
        return await self._listed.get("")
