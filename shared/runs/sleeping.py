"""What a run does while it rests: serve, fall asleep, be woken, notice that another took over."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.durations import spell
from shared.runs import naming
from shared.runs.endpoints import Rest
from shared.runs.outcomes import Advance, Outcome, Stop, Wait
from shared.runs.phases import Phase
from shared.runs.ports import Look, Provisioning
from shared.runs.record import Wish
from shared.runs.takeover import is_emptied
from shared.runs.training import manifest_of

if TYPE_CHECKING:
    from datetime import datetime

    from shared.runs.endpoints import EndpointRecord
    from shared.runs.manifest import Manifest
    from shared.runs.ports import Endpoint, HeldEndpoint, World
    from shared.runs.record import Run


def serving(run: Run, world: World) -> Outcome:
    """Serve on, unless another run took over or somebody wants sleep."""
    manifest = manifest_of(run)
    record = world.endpoints.load(manifest.endpoint)
    if record is None or record.owner != run.id:
        return _superseded(record)
    if record.rest is Rest.ASLEEP or run.wish is Wish.SLEEP:
        return _fall_asleep(run, manifest, world)
    if run.wish is Wish.WAKE:
        return _vanished(run, manifest, world)
    return Wait(None, run.why)


def asleep(run: Run, world: World) -> Outcome:
    """Sleep on, unless another run took over or somebody wants an answer."""
    record = world.endpoints.load(manifest_of(run).endpoint)
    if record is None or record.owner != run.id:
        return _superseded(record)
    if run.wish is Wish.WAKE and is_emptied(record, run, world):
        return Wait(world.pace.rollout, f"{record.emptied_for} is being rolled out in its place")
    if run.wish is Wish.WAKE:
        return Advance(Phase.WAKING, "a request came", run.facts)
    return Wait(None, run.why)


def _superseded(record: EndpointRecord | None) -> Stop:
    who = "nobody" if record is None else record.owner
    return Stop(Phase.SUPERSEDED, f"{who} took over the endpoint")


def last_use(run: Run, manifest: Manifest, world: World, since: datetime) -> datetime | None:
    """When the endpoint was last used since `since`, by proxy or directly.

    `None` means certainly not at all; an endpoint that cannot be measured counts as in use now.
    """
    name = run.facts.endpoint or ""
    measured = world.workspace.last_requests([name], since)
    if name not in measured:
        return world.now()
    known = [at for at in (measured[name], world.uses.last(manifest.endpoint)) if at is not None]
    recent = [at for at in known if at > since]
    return max(recent, default=None)


def _fall_asleep(run: Run, manifest: Manifest, world: World) -> Outcome:
    """Decide once more, write the decision down, and only then delete."""
    with world.endpoints.hold(manifest.endpoint) as held:
        record = held.record
        if record is None or record.owner != run.id:
            return _superseded(record)
        if record.rest is not Rest.ASLEEP:
            kept_awake = _why_awake(run, manifest, record, world, held)
            if kept_awake is not None:
                return Wait(None, kept_awake)
            held.save(record.silent(Rest.ASLEEP, world.now()))
        endpoint = world.workspace.endpoint(run.facts.endpoint or "")
        if endpoint is not None and _delete(run, manifest, endpoint, world, held):
            return Wait(world.pace.rollout, "the endpoint is being deleted")
        if is_emptied(record, run, world):
            why = f"{record.emptied_for} is being rolled out in its place"
            return Advance(Phase.ASLEEP, why, run.facts)
        if not manifest.idle.wake_on_request and run.wish is not Wish.WAKE:
            held.save(record.silent(Rest.RETIRED, world.now()))
            return Stop(Phase.RETIRED, f"nobody used it for {spell(manifest.idle.after)}")
    return Advance(Phase.ASLEEP, f"nobody used it for {spell(manifest.idle.after)}", run.facts)


def _why_awake(
    run: Run, manifest: Manifest, record: EndpointRecord, world: World, held: HeldEndpoint
) -> str | None:
    """A reason not to sleep that was not there, or not known, when sleep was asked for."""
    used = last_use(run, manifest, world, world.now() - manifest.idle.after)
    if used is not None:
        return f"it stays awake: it was used at {used:%H:%M:%S}"
    others = [
        deployment
        for deployment in world.workspace.deployments(run.facts.endpoint or "")
        if deployment.name != naming.deployment_name(run.id)
        and deployment.provisioning is not Provisioning.DELETING
    ]
    if others and record.keeps:
        # Kept in case that the new one disappoints; where nobody asks, all that it does is bill.
        held.save(record.keeping_nothing())
    for other in others:  # its run may have been forgotten; it is told to look
        if other.run is not None:
            world.runs.mark_active(other.run)
            world.looks.send(Look(other.run), world.pace.at_once)
    if others:
        names = ", ".join(other.name for other in others)
        return f"it stays awake: {names} is on the endpoint too"
    return None


def _delete(
    run: Run, manifest: Manifest, endpoint: Endpoint, world: World, held: HeldEndpoint
) -> bool:
    """Take the next step of deleting; `False` when there is nothing left to delete."""
    if endpoint.provisioning in (Provisioning.DELETING, Provisioning.WORKING):
        return True
    held.confirm()
    emptied = held.record is not None and is_emptied(held.record, run, world)
    if manifest.idle.action == "delete-endpoint" and not emptied:
        world.workspace.delete_endpoint(endpoint.name)
        return True
    deployment = world.workspace.deployment(endpoint.name, naming.deployment_name(run.id))
    if deployment is None:
        return False
    if any(endpoint.traffic.values()):
        world.workspace.set_traffic(endpoint.name, {})
    elif deployment.provisioning not in (Provisioning.DELETING, Provisioning.WORKING):
        world.workspace.delete_deployment(endpoint.name, deployment.name)
    return True


def _vanished(run: Run, manifest: Manifest, world: World) -> Outcome:
    """Somebody who asked got no answer: if the deployment is gone, the run is asleep in truth."""
    name = naming.deployment_name(run.id)
    endpoint = world.workspace.endpoint(run.facts.endpoint or "")
    deployment = None if endpoint is None else world.workspace.deployment(endpoint.name, name)
    if endpoint is not None and deployment is not None:
        states = {endpoint.provisioning, deployment.provisioning}
        if states == {Provisioning.SUCCEEDED} and endpoint.traffic.get(name):
            return Wait(None, "it serves")
        if Provisioning.WORKING in states:
            return Wait(world.pace.rollout, "its endpoint is changing")
    with world.endpoints.hold(manifest.endpoint) as held:
        record = held.record
        if record is None or record.owner != run.id:
            return _superseded(record)
        held.save(record.silent(Rest.ASLEEP, world.now()))
    return Advance(Phase.ASLEEP, "its endpoint does not answer any more", run.facts)
