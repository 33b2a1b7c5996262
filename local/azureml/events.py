"""Events of runs, sent to Event Grid through a durable outbox.

An event is queued in the same transaction as the change that it tells of, and leaves the queue
only when the topic has taken it: what could not be delivered is sent later, with the same id. As
on Azure, `RunStatusChanged` is sent for every status of the root run and of its children, and
`RunCompleted` only when one completes.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import uuid
from datetime import datetime
from typing import TYPE_CHECKING, Any

from local.azureml.clock import iso

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from aiohttp import web
    from azure.eventgrid import EventGridEvent

    from local.azureml.plane import Plane

KIND = "event"
BATCH = 50
LOG = logging.getLogger("local.azureml")


def queue_run(plane: Plane, run: dict[str, Any]) -> None:
    """Queue the events of a run's present status; without a topic nothing is queued.

    Args:
        plane: The control plane.
        run: `experimentId`, `experimentName`, `runId`, `runType`, `runTags`, `runProperties`,
            `runStatus`.
    """
    if plane.settings.topic is None:
        return
    _queue(plane, "RunStatusChanged", run)
    if run["runStatus"] == "Completed":
        data = {key: value for key, value in run.items() if key != "runStatus"}
        _queue(plane, "RunCompleted", data)


def _queue(plane: Plane, what: str, data: dict[str, Any]) -> None:
    identity = str(uuid.uuid4())
    body = {
        "id": identity,
        "event_type": f"Microsoft.MachineLearningServices.{what}",
        "subject": f"experiments/{data['experimentId']}/runs/{data['runId']}",
        "event_time": iso(plane.clock.now()),
        "data": data,
    }
    plane.store.put(KIND, identity, body)


def wake(plane: Plane) -> None:
    """Let the outbox look now."""
    bell = plane.parts.get("outbox")
    if bell is not None:
        bell.set()


def routes(plane: Plane) -> Iterable[web.RouteDef]:  # noqa: ARG001
    """None: events go out, nothing comes in."""
    return []


@contextlib.asynccontextmanager
async def lifespan(plane: Plane) -> AsyncIterator[None]:
    """Deliver events in the background."""
    if plane.settings.topic is None:
        yield
        return
    plane.parts["outbox"] = asyncio.Event()
    task = asyncio.create_task(_deliver(plane))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _deliver(plane: Plane) -> None:
    """Send what is queued, oldest first; after a failure wait, longer each time up to 10 s."""
    from azure.core.credentials import AzureKeyCredential
    from azure.core.exceptions import AzureError
    from azure.eventgrid.aio import EventGridPublisherClient

    topic, bell = plane.settings.topic, plane.parts["outbox"]
    assert topic is not None
    wait = 0.2
    client = EventGridPublisherClient(
        topic.endpoint,
        AzureKeyCredential(topic.key),
        retry_total=0,
        connection_verify=str(plane.settings.certificates.bundle),
    )
    async with client:
        while True:
            bell.clear()
            try:
                while await _send_batch(plane, client):
                    wait = 0.2
                await bell.wait()
            except (AzureError, OSError) as problem:
                LOG.warning("events wait, the topic does not take them: %s", _short(problem))
                await asyncio.sleep(wait)
                wait = min(wait * 2, 10.0)


async def _send_batch(plane: Plane, client: Any) -> bool:
    """Send the oldest events; whether there were any."""
    queued = plane.store.oldest(KIND, BATCH)
    if not queued:
        return False
    await client.send([_event(document.body) for document in queued])
    with plane.store.transaction():
        for document in queued:
            plane.store.delete(KIND, document.id)
    return True


def _event(body: dict[str, Any]) -> EventGridEvent:
    from azure.eventgrid import EventGridEvent

    return EventGridEvent(
        subject=body["subject"],
        event_type=body["event_type"],
        data=body["data"],
        data_version="1.0",
        id=body["id"],
        event_time=datetime.fromisoformat(body["event_time"]),
    )


def _short(problem: Exception) -> str:
    return str(problem).splitlines()[0][:200] if str(problem) else type(problem).__name__
