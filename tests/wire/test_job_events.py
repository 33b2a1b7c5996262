"""Azure ML's events as hints: the control plane's own, and those that others have recorded.

The events are published with the unmodified client and handed to the function as the Functions runtime does.
"""

from __future__ import annotations

import random
import uuid
from typing import TYPE_CHECKING

import azure.functions as func
import pytest

from functions import job_event
from local.azureml.plane import Topic
from local.azureml.server import ControlPlane
from shared import wiring
from shared.runs import naming, reconciler
from shared.runs.phases import Phase
from shared.runs.ports import Look
from tests.wire.conftest import pointed_at, travelling
from tests.wire.topic_server import TopicServer

if TYPE_CHECKING:
    from collections.abc import Iterator

COMPLETED = "Microsoft.MachineLearningServices.RunCompleted"
CHANGED = "Microsoft.MachineLearningServices.RunStatusChanged"


@pytest.fixture
def told(monkeypatch):
    """Hands an event to the function; gives the hints that it sent, in a list that grows."""
    hints: list[str] = []

    class World:
        class looks:  # noqa: N801
            @staticmethod
            def send(look: Look, _delay: object) -> None:
                assert look.number is None, "an event is a hint, always heeded"
                hints.append(look.run)

        class pace:  # noqa: N801
            at_once = None

    monkeypatch.setattr(wiring, "world", lambda: World)

    def tell(event: dict) -> list[str]:
        given = func.EventGridEvent(
            id=event.get("id", str(uuid.uuid4())),
            data=event["data"],
            topic=event.get("topic", "/subscriptions/s"),
            subject=event.get("subject", ""),
            event_type=event["eventType"],
            event_time=None,
            data_version="1.0",
        )
        job_event.job_event.build().get_user_function()(given)
        return hints

    return tell


@pytest.fixture
def travelled(plane_settings, tmp_path, connection) -> Iterator[tuple]:
    """A run that trained, its journey, and every event that its control plane published."""
    with TopicServer() as server:
        topic = Topic(f"http://127.0.0.1:{server.port}/topics/azureml/api/events", "key")
        settings = plane_settings(tmp_path / "state", topic=topic)
        with (
            ControlPlane(settings) as plane,
            pointed_at(plane),
            travelling(plane, connection) as journey,
        ):
            journey.preparation.order = {"do": "fail"}
            failed = journey.ended(journey.drop())
            journey.preparation.order = {"do": "complete"}
            run = journey.ended(journey.drop(gate={"never": {"max": 0}}))

            wanted = {(run.facts.job, "Completed"), (failed.facts.job, "Failed")}
            server.until(
                lambda events: (
                    wanted <= {(e["data"]["runId"], e["data"].get("runStatus")) for e in events}
                )
            )
            yield journey, run, failed, list(server.events)


def test_only_the_run_of_the_events_own_job_is_hinted_at(travelled, told):
    """Of a pipeline and its five steps only the pipeline bears a name of ours; a failure is told too."""
    _, run, failed, events = travelled
    of_jobs = [e for e in events if e["data"]["runId"] in (run.facts.job, failed.facts.job)]
    assert len(events) > len(of_jobs) > 0
    for event in events:
        hints = told(event)
    assert len(hints) == len(of_jobs)
    assert set(hints) == {run.id, failed.id}
    kinds = {(e["eventType"], e["data"]["runId"]) for e in of_jobs}
    assert (COMPLETED, run.facts.job) in kinds
    assert (CHANGED, failed.facts.job) in kinds
    assert (COMPLETED, failed.facts.job) not in kinds, "RunCompleted never comes for a failure"


@pytest.mark.parametrize("how", ["late", "twice", "backwards", "shuffled"])
def test_late_doubled_and_reordered_events_change_nothing(travelled, told, how):
    """Whatever comes after the end, or again, finds the same record and makes nothing."""
    journey, run, _, events = travelled
    order = {
        "late": events,
        "twice": [event for event in events for _ in range(2)],
        "backwards": events[::-1],
        "shuffled": random.Random(7).sample(events, len(events)),
    }[how]
    before, jobs = journey.sim.run(run.id), journey.documents()
    for event in order:
        hints = told(event)
    for hint in hints:
        reconciler.look(journey.sim.world, Look(hint))
    assert journey.sim.run(run.id) == before
    assert journey.documents() == jobs


@pytest.mark.parametrize("key", ["runId", "RunId"])
@pytest.mark.parametrize("event_type", [COMPLETED, CHANGED])
def test_both_spellings_and_both_types_hint(told, key, event_type):
    """Azure's own samples have both."""
    job = "chat-39cdda7ee4-g1-a1"
    event = {"eventType": event_type, "data": {key: job, "runStatus": "failed"}}
    assert told(event) == ["chat-39cdda7ee4-g1"]


@pytest.mark.parametrize(
    "data",
    [
        {"runId": "129a171f-bc8d-4e0a-bd51-8fa2e8b94b35", "runType": "azureml.PipelineRun"},
        {
            "runId": "9a9d8f51-1e44-4c23-b0a0-8246046eeb28",
            "runType": "azureml.StepRun",
            "runTags": {"azureml.pipelinerunid": "chat-39cdda7ee4-g1-a1"},
        },
        {
            "runId": "adf1f8e9-f61d-45e2-a14c-2a771f2622e9",
            "runType": "azureml.PipelineRun",
            "runTags": {"azureml.pipelinerunid": "chat-39cdda7ee4-g1-a1", naming.TAG: "chat"},
        },
        {"runId": "frosty_bread_1k2j3h", "runTags": {naming.TAG: "chat-39cdda7ee4-g1"}},
        {"runId": "chat-39cdda7ee4-g1-a1-copy"},
    ],
)
def test_steps_nested_pipelines_and_other_peoples_jobs_hint_at_nothing(told, data):
    """A clone in the studio bears our tags, a step its parent's name: neither is our job."""
    subject = f"experiments/e/runs/{data['runId']}"
    assert told({"eventType": CHANGED, "subject": subject, "data": data}) == []


def test_a_failure_is_learned_from_its_event_at_once(journey):
    """The look that was arranged is an hour away; the hint brings the run on."""
    journey.preparation.order = {"do": "fail"}
    run = journey.drop()
    journey.order(job=run, at="Queued", do="hold")
    journey.until_phase(run, Phase.TRAINING)
    journey.control("DELETE", "job-orders")
    journey.sim.looks.queue.clear()

    def hinted(_run) -> bool:
        reconciler.look(journey.sim.world, Look(run))
        return journey.sim.run(run).is_final

    journey.play(run, hinted, step=0)
    found = journey.sim.run(run)
    assert found.phase is Phase.FAILED
    assert found.facts.training_failure == "job-user-error"
