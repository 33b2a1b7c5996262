"""Load, step, save on condition, arrange the next look: the loop that correctness rests on.

Any number of looks may run at once, events may come twice, late or never, and this process may die between
any two lines. What holds it together:

- the record is replaced only if nobody else replaced it; who loses drops what it found;
- only who wins the save sends the next message, and each save has a new number, so that of any number of
  messages one at most leads to another;
- a run that is active is marked, and `reconcile` sends a hint for each marked run whose look is overdue.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Final

import msgspec

from shared.durations import spell
from shared.errors import (
    DroptuneError,
    Missing,
    Permanent,
    Rejected,
    StaleRecord,
    Transient,
)
from shared.runs.amending import cancel, wish
from shared.runs.fencing import TakenOverError
from shared.runs.heart import Heart
from shared.runs.letting_go import let_go
from shared.runs.outcomes import Outcome, Retry, Stop, Wait
from shared.runs.phases import RESTING, Phase
from shared.runs.ports import Look
from shared.runs.record import Busy, Wish, after
from shared.runs.steps import LONG_STEPS, STEPS

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from shared.runs.ports import World
    from shared.runs.record import Run

__all__ = ["cancel", "look", "reconcile", "wish"]

MOST_BUGS: Final = 5
"""How often in a row our own code may fail at a run before the run is given up."""

MOST_STEPS: Final = 32
"""How many steps one look may take; a guard, not a budget."""

BEATS_UNTIL_DEAD: Final = 3

ORPHANED_AFTER: Final = timedelta(hours=1)
"""A mark may be older than its record by this much, for it is written first."""

logger = logging.getLogger(__name__)


def look(world: World, message: Look) -> Run | None:
    """Bring a run as far as it goes without waiting; returns its record, if there is one."""
    try:
        run, etag = world.runs.load(message.run)
    except Missing:
        logger.warning("%s: there is no such run", message.run)
        return None
    if message.number is not None and message.number != run.look:
        return run
    try:
        return _advance(world, run, etag, hinted=message.number is None)
    except (StaleRecord, TakenOverError):
        logger.debug("%s: somebody else moved it; theirs stands", run.id)
        return None


def _advance(world: World, run: Run, etag: str, *, hinted: bool) -> Run:
    for _ in range(MOST_STEPS):
        now = world.now()
        if run.is_final or (run.busy is not None and run.busy.until > now):
            break
        if run.phase in LONG_STEPS and run.ending is None:
            run, etag, outcome = _take_long_step(world, run, etag)
        else:
            outcome = _attempt(run, world, partial(_step, run, world))
        if hinted and run.busy is None and _changes_nothing(run, outcome, now):
            break
        changed, etag = _save(world, run, outcome, etag)
        _log(run, changed)
        run, hinted = changed, False
        if run.due_at is None or run.due_at > world.now():
            break
    _arrange_next_look(world, run, hinted=hinted)
    return run


def _save(world: World, run: Run, outcome: Outcome, etag: str) -> tuple[Run, str]:
    """Write the outcome down. One that cannot be written down is a bug, and counts as such."""
    try:
        changed = after(run, outcome, world.now())
        if changed.phase is Phase.REJECTED:
            _report(world, changed)
        return changed, world.runs.save(changed, etag)
    except DroptuneError:
        raise
    except Exception as error:
        logger.exception("%s: what came of %s cannot be saved", run.id, run.phase)
        why = f"an error in Droptune itself: {type(error).__name__}: {str(error)!a}"
        if run.bugs + 1 >= MOST_BUGS and run.ending is None:
            given_up = after(run, _give_up(world, run, why), world.now())
            return given_up, world.runs.save(given_up, etag)
        retried = after(run, Retry(world.pace.longest_pause, why, bug=True), world.now())
        return retried, world.runs.save(retried, etag)


def _step(run: Run, world: World) -> Outcome:
    return STEPS[run.phase](run, world) if run.ending is None else let_go(run, world)


def _changes_nothing(run: Run, outcome: Outcome, now: datetime) -> bool:
    """Whether a hint was premature: what was waited for goes on, and its look comes as soon as it is wanted now.

    Not so after a long step: it took that look's place in the record, and its mark has to be taken off.
    """
    if not isinstance(outcome, Wait) or outcome.facts is not None:
        return False
    if outcome.delay is None:
        return not run.is_active and run.due_at is None
    if run.due_at is None or run.failures:
        return False
    return now < run.due_at <= now + outcome.delay


def _arrange_next_look(world: World, run: Run, *, hinted: bool) -> None:
    if run.is_active:
        if not hinted and run.due_at is not None:
            world.looks.send(
                Look(run.id, run.look), max(run.due_at - world.now(), world.pace.at_once)
            )
        return
    world.runs.mark_inactive(run.id)
    # Somebody may have wanted something of it in the meantime and marked it just before.
    latest, _ = world.runs.load(run.id)
    if latest.is_active:
        world.runs.mark_active(run.id)


def _attempt(run: Run, world: World, step: Callable[[], Outcome]) -> Outcome:
    """The step's outcome; what it raised becomes one too."""
    try:
        return step()
    except Rejected as error:
        count = len(error.problems)
        why = str(error) if count == 1 else f"{count} problems: {error}"
        return Stop(Phase.REJECTED, why, error.problems)
    except (Transient, StaleRecord) as error:
        since = run.failing_since or world.now()
        if world.now() - since > world.pace.patience:
            return _give_up(world, run, f"gave up after {spell(world.pace.patience)}: {error}")
        asked = error.retry_after if isinstance(error, Transient) else None
        pause = world.pace.pause(run.failures + 1)
        return Retry(max(pause, asked or pause), str(error))
    except Permanent as error:
        return _give_up(world, run, str(error))
    except (TakenOverError, KeyboardInterrupt):
        raise
    except Exception as error:
        logger.exception("%s: the step out of %s failed", run.id, run.phase)
        why = f"an error in Droptune itself: {type(error).__name__}: {error}"
        if run.bugs + 1 >= MOST_BUGS:
            return _give_up(world, run, why)
        return Retry(world.pace.pause(run.failures + 1), why, bug=True)


