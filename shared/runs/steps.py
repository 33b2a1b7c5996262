"""Which step leaves which phase."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from shared.runs import preparing, registration, review, rollout, sleeping, training
from shared.runs.outcomes import Outcome
from shared.runs.phases import Phase
from shared.runs.ports import World
from shared.runs.record import Run

Step = Callable[[Run, World], Outcome]
LongStep = Callable[[Run, World, Callable[[], None]], Outcome]

STEPS: Final[Mapping[Phase, Step]] = {
    Phase.PREPARED: training.prepared,
    Phase.TRAINING: training.training,
    Phase.TRAINED: review.trained,
    Phase.APPROVED: registration.approved,
    Phase.REGISTERED: rollout.registered,
    Phase.DEPLOYING: rollout.deploying,
    Phase.SERVING: sleeping.serving,
    Phase.ASLEEP: sleeping.asleep,
    Phase.WAKING: rollout.waking,
}
"""One step for each phase that is not an end; each returns within seconds and waits for nothing."""

LONG_STEPS: Final[Mapping[Phase, LongStep]] = {Phase.RECEIVED: preparing.received}
"""Steps that work for minutes and beat while they do."""
