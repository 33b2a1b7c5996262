"""Which endpoints a list shows: `name`, `tags` and `properties` of its query."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp import web

    Body = dict[str, Any]


def wanted(request: web.Request) -> Callable[[Body], bool]:
    """What `name`, `tags` and `properties` of the query keep."""
    name = request.query.get("name", "").lower()
    tags = _pairs(request.query.get("tags", ""))
    properties = _pairs(request.query.get("properties", ""))

    def keep(body: Body) -> bool:
        own = body["properties"].get("properties") or {}
        return (
            (not name or body["name"].lower() == name)
            and _matches(tags, body["tags"])
            and _matches(properties, own)
        )

    return keep


def _pairs(text: str) -> dict[str, str | None]:
    """`a=1,b` as `{"a": "1", "b": None}`."""
    parts = [each.partition("=") for each in text.split(",") if each]
    return {key: value if equals else None for key, equals, value in parts}


def _matches(wanted: dict[str, str | None], given: dict[str, Any]) -> bool:
    return all(key in given and value in (None, str(given[key])) for key, value in wanted.items())
