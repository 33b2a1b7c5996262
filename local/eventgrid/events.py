"""Reading what publishers send: the Event Grid schema and CloudEvents 1.0, singly or in arrays.

https://learn.microsoft.com/azure/event-grid/event-schema and …/cloud-event-schema
"""

from __future__ import annotations

import json
from typing import Any

MOST_BYTES = 1024 * 1024
"""A request may hold 1 MB."""

_STRINGS = {
    False: ("id", "subject", "eventType", "eventTime"),
    True: ("id", "source", "type", "specversion"),
}


class BadEvents(ValueError):
    """The request holds no events that can be taken; the message lists every problem."""


def is_cloud_event(event: dict[str, Any]) -> bool:
    """Whether an event is in the CloudEvents schema."""
    return "specversion" in event


def read_events(body: bytes, *, source: str) -> list[dict[str, Any]]:
    """The events of a publish request, each with the topic's `source` where it names none.

    Raises:
        BadEvents: The body is not JSON, or an event lacks what its schema demands.
    """
    try:
        parsed = json.loads(body)
    except ValueError as error:
        raise BadEvents(f"The body is not JSON: {error}") from error
    events = parsed if isinstance(parsed, list) else [parsed]
    problems = [
        problem for index, event in enumerate(events) for problem in _problems(event, index)
    ]
    if problems:
        raise BadEvents(" ".join(problems))
    return [event if is_cloud_event(event) else _complete(event, source) for event in events]


def _problems(event: Any, index: int) -> list[str]:
    if not isinstance(event, dict):
        return [f"Event {index} is not an object."]
    lacking = [
        name
        for name in _STRINGS[is_cloud_event(event)]
        if not isinstance(event.get(name), str) or not event[name]
    ]
    return [f"Event {index}: {name} must be a string that is not empty." for name in lacking]


def _complete(event: dict[str, Any], source: str) -> dict[str, Any]:
    """What Event Grid adds on its way."""
    return {
        **event,
        "topic": event.get("topic") or source,
        "dataVersion": event.get("dataVersion", ""),
        "metadataVersion": "1",
    }
