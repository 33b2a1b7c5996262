"""Bigger than a function: above a bound the same preparation runs as a job, and the run waits for it.

What counts is the report under the fingerprint, whoever wrote it. The job is only the way there: it is noted in the
record before it is submitted, so that it is let go of whatever happens in between, and looked at until it has ended.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from shared.durations import spell
from shared.errors import DataRejected, Problem, Refused, Unavailable
from shared.runs import naming
from shared.runs.failures import FAILURES, of_job, sentence
from shared.runs.fencing import still_wanted
from shared.runs.outcomes import Outcome, Stop, Wait
from shared.runs.phases import Phase
from shared.runs.ports import DataJobRequest, JobState
from shared.runs.training import runs_ahead
from shared.sizes import spell as spell_size

if TYPE_CHECKING:
    from collections.abc import Callable

    from shared.runs.manifest import Manifest
    from shared.runs.ports import Job, PreparedData, World
    from shared.runs.record import Run


def data_of(
    run: Run,
    manifest: Manifest,
    max_seq_length: int | None,
    world: World,
    beat: Callable[[], None],
) -> PreparedData | Outcome:
    """The prepared data: made here if it is little, else by a job; or what to do until that has ended.

    Raises:
        DataRejected: The rows are not fit to train on.
    """
    if run.facts.data_job is None:
        size = world.preparation.size(manifest.dataset)
        if size <= world.limits.in_function:
            return world.preparation.prepare(manifest.dataset, max_seq_length, beat)
        return _announced(run, manifest, max_seq_length, size, world)
    if run.facts.data_submitted_at is None:
        return _submitted(run, manifest, max_seq_length, world)
    return _watched(run, manifest, max_seq_length, world)


def _announced(
    run: Run, manifest: Manifest, max_seq_length: int | None, size: int, world: World
) -> PreparedData | Outcome:
    """Note in the record that a job will prepare the data, unless that was done before.

    Raises:
        DataRejected: A job may not read it.
    """
    fingerprint = world.preparation.fingerprint(manifest.dataset, max_seq_length)
    found = world.preparation.finished(fingerprint)
    if found is not None:
        return found
    too_much = (
        f"{spell_size(size)} of data are more than the {spell_size(world.limits.in_function)} that a function"
        " prepares"
    )
    if problems := world.preparation.problems_in_job(manifest.dataset):
        raise DataRejected(
            Problem(each.place, f"{too_much}, and {each.reason}", each.mend) for each in problems
        )
    ahead = runs_ahead(run, world)
    if ahead >= world.limits.runs:
        return Wait(
            world.pace.turn,
            f"{ahead} runs are ahead; {world.limits.runs} may use machines at a time",
        )
    name = naming.data_job_name(run.id, run.facts.data_attempt)
    facts = msgspec.structs.replace(run.facts, data_job=name)
    return Wait(world.pace.at_once, f"{too_much}; job {name} will do it", facts)


def _submitted(run: Run, manifest: Manifest, max_seq_length: int | None, world: World) -> Outcome:
    """Submit the job, unless it is there already."""
    name = run.facts.data_job or ""
    plan = world.preparation.plan(
        manifest.dataset, max_seq_length, name, world.limits.preparing_nodes
    )
    request = DataJobRequest(
        name=name,
        display_name=f"data-{naming.slug(manifest.name)}-{run.generation}",
        experiment=f"droptune-{naming.slug(manifest.name)}",
        run=run.id,
        fingerprint=plan.fingerprint,
        nodes=plan.nodes,
        at_most=world.pace.preparing,
    )
    still_wanted(run, world)
    try:
        job = world.workspace.submit_data_job(request)
    except Refused as error:
        return _failed(run, "job-refused", str(error))
    facts = msgspec.structs.replace(
        run.facts,
        data_job_url=job.url,
        data_fingerprint=plan.fingerprint,
        data_submitted_at=world.now(),
    )
    nodes = "1 node" if plan.nodes == 1 else f"{plan.nodes} nodes"
    return Wait(world.pace.job, f"job {name} prepares the data on {nodes}", facts)


def _watched(
    run: Run, manifest: Manifest, max_seq_length: int | None, world: World
) -> PreparedData | Outcome:
    """See how the job fares; once it has ended, what it left."""
    name, fingerprint = run.facts.data_job or "", run.facts.data_fingerprint or ""
    waited = world.now() - (run.facts.data_submitted_at or run.since)
    job = world.workspace.job(name)
    if job is None:
        if waited < world.pace.appearing:
            return Wait(world.pace.job, f"job {name} is submitted and does not show yet")
        raise Unavailable(f"job {name} does not show in the workspace any more")
    if job.state is JobState.ACTIVE:
        if waited > world.pace.preparing:
            return Stop(Phase.FAILED, f"job {name} took longer than {spell(world.pace.preparing)}")
        return Wait(world.pace.job, f"job {name} prepares the data: {job.status}")
    if job.state is JobState.CANCELLED:
        facts = msgspec.structs.replace(run.facts, training_failure="job-cancelled")
        return Stop(Phase.CANCELLED, f"job {name} was cancelled in Azure ML", facts=facts)
    found = world.preparation.finished(fingerprint, name)
    if found is not None:
        return found
    changed = world.preparation.fingerprint(manifest.dataset, max_seq_length) != fingerprint
    return _again(run, job, world, changed=changed)


def _failed(run: Run, kind: str, said: str) -> Stop:
    facts = msgspec.structs.replace(run.facts, training_failure=kind)
    return Stop(Phase.FAILED, sentence(kind, said), facts=facts)


def _again(run: Run, job: Job, world: World, *, changed: bool) -> Outcome:
    """Another job, if the data changed under this one or its machines failed; else the end."""
    if changed:
        said = f"the data changed while job {job.name} read it"
    elif job.state is JobState.COMPLETED:
        said = f"job {job.name} completed and left no report"
    else:
        said = f"job {job.name} failed: {job.error or 'Azure ML gave no reason'}"
    kind = of_job(job.code, job.error or "")
    passing = changed or FAILURES[kind].again
    if not passing or run.facts.data_attempt >= world.limits.attempts:
        return _failed(run, kind, said)
    facts = msgspec.structs.replace(
        run.facts,
        data_attempt=run.facts.data_attempt + 1,
        data_job=None,
        data_job_url=None,
        data_fingerprint=None,
        data_submitted_at=None,
    )
    return Wait(world.pace.at_once, f"{said}; attempt {facts.data_attempt} follows", facts)
