"""The phases of a run, and which may follow which.

A phase is a fact that is already true, never an intention. The table below is the law: saving a run in a
phase that does not follow from the one before is a bug and fails loudly.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final

from shared.errors import Refused

if TYPE_CHECKING:
    from collections.abc import Mapping


class Phase(StrEnum):
    """How far a run has come."""

    RECEIVED = "received"
    PREPARED = "prepared"
    TRAINING = "training"
    TRAINED = "trained"
    APPROVED = "approved"
    REGISTERED = "registered"
    DEPLOYING = "deploying"
    SERVING = "serving"
    ASLEEP = "asleep"
    WAKING = "waking"
    SUPERSEDED = "superseded"
    RETIRED = "retired"
    REJECTED = "rejected"
    FAILED = "failed"
    CANCELLED = "cancelled"


def phase_named(name: str) -> Phase:
    """The phase of this name.

    Raises:
        Refused: There is none; the message lists those that there are.
    """
    try:
        return Phase(name)
    except ValueError:
        raise Refused(f"phase is '{name}'; it must be one of {', '.join(Phase)}") from None


FINAL: Final = frozenset(
    {Phase.SUPERSEDED, Phase.RETIRED, Phase.REJECTED, Phase.FAILED, Phase.CANCELLED}
)
"""Ends: nothing is looked at any more."""

CANCELLABLE: Final = frozenset(
    {
        Phase.RECEIVED,
        Phase.PREPARED,
        Phase.TRAINING,
        Phase.TRAINED,
        Phase.APPROVED,
        Phase.REGISTERED,
        Phase.DEPLOYING,
    }
)
"""On the way to serving: a person may still call it off."""

RESTING: Final = frozenset({Phase.SERVING, Phase.ASLEEP})
"""Places where a run stays until somebody wants something of it; no look is due."""

_EARLY_ENDS: Final = frozenset({Phase.FAILED, Phase.CANCELLED})

NEXT: Final[Mapping[Phase, frozenset[Phase]]] = {
    Phase.RECEIVED: _EARLY_ENDS | {Phase.PREPARED, Phase.REJECTED},
    Phase.PREPARED: _EARLY_ENDS | {Phase.TRAINING, Phase.REJECTED},
    Phase.TRAINING: _EARLY_ENDS | {Phase.PREPARED, Phase.TRAINED},
    Phase.TRAINED: _EARLY_ENDS | {Phase.APPROVED, Phase.REJECTED},
    Phase.APPROVED: _EARLY_ENDS | {Phase.REGISTERED},
    Phase.REGISTERED: _EARLY_ENDS | {Phase.DEPLOYING, Phase.SUPERSEDED},
    Phase.DEPLOYING: _EARLY_ENDS | {Phase.SERVING, Phase.SUPERSEDED},
    Phase.SERVING: frozenset({Phase.ASLEEP, Phase.RETIRED, Phase.SUPERSEDED}),
    Phase.ASLEEP: frozenset({Phase.WAKING, Phase.SUPERSEDED}),
    Phase.WAKING: frozenset({Phase.SERVING, Phase.ASLEEP, Phase.SUPERSEDED}),
    **dict.fromkeys(FINAL, frozenset()),
}
"""Legal transitions. `training → prepared` is a further attempt; `waking → asleep` a wake that failed."""
