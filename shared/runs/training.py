"""From `prepared` to `trained`: one job, tried again when the infrastructure failed it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from shared.durations import spell
from shared.errors import Permanent, Refused, Unavailable
from shared.runs import compute, failures, naming
from shared.runs.failures import sentence
from shared.runs.fencing import still_wanted
from shared.runs.manifest import Manifest
from shared.runs.outcomes import Advance, Outcome, Stop, Wait
from shared.runs.phases import Phase
from shared.runs.ports import JobState
from shared.runs.submission import job_request
from shared.runs.watching import given_up, under_way

if TYPE_CHECKING:
    from shared.runs.ports import World
    from shared.runs.record import Run

_BEFORE_TRAINED = (Phase.RECEIVED, Phase.PREPARED, Phase.TRAINING)


def manifest_of(run: Run) -> Manifest:
    """The checked manifest, as the record keeps it."""
    return Manifest.model_validate_json(msgspec.json.encode(run.facts.request))


def prepared(run: Run, world: World) -> Outcome:
    """Submit the job, unless it is there already, too many runs train, or there is nothing to train on yet."""
    name = naming.job_name(run.id, run.facts.attempt)
    job = world.workspace.job(name)
    if job is None:
        ahead = runs_ahead(run, world)
        if ahead >= world.limits.runs:
            return Wait(
                world.pace.turn, f"{ahead} runs are ahead; {world.limits.runs} may train at a time"
            )
        waiting = compute.ready(run, manifest_of(run), world)
        if waiting is not None:
            return waiting
        request = job_request(run, manifest_of(run), world)
        still_wanted(run, world)
        try:
            job = world.workspace.submit(request)
        except Refused as error:
            facts = msgspec.structs.replace(run.facts, training_failure="job-refused")
            return Stop(Phase.FAILED, sentence("job-refused", str(error)), facts=facts)
    facts = msgspec.structs.replace(run.facts, job=name, job_url=job.url, submitted_at=world.now())
    return Advance(Phase.TRAINING, f"job {name} is submitted", facts)


def runs_ahead(run: Run, world: World) -> int:
    """How many runs that have yet to finish training came before this one; so many machines are spoken for.

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
            facts = msgspec.structs.replace(run.facts, training_failure=None)
            return Advance(Phase.TRAINED, f"job {name} completed", facts)
        case JobState.CANCELLED if run.facts.abandoned == name:
            said = f"job {name} did not respond and was cancelled"
            return _failed(run, "job-not-responding", said, world)
        case JobState.CANCELLED:
            facts = msgspec.structs.replace(run.facts, training_failure="job-cancelled")
            return Stop(Phase.CANCELLED, f"job {name} was cancelled in Azure ML", facts=facts)
        case JobState.FAILED:
            said = f"job {name} failed: {job.error or 'Azure ML gave no reason'}"
            return _failed(run, failures.of_job(job.code, job.error or ""), said, world)
        case JobState.ACTIVE if waited > world.pace.training:
            said = f"job {name} took longer than {spell(world.pace.training)}"
            return given_up(run, "job-too-long", said)
        case JobState.ACTIVE:
            return under_way(run, job, world)


def _failed(run: Run, kind: str, said: str, world: World) -> Outcome:
    """Another attempt where it may help and there is one left; else the run fails."""
    if not failures.FAILURES[kind].again or run.facts.attempt >= world.limits.attempts:
        return given_up(run, kind, said)
    facts = msgspec.structs.replace(
        run.facts,
        attempt=run.facts.attempt + 1,
        job=None,
        training_failure=kind,
        notes=[*run.facts.notes, f"attempt {run.facts.attempt}: {said}"],
    )
    return Advance(Phase.PREPARED, f"{said}; attempt {facts.attempt} follows", facts)
