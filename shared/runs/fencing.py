"""Is this still our work? Asked just before anything is made that costs money.

Between loading a record and acting on it minutes may pass, and somebody may have called the run off.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from shared.runs.ports import World
    from shared.runs.record import Run


class TakenOverError(Exception):
    """While we worked, somebody else took the run over or called it off. Drop everything."""


def still_wanted(run: Run, world: World) -> None:
    """Look at the record again.

    Raises:
        TakenOverError: It moved on, or is on its way to an end that we did not know of.
    """
    fresh, _ = world.runs.load(run.id)
    if fresh.phase is not run.phase or (fresh.ending is not None and run.ending is None):
        raise TakenOverError(run.id)
