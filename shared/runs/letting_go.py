"""On the way to an end: whatever costs money or stands in another's way is let go of first.

A job that still trains or prepares data is cancelled, a deployment without traffic deleted, an endpoint that
serves nobody deleted. Only then does the run end, so that an ended run never leaves anything behind that bills.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from shared.runs import naming
from shared.runs.amending import wish
from shared.runs.endpoints import Rest
from shared.runs.outcomes import Advance, Outcome, Stop, Wait
from shared.runs.phases import Phase
from shared.runs.ports import JobState, Provisioning
from shared.runs.record import Wish
from shared.runs.takeover import tell_former
from shared.runs.training import manifest_of

if TYPE_CHECKING:
    from datetime import datetime

    from shared.runs.endpoints import EndpointRecord
    from shared.runs.ports import Deployment, Endpoint, HeldEndpoint, World
    from shared.runs.record import Run

_MAY_TRAIN = (Phase.PREPARED, Phase.TRAINING)
_MAY_STAND = (
    Phase.REGISTERED,
    Phase.DEPLOYING,
    Phase.SERVING,
    Phase.ASLEEP,
    Phase.WAKING,
)


def let_go(run: Run, world: World) -> Outcome:
    """Let go of the next thing that the run holds; `Stop` when there is nothing left."""
    assert run.ending is not None
    waiting: Outcome | None = None
    if run.phase is Phase.RECEIVED and run.facts.data_job is not None:
        begun = run.facts.data_submitted_at or run.ending.at
        waiting = _of_job(run.facts.data_job, begun, world)
    elif run.phase in _MAY_TRAIN:
        begun = run.since if run.phase is Phase.TRAINING else run.ending.at
        waiting = _of_job(naming.job_name(run.id, run.facts.attempt), begun, world)
    elif run.phase in _MAY_STAND:
        waiting = _of_the_deployment(run, world)
    return waiting or Stop(run.ending.phase, run.ending.why)


def _of_job(name: str, begun: datetime, world: World) -> Outcome | None:
    """Cancel the job.

    Args:
        name: The job's.
        begun: When it was submitted; where that is not known, the last time at which somebody may have been
            about to. One that is not there may still show for a while after.
        world: Is asked for the job.
    """
    job = world.workspace.job(name)
    if job is None and world.now() - begun < world.pace.appearing:
        return Wait(world.pace.rollout, f"job {name} may still show: it was submitted just now")
    if job is None or job.state is not JobState.ACTIVE:
        return None
    world.workspace.cancel_job(name)
    return Wait(world.pace.rollout, f"job {name} is being cancelled")


def _of_the_deployment(run: Run, world: World) -> Outcome | None:
    with world.endpoints.hold(manifest_of(run).endpoint) as held:
        # Only now: who held it a moment ago may have made the endpoint.
        endpoint = world.workspace.endpoint(run.facts.endpoint or "")
        record = held.record
        holds_traffic = (
            record is not None and record.owner == run.id and record.rest is Rest.SERVING
        )
        if record is not None and holds_traffic and run.phase in (Phase.DEPLOYING, Phase.WAKING):
            tell_former(record, world)
            facts = msgspec.structs.replace(run.facts, scoring_uri=record.scoring_uri)
            return Advance(Phase.SERVING, "too late to stop it: it has the traffic", facts)
        if endpoint is not None and endpoint.run is not None:
            if endpoint.provisioning in (Provisioning.WORKING, Provisioning.DELETING):
                return Wait(world.pace.rollout, f"endpoint {endpoint.name} is changing")
            waiting = _without_deployment(run, endpoint, world, held)
            if waiting is not None:
                return waiting
        if record is not None:
            _give_way(run, record, world, held)
    return None


def _give_way(run: Run, record: EndpointRecord, world: World, held: HeldEndpoint) -> None:
    """Take what the endpoint's record says of this run back; who was put to sleep for it wakes."""
    changed = record
    if record.owner == run.id and record.rest is Rest.WAKING:
        changed = record.silent(Rest.ASLEEP, world.now())
    if record.emptied_for == run.id:
        if record.owner not in (None, run.id):
            assert record.owner is not None
            wish(world, record.owner, Wish.WAKE)
        changed = msgspec.structs.replace(changed, emptied_for=None)
    if record.candidate == run.id:
        changed = msgspec.structs.replace(changed, candidate=None)
    if changed != record:
        held.save(changed)


def _without_deployment(
    run: Run, endpoint: Endpoint, world: World, held: HeldEndpoint
) -> Outcome | None:
    name, live = naming.deployment_name(run.id), held.record.live if held.record else None
    deployment = world.workspace.deployment(endpoint.name, name)
    if deployment is None:
        emptied = held.record is not None and held.record.emptied_for is not None
        if live is None and not emptied and not world.workspace.deployments(endpoint.name):
            held.confirm()
            world.workspace.delete_endpoint(endpoint.name)
            return Wait(world.pace.rollout, f"endpoint {endpoint.name} is being deleted")
        return None
    held.confirm()
    if endpoint.traffic.get(name, 0):
        world.workspace.set_traffic(endpoint.name, {live: 100} if live and live != name else {})
        return Wait(world.pace.rollout, f"traffic is taken from {name}")
    kept = _kept_until(run, deployment, held.record)
    if kept is not None and kept > world.now():
        return Wait(
            kept - world.now(), f"another run took over; {name} is kept until {kept:%H:%M}"
        )
    if deployment.provisioning not in (Provisioning.DELETING, Provisioning.WORKING):
        world.workspace.delete_deployment(endpoint.name, name)
    return Wait(world.pace.rollout, f"deployment {name} is being deleted")


def _kept_until(
    run: Run, deployment: Deployment, record: EndpointRecord | None
) -> datetime | None:
    """Until when a deployment that served is kept after the switch; `None` when it is not."""
    assert run.ending is not None
    if run.phase is not Phase.SERVING or run.ending.phase is not Phase.SUPERSEDED:
        return None
    if record is None or deployment.provisioning is not Provisioning.SUCCEEDED:
        return None
    return record.kept_until(run.id) if record.rest is Rest.SERVING else None
