"""Room for a deployment: quota is asked before Azure refuses, and a `direct` rollout empties the endpoint first.

A blue-green or canary rollout has two deployments for a while, so it needs twice the cores, and Azure keeps a
fifth more machines free for its own upgrades
(https://learn.microsoft.com/azure/machine-learning/how-to-manage-quotas, "Virtual machine quota allocation for
deployment"); some GPU sizes are exempt from that reserve.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import msgspec

from shared.errors import Denied
from shared.runs import naming
from shared.runs.endpoints import Rest
from shared.runs.fencing import still_wanted
from shared.runs.machines import Priority
from shared.runs.outcomes import Outcome, Wait
from shared.runs.takeover import given_way, is_on_its_way, record_of, tell
from shared.runs.training import manifest_of

if TYPE_CHECKING:
    from shared.runs.endpoints import EndpointRecord
    from shared.runs.machines import VmSize
    from shared.runs.ports import Deployment, World
    from shared.runs.record import Run

EXEMPT: Final = ("A100", "H100", "ND40RS")
"""Parts of the names of sizes for which Azure keeps no reserve."""

RESERVE: Final = 1.2


def needed(size: VmSize, instances: int) -> int:
    """Cores that a deployment takes from its family's quota, the reserve included."""
    exempt = any(part in size.name.upper() for part in EXEMPT)
    return size.cores * (instances if exempt else math.ceil(RESERVE * instances))


def shortage(name: str, instances: int, world: World) -> str | None:
    """What quota lacks for a deployment, in a sentence; `None` when it is enough or cannot be told."""
    size = world.workspace.vm_size(name)
    if size is None:
        return None
    try:
        quotas = world.workspace.quota(size, Priority.DEDICATED)
    except Denied:  # it takes a role that may not be given; Azure's refusal tells as well
        return None
    wanted = needed(size, instances)
    for quota in quotas:
        if quota.limit is not None and quota.used + wanted > quota.limit:
            return (
                f"{instances} x {name} needs {wanted} cores of {quota.name}, and of its {quota.limit} "
                f"cores {quota.used} are in use"
            )
    return None


def former_deployments(run: Run, world: World) -> list[Deployment]:
    """What other runs have on the endpoint."""
    return [
        deployment
        for deployment in world.workspace.deployments(run.facts.endpoint or "")
        if deployment.name != naming.deployment_name(run.id) and deployment.run is not None
    ]


def empty_endpoint(run: Run, world: World) -> Outcome | None:
    """What to wait for until no other deployment is on the endpoint; `None` when none is.

    An owner that serves is put to sleep for it, and woken again should this run fail; one that is retired stays so.
    """
    others = former_deployments(run, world)
    if not others:
        return None
    with world.endpoints.hold(manifest_of(run).endpoint) as held:
        still_wanted(run, world)
        record = record_of(held)
        if (gone := given_way(record, run, world)) is not None:
            return gone
        if record.emptied_for != run.id or record.rest is Rest.SERVING:
            awake = record.rest in (Rest.SERVING, Rest.WAKING)
            asleep = record.silent(Rest.ASLEEP, world.now()) if awake else record
            record = msgspec.structs.replace(asleep.keeping_nothing(), emptied_for=run.id)
            held.save(record)
    _tell_all(record, others, world)
    names = ", ".join(other.name for other in others)
    return Wait(world.pace.rollout, f"{names} goes first, to make room")


def end_keeping(run: Run, world: World) -> Outcome | None:
    """Have deployments go that are only kept for a while after a switch; `None` when there are none."""
    record = world.endpoints.load(manifest_of(run).endpoint)
    if record is None:
        return None
    kept = [
        deployment
        for deployment in former_deployments(run, world)
        if deployment.name != record.live
        and not is_on_its_way(deployment.run or "", world)
        and deployment.run != record.owner
    ]
    if not kept:
        return None
    if record.keeps:
        with world.endpoints.hold(manifest_of(run).endpoint) as held:
            still_wanted(run, world)
            if held.record is None:
                return None
            if (gone := given_way(held.record, run, world)) is not None:
                return gone
            record = held.record.keeping_nothing()
            held.save(record)
    _tell_all(record, kept, world)
    names = ", ".join(each.name for each in kept)
    return Wait(world.pace.rollout, f"{names} was only kept for a while and goes, to make room")


def _tell_all(record: EndpointRecord, others: list[Deployment], world: World) -> None:
    owner = [record.owner] if record.owner else []
    runs = [*record.former, *owner, *(other.run for other in others if other.run)]
    tell(list(dict.fromkeys(runs)), world)
