"""Timers: decisions on a clock of their own, the rest in the real host and storage."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from local.host.functions import Function, Retry, TimerTrigger
from local.host.ncrontab import Schedule
from local.host.runtime import Result
from local.host.timers import Status, TimerListener, at_start
from tests.host.conftest import NIGHTLY
from tests.host.process import eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.host.conftest import Account
    from tests.host.process import HostProcess

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
HOURLY = Schedule.parse("0 0 * * * *")


def hours(count: float) -> timedelta:
    return timedelta(hours=count)


def test_the_first_start_waits_for_the_next_time() -> None:
    status, past_due = at_start(HOURLY, None, NOON)
    assert (status.last, status.next, past_due) == (None, NOON + hours(1), False)


def test_a_time_that_passed_without_a_host_is_past_due() -> None:
    known = Status(NOON, NOON + hours(1), NOON)
    assert at_start(HOURLY, known, NOON + hours(5)) == (known, True)
    assert at_start(HOURLY, known, NOON + hours(0.5)) == (known, False)


def test_a_changed_schedule_is_worked_out_anew_and_not_past_due() -> None:
    known = Status(NOON, NOON + hours(1), NOON)
    status, past_due = at_start(Schedule.parse("0 30 * * * *"), known, NOON + hours(5))
    assert (status.next, past_due) == (NOON + hours(5.5), False)


def test_a_status_survives_its_json() -> None:
    for last in (None, NOON):
        status = Status(last, NOON + hours(1), NOON)
        assert Status.from_json(status.to_json()) == status


class Clock:
    """Time passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = NOON

    async def sleep(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


class Enough(Exception):
    """Ends a listener that would run for ever."""


class Calls:
    """Stands for the app: writes down when it was called."""

    def __init__(self, clock: Clock, limit: int, *, takes: float = 0, fails: bool = False) -> None:
        self.clock, self.limit, self.takes, self.fails = clock, limit, takes, fails
        self.calls: list[tuple[timedelta, Any, int]] = []
        self.runtime = self

    def datum(self, value: Any, kind: str) -> Any:
        assert kind == "json"
        return json.loads(value)

    async def run(self, function: Function, datum: Any, *_: Any, tries: int = 0) -> Result:
        if len(self.calls) == self.limit:
            raise Enough
        self.calls.append((self.clock.now - NOON, datum, tries))
        await self.clock.sleep(self.takes)
        return Result(ok=not self.fails)


class Kept:
    def __init__(self, status: Status | None = None) -> None:
        self.status = status

    async def load(self, timer: str) -> Status | None:
        return self.status

    async def save(self, timer: str, status: Status) -> None:
        self.status = status


async def fire(calls: Calls, store: Kept, schedule: str = "0 0 * * * *", **options: Any) -> None:
    parsed = Schedule.parse(schedule)
    trigger = TimerTrigger(
        "t", schedule, parsed, options.pop("run_on_startup", False), not parsed.is_frequent
    )
    function = Function("f", "id", trigger, (), False, options.pop("retry", None), ())
    listener = TimerListener(
        function,
        calls,  # type: ignore[arg-type]
        store,
        now=lambda: calls.clock.now,
        sleep=calls.clock.sleep,
    )
    with pytest.raises(Enough):
        await listener.run()


async def test_it_fires_at_each_time_and_keeps_its_status() -> None:
    calls, store = Calls(Clock(), 3), Kept()
    await fire(calls, store)
    assert [when for when, _, _ in calls.calls] == [hours(1), hours(2), hours(3)]
    assert not any(datum["IsPastDue"] for _, datum, _ in calls.calls)
    assert calls.calls[1][1]["ScheduleStatus"]["Last"] == (NOON + hours(1)).isoformat()
    assert store.status == Status(NOON + hours(3), NOON + hours(4), NOON + hours(3))


async def test_ticks_during_a_long_run_collapse() -> None:
    calls = Calls(Clock(), 2, takes=hours(2.5).total_seconds())
    await fire(calls, Kept())
    assert [when for when, _, _ in calls.calls] == [hours(1), hours(4)]


async def test_a_missed_run_is_caught_up_once() -> None:
    calls = Calls(Clock(), 2)
    await fire(calls, Kept(Status(None, NOON - hours(3), NOON - hours(4))))
    assert [(when, d["IsPastDue"]) for when, d, _ in calls.calls] == [
        (hours(0), True),
        (hours(1), False),
    ]


async def test_run_on_startup_does_not_cost_the_next_time() -> None:
    calls = Calls(Clock(), 2)
    await fire(calls, Kept(), run_on_startup=True)
    assert [when for when, _, _ in calls.calls] == [hours(0), hours(1)]


async def test_a_frequent_timer_has_no_status() -> None:
    calls, store = Calls(Clock(), 2), Kept()
    await fire(calls, store, "*/20 * * * * *")
    assert [when.total_seconds() for when, _, _ in calls.calls] == [20, 40]
    assert store.status is None
    assert calls.calls[1][1]["ScheduleStatus"] is None


async def test_a_failing_timer_goes_on_and_its_retry_policy_is_kept() -> None:
    calls = Calls(Clock(), 6, fails=True)
    await fire(calls, Kept(), retry=Retry(2, 60, 3600))
    assert [(when.total_seconds(), tries) for when, _, tries in calls.calls[:4]] == [
        (3600, 0),
        (3660, 1),
        (3780, 2),
        (7200, 0),
    ]


def test_a_timer_fires_in_the_real_host(
    account: Account, start: Callable[..., HostProcess]
) -> None:
    host = start(OFTEN="* * * * * *")
    seen = host.sees("tick", 3)
    assert not any(entry["past_due"] for entry in seen)
    assert all(entry["status"] == {} for entry in seen)


def test_a_run_missed_while_no_host_ran_is_caught_up_at_start(
    account: Account, start: Callable[..., HostProcess]
) -> None:
    host = start()
    name = f"timers/host-{account.mark}/nightly/status"
    blob = account.blobs.get_blob_client("azure-webjobs-hosts", name)
    eventually(blob.exists, "the status blob")
    status = json.loads(blob.download_blob().readall())
    assert status["Last"] == "0001-01-01T00:00:00"
    assert host.seen("nightly") == []
    host.end()

    yesterday = datetime.now(UTC) - timedelta(days=1)
    due = Schedule.parse(NIGHTLY).following(yesterday)
    assert due is not None
    blob.upload_blob(json.dumps(Status(None, due, yesterday).to_json()), overwrite=True)
    host = start()
    (seen,) = host.sees("nightly")
    assert seen["past_due"] is True
    assert seen["status"]["Next"] == due.isoformat()
    eventually(
        lambda: json.loads(blob.download_blob().readall())["Next"] > due.isoformat(),
        "the status after the run",
    )


def test_a_timer_is_started_by_hand_and_tried_again_as_it_says(
    account: Account, start: Callable[..., HostProcess]
) -> None:
    host = start()
    assert host.start("stubborn").status == 202
    assert [entry["stubborn"] for entry in host.sees("stubborn", 3)] == [0, 1, 2]
