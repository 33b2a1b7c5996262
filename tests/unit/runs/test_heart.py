"""A long step's heart: it outlives waits, not the work."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest

from shared.errors import StaleRecord, Unavailable
from shared.runs import reconciler
from shared.runs.fencing import TakenOverError
from shared.runs.heart import Heart
from shared.runs.limits import Pace
from shared.runs.phases import Phase
from shared.runs.ports import Look
from tests.unit.runs.test_hard_cases import fail
from tests.unit.runs.test_reconciler import drop, play
from tests.worlds import Clock, Simulation

PACE = Pace()
BEAT, SILENCE = PACE.beat, PACE.silence


def heart(write, clock, every=BEAT, silence=SILENCE):
    return Heart(write, clock, every=every, silence=silence)


def test_it_beats_while_the_work_waits_and_stops_when_it_has_hung():
    """A beat at each interval for as long as a server may keep us waiting; then whoever looks takes over."""
    clock, beats = Clock(), []
    beating = heart(lambda: beats.append(clock()), clock)
    for _ in range(2 * (SILENCE // BEAT)):
        clock.advance(BEAT)
        beating.listen()
    assert len(beats) == SILENCE // BEAT
    clock.advance(BEAT)
    beating.sign()  # it was alive after all
    assert beats[-1] == clock()


def test_signs_of_busy_work_are_not_all_written_down():
    """One for each interval, whoever is the first to see that it is time."""
    clock, beats = Clock(), []
    beating = heart(lambda: beats.append(clock()), clock)
    for _ in range(100):
        clock.advance(BEAT / 10)
        beating.sign()
        beating.listen()
    assert len(beats) == 10


@pytest.mark.parametrize("lost", [TakenOverError("run"), StaleRecord("run")])
def test_work_that_was_lost_while_it_waited_is_told_at_its_next_sign(lost):
    """And not written down any more."""
    clock, tries = Clock(), []

    def write():
        tries.append(clock())
        raise lost

    beating = heart(write, clock)
    for _ in range(3):
        clock.advance(BEAT)
        beating.listen()
    assert len(tries) == 1
    with pytest.raises(type(lost)):
        beating.sign()


@pytest.mark.parametrize("beat", [Heart.listen, Heart.sign])
def test_a_beat_that_does_not_get_through_is_tried_again(beat):
    """The storage may be away for a moment, whether the work waits for somebody else or gets on."""
    clock, tries = Clock(), []

    def write():
        tries.append(clock())
        if len(tries) == 1:
            raise Unavailable("no connection")

    beating = heart(write, clock)
    clock.advance(BEAT)
    for _ in range(9):
        beat(beating)
    assert len(tries) == 1
    clock.advance(BEAT / 2)
    beat(beating)
    assert len(tries) == 2
    beating.sign()


@pytest.mark.parametrize("lost", [TakenOverError("run"), StaleRecord("run")])
def test_work_that_is_lost_is_told_at_once_where_its_own_sign_finds_out(lost):
    """Only what passes is forgiven."""
    clock = Clock()

    def write():
        raise lost

    beating = heart(write, clock)
    clock.advance(BEAT)
    with pytest.raises(type(lost)):
        beating.sign()


def test_a_preparation_goes_on_when_a_beat_does_not_get_through():
    """A moment's outage of the storage does not cost what was done before it."""
    sim = Simulation()
    run = drop(sim)
    prepare, calls = sim.preparation.prepare, []

    def slow(dataset, max_seq_length, beat):
        calls.append(sim.clock())
        sim.clock.advance(BEAT)
        if len(calls) == 1:
            fail(sim, "runs.save", Unavailable("503"))
        beat()
        return prepare(dataset, max_seq_length, beat)

    sim.preparation.prepare = slow
    play(sim)
    assert len(calls) == 1
    assert sim.run(run).phase is Phase.SERVING


def test_it_beats_by_itself_and_leaves_no_thread():
    """Also when the work fails."""
    clock, beaten = Clock(), threading.Event()
    every = timedelta(milliseconds=2)

    def waiting():
        with heart(beaten.set, clock, every=every):
            clock.advance(every)
            assert beaten.wait(60)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        waiting()
    assert not [each for each in threading.enumerate() if each.name == "heart"]


def test_a_preparation_that_waits_for_a_server_is_not_begun_twice(monkeypatch):
    """However long the server lets it wait within reason, and no death is counted."""
    sim = Simulation()
    run = drop(sim)
    prepare, hearts, calls = sim.preparation.prepare, [], []
    watched = Heart.__enter__
    monkeypatch.setattr(Heart, "__enter__", lambda self: hearts.append(self) or watched(self))

    def slow(*args):
        calls.append(sim.clock())
        for _ in range(20):
            sim.clock.advance(BEAT)
            hearts[-1].listen()  # as its thread does at this pace
            reconciler.look(sim.world, Look(run))
        return prepare(*args)

    sim.preparation.prepare = slow
    play(sim)
    assert len(calls) == 1
    assert sim.run(run).phase is Phase.SERVING
    assert sim.run(run).bugs == 0
