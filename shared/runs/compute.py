"""What trains: a cluster that is there, one that is made, or serverless nodes, and whether there is quota.

What can be known to be wrong is found with the manifest; what takes time (a cluster that comes up, quota that
others use) is waited for before the job is submitted, one look at a time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import msgspec

from shared.durations import spell
from shared.errors import Denied, Missing, Refused
from shared.runs.failures import problem, sentence
from shared.runs.fencing import still_wanted
from shared.runs.machines import ClusterRequest, Priority
from shared.runs.outcomes import Outcome, Stop, Wait
from shared.runs.phases import Phase
from shared.runs.ports import Provisioning
from shared.runs.record import standing_still

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shared.errors import Problem
    from shared.runs.compute_section import Compute
    from shared.runs.machines import Allowance, Cluster, VmSize
    from shared.runs.manifest import Manifest
    from shared.runs.ports import FoundationModel, World
    from shared.runs.record import Run

K80: Final = frozenset({"standard_nc6", "standard_nc12", "standard_nc24", "standard_nc24r"})
"""Sizes whose GPUs are too old for the component (Microsoft's fine-tuning notebook checks for them)."""


@dataclass(frozen=True, slots=True)
class Machines:
    """What will train."""

    size: VmSize
    notes: tuple[str, ...] = ()


def machines(
    manifest: Manifest, model: FoundationModel | None, world: World
) -> tuple[Machines | None, list[Problem]]:
    """What will train, or every problem with it.

    Args:
        manifest: The manifest.
        model: The model to be trained; `None` when there is none, and only the rest is checked.
        world: Is asked for the cluster, the size and the quota.
    """
    asked, notes = manifest.compute, list[str]()
    cluster, problems = _standing(asked, world)
    if problems:
        return None, problems
    name = asked.size
    if cluster is not None:
        name = cluster.size
        notes = _notes_on(cluster, asked)
        problems = _cluster_problems(cluster, asked, world)
    elif asked.cluster is not None:
        problems = world.limits.size_problems("compute.size", name)
    place = "compute.size" if cluster is None else "compute.cluster"
    size = world.workspace.vm_size(name)
    if size is None:
        told = f"the region has no VM size '{name}' for training"
        reason = _old(name) if name.lower() in K80 else told
        return None, [*problems, problem("size-not-supported", place, reason)]
    problems += _size_problems(place, size, model)
    if not problems:
        short, unread = _quota_problems(asked, size, cluster, world)
        problems, notes = short, notes + unread
    return (None if problems else Machines(size, tuple(notes))), problems


def serving_problems(manifest: Manifest, model: FoundationModel) -> list[Problem]:
    """Whether the model may be served on the sizes that the manifest asks for."""
    allowed = {each.lower() for each in model.serve_sizes}
    asked = [("deploy.instance_type", manifest.deploy.instance_type)]
    asked += [("deploy.instance_types", size) for size in manifest.deploy.instance_types]
    return [
        problem(
            "size-not-supported",
            place,
            f"'{size}' cannot serve {model.name}; it supports {', '.join(model.serve_sizes)}",
        )
        for place, size in asked
        if allowed and size.lower() not in allowed
    ]


def _standing(asked: Compute, world: World) -> tuple[Cluster | None, list[Problem]]:
    """The cluster that is there, if one is named and there is."""
    if asked.cluster is None:
        return None, []
    try:
        return world.workspace.cluster(asked.cluster), []
    except Refused as error:
        return None, [problem("cluster-not-usable", "compute.cluster", str(error))]


def _notes_on(cluster: Cluster, asked: Compute) -> list[str]:
    notes = []
    if "size" in asked.model_fields_set and cluster.size.lower() != asked.size.lower():
        notes.append(
            f"the cluster {cluster.name} has nodes of {cluster.size}; compute.size is not used"
        )
    if cluster.least > 0:
        notes.append(
            f"the cluster {cluster.name} keeps at least {cluster.least} nodes: they cost money while idle"
        )
    if cluster.priority is Priority.LOW:
        notes.append(f"the cluster {cluster.name} has low-priority nodes, which may be taken away")
    return notes


def _cluster_problems(cluster: Cluster, asked: Compute, world: World) -> list[Problem]:
    place = "compute.cluster"
    problems = world.limits.size_problems(place, cluster.size)
    if asked.max_nodes > cluster.most:
        reason = (
            f"the cluster {cluster.name} has at most {cluster.most} nodes, and compute.max_nodes is "
            f"{asked.max_nodes}"
        )
        problems.append(problem("cluster-not-usable", place, reason))
    if cluster.provisioning is Provisioning.FAILED and cluster.run is None:
        reason = (
            f"the cluster {cluster.name} has failed: {cluster.error or 'Azure ML gives no reason'}"
        )
        problems.append(problem("cluster-not-usable", place, reason))
    return problems


def _size_problems(place: str, size: VmSize, model: FoundationModel | None) -> list[Problem]:
    if model is not None and model.train_sizes:
        if size.name.lower() in {each.lower() for each in model.train_sizes}:
            return []
        told = (
            f"'{size.name}' cannot train {model.name}; it supports {', '.join(model.train_sizes)}"
        )
        return [problem("size-not-supported", place, told)]
    if size.gpus < 1:
        told = f"'{size.name}' has no GPU, and training needs one"
        return [problem("size-not-supported", place, told)]
    if size.name.lower() in K80:
        return [problem("size-not-supported", place, _old(size.name))]
    return []


def _old(size: str) -> str:
    return f"'{size}' has K80 GPUs, which cannot train these models"


# Quota ------------------------------------------------------------------------------------------


def _needed(size: VmSize, nodes: int, cluster: Cluster | None) -> int:
    """Cores on top of those that the cluster has in hand already."""
    return size.cores * max(nodes - (cluster.nodes if cluster else 0), 0)


def _quota_problems(
    asked: Compute, size: VmSize, cluster: Cluster | None, world: World
) -> tuple[list[Problem], list[str]]:
    """What is too small for the job whatever else runs; a note where quota cannot be read."""
    wanted = _priorities(asked, cluster)
    whole = size.cores * asked.max_nodes
    problems = []
    try:
        for priority in wanted:
            small = _too_small(world.workspace.quota(size, priority), whole)
            if small is None:
                return [], []
            reason = f"not enough {priority} quota for {asked.max_nodes} of {size.name}: {_said(small, whole)}"
            place = "compute.cluster" if cluster else "compute.size"
            problems.append(problem("quota-too-small", place, reason))
    except Denied as error:
        return [], [f"the quota could not be asked before submission: {error}"]
    return problems, []


def _priorities(asked: Compute, cluster: Cluster | None) -> Sequence[Priority]:
    if cluster is not None:
        return (cluster.priority,)
    return tuple(Priority(each) for each in asked.priority)


def _too_small(quotas: Sequence[Allowance], needed: int) -> Allowance | None:
    return next((q for q in quotas if q.limit is not None and needed > q.limit), None)


def _in_use(quotas: Sequence[Allowance], needed: int) -> Allowance | None:
    return next((q for q in quotas if q.limit is not None and q.used + needed > q.limit), None)


def _said(quota: Allowance, needed: int) -> str:
    return f"family {quota.name}, limit {quota.limit} cores, used {quota.used}, needed {needed}"


# Before submission ------------------------------------------------------------------------------


def ready(run: Run, manifest: Manifest, world: World) -> Outcome | None:
    """What to wait for, or to end with, before the job is submitted; `None` when nothing is in the way.

    Raises:
        Refused: There is compute of the cluster's name and it is no cluster.
    """
    asked = manifest.compute
    cluster = None if asked.cluster is None else world.workspace.cluster(asked.cluster)
    # A record of before the size was kept has only the manifest's, and a cluster its own.
    name = run.facts.size or (cluster.size if cluster else asked.size)
    size = world.workspace.vm_size(name)
    if size is None:
        raise Missing(f"the region has no VM size '{name}' any more")
    if asked.cluster is None:
        return _quota_in_use(run, manifest, size, None, world)
    if cluster is None:
        return _make(run, manifest, size, world)
    match cluster.provisioning:
        case Provisioning.SUCCEEDED if cluster.size.lower() != size.name.lower():
            said = (
                f"the cluster {cluster.name} has nodes of {cluster.size} now, not of {size.name}"
            )
            return _unusable(run, said)
        case Provisioning.SUCCEEDED:
            return _quota_in_use(run, manifest, size, cluster, world)
        case Provisioning.FAILED if cluster.run is None:
            return _unusable(run, f"the cluster {cluster.name} has failed: {cluster.error}")
        case Provisioning.FAILED:
            return _cleared_away(run, cluster, world)
        case _:
            said = f"the cluster {cluster.name} is {cluster.provisioning}"
            return _patiently(run, world, "cluster", said, "cluster-failed")


def _cleared_away(run: Run, cluster: Cluster, world: World) -> Wait:
    """Delete a cluster that failed; first note why, or the same would be made again."""
    why = f"the cluster {cluster.name} failed and is deleted: {cluster.error}"
    if cluster.priority.value not in run.facts.tried:
        tried = run.facts.tried | {cluster.priority.value: cluster.error or "no reason given"}
        return Wait(world.pace.at_once, why, msgspec.structs.replace(run.facts, tried=tried))
    still_wanted(run, world)
    world.workspace.delete_cluster(cluster.name)
    return Wait(world.pace.rollout, why)


def _unusable(run: Run, said: str) -> Stop:
    facts = msgspec.structs.replace(run.facts, training_failure="cluster-not-usable")
    return Stop(Phase.FAILED, sentence("cluster-not-usable", said), facts=facts)


def _make(run: Run, manifest: Manifest, size: VmSize, world: World) -> Outcome:
    """Begin to make the cluster with the first priority that was not tried yet and has quota."""
    asked, tried, busy = manifest.compute, dict(run.facts.tried), None
    for priority in _priorities(asked, None):
        if priority.value in tried:
            continue
        quotas = _quotas(size, priority, world)
        needed = _needed(size, asked.max_nodes, None)
        small, used = _too_small(quotas, needed), _in_use(quotas, needed)
        if small is not None:
            tried[priority.value] = f"not enough quota: {_said(small, needed)}"
            continue
        if used is not None:
            busy = busy or f"{priority} quota for {size.name} is in use: {_said(used, needed)}"
            continue
        refused = _begun(run, manifest, size, priority, world)
        if refused is None:
            facts = msgspec.structs.replace(run.facts, tried=tried, standstill=None)
            why = f"the cluster {asked.cluster} of {priority} {size.name} is being made"
            return Wait(world.pace.rollout, why, facts)
        tried[priority.value] = refused
    facts = msgspec.structs.replace(run.facts, tried=tried)
    changed = msgspec.structs.replace(run, facts=facts)
    if busy is not None:
        return _patiently(changed, world, "quota", busy, "quota-in-use")
    told = "; ".join(f"{priority}: {why}" for priority, why in tried.items())
    facts = msgspec.structs.replace(facts, training_failure="cluster-failed")
    said = sentence("cluster-failed", f"the cluster {asked.cluster} cannot be made ({told})")
    return Stop(Phase.FAILED, said, facts=facts)


def _begun(
    run: Run, manifest: Manifest, size: VmSize, priority: Priority, world: World
) -> str | None:
    """Begin to make the cluster; gives Azure's reason if it refuses."""
    asked = manifest.compute
    request = ClusterRequest(
        name=asked.cluster or "",
        run=run.id,
        size=size.name,
        nodes=asked.max_nodes,
        priority=priority,
        idle=asked.scale_down_after,
    )
    still_wanted(run, world)
    try:
        world.workspace.create_cluster(request)
    except Refused as error:
        return str(error)
    return None


def _quotas(size: VmSize, priority: Priority, world: World) -> Sequence[Allowance]:
    try:
        return world.workspace.quota(size, priority)
    except Denied:
        return ()  # noted when the manifest was checked


def _quota_in_use(
    run: Run, manifest: Manifest, size: VmSize, cluster: Cluster | None, world: World
) -> Outcome | None:
    priority = cluster.priority if cluster else Priority.DEDICATED
    needed = _needed(size, manifest.compute.max_nodes, cluster)
    used = _in_use(_quotas(size, priority, world), needed) if needed else None
    if used is None:
        return None
    said = f"{priority} quota for {size.name} is in use: {_said(used, needed)}"
    return _patiently(run, world, "quota", said, "quota-in-use")


def _patiently(run: Run, world: World, on: str, said: str, kind: str) -> Outcome:
    """Wait, and tell since when; give up after the longest time that a run may stand still."""
    facts, standstill = standing_still(run.facts, on, world.now())
    waited = world.now() - standstill.since
    if waited > world.pace.queued:
        facts = msgspec.structs.replace(facts, training_failure=kind)
        told = sentence(kind, f"waited {spell(world.pace.queued)}: {said}")
        return Stop(Phase.FAILED, told, facts=facts)
    return Wait(world.pace.turn, said, None if facts == run.facts else facts)
