"""Timer triggers: due times in UTC, a status that survives restarts, missed runs caught up once.

Runs of one timer never overlap; the next time is computed after a run, so ticks that it slept
through collapse into none. Source:
https://learn.microsoft.com/azure/azure-functions/functions-bindings-timer and
https://github.com/Azure/azure-webjobs-sdk-extensions (TimerListener, ScheduleMonitor,
StorageScheduleMonitor).
"""

from __future__ import annotations

import asyncio
import json
import logging
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Protocol

from azure.core.exceptions import AzureError, ResourceExistsError, ResourceNotFoundError

from local.host.blobs import HOSTS
from local.host.functions import TimerTrigger
from local.host.logs import HOST
from local.host.queues import brief

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from local.host.functions import Function
    from local.host.invocations import Invocations
    from local.host.ncrontab import Schedule
    from local.host.storage import Storage

_LONGEST_SLEEP: Final = 30.0
"""Seconds between looks at the wall clock, so that a laptop that slept is noticed."""
_NEVER: Final = "0001-01-01T00:00:00"

log = logging.getLogger(HOST)


@dataclass(frozen=True, slots=True)
class Status:
    """What is known of a timer.

    Attributes:
        last: When it last ran; None if never.
        next: When it is due.
        updated: When this was worked out.
    """

    last: datetime | None
    next: datetime
    updated: datetime

    def to_json(self) -> dict[str, str]:
        """With the real host's names."""
        return {
            "Last": self.last.isoformat() if self.last else _NEVER,
            "Next": self.next.isoformat(),
            "LastUpdated": self.updated.isoformat(),
        }

    @classmethod
    def from_json(cls, content: dict[str, str]) -> Status:
        """Raises ValueError, KeyError, TypeError: It is no status."""
        last = content["Last"]
        return cls(
            None if last.startswith("0001") else _utc(last),
            _utc(content["Next"]),
            _utc(content["LastUpdated"]),
        )


def _utc(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def at_start(schedule: Schedule, known: Status | None, now: datetime) -> tuple[Status, bool]:
    """What is due when the host starts, and whether it is past due.

    The first start, and a schedule that was changed, wait for the next time; a time that passed
    while no host ran is caught up at once.
    """
    if known is not None and schedule.following(known.updated) == known.next:
        return known, now > known.next
    following = schedule.following(now)
    return Status(None, following or datetime.max.replace(tzinfo=UTC), now), False


class StatusStore(Protocol):
    """Where the status of timers is kept."""

    async def load(self, timer: str) -> Status | None:
        """The status of a timer, if there is one."""

    async def save(self, timer: str, status: Status) -> None:
        """Keep it."""


class BlobStatusStore:
    """Keeps it in `azure-webjobs-hosts/timers/{hostId}/{timer}/status`."""

    def __init__(self, storage: Storage, host_id: str) -> None:
        self._storage = storage
        self._host_id = host_id

    def _name(self, timer: str) -> str:
        return f"timers/{self._host_id}/{timer}/status"

    async def load(self, timer: str) -> Status | None:
        """None as well for a blob that cannot be read: the timer then starts anew."""
        try:
            blob = self._storage.blobs().get_blob_client(HOSTS, self._name(timer))
            content = await (await blob.download_blob()).readall()
            return Status.from_json(json.loads(content))
        except ResourceNotFoundError:
            return None
        except (ValueError, LookupError, TypeError, AttributeError):
            log.warning("its status blob cannot be read", extra={"function": timer})
            return None

    async def save(self, timer: str, status: Status) -> None:
        """Makes the container if it is missing."""
        service = self._storage.blobs()
        blob = service.get_blob_client(HOSTS, self._name(timer))
        content = json.dumps(status.to_json()).encode()
        try:
            await blob.upload_blob(content, overwrite=True)
        except ResourceNotFoundError:
            with suppress(ResourceExistsError):
                await service.create_container(HOSTS)
            await blob.upload_blob(content, overwrite=True)


class TimerListener:
    """Fires one timer.

    Args:
        function: The function; its trigger is a timer.
        invocations: What runs it.
        store: Where its status is kept, if its trigger keeps one.
        now: The clock.
        sleep: Waits that many seconds.
    """

    def __init__(
        self,
        function: Function,
        invocations: Invocations,
        store: StatusStore,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        assert isinstance(function.trigger, TimerTrigger)
        self._function = function
        self._trigger = function.trigger
        self._invocations = invocations
        self._store = store if function.trigger.use_monitor else None
        self._now = now
        self._sleep = sleep

    async def run(self) -> None:
        """Fire for ever; a function that fails never stops its timer."""
        known = await self._load()
        status, past_due = at_start(self._trigger.schedule, known, self._now())
        if status != known:
            await self._save(status)
        if past_due or self._trigger.run_on_startup:
            status = await self._fire(status, past_due=past_due)
        while True:
            await self._until(status.next)
            status = await self._fire(status, past_due=False)

    async def _until(self, moment: datetime) -> None:
        while (left := (moment - self._now()).total_seconds()) > 0:
            await self._sleep(min(left, _LONGEST_SLEEP))

    async def _fire(self, status: Status, *, past_due: bool) -> Status:
        started = self._now()
        await self.invoke(status, past_due=past_due)
        ended = self._now()
        following = self._trigger.schedule.following(ended)
        after = Status(started, following or datetime.max.replace(tzinfo=UTC), ended)
        await self._save(after)
        return after

    async def invoke(self, status: Status | None, *, past_due: bool) -> bool:
        """Invoke the function, again as its retry policy says; true if it returned."""
        datum = self._invocations.runtime.datum
        content: dict[str, Any] = {
            "Schedule": {"AdjustForDST": True},
            "ScheduleStatus": status.to_json() if status and self._store else None,
            "IsPastDue": past_due,
        }
        retry, tries = self._function.retry, 0
        while True:
            result = await self._invocations.run(
                self._function, datum(json.dumps(content), "json"), {}, {}, tries=tries
            )
            if result.ok or retry is None or (0 <= retry.limit <= tries):
                return result.ok
            tries += 1
            await self._sleep(retry.delay(tries))

    async def _load(self) -> Status | None:
        """Wait for storage, if need be: without the status a missed run would be forgotten."""
        told = False
        while self._store is not None:
            try:
                return await self._store.load(self._function.name)
            except AzureError as error:
                if not told:
                    self._warn("its status cannot be loaded yet", error)
                told = True
                await self._sleep(timedelta(seconds=1).total_seconds())
        return None

    async def _save(self, status: Status) -> None:
        if self._store is None:
            return
        try:
            await self._store.save(self._function.name, status)
        except AzureError as error:
            self._warn("its status was not kept", error)

    def _warn(self, text: str, error: AzureError) -> None:
        log.warning("%s: %s", text, brief(error), extra={"function": self._function.name})
