"""Bigger than a function: above a bound the same preparation runs as a job, and the run waits for it.

What counts is the report under the fingerprint, whoever wrote it. The job is only the way there: it is noted in the
record before it is submitted, so that it is let go of whatever happens in between, and looked at until it has ended.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec

from shared.durations import spell
from shared.errors import DataRejected, Problem, Refused, Unavailable
from shared.runs import naming
from shared.runs.failures import FAILURES, of_job
from shared.runs.fencing import still_wanted
from shared.runs.outcomes import Outcome, Stop, Wait
from shared.runs.phases import Phase
from shared.runs.ports import DataJobRequest, JobState
from shared.runs.training import runs_ahead
from shared.runs.watching import MACHINES, given_up, lacks, under_way
from shared.sizes import spell as spell_size

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

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
        at_most=world.pace.preparing + world.pace.leeway,
    )
    still_wanted(run, world)
    try:
        job = world.workspace.submit_data_job(request)
    except Refused as error:
        return given_up(run, "job-refused", str(error))
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
    name = run.facts.data_job or ""
    job = world.workspace.job(name)
    if job is None:
        submitted = run.facts.data_submitted_at or run.since
        if world.now() - submitted < world.pace.appearing:
            return Wait(world.pace.job, f"job {name} is submitted and does not show yet")
        raise Unavailable(f"job {name} does not show in the workspace any more")
    unfinished = job.state in (JobState.ACTIVE, JobState.CANCELLED)
    if unfinished and _works_for_too_long(run, job, world):
        # Azure ML ends it a while later and may have cancelled it just before, if nobody looked for so long.
        said = f"job {name} took longer than {spell(world.pace.preparing)}"
        return _in_spite(run, job, world) or given_up(run, "preparation-too-long", said)
    match job.state:
        case JobState.ACTIVE:
            return _begun(run, job, under_way(run, job, world, does="prepares the data:"), world)
        case JobState.CANCELLED if run.facts.abandoned == name:
            said = f"job {name} did not respond and was cancelled"
            done = _in_spite(run, job, world)
            return done or _again(run, "job-not-responding", said, world)
        case JobState.CANCELLED:
            facts = msgspec.structs.replace(run.facts, training_failure="job-cancelled")
            return Stop(Phase.CANCELLED, f"job {name} was cancelled in Azure ML", facts=facts)
        case _:
            return _left(run, job, manifest, max_seq_length, world)


def _in_spite(run: Run, job: Job, world: World) -> PreparedData | Outcome | None:
    """The report that is there although the job came to no end: one node may hang when all is written.

    A job that is still alive is cancelled before it is taken, so that never two jobs of one run are alive.
    """
    found = world.preparation.finished(run.facts.data_fingerprint or "", job.name)
    if found is None or job.state is not JobState.ACTIVE:
        return found
    world.workspace.cancel_job(job.name)
    return Wait(world.pace.job, f"job {job.name} has prepared the data and is cancelled")


def _left(
    run: Run, job: Job, manifest: Manifest, max_seq_length: int | None, world: World
) -> PreparedData | Outcome:
    """What a job left that ended by itself; without a report, whether another may follow."""
    name, fingerprint = job.name, run.facts.data_fingerprint or ""
    found = world.preparation.finished(fingerprint, name)
    if found is not None:
        return found
    kind = of_job(job.code, job.error or "")
    if world.preparation.fingerprint(manifest.dataset, max_seq_length) != fingerprint:
        said = f"the data changed while job {name} read it"
        return _again(run, kind, said, world, passing=True)
    if job.state is JobState.COMPLETED:
        return _again(run, kind, f"job {name} completed and left no report", world)
    said = f"job {name} failed: {job.error or 'Azure ML gave no reason'}"
    return _again(run, kind, said, world)


def _works_for_too_long(run: Run, job: Job, world: World) -> bool:
    """Whether more time than it may take is over since the job first had machines.

    The wait for the first has a bound of its own. From then on the time runs, whether or not Azure takes them away for
    a while.
    """
    begun = _begun_at(run, job, world)
    return begun is not None and world.now() - begun > world.pace.preparing


def _begun_at(run: Run, job: Job, world: World) -> datetime | None:
    """When the job first had machines, never later than it was seen; `None` while it has yet to get some.

    One that was never seen to wait has had them since it was submitted. So has one whose record was written before this
    was noted.
    """
    if run.facts.data_begun_at is not None:
        return run.facts.data_begun_at
    if lacks(job) == MACHINES:
        return None
    standstill = run.facts.standstill
    waited = standstill is not None and standstill.on == MACHINES
    return world.now() if waited else run.facts.data_submitted_at


def _begun(run: Run, job: Job, outcome: Outcome, world: World) -> Outcome:
    """`outcome` of a look at the job, with the time at which it first had machines."""
    begun = _begun_at(run, job, world)
    if begun == run.facts.data_begun_at or not isinstance(outcome, Wait):
        return outcome
    facts = msgspec.structs.replace(outcome.facts or run.facts, data_begun_at=begun)
    return replace(outcome, facts=facts)


def _again(
    run: Run, kind: str, said: str, world: World, *, passing: bool | None = None
) -> Outcome:
    """Another job where it may help and there is one left; else the run fails.

    Args:
        run: The run.
        kind: Of the failure.
        said: What happened to the job.
        world: Knows how many attempts there may be.
        passing: Whether another job may succeed, if not the kind decides that.
    """
    helps = FAILURES[kind].again if passing is None else passing
    if not helps or run.facts.data_attempt >= world.limits.attempts:
        return given_up(run, kind, said)
    facts = msgspec.structs.replace(
        run.facts,
        data_attempt=run.facts.data_attempt + 1,
        data_job=None,
        data_job_url=None,
        data_fingerprint=None,
        data_submitted_at=None,
        data_begun_at=None,
        standstill=None,
        notes=[*run.facts.notes, f"data, attempt {run.facts.data_attempt}: {said}"],
    )
    return Wait(world.pace.at_once, f"{said}; attempt {facts.data_attempt} follows", facts)
