"""Event Grid's webhook: handshake, one invocation per event, answers that have it deliver again.

Source: https://learn.microsoft.com/azure/event-grid/end-point-validation-event-grid-events-schema,
https://learn.microsoft.com/azure/event-grid/end-point-validation-cloud-events-schema and
https://learn.microsoft.com/azure/azure-functions/functions-bindings-event-grid-trigger
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from local.host.functions import EventGridTrigger

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from local.host.functions import Function
    from local.host.invocations import Invocations

    Deliver = Callable[[Mapping[str, Any]], Awaitable[bool]]


@dataclass(frozen=True, slots=True)
class Answer:
    """What the webhook answers: a status, JSON or a text, headers."""

    status: int
    json: Any = None
    text: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


def handshake(origin: str) -> Answer:
    """The CloudEvents handshake: this origin may send, as fast as it likes."""
    return Answer(200, headers={"WebHook-Allowed-Origin": origin, "WebHook-Allowed-Rate": "*"})


async def receive(event_type: str, body: bytes, deliver: Deliver) -> Answer:
    """Answer one POST of Event Grid.

    Args:
        event_type: The header `aeg-event-type`, in any case.
        body: The request's body.
        deliver: Gets each event; all of them at once. False or an error means: not done.
    """
    match event_type.lower():
        case "subscriptionvalidation":
            return _validate(body)
        case "notification":
            return await _notify(body, deliver)
        case "unsubscribe":
            return Answer(202)
        case other:
            return Answer(400, text=f"aeg-event-type '{other}' is not one that Event Grid sends")


def _validate(body: bytes) -> Answer:
    try:
        content = json.loads(body)
        event = content[0] if isinstance(content, list) else content
        data = event["data"]
        # Subscriptions with the CloudEvents schema carry the data as a JSON text.
        code = (json.loads(data) if isinstance(data, str) else data)["validationCode"]
    except (ValueError, LookupError, TypeError):
        return Answer(400, text="the validation event has no data.validationCode")
    return Answer(200, json={"validationResponse": code})


async def _notify(body: bytes, deliver: Deliver) -> Answer:
    try:
        content = json.loads(body)
    except ValueError:
        return Answer(400, text="the notification is not JSON")
    events = content if isinstance(content, list) else [content]
    if not all(isinstance(event, dict) for event in events):
        return Answer(400, text="the notification is not an array of events")
    results = await asyncio.gather(
        *(asyncio.create_task(_coroutine(deliver, event)) for event in events)
    )
    # One failure has the whole array delivered again: functions must be idempotent per event.
    return Answer(202) if all(results) else Answer(500, text="at least one event failed")


async def _coroutine(deliver: Deliver, event: Mapping[str, Any]) -> bool:
    return await deliver(event)


class EventGridFunctions:
    """The app's Event Grid triggers, by name."""

    def __init__(self, functions: tuple[Function, ...], invocations: Invocations) -> None:
        self._invocations = invocations
        self._functions = {
            function.name.lower(): function
            for function in functions
            if isinstance(function.trigger, EventGridTrigger) and not function.disabled
        }

    async def post(self, name: str, event_type: str, body: bytes) -> Answer:
        """Answer a POST for the function `name`."""
        function = self._functions.get(name.lower())
        if function is None:
            return Answer(404, text=f"cannot find function: '{name}'")
        return await receive(event_type, body, lambda event: self.invoke(function, event))

    async def invoke(self, function: Function, event: Mapping[str, Any]) -> bool:
        """Invoke a function with one event; true if it returned."""
        datum = self._invocations.runtime.datum
        text = json.dumps(event)
        metadata = {"data": datum(json.dumps(event.get("data")), "json")}
        result = await self._invocations.run(function, datum(text, "json"), metadata, dict(event))
        return result.ok
