"""A job that is under way: looked at until it ends, and given up when it stands still for too long.

The same for a job that trains and for one that prepares data. A job that waits for machines would wait again if it
were submitted anew; one that does not respond is cancelled, and only when Azure says that it is gone may another
attempt follow, so that never two jobs of one run are alive.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from shared.durations import spell
from shared.runs.failures import sentence
from shared.runs.outcomes import Outcome, Stop, Wait
from shared.runs.phases import Phase
from shared.runs.record import standing_still

if TYPE_CHECKING:
    from shared.runs.ports import Job, World
    from shared.runs.record import Facts, Run

MACHINES: Final = "machines"
RESPONSE: Final = "response"

_WAITING: Final = frozenset(
    {"notstarted", "starting", "provisioning", "preparing", "queued", "paused", "unknown"}
)
"""Azure ML's statuses of a job that has no machines yet, in lower case."""


def under_way(run: Run, job: Job, world: World, *, does: str = "is") -> Outcome:
    """The job has not ended: look again, unless it has stood still for too long.

    Args:
        run: The run.
        job: Its job, as it is now.
        world: For the time, and for cancelling it.
        does: What the record says of it before its status while it goes on.
    """
    lacking = lacks(job)
    if lacking is None:
        changed = None
        if run.facts.standstill is not None:
            changed = msgspec.structs.replace(run.facts, standstill=None)
        return Wait(world.pace.job, f"job {job.name} {does} {job.status}", changed)
    facts, standstill = standing_still(run.facts, lacking, world.now())
    waited = world.now() - standstill.since
    if lacking == RESPONSE and waited > world.pace.unresponsive:
        return _abandoned(run, job, facts, world)
    if lacking == MACHINES and waited > world.pace.queued:
        said = f"job {job.name} is {job.status} and has had no machines for {spell(world.pace.queued)}"
        return given_up(run, "job-stuck-queued", said)
    said = (
        f"job {job.name} is {job.status}: no {lacking} since {standstill.since:%Y-%m-%d %H:%M} UTC"
    )
    return Wait(world.pace.job, said, None if facts == run.facts else facts)


def lacks(job: Job) -> str | None:
    """What the job waits for without moving, if it does: `MACHINES` or `RESPONSE`."""
    status = job.status.lower()
    if status == "notresponding":
        return RESPONSE
    return MACHINES if job.waits or status in _WAITING else None


def given_up(run: Run, kind: str, said: str) -> Stop:
    """The run ends as failed; letting go cancels the job."""
    facts = msgspec.structs.replace(run.facts, training_failure=kind)
    return Stop(Phase.FAILED, sentence(kind, said), facts=facts)


def _abandoned(run: Run, job: Job, facts: Facts, world: World) -> Wait:
    """Cancel a job that does not respond; first note it, or it would pass for one that a person cancelled."""
    said = (
        f"job {job.name} has not responded for {spell(world.pace.unresponsive)} and is cancelled"
    )
    if run.facts.abandoned != job.name:
        facts = msgspec.structs.replace(facts, abandoned=job.name)
        return Wait(world.pace.at_once, said, facts)
    world.workspace.cancel_job(job.name)
    return Wait(world.pace.job, said)
