"""Who has the endpoint: a newer run goes before an older one, and its owner before gives way.

What runs share is changed only while the endpoint's lease is held, and only after looking at it again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from shared.errors import Missing, Permanent
from shared.runs import naming
from shared.runs.current import outdone_by
from shared.runs.endpoints import Rest
from shared.runs.fencing import still_wanted
from shared.runs.outcomes import Advance, Outcome, Stop, Wait
from shared.runs.phases import Phase
from shared.runs.ports import Look, Provisioning
from shared.runs.training import manifest_of

if TYPE_CHECKING:
    from datetime import datetime

    from shared.runs.endpoints import EndpointRecord
    from shared.runs.ports import HeldEndpoint, World
    from shared.runs.record import Facts, Run


def take_over(run: Run, world: World, facts: Facts, why: str) -> Outcome:
    """All traffic to this run's deployment, then the record; the owner before is told to look."""
    deployment, manifest = naming.deployment_name(run.id), manifest_of(run)
    with world.endpoints.hold(manifest.endpoint) as held:
        still_wanted(run, world)
        record = record_of(held)
        if (gone := given_way(record, run, world)) is not None:
            return gone
        endpoint = world.workspace.endpoint(facts.endpoint or "")
        if endpoint is None or endpoint.provisioning is not Provisioning.SUCCEEDED:
            return Wait(world.pace.rollout, "the endpoint is changing", facts)
        if {name for name, share in endpoint.traffic.items() if share} != {deployment}:
            held.confirm()
            world.workspace.set_traffic(endpoint.name, {deployment: 100})
            return Wait(world.pace.rollout, f"traffic goes over to {deployment}", facts)
        former = _former(record, run, world)
        record = msgspec.structs.replace(
            record,
            owner=run.id,
            former=former,
            live=deployment,
            scoring_uri=endpoint.scoring_uri,
            rest=Rest.SERVING,
            since=world.now(),
            idle_after=manifest.idle.after.total_seconds(),
            kept=_kept(record, run, former, world),
            keep_until=None,
            candidate=None,
            emptied_for=None,
        )
        held.save(record)
    tell_former(record, world)
    facts = msgspec.structs.replace(facts, scoring_uri=endpoint.scoring_uri)
    return Advance(Phase.SERVING, f"{why}; {deployment} has the traffic", facts)


def _former(record: EndpointRecord, run: Run, world: World) -> list[str]:
    """The runs that had the endpoint before and may still have something on it."""
    before = [*record.former, *([record.owner] if record.owner else [])]
    return [other for other in dict.fromkeys(before) if _may_stand(other, run, world)]


def _kept(
    record: EndpointRecord, run: Run, former: list[str], world: World
) -> dict[str, datetime]:
    """Until when each former owner's deployment is kept.

    Who has just lost the traffic is kept for as long as this run's manifest says; of those before, what was said
    then holds. Doing it twice changes nothing: by then this run is the owner.
    """
    kept = {
        other: until
        for other in former
        if other != record.owner and (until := record.kept_until(other)) is not None
    }
    keep = manifest_of(run).deploy.keep_old
    if record.owner in former and keep and run.phase is Phase.DEPLOYING:
        kept[record.owner] = world.now() + keep
    return kept


def record_of(held: HeldEndpoint) -> EndpointRecord:
    """The record of an endpoint that a run has claimed.

    Raises:
        Missing: Somebody removed it.
    """
    if held.record is None:
        raise Missing("the endpoint's record is gone: drop the manifest again to claim it anew")
    return held.record


def given_way(record: EndpointRecord, run: Run, world: World) -> Stop | None:
    """The end of a run whose endpoint another has; `None` while it may go on.

    A newer run has it, or empties it for itself; or one that the gate, asked again, does not let it go before.
    """
    rival = _newer_rival(record, run, world)
    if rival is not None:
        return Stop(Phase.SUPERSEDED, f"the newer run {rival} has the endpoint")
    worse = outdone_by(run, record, world)
    if worse is not None:
        return Stop(Phase.SUPERSEDED, f"another model came before it: {worse}")
    return None


def given_way_by_now(run: Run, world: World) -> Stop | None:
    """The same without the endpoint's lease: asked before a run waits for, or lets go of, what it may not need.

    Whatever is then made or deleted is asked again with the lease in hand.
    """
    record = world.endpoints.load(manifest_of(run).endpoint)
    return None if record is None else given_way(record, run, world)


def _newer_rival(record: EndpointRecord, run: Run, world: World) -> str | None:
    """The run that goes before this one: an owner, or one that the endpoint is emptied for, dropped later."""
    if record.owner is not None and is_newer(record.owner, run, world):
        return record.owner
    other = record.emptied_for
    if other is not None and is_newer(other, run, world) and is_on_its_way(other, world):
        return other
    return None


def is_newer(other: str, run: Run, world: World) -> bool:
    """Whether `other` was dropped after this run."""
    if other == run.id:
        return False
    try:
        rival, _ = world.runs.load(other)
    except Permanent:
        return False  # gone, or it cannot be read: it claims nothing
    return (rival.received_at, rival.id) > (run.received_at, run.id)


def is_on_its_way(run_id: str, world: World) -> bool:
    """Whether a run may still get the endpoint: it is being rolled out, and has not begun to give up."""
    try:
        run, _ = world.runs.load(run_id)
    except Permanent:
        return False
    return run.phase is Phase.DEPLOYING and run.ending is None


def is_emptied(record: EndpointRecord, run: Run, world: World) -> bool:
    """Whether another run's `direct` rollout has put this run to sleep and is not over."""
    if record.emptied_for is None or record.emptied_for == run.id:
        return False
    try:
        other, _ = world.runs.load(record.emptied_for)
    except Permanent:
        return False
    return not other.is_final


def _may_stand(other: str, run: Run, world: World) -> bool:
    """Whether a run that had the endpoint may still have something on it."""
    if other == run.id:
        return False
    try:
        former, _ = world.runs.load(other)
    except Permanent:
        return False
    return not former.is_final


def tell_former(record: EndpointRecord, world: World) -> None:
    """Have the runs looked at that had the endpoint before: they let go of their deployments."""
    tell(record.former, world)


def tell(runs: list[str], world: World) -> None:
    """Have runs looked at."""
    for run_id in runs:
        world.runs.mark_active(run_id)
        world.looks.send(Look(run_id), world.pace.at_once)
