"""Azure ML says that something happened to a job: have the job's run looked at.

Event Grid calls "run" what we and the rest of Azure ML call a job; it is translated here and nowhere else.
Events come late, twice or never, for child runs and for other people's jobs too; RunCompleted never comes for
a job that failed. So an event is only ever a hint: it names a run to look at, and says nothing about it.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import azure.functions as func

from shared import wiring

if TYPE_CHECKING:
    from collections.abc import Mapping

EVENT_TYPES = (
    "Microsoft.MachineLearningServices.RunCompleted",
    "Microsoft.MachineLearningServices.RunStatusChanged",
)

blueprint = func.Blueprint()
logger = logging.getLogger(__name__)


def job_of(event_type: str, subject: str, data: Mapping[str, Any]) -> str | None:
    """The job that an event is about, or `None` when it is about something else.

    Both spellings of the key occur in Azure's own samples; the subject is
    `experiments/{experiment id}/runs/{job}`.
    """
    if event_type not in EVENT_TYPES:
        return None
    named = data.get("runId") or data.get("RunId") or subject.rpartition("/runs/")[2]
    return named if isinstance(named, str) and named else None


@blueprint.function_name("job_event")
@blueprint.event_grid_trigger(arg_name="event")
def job_event(event: func.EventGridEvent) -> None:
    """Send a hint for the run whose job this is about."""
    from shared.runs import naming
    from shared.runs.ports import Look

    data = event.get_json()
    job = job_of(event.event_type, event.subject, data if isinstance(data, dict) else {})
    run = naming.run_of_job(job) if job else None
    if run is None:
        logger.debug("not one of our jobs: %s", event.subject)
        return
    world = wiring.world()
    world.looks.send(Look(run), world.pace.at_once)
