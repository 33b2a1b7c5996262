"""From `registered` to `serving`: the endpoint, this run's deployment, its smoke test, the traffic.

Waking does the same again without the smoke test. What runs share is changed only while the endpoint's lease
is held, and only after looking at it again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from shared.durations import spell
from shared.errors import DroptuneError, Permanent, Refused
from shared.runs import naming
from shared.runs.endpoints import Rest
from shared.runs.fencing import still_wanted
from shared.runs.outcomes import Advance, Outcome, Stop, Wait
from shared.runs.phases import Phase
from shared.runs.ports import DeploymentRequest, Look, Provisioning
from shared.runs.record import Answer
from shared.runs.training import manifest_of

if TYPE_CHECKING:
    from shared.runs.endpoints import EndpointRecord
    from shared.runs.ports import World
    from shared.runs.record import Facts, Run

SMOKE_PROMPTS = 3
"""How many conversations of the test split a new deployment has to answer."""

LOG_LINES = 40
"""How much of a failed deployment's log is kept."""


def registered(run: Run, world: World) -> Outcome:
    """Have the endpoint made, unless it stands."""
    waiting = _too_late(run, world) or _stand_up_endpoint(run, world)
    if waiting is not None:
        return waiting
    facts = msgspec.structs.replace(run.facts, deployment=naming.deployment_name(run.id))
    return Advance(Phase.DEPLOYING, f"endpoint {run.facts.endpoint} stands", facts)


def deploying(run: Run, world: World) -> Outcome:
    """Have the deployment made, question it, then give it the traffic."""
    waiting = _too_late(run, world) or _stand_up(run, world)
    if waiting is not None:
        return waiting
    facts = run.facts
    if not facts.answers:
        try:
            facts = _smoke_test(run, world)
        except Refused as error:
            why = f"the smoke test failed: {error}"
            return Stop(Phase.FAILED, why, facts=_with_logs(run, world))
    return _take_over(run, world, facts, f"it answered {len(facts.answers)} test prompts")


def waking(run: Run, world: World) -> Outcome:
    """Have endpoint and deployment made again, and give it the traffic."""
    late = _too_late(run, world)
    if late is not None:
        return late
    with world.endpoints.hold(manifest_of(run).endpoint) as held:
        record = held.record
        if record is None or record.owner != run.id:
            return Stop(Phase.SUPERSEDED, "another run has the endpoint")
        if record.rest is not Rest.WAKING:
            held.save(record.silent(Rest.WAKING, world.now()))
    waiting = _stand_up(run, world)
    return waiting or _take_over(run, world, run.facts, "it woke")


def _too_late(run: Run, world: World) -> Outcome | None:
    if world.now() - run.since <= world.pace.rolling_out:
        return None
    end = Phase.ASLEEP if run.phase is Phase.WAKING else Phase.FAILED
    return Stop(end, f"the rollout took longer than {spell(world.pace.rolling_out)}: {run.why}")


def _stand_up(run: Run, world: World) -> Outcome | None:
    """What to wait for until endpoint and deployment stand; `None` when they do."""
    waiting = _stand_up_endpoint(run, world)
    return waiting if waiting is not None else _stand_up_deployment(run, world)


def _stand_up_endpoint(run: Run, world: World) -> Outcome | None:
    name = run.facts.endpoint or ""
    endpoint = world.workspace.endpoint(name)
    if endpoint is not None and endpoint.run is None:
        raise Refused(f"the endpoint {name} is there and was not made by Droptune")
    if endpoint is not None and endpoint.provisioning is Provisioning.SUCCEEDED:
        return None
    with world.endpoints.hold(manifest_of(run).endpoint) as held:
        still_wanted(run, world)
        if held.record is not None and _is_newer(held.record, run, world):
            return Stop(Phase.SUPERSEDED, f"the newer run {held.record.owner} has the endpoint")
        held.confirm()
        if endpoint is None:
            world.workspace.create_endpoint(name, run.id)
            return Wait(world.pace.rollout, f"endpoint {name} is being made")
        if endpoint.provisioning is Provisioning.FAILED and not endpoint.traffic:
            world.workspace.delete_endpoint(name)
            return Wait(world.pace.rollout, f"endpoint {name} failed and is made again")
        if endpoint.provisioning is Provisioning.FAILED:
            # A change of its traffic failed; saying the same again mends it, deleting it would not.
            world.workspace.set_traffic(name, endpoint.traffic)
            return Wait(world.pace.rollout, f"endpoint {name} failed and is mended")
    return Wait(world.pace.rollout, f"endpoint {name} is {endpoint.provisioning}")


