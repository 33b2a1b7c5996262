"""What comes of a step: a value, not an effect.

A step looks at the world and says what it found; the reconciler writes it down. `Advance` and `Stop` change
the phase, `Wait` says that the world is at work, `Retry` that we did not get through. Waiting is not failing:
a job that trains for three days has waited often and failed never.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import timedelta

    from shared.errors import Problem
    from shared.runs.phases import Phase
    from shared.runs.record import Facts


@dataclass(frozen=True, slots=True)
class Advance:
    """The run has reached `phase`; `facts` is everything known about it now."""

    phase: Phase
    why: str
    facts: Facts


@dataclass(frozen=True, slots=True)
class Wait:
    """Look again after `delay`; with `None`, when somebody wants something of the run.

    `facts`, when given, replaces what was known.
    """

    delay: timedelta | None
    why: str
    facts: Facts | None = None


@dataclass(frozen=True, slots=True)
class Retry:
    """Something stood in the way; look again after `delay`. `bug` counts towards giving up sooner."""

    delay: timedelta
    why: str
    bug: bool = False


@dataclass(frozen=True, slots=True)
class Stop:
    """The run ends in `phase`, once what it holds has been let go of (see `letting_go`).

    `facts`, when given, replaces what was known.
    """

    phase: Phase
    why: str
    problems: tuple[Problem, ...] = ()
    facts: Facts | None = None


Outcome = Advance | Wait | Retry | Stop
