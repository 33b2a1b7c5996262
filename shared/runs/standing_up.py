"""A run's deployment: made with the first VM size that quota allows, and again, within bounds, when it fails.

Each attempt carries its number as a tag, so that a failure is noted once, the failed deployment deleted (it
bills), and the next attempt made, however often a step is done twice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from shared.errors import DroptuneError, Refused
from shared.runs import naming
from shared.runs.deployment_failures import Remedy, classify, named
from shared.runs.fencing import still_wanted
from shared.runs.outcomes import Outcome, Stop, Wait
from shared.runs.phases import Phase
from shared.runs.ports import DeploymentRequest, Provisioning
from shared.runs.record import standing_still
from shared.runs.rollout_facts import DeploymentFailure
from shared.runs.room import empty_endpoint, end_keeping, former_deployments, shortage
from shared.runs.takeover import given_way, given_way_by_now, record_of
from shared.runs.training import manifest_of

if TYPE_CHECKING:
    from shared.runs.ports import Deployment, World
    from shared.runs.record import Facts, Run

LOG_LINES: Final = 40
"""How much of a failed deployment's log is kept."""

MOST_KEPT: Final = 8
"""How many failures the record keeps, and the most that a rollout may have."""


def stand_up_deployment(run: Run, world: World) -> Outcome | None:
    """What to wait for until the deployment stands; `None` when it does."""
    name = naming.deployment_name(run.id)
    deployment = world.workspace.deployment(run.facts.endpoint or "", name)
    if deployment is None:
        return _make(run, world)
    match deployment.provisioning:
        case Provisioning.SUCCEEDED:
            return None
        case Provisioning.FAILED:
            return _after_failure(run, deployment, world)
        case _:
            return Wait(world.pace.rollout, f"deployment {name} is {deployment.provisioning}")


def end_of(run: Run) -> Phase:
    """Where a rollout ends that cannot go on; a wake that failed may be tried again by the next request."""
    return Phase.ASLEEP if run.phase is Phase.WAKING else Phase.FAILED


def failures_now(run: Run) -> list[DeploymentFailure]:
    """The failures since the run came to its phase: an earlier rollout's do not count against a wake."""
    return [failure for failure in run.facts.failures if failure.at >= run.since]


def sizes_left(run: Run) -> list[str]:
    """VM sizes still worth trying, in the manifest's order: all that have not failed for their own sake.

    Where the endpoint is emptied first, those that failed for want of quota are worth trying once more.
    """
    lacking = _failed_sizes(run, Remedy.ROOM)
    useless = _failed_sizes(run, Remedy.ELSEWHERE)
    useful = [size for size in manifest_of(run).deploy.sizes if size.lower() not in useless]
    untried = [size for size in useful if size.lower() not in lacking]
    return untried or (useful if _goes_direct(run) else [])


def _failed_sizes(run: Run, remedy: Remedy) -> set[str]:
    """VM sizes, in lower case, that failed in a way that has this remedy."""
    return {
        failure.size.lower()
        for failure in failures_now(run)
        if named(failure.kind).remedy is remedy
    }


def _goes_direct(run: Run) -> bool:
    """Whether the endpoint is emptied before the deployment is made."""
    return manifest_of(run).deploy.rollout == "direct" or run.facts.fallback is not None


def _may_go_direct(run: Run, world: World) -> bool:
    """Whether what is on the endpoint may yet be emptied for want of quota."""
    allowed = manifest_of(run).deploy.short_of_quota == "direct"
    return allowed and not _goes_direct(run) and bool(_beside(run, world))


def _beside(run: Run, world: World) -> list[Deployment]:
    """What is on the endpoint while the deployment is made for the first time."""
    return former_deployments(run, world) if run.phase is Phase.DEPLOYING else []


def _gone_direct(run: Run, why: str, world: World) -> Outcome:
    note = f"rolled out direct, for want of quota: {why}"
    facts = msgspec.structs.replace(
        run.facts, fallback=note, notes=[*run.facts.notes, note], standstill=None
    )
    return Wait(world.pace.at_once, note, facts)


def _make(run: Run, world: World) -> Outcome:
    """Begin to make the deployment, where there is room for it."""
    if (gone := given_way_by_now(run, world)) is not None:
        return gone
    deploy = manifest_of(run).deploy
    if _goes_direct(run):
        waiting = empty_endpoint(run, world) if run.phase is Phase.DEPLOYING else None
        if waiting is not None:
            return waiting
    lacking: list[str] = []
    for size in sizes_left(run):
        lack = shortage(size, deploy.instances, world)
        if lack is None:
            return _create(run, world, size, lacking)
        lacking.append(lack)
    return _without_room(run, world, lacking)


