"""From `prepared` to `trained`: one job, tried again when the infrastructure failed it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from shared.durations import spell
from shared.errors import Permanent, Unavailable
from shared.runs import naming, parameters
from shared.runs.fencing import still_wanted
from shared.runs.manifest import Manifest
from shared.runs.outcomes import Advance, Outcome, Stop, Wait
from shared.runs.phases import Phase
from shared.runs.ports import JobRequest, JobState

if TYPE_CHECKING:
    from shared.runs.ports import Job, World
    from shared.runs.record import Run

_BEFORE_TRAINED = (Phase.RECEIVED, Phase.PREPARED, Phase.TRAINING)


def manifest_of(run: Run) -> Manifest:
    """The checked manifest, as the record keeps it."""
    return Manifest.model_validate_json(msgspec.json.encode(run.facts.request))


def prepared(run: Run, world: World) -> Outcome:
    """Submit the job, unless it is there already or too many runs train."""
    name = naming.job_name(run.id, run.facts.attempt)
    job = world.workspace.job(name)
    if job is None:
        ahead = _ahead(run, world)
        if ahead >= world.limits.runs:
            return Wait(
                world.pace.turn, f"{ahead} runs are ahead; {world.limits.runs} may train at a time"
            )
        request = _job_request(run, world, name)
        still_wanted(run, world)
        job = world.workspace.submit(request)
    facts = msgspec.structs.replace(run.facts, job=name, job_url=job.url, submitted_at=world.now())
    return Advance(Phase.TRAINING, f"job {name} is submitted", facts)


def _ahead(run: Run, world: World) -> int:
    """How many runs that have yet to finish training came before this one.

    Who came first decides, so that any two that ask at the same time agree on who waits.
    """
    ahead = 0
    for mark in world.runs.active():
        try:
            other, _ = world.runs.load(mark.run)
        except Permanent:
            continue  # a mark without a record, or one that cannot be read: `reconcile` tells
        came_first = (other.received_at, other.id) < (run.received_at, run.id)
        ahead += came_first and other.phase in _BEFORE_TRAINED
        if ahead >= world.limits.runs:
            break
    return ahead


def _job_request(run: Run, world: World, name: str) -> JobRequest:
    manifest = manifest_of(run)
    component = world.workspace.component()
    model = world.workspace.foundation_model(
        manifest.model.registry, manifest.model.name, _version(run.facts.foundation_model or "")
    )
    merged = parameters.merge(manifest.finetune, model.defaults, component.inputs)
    return JobRequest(
        name=name,
        display_name=f"{manifest.model.name}-{naming.slug(manifest.name)}-{run.generation}",
        experiment=f"droptune-{naming.slug(manifest.name)}",
        run=run.id,
        foundation_model=model.id,
        component=run.facts.component or component.id,
        splits=run.facts.splits,
        parameters=merged.values,
        cluster=manifest.compute.cluster,
        size=manifest.compute.size,
        nodes=manifest.compute.max_nodes,
        gpus=world.workspace.gpus(manifest.compute.size) or 1,
        lineage=lineage(run),
    )


def _version(asset_id: str) -> str:
    return asset_id.rpartition("/")[2]


def lineage(run: Run) -> dict[str, str]:
    """Where the model came from, as properties of what is made of it."""
    return {
        "droptune_manifest": run.manifest,
        "droptune_fingerprint": run.facts.fingerprint or "",
        "droptune_foundation_model": run.facts.foundation_model or "",
    }


def training(run: Run, world: World) -> Outcome:
    """See how the job fares."""
    name = run.facts.job or naming.job_name(run.id, run.facts.attempt)
    job = world.workspace.job(name)
    waited = world.now() - run.since
    if job is None:
        if waited < world.pace.appearing:
            return Wait(world.pace.job, f"job {name} is submitted and does not show yet")
        raise Unavailable(f"job {name} does not show in the workspace any more")
    match job.state:
        case JobState.COMPLETED:
            return Advance(Phase.TRAINED, f"job {name} completed", run.facts)
        case JobState.CANCELLED:
            return Stop(Phase.CANCELLED, f"job {name} was cancelled in Azure ML")
        case JobState.FAILED:
            return _failed(run, job, world)
        case JobState.ACTIVE if waited > world.pace.training:
            return Stop(Phase.FAILED, f"job {name} took longer than {spell(world.pace.training)}")
        case JobState.ACTIVE:
            return Wait(world.pace.job, f"job {name} is {job.status}")


def _failed(run: Run, job: Job, world: World) -> Outcome:
    said = f"job {job.name} failed: {job.error or 'Azure ML gave no reason'}"
    if not job.worth_repeating or run.facts.attempt >= world.limits.attempts:
        return Stop(Phase.FAILED, said)
    facts = msgspec.structs.replace(run.facts, attempt=run.facts.attempt + 1, job=None)
    return Advance(Phase.PREPARED, f"{said}; attempt {facts.attempt} follows", facts)
