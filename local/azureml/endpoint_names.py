"""Endpoint names that somebody else in the region has: they are unique there, not in a workspace."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from local.azureml.faults import PREFIX
from local.azureml.wire import empty, open_to_all

if TYPE_CHECKING:
    from collections.abc import Iterable

    from local.azureml.plane import Plane

_KIND = "online-endpoint-name-elsewhere"


def taken(plane: Plane, name: str) -> bool:
    """Whether somebody else has the name."""
    return plane.store.get(_KIND, name) is not None


def routes(plane: Plane) -> Iterable[web.RouteDef]:
    """`/_emulator/endpoint-names/{name}`: names that somebody else in the region has."""

    @open_to_all
    async def take(request: web.Request) -> web.Response:
        plane.store.put(_KIND, request.match_info["name"], {})
        return empty(204)

    @open_to_all
    async def free(request: web.Request) -> web.Response:
        plane.store.delete(_KIND, request.match_info["name"])
        return empty(204)

    path = f"{PREFIX}endpoint-names/{{name}}"
    return [web.put(path, take), web.delete(path, free)]