def _stand_up_deployment(run: Run, world: World) -> Outcome | None:
    manifest, facts = manifest_of(run), run.facts
    endpoint, name = facts.endpoint or "", naming.deployment_name(run.id)
    deployment = world.workspace.deployment(endpoint, name)
    if deployment is None:
        with world.endpoints.hold(manifest.endpoint) as held:
            still_wanted(run, world)
            if held.record is not None and _is_newer(held.record, run, world):
                return Stop(
                    Phase.SUPERSEDED, f"the newer run {held.record.owner} has the endpoint"
                )
            held.confirm()
            world.workspace.create_deployment(
                DeploymentRequest(
                    endpoint=endpoint,
                    name=name,
                    run=run.id,
                    model=facts.model or "",
                    model_version=facts.model_version or "",
                    instance_type=manifest.deploy.instance_type,
                    instances=manifest.deploy.instances,
                )
            )
        return Wait(world.pace.rollout, f"deployment {name} is being made")
    match deployment.provisioning:
        case Provisioning.SUCCEEDED:
            return None
        case Provisioning.FAILED:
            end = Phase.ASLEEP if run.phase is Phase.WAKING else Phase.FAILED
            reason = deployment.error or "Azure ML gave no reason"
            why = f"deployment {name} failed: {reason}"
            return Stop(end, why, facts=_with_logs(run, world))
        case _:
            return Wait(world.pace.rollout, f"deployment {name} is {deployment.provisioning}")


def _with_logs(run: Run, world: World) -> Facts:
    """The run's facts with the end of its deployment's log, which is gone once it is deleted."""
    name = naming.deployment_name(run.id)
    try:
        log = world.workspace.logs(run.facts.endpoint or "", name)
    except DroptuneError as error:
        log = f"the log cannot be read: {error}"
    tail = log.strip().splitlines()[-LOG_LINES:]
    return msgspec.structs.replace(run.facts, logs="\n".join(tail) or None)


def _smoke_test(run: Run, world: World) -> Facts:
    """Question the deployment with rows of the test split, past any traffic.

    Raises:
        Refused: An answer was an error or empty.
    """
    endpoint, deployment = run.facts.endpoint or "", naming.deployment_name(run.id)
    answers = [
        Answer(
            question=messages[-1]["content"],
            answer=world.workspace.ask(endpoint, deployment, messages),
        )
        for messages in world.preparation.prompts(run.facts.fingerprint or "", SMOKE_PROMPTS)
    ]
    return msgspec.structs.replace(run.facts, answers=answers)


def _is_newer(record: EndpointRecord, run: Run, world: World) -> bool:
    """Whether the endpoint's owner is a run that was dropped after this one."""
    if record.owner is None or record.owner == run.id:
        return False
    try:
        owner, _ = world.runs.load(record.owner)
    except Permanent:
        return False  # gone, or it cannot be read: it claims nothing
    return (owner.received_at, owner.id) > (run.received_at, run.id)


def _take_over(run: Run, world: World, facts: Facts, why: str) -> Outcome:
    """All traffic to this run's deployment, then the record; the owner before is told to look."""
    deployment, manifest = naming.deployment_name(run.id), manifest_of(run)
    with world.endpoints.hold(manifest.endpoint) as held:
        still_wanted(run, world)
        record = held.record
        if record is None or _is_newer(record, run, world):
            return Stop(Phase.SUPERSEDED, "a newer run has the endpoint")
        endpoint = world.workspace.endpoint(facts.endpoint or "")
        if endpoint is None or endpoint.provisioning is not Provisioning.SUCCEEDED:
            return Wait(world.pace.rollout, "the endpoint is changing", facts)
        if {name for name, share in endpoint.traffic.items() if share} != {deployment}:
            held.confirm()
            world.workspace.set_traffic(endpoint.name, {deployment: 100})
            return Wait(world.pace.rollout, f"traffic goes over to {deployment}", facts)
        former = [*record.former, *([record.owner] if record.owner else [])]
        record = msgspec.structs.replace(
            record,
            owner=run.id,
            former=[other for other in dict.fromkeys(former) if _may_stand(other, run, world)],
            live=deployment,
            scoring_uri=endpoint.scoring_uri,
            rest=Rest.SERVING,
            since=world.now(),
            idle_after=manifest.idle.after.total_seconds(),
        )
        held.save(record)
    tell_former(record, world)
    facts = msgspec.structs.replace(facts, scoring_uri=endpoint.scoring_uri)
    return Advance(Phase.SERVING, f"{why}; {deployment} has the traffic", facts)


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
    for run_id in record.former:
        world.runs.mark_active(run_id)
        world.looks.send(Look(run_id), world.pace.at_once)
