"""Changes to a record from outside of its own steps: a wish, a cancellation. The next look acts on them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from shared.errors import StaleRecord
from shared.runs.phases import CANCELLABLE, RESTING, Phase
from shared.runs.ports import Look
from shared.runs.record import Ending, Wish, ended_early

if TYPE_CHECKING:
    from collections.abc import Callable

    from shared.runs.ports import World
    from shared.runs.record import Run

MOST_RACES: Final = 8
"""How often to try again to change a record that others change too."""


def _amend(world: World, run_id: str, change: Callable[[Run], Run | None]) -> Run:
    """Change a record that others may change too, and have it looked at.

    `change` returns `None` when there is nothing to change.

    Raises:
        Missing: There is no such run.
        StaleRecord: The record changed all the time.
    """
    for attempt in range(1, MOST_RACES + 1):
        run, etag = world.runs.load(run_id)
        changed = change(run)
        if changed is None:
            return run
        world.runs.mark_active(run_id)
        try:
            world.runs.save(changed, etag)
        except StaleRecord:
            if attempt == MOST_RACES:
                raise
            continue
        world.looks.send(Look(run_id), world.pace.at_once)
        return changed
    raise AssertionError("unreachable")


def wish(world: World, run_id: str, wanted: Wish) -> Run:
    """Note what somebody wants of a run that rests; returns its record.

    Nothing changes when the run does not rest or the same is wanted already. One whose wake is being called off
    rests soon: it is woken again then.

    Raises:
        Missing: There is no such run.
    """

    def change(run: Run) -> Run | None:
        if not _heeds(run, wanted) or run.wish is wanted:
            return None
        return msgspec.structs.replace(run, wish=wanted, due_at=world.now())

    return _amend(world, run_id, change)


def _heeds(run: Run, wanted: Wish) -> bool:
    if run.phase is Phase.WAKING and run.ending is not None:
        return wanted is Wish.WAKE
    return run.phase in RESTING and run.ending is None


def cancel(world: World, run_id: str, why: str) -> Run:
    """Call a run off; what it holds is let go of, then it ends.

    Nothing changes when it is past calling off; the record tells.

    Raises:
        Missing: There is no such run.
    """

    def change(run: Run) -> Run | None:
        if run.phase not in CANCELLABLE or run.ending is not None:
            return None
        ending = Ending(Phase.CANCELLED, why, world.now())
        return msgspec.structs.replace(ended_early(run, ending, world.now()), busy=None)

    return _amend(world, run_id, change)
