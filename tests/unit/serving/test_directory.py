"""The scoring path's memory: how rarely it looks, and when it must."""

from __future__ import annotations

import asyncio

import pytest

from shared.errors import Unavailable
from shared.runs.endpoints import Rest
from shared.serving.directory import Directory, Found, Listed, Resting, Target
from shared.serving.options import Options

OLD = Target("http://127.0.0.1/old", "k", "run-1")
NEW = Target("http://127.0.0.1/new", "k", "run-1")


class Records:
    def __init__(self, found: Found) -> None:
        self.found = found
        self.looks = 0
        self.failing: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()

    async def find(self, model: str) -> Found:
        self.looks += 1
        found = self.found
        await self.gate.wait()
        if self.failing is not None:
            raise self.failing
        return found

    async def models(self) -> list[Listed]:
        self.looks += 1
        return []


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def directory(records: Records, clock: Clock) -> Directory:
    options = Options(fresh=10, resting_fresh=1, stale=300, doubt_pause=1)
    return Directory(records, options, clock)


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_who_asks_at_once_shares_one_look(clock: Clock) -> None:
    records = Records(OLD)
    known = directory(records, clock)
    found = await asyncio.gather(*(known.find("chat") for _ in range(20)))
    assert set(found) == {OLD}
    assert records.looks == 1


async def test_what_is_fresh_is_used_without_a_look(clock: Clock) -> None:
    records = Records(OLD)
    known = directory(records, clock)
    await known.find("chat")
    clock.now += 9.9
    await known.find("chat")
    assert records.looks == 1


async def test_what_is_stale_is_used_while_one_look_is_under_way(clock: Clock) -> None:
    records = Records(OLD)
    known = directory(records, clock)
    await known.find("chat")
    records.found = NEW
    records.gate.clear()
    clock.now += 11
    assert [await known.find("chat") for _ in range(3)] == [OLD, OLD, OLD]
    records.gate.set()
    await settle()
    assert await known.find("chat") is NEW
    assert records.looks == 2


@pytest.mark.parametrize("resting", [Resting(Rest.ASLEEP), None])
async def test_what_rests_or_is_unknown_is_not_remembered_for_long(
    clock: Clock, resting: Found
) -> None:
    records = Records(resting)
    known = directory(records, clock)
    assert await known.find("chat") == resting
    assert await known.find("chat") == resting
    assert records.looks == 1
    records.found = NEW
    clock.now += 1
    assert await known.find("chat") is NEW


async def test_what_was_contradicted_is_looked_up_once_by_all(clock: Clock) -> None:
    records = Records(OLD)
    known = directory(records, clock)
    await known.find("chat")
    records.found = NEW
    clock.now += 2

    async def contradicted() -> Found:
        known.doubt("chat", OLD)
        return await known.find("chat")

    assert set(await asyncio.gather(*(contradicted() for _ in range(20)))) == {NEW}
    known.doubt("chat", OLD)
    await known.find("chat")
    assert records.looks == 2


async def test_a_look_from_before_the_doubt_does_not_bring_the_old_back(clock: Clock) -> None:
    records = Records(OLD)
    known = directory(records, clock)
    await known.find("chat")
    clock.now += 11
    records.gate.clear()
    await known.find("chat")  # starts a look that sees OLD
    await settle()
    records.found = NEW
    known.doubt("chat", OLD)
    asking = asyncio.ensure_future(known.find("chat"))
    await settle()
    records.gate.set()
    assert await asking is NEW
    await settle()
    assert await known.find("chat") is NEW


async def test_what_has_just_been_looked_up_is_not_doubted(clock: Clock) -> None:
    records = Records(OLD)
    known = directory(records, clock)
    await known.find("chat")
    known.doubt("chat", OLD)
    await known.find("chat")
    assert records.looks == 1


async def test_records_that_are_down_do_not_hurt_what_is_known(clock: Clock) -> None:
    records = Records(OLD)
    known = directory(records, clock)
    await known.find("chat")
    records.failing = Unavailable("down")
    clock.now += 11
    for _ in range(3):
        assert await known.find("chat") is OLD
        await settle()
    assert records.looks == 2  # a pause between looks that fail
    clock.now += 300
    with pytest.raises(Unavailable):
        await known.find("chat")


async def test_a_look_outlives_the_request_that_began_it(clock: Clock) -> None:
    records = Records(OLD)
    known = directory(records, clock)
    records.gate.clear()
    first = asyncio.ensure_future(known.find("chat"))
    second = asyncio.ensure_future(known.find("chat"))
    await settle()
    first.cancel()
    await settle()
    records.gate.set()
    assert await second is OLD
    assert records.looks == 1


async def test_a_look_that_hangs_is_given_up(clock: Clock) -> None:
    records = Records(OLD)
    records.gate.clear()
    known = Directory(records, Options(find_timeout=0.01), clock)
    with pytest.raises(TimeoutError):
        await known.find("chat")


async def test_made_up_names_do_not_fill_the_memory(clock: Clock) -> None:
    known = directory(Records(None), clock)
    for number in range(1200):
        await known.find(str(number))
    assert len(known._found._entries) == 1000


def test_a_targets_key_is_not_shown() -> None:
    assert "key-1" not in repr(Target("http://127.0.0.1", "key-1", "run-1"))
