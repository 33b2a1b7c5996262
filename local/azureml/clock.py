"""Time as the emulator sees it: a clock that tests set, and how long each thing takes.

On Azure an endpoint takes a minute and a half to be made and a deployment ten; nobody wants to
wait for that in a test, and everybody wants to see it once before going live. So every duration
is an entry of a `Timetable`, and time itself can be moved.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

Pace = Literal["instant", "seconds", "minutes"]


@dataclass(frozen=True, slots=True)
class Timetable:
    """How long each transition takes, in seconds of the emulator's clock.

    Attributes:
        endpoint_create: `Creating` to `Succeeded` of an online endpoint.
        endpoint_update: The same for a change, such as of traffic.
        endpoint_delete: `Deleting` to gone.
        deployment_create: Least time for a deployment; loading its model comes on top.
        deployment_update: Least time for a change of a deployment.
        deployment_delete: `Deleting` to gone.
        compute_create: `Creating` to `Succeeded` of a cluster.
        compute_delete: `Deleting` to gone.
        job_not_started: A job's time in `NotStarted`.
        job_preparing: In `Preparing`.
        job_queued: In `Queued` (a free training slot may be waited for on top).
        job_finalizing: In `Finalizing`.
        job_cancel: In `CancelRequested`.
        poll_seconds: What `Retry-After` says while a long-running operation works; None leaves the
            header out, as the real service does, and the SDK polls at its own slow pace.
    """

    endpoint_create: float
    endpoint_update: float
    endpoint_delete: float
    deployment_create: float
    deployment_update: float
    deployment_delete: float
    compute_create: float
    compute_delete: float
    job_not_started: float
    job_preparing: float
    job_queued: float
    job_finalizing: float
    job_cancel: float
    poll_seconds: int | None


# `minutes` follows what users of the real service report: an endpoint 1 min 33 s, a deployment of
# a language model 10 to 20 min, a cluster half a minute (nodes come up while the job is queued).
TIMETABLES: dict[Pace, Timetable] = {
    "instant": Timetable(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, poll_seconds=1),
    "seconds": Timetable(2, 1, 1, 3, 2, 1, 2, 1, 0.5, 1, 1, 1, 0.5, poll_seconds=1),
    "minutes": Timetable(93, 30, 60, 600, 300, 120, 32, 60, 5, 60, 300, 60, 15, poll_seconds=None),
}


class Clock:
    """The emulator's time: the machine's time plus an offset, or standing still.

    Only the server's event loop may call it (it wakes waiters of that loop).
    """

    def __init__(self, offset: timedelta = timedelta()) -> None:
        self._offset = offset
        self._frozen_at: datetime | None = None
        self._changed = asyncio.Event()

    def now(self) -> datetime:
        """The current time, with time zone UTC."""
        return self._frozen_at or datetime.now(UTC) + self._offset

    @property
    def offset(self) -> timedelta:
        """How far ahead of the machine's clock this one is."""
        return self._offset

    @property
    def frozen(self) -> bool:
        """Whether time stands still until it is set, advanced or released."""
        return self._frozen_at is not None

    def set(self, moment: datetime) -> None:
        """Make it `moment` now; a frozen clock stays frozen."""
        if self._frozen_at is None:
            self._offset = moment - datetime.now(UTC)
        else:
            self._frozen_at = moment
        self._wake()

    def advance(self, by: timedelta) -> None:
        """Let `by` pass at once."""
        self.set(self.now() + by)

    def freeze(self) -> None:
        """Stop time; only `set` and `advance` move it until `release`."""
        self._frozen_at = self.now()
        self._wake()

    def release(self) -> None:
        """Let time run again from where it stands."""
        if self._frozen_at is not None:
            self._offset = self._frozen_at - datetime.now(UTC)
            self._frozen_at = None
        self._wake()

    async def sleep_until(self, moment: datetime) -> None:
        """Return as soon as it is `moment`, however the clock gets there."""
        while (left := (moment - self.now()).total_seconds()) > 0:
            changed = self._changed
            try:
                async with asyncio.timeout(None if self.frozen else left):
                    await changed.wait()
            except TimeoutError:
                continue

    async def sleep(self, seconds: float) -> None:
        """Return after `seconds` of this clock."""
        await self.sleep_until(self.now() + timedelta(seconds=seconds))

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


def iso(moment: datetime) -> str:
    """`moment` as Azure writes it, such as `2026-03-26T18:01:38.374815+00:00`."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds")
