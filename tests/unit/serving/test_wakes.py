"""What requests cause beside their answers: wakes and notes, in bounds."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from shared.errors import Unavailable
from shared.serving.wakes import Gate, Uses


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


async def test_one_call_is_shared_and_the_next_is_made_after_the_pause() -> None:
    calls: list[str] = []

    async def call(model: str) -> None:
        await asyncio.sleep(0)
        calls.append(model)

    clock = Clock()
    gate = Gate(call, pause=5, timeout=10, clock=clock)
    assert all(await asyncio.gather(*(gate.ask("chat") for _ in range(20))))
    assert await gate.ask("chat")
    assert await gate.ask("other")
    clock.now += 5
    await gate.ask("chat")
    assert calls == ["chat", "other", "chat"]


async def test_a_call_that_fails_or_hangs_is_told_and_not_repeated_before_the_pause() -> None:
    calls = 0
    never = asyncio.Event()

    async def fail(_: str) -> None:
        nonlocal calls
        calls += 1
        raise Unavailable("down")

    async def hang(_: str) -> None:
        nonlocal calls
        calls += 1
        await never.wait()

    clock = Clock()
    failing, hanging = (Gate(call, pause=5, timeout=0.01, clock=clock) for call in (fail, hang))
    for gate in (failing, hanging):
        calls = 0
        assert [await gate.ask("chat") for _ in range(3)] == [False, False, False]
        assert calls == 1
    clock.now += 6
    await hanging.ask("chat")
    assert calls == 1  # still in flight
    never.set()


async def test_a_caller_who_goes_away_does_not_stop_the_wake() -> None:
    go, woken = asyncio.Event(), asyncio.Event()

    async def call(_: str) -> None:
        await go.wait()
        woken.set()

    gate = Gate(call, pause=5, timeout=10)
    asking = asyncio.ensure_future(gate.ask("chat"))
    await asyncio.sleep(0)
    asking.cancel()
    go.set()
    await woken.wait()


async def test_calls_long_over_are_forgotten_whatever_names_were_asked_for() -> None:
    async def call(_: str) -> None:
        pass

    clock = Clock()
    gate = Gate(call, pause=5, timeout=10, clock=clock)
    for number in range(100):
        clock.now += 1
        await gate.ask(f"chat-{number}")
    assert len(gate._calls) == 5


class Notes:
    def __init__(self) -> None:
        self.noted: asyncio.Queue[datetime] = asyncio.Queue()

    async def note_use(self, model: str, at: datetime) -> None:
        assert model == "chat"
        await self.noted.put(at)


async def test_a_request_that_still_runs_counts_as_use_until_it_ends() -> None:
    notes = Notes()
    uses = Uses(notes, every=0.001)
    use = uses.began("chat")
    first, second, third = [await notes.noted.get() for _ in range(3)]
    assert first < second < third <= datetime.now(UTC)
    uses.ended(use)
    assert use.noting is not None
    await use.noting
    assert notes.noted.qsize() <= 2
    uses.ended(uses.began("chat"))
    assert await notes.noted.get()
    await uses.close()


async def test_the_last_use_is_noted_and_then_no_more() -> None:
    notes = Notes()
    uses = Uses(notes, every=0.01)
    uses.ended(uses.began("chat"))
    await notes.noted.get()
    use = uses.began("chat")
    uses.ended(use)
    ended = datetime.now(UTC)
    assert (ended - await notes.noted.get()).total_seconds() < 1
    assert use.noting is not None
    await use.noting
    assert notes.noted.empty()
    await uses.close()


async def test_uses_can_be_closed_in_the_middle_of_a_request() -> None:
    uses = Uses(Notes(), every=60)
    use = uses.began("chat")
    await uses.close()
    uses.ended(use)