def _give_up(world: World, run: Run, why: str) -> Outcome:
    """What becomes of a run that cannot go on: never silence, and nothing that bills unseen.

    Sleep that was decided on and letting go are never given up, only slowed down: what they delete bills.
    """
    if run.ending is not None:
        return Retry(world.pace.longest_pause, f"{run.ending.why}; not let go of yet: {why}")
    if run.phase in RESTING:
        if run.wish is Wish.SLEEP:
            return Retry(world.pace.longest_pause, f"it cannot fall asleep: {why}")
        return Wait(None, why)
    return Stop(Phase.ASLEEP if run.phase is Phase.WAKING else Phase.FAILED, why)


def _take_long_step(world: World, run: Run, etag: str) -> tuple[Run, str, Outcome]:
    """Claim the run, work with a beating heart, and give back the record as it then stands."""
    # Nobody leaves a mark of work behind but who died in it.
    deaths = run.bugs + (run.busy is not None)
    if deaths >= MOST_BUGS:
        return (
            run,
            etag,
            _give_up(world, run, f"preparing the data ended its worker {deaths} times"),
        )
    run = msgspec.structs.replace(run, look=run.look + 1, bugs=deaths)
    claimed = _beaten(world, run, run.look)
    world.runs.save(claimed, etag)
    assert claimed.due_at is not None
    world.looks.send(Look(run.id, claimed.look), claimed.due_at - world.now())

    def beat() -> None:
        fresh, fresh_etag = _still_ours(world, claimed)
        world.runs.save(_beaten(world, fresh, claimed.look), fresh_etag)

    with Heart(beat, world.now, every=world.pace.beat, silence=world.pace.silence) as heart:
        outcome = _attempt(
            claimed, world, lambda: LONG_STEPS[claimed.phase](claimed, world, heart.sign)
        )
    return *_still_ours(world, claimed), outcome


def _beaten(world: World, run: Run, look_number: int) -> Run:
    until = world.now() + world.pace.beat * BEATS_UNTIL_DEAD
    return msgspec.structs.replace(
        run, busy=Busy(look=look_number, until=until), due_at=until + world.pace.grace
    )


def _still_ours(world: World, claimed: Run) -> tuple[Run, str]:
    run, etag = world.runs.load(claimed.id)
    if run.busy is None or run.busy.look != claimed.look or run.ending is not None:
        raise TakenOverError(claimed.id)
    return run, etag


def _report(world: World, run: Run) -> None:
    body = {
        "manifest": run.manifest,
        "run": run.id,
        "rejected_at": run.since,
        "problems": run.problems,
    }
    encoded = msgspec.json.format(msgspec.json.encode(body), indent=2)
    try:
        world.manifests.report(run.manifest, encoded)
    except Permanent:
        logger.exception("%s: the report cannot be written; the record has its problems", run.id)


def _log(before: Run, run: Run) -> None:
    if run.phase is not before.phase:
        logger.info("%s: %s → %s: %s", run.id, before.phase, run.phase, run.why)
    elif run.failures:
        logger.warning("%s: %s, failure %d: %s", run.id, run.phase, run.failures, run.why)
    else:
        logger.debug("%s: %s: %s", run.id, run.phase, run.why)


def reconcile(world: World) -> list[str]:
    """Send a hint for every marked run whose look is overdue; returns their ids.

    Costs one read for each marked run, however many runs there ever were.
    """
    hinted = []
    for mark in world.runs.active():
        try:
            run, _ = world.runs.load(mark.run)
        except Missing:
            if mark.at + ORPHANED_AFTER < world.now():
                world.runs.mark_inactive(mark.run)
            continue
        except Permanent:
            logger.exception("%s cannot be read; the others go on", mark.run)
            continue
        if run.is_final:
            world.runs.mark_inactive(run.id)
        elif not run.is_active or run.is_overdue(world.now(), world.pace.grace):
            world.looks.send(Look(run.id), world.pace.at_once)
            hinted.append(run.id)
    return hinted
