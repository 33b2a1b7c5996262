"""Azure ML's events, in the shapes that its documentation and its users have shown."""

from __future__ import annotations

import pytest

from functions.job_event import job_of

COMPLETED = "Microsoft.MachineLearningServices.RunCompleted"
CHANGED = "Microsoft.MachineLearningServices.RunStatusChanged"
JOB = "chat-39cdda7ee4-g1-a1"


@pytest.mark.parametrize("event_type", [COMPLETED, CHANGED])
@pytest.mark.parametrize("data", [{"runId": JOB}, {"RunId": JOB}, {}])
def test_the_job_is_found_in_either_spelling_or_in_the_subject(event_type, data):
    """Both spellings of the key occur; the subject always names the job."""
    assert job_of(event_type, f"experiments/eea3758a/runs/{JOB}", data) == JOB


def test_other_events_name_no_job():
    """A registered model is none of a run's business."""
    other = "Microsoft.MachineLearningServices.ModelRegistered"
    assert job_of(other, "models/chat:1", {"ModelName": "chat"}) is None


def test_an_event_without_any_name_names_no_job():
    """A malformed event is dropped, not failed: Event Grid would send it again for a day."""
    assert job_of(CHANGED, "", {}) is None
    assert job_of(CHANGED, "x", {"runId": 7}) is None


def test_the_event_types_are_azures_own():
    """Written out, because importing azure.eventgrid would cost every cold start."""
    from azure.eventgrid import SystemEventNames

    from functions.job_event import EVENT_TYPES

    assert set(EVENT_TYPES) <= {name.value for name in SystemEventNames}
