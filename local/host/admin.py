"""The admin routes: what is loaded, and starting any function by hand, with the master key.

Source: https://learn.microsoft.com/azure/azure-functions/functions-manually-run-non-http
"""

from __future__ import annotations

import asyncio
import json
import logging
from typing import TYPE_CHECKING, Any

from azure.core.exceptions import AzureError, ResourceNotFoundError

from local.host.eventgrid import Answer
from local.host.functions import (
    BlobTrigger,
    EventGridTrigger,
    HttpTrigger,
    QueueTrigger,
    TimerTrigger,
)
from local.host.logs import HOST
from local.host.queues import brief

if TYPE_CHECKING:
    from collections.abc import Mapping

    from local.host.blobs import BlobFunctions
    from local.host.eventgrid import EventGridFunctions
    from local.host.functions import Function
    from local.host.http import HttpFunctions
    from local.host.queues import QueueFunction
    from local.host.timers import TimerListener

log = logging.getLogger(HOST)


class Admin:
    """Answers `/admin/...`; whoever calls it has checked the master key.

    Args:
        functions: The app's functions, disabled ones too.
        host_id: For `/admin/host/status`.
        http: For HTTP triggers.
        events: For Event Grid triggers.
        blobs: For blob triggers.
        queues: By function name.
        timers: By function name.
    """

    def __init__(
        self,
        functions: tuple[Function, ...],
        host_id: str,
        *,
        http: HttpFunctions,
        events: EventGridFunctions,
        blobs: BlobFunctions,
        queues: Mapping[str, QueueFunction],
        timers: Mapping[str, TimerListener],
    ) -> None:
        self._functions = {function.name.lower(): function for function in functions}
        self._host_id = host_id
        self._http = http
        self._events = events
        self._blobs = blobs
        self._queues = queues
        self._timers = timers
        self._started: set[asyncio.Task[None]] = set()

    async def answer(self, method: str, path: str, body: bytes, address: str) -> Answer:
        """Answer a request.

        Args:
            method: GET or POST.
            path: What follows `/admin/`.
            body: For starting a function: `{"input": "text"}`.
            address: Where this host is reached, for the addresses that it tells.
        """
        parts = path.strip("/").split("/")
        match method, parts:
            case "GET", ["host", "status"]:
                return Answer(200, {"id": self._host_id, "state": "Running", "version": "4.x"})
            case "GET", ["functions"]:
                found = [self._describe(f, address) for f in self._functions.values()]
                return Answer(200, found)
            case _, ["functions", name, *rest] if name.lower() in self._functions:
                function = self._functions[name.lower()]
                return self._one(function, method, rest, body, address)
            case _:
                return Answer(404)

    def _one(
        self, function: Function, method: str, rest: list[str], body: bytes, address: str
    ) -> Answer:
        """Answer a request about one function."""
        match method, rest:
            case "POST", []:
                return self._start(function, body)
            case "GET", []:
                return Answer(200, self._describe(function, address))
            case "GET", ["status"]:
                return Answer(200, {"isDisabled": function.disabled})
            case _:
                return Answer(404)

    def _describe(self, function: Function, address: str) -> dict[str, Any]:
        described: dict[str, Any] = {
            "name": function.name,
            "language": "python",
            "isDisabled": function.disabled,
            "href": f"{address}/admin/functions/{function.name}",
            "config": {"bindings": list(function.bindings)},
        }
        if isinstance(function.trigger, HttpTrigger):
            route = function.trigger.route.text
            described["invoke_url_template"] = f"{address}/{route}"
        return described

    def _start(self, function: Function, body: bytes) -> Answer:
        """Start the function and answer at once; how it goes is in the log."""
        try:
            content = json.loads(body) if body.strip() else {}
            text = content.get("input", "") or ""
        except (ValueError, AttributeError):
            return Answer(400, text='the body must be {"input": "text"}')
        if not isinstance(text, str):
            text = json.dumps(text)
        if isinstance(function.trigger, EventGridTrigger) and not is_object(text):
            return Answer(400, text="the input must be one event, as a JSON text")
        if isinstance(function.trigger, BlobTrigger) and "/" not in text:
            return Answer(400, text="the input must be a path: container/blob")
        if function.disabled:
            return Answer(404)
        task = asyncio.create_task(self._run(function, text))
        self._started.add(task)
        task.add_done_callback(self._started.discard)
        return Answer(202)

    async def _run(self, function: Function, text: str) -> None:
        match function.trigger:
            case HttpTrigger():
                await self._http.invoke(function, text)
            case EventGridTrigger():
                await self._events.invoke(function, json.loads(text))
            case QueueTrigger():
                await self._queues[function.name].invoke(text)
            case TimerTrigger():
                await self._timers[function.name].invoke(None, past_due=False)
            case BlobTrigger():
                container, _, blob = text.strip("/").partition("/")
                try:
                    await self._blobs.invoke(function, container, blob)
                except ResourceNotFoundError:
                    log.warning("there is no blob %s", text, extra={"function": function.name})
                except AzureError as error:
                    extra = {"function": function.name}
                    log.warning("%s was not fetched: %s", text, brief(error), extra=extra)


def is_object(text: str) -> bool:
    """Whether a text is a JSON object."""
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False