def _without_room(run: Run, world: World, lacking: list[str]) -> Outcome:
    """There is no quota for any size: what is only kept goes first, then what serves, if that is allowed."""
    waiting = end_keeping(run, world)
    if waiting is not None:
        return waiting
    why = "; ".join(lacking)
    # What trained gives its nodes back some minutes later, and so does what was just deleted.
    facts, standstill = standing_still(run.facts, "quota", world.now())
    if world.now() - standstill.since < world.pace.freeing:
        return Wait(world.pace.turn, f"it waits for quota: {why}", facts)
    if _may_go_direct(run, world):
        return _gone_direct(run, why, world)
    beside = ", ".join(deployment.name for deployment in _beside(run, world))
    if not beside or _goes_direct(run):
        return Stop(end_of(run), f"there is not enough quota: {why}")
    return Stop(
        end_of(run),
        f"there is not enough quota for a second deployment beside {beside}: {why}; set "
        "deploy.short_of_quota to direct to have it replaced, with an interruption",
    )


def _create(run: Run, world: World, size: str, lacking: list[str]) -> Outcome:
    manifest, name = manifest_of(run), naming.deployment_name(run.id)
    deploy, facts = manifest.deploy, run.facts
    attempt = facts.failures[-1].attempt + 1 if facts.failures else 1
    with world.endpoints.hold(manifest.endpoint) as held:
        still_wanted(run, world)
        if (gone := given_way(record_of(held), run, world)) is not None:
            return gone
        held.confirm()
        try:
            world.workspace.create_deployment(
                DeploymentRequest(
                    endpoint=facts.endpoint or "",
                    name=name,
                    run=run.id,
                    model=facts.model or "",
                    model_version=facts.model_version or "",
                    instance_type=size,
                    instances=deploy.instances,
                    attempt=attempt,
                    startup=deploy.startup,
                    request_timeout=deploy.request_timeout,
                    concurrent_requests=deploy.concurrent_requests,
                )
            )
        except Refused as error:
            return _noted(run, world, str(error), attempt=attempt, size=size)
    notes = [f"served on {size}: {lack}" for lack in lacking]
    facts = msgspec.structs.replace(
        facts,
        instance_type=size,
        standstill=None,
        notes=list(dict.fromkeys([*facts.notes, *notes])),
    )
    return Wait(world.pace.rollout, f"deployment {name} is being made on {size}", facts)


def _after_failure(run: Run, deployment: Deployment, world: World) -> Outcome:
    """Note why it failed; then delete it, so that it stops billing and the next attempt can be made."""
    if deployment.attempt not in {failure.attempt for failure in run.facts.failures}:
        said = deployment.error or "Azure ML gave no reason"
        size = deployment.instance_type or run.facts.instance_type or ""
        logs = log_tail(run, world, deployment.name)
        return _noted(run, world, said, attempt=deployment.attempt, size=size, logs=logs)
    with world.endpoints.hold(manifest_of(run).endpoint) as held:
        still_wanted(run, world)
        if (gone := given_way(record_of(held), run, world)) is not None:
            return gone
        held.confirm()
        world.workspace.delete_deployment(run.facts.endpoint or "", deployment.name)
    return Wait(world.pace.rollout, f"the failed deployment {deployment.name} is being deleted")


def _noted(
    run: Run, world: World, said: str, *, attempt: int, size: str, logs: str | None = None
) -> Outcome:
    """The failure in the record, and whether there will be another attempt."""
    kind = classify(said, logs or "")
    failure = DeploymentFailure(attempt, world.now(), kind.name, said, size, logs)
    facts = msgspec.structs.replace(
        run.facts,
        failures=[*run.facts.failures, failure][-MOST_KEPT:],
        logs=logs or run.facts.logs,
        instance_type=size,
    )
    changed = msgspec.structs.replace(run, facts=facts)
    why = f"deployment {naming.deployment_name(run.id)} failed ({kind.name}) on {size}: {said}"
    most = world.limits.attempts + len(manifest_of(run).deploy.instance_types)
    spent = len(failures_now(changed)) >= min(most, MOST_KEPT)
    if kind.remedy is Remedy.NOTHING or spent:
        return Stop(end_of(run), f"{why}. {kind.mend}", facts=facts)
    if not sizes_left(changed) and kind.remedy is Remedy.ROOM and _may_go_direct(run, world):
        return _gone_direct(changed, said, world)
    if not sizes_left(changed):
        return Stop(end_of(run), f"{why}. {kind.mend}", facts=facts)
    if kind.remedy is Remedy.AGAIN or sizes_left(changed)[0].lower() == size.lower():
        return Wait(world.pace.turn, f"{why}; {Remedy.AGAIN} follows", facts)
    return Wait(world.pace.at_once, f"{why}; {Remedy.ELSEWHERE} follows", facts)


def log_tail(run: Run, world: World, deployment: str) -> str:
    """The end of a deployment's log, which is gone once it is deleted; empty when there is none."""
    try:
        log = world.workspace.logs(run.facts.endpoint or "", deployment)
    except DroptuneError as error:
        return f"the log cannot be read: {error}"
    return "\n".join(log.strip().splitlines()[-LOG_LINES:])


def with_logs(run: Run, world: World) -> Facts:
    """The run's facts with the end of its deployment's log."""
    log = log_tail(run, world, naming.deployment_name(run.id))
    return msgspec.structs.replace(run.facts, logs=log or None)
