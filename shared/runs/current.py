"""The model that has an endpoint now, and whether a new one may still go before it.

The gate asks when a job has completed; minutes or hours later, when the model is rolled out, another run's may have
the endpoint. So it is asked again then, with the endpoint's lease in hand: it costs one read of a record.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.errors import Permanent
from shared.runs.endpoints import Rest
from shared.runs.gate import Current, outdone
from shared.runs.phases import Phase
from shared.runs.training import manifest_of

if TYPE_CHECKING:
    from shared.runs.endpoints import EndpointRecord
    from shared.runs.ports import World
    from shared.runs.record import Run


def current_model(run: Run, record: EndpointRecord | None, world: World) -> Current | None:
    """The model that has the run's endpoint, serving or asleep, if it is to be compared with one and there is one."""
    if not manifest_of(run).gate.better_than_current:
        return None
    if record is None or record.rest is Rest.RETIRED or record.owner in (None, run.id):
        return None
    assert record.owner is not None
    try:
        owner, _ = world.runs.load(record.owner)
    except Permanent:
        return Current(record.owner, {})  # it has the endpoint, and nothing is known of it
    if owner.phase is Phase.RETIRED:
        return None  # whatever the endpoint's record says of it
    differs = [
        what
        for what, ours, theirs in (
            ("other data", run.facts.fingerprint, owner.facts.fingerprint),
            (
                "another foundation model",
                run.facts.foundation_model,
                owner.facts.foundation_model,
            ),
        )
        if ours != theirs
    ]
    return Current(owner.id, owner.facts.metrics, tuple(differs))


def outdone_by(run: Run, record: EndpointRecord, world: World) -> str | None:
    """Why a model that the gate approved may not replace the one that has the endpoint by now; `None` if it may."""
    current = current_model(run, record, world)
    if current is None:
        return None
    reasons = outdone(run.facts.metrics, manifest_of(run).gate, current)
    return "; ".join(reasons) or None
