"""Event Grid in this process, with one webhook."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from azure.core.credentials import AzureKeyCredential
from azure.eventgrid import EventGridEvent
from azure.eventgrid.aio import EventGridPublisherClient

from local.eventgrid.configuration import parse
from local.eventgrid.server import EventGrid
from local.ports import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path


class Grid:
    """What tests do with a running Event Grid."""

    def __init__(self, grid: EventGrid, session: aiohttp.ClientSession) -> None:
        self.url = grid.url
        self.session = session

    async def publish(self, *ids: str, topic: str = "t", **changes: Any) -> None:
        """Send events with the unmodified client."""
        async with EventGridPublisherClient(
            f"{self.url}/topics/{topic}/api/events", AzureKeyCredential("k"), retry_total=0
        ) as client:
            await client.send([event(one, **changes) for one in ids])

    async def subscription(self, topic: str = "t", index: int = 0) -> dict[str, Any]:
        async with self.session.get(f"{self.url}/topics/{topic}") as answer:
            described: dict[str, Any] = await answer.json()
            return described["subscriptions"][index]

    async def until(self, condition: Callable[[dict[str, Any]], bool], **which: Any) -> None:
        """Wait until a subscription's description meets `condition`."""
        deadline = time.monotonic() + 60
        while not condition(found := await self.subscription(**which)):
            assert time.monotonic() < deadline, found
            await asyncio.sleep(0.02)

    async def set_faults(self, **faults: Any) -> int:
        async with self.session.put(f"{self.url}/topics/t/faults", json=faults) as answer:
            return answer.status


def event(identity: str, **changes: Any) -> EventGridEvent:
    fields: dict[str, Any] = {
        "id": identity,
        "subject": "experiments/e/runs/r",
        "event_type": "Microsoft.MachineLearningServices.RunStatusChanged",
        "data": {"runStatus": "Running"},
        "data_version": "1",
    }
    return EventGridEvent(**(fields | changes))


def configuration(url: str, **subscription: Any) -> dict[str, Any]:
    one = {"name": "s", "endpointUrl": url, **subscription}
    return {"topics": [{"name": "t", "key": "k", "source": "/src", "subscriptions": [one]}]}


@asynccontextmanager
async def running(
    state: Path, body: dict[str, Any], *, pace: float = 0.0, **options: Any
) -> AsyncIterator[Grid]:
    grid = EventGrid(state, parse(body), port=free_port(), pace=pace, **options)
    async with grid, aiohttp.ClientSession() as session:
        yield Grid(grid, session)


@pytest.fixture
async def hook():
    from .webhook import webhook

    async with webhook() as one:
        yield one
