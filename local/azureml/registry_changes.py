"""Test control: the registry's models as a test wants them, archived, deprecated, retired or new.

A change is laid over the seed, kept like everything else, and taken back with DELETE.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiohttp import web

from local.azureml.clock import iso
from local.azureml.faults import PREFIX
from local.azureml.wire import ArmError, answer, empty, json_body, open_to_all

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from local.azureml.plane import Plane

KIND = "registry-model"
_KEYS = {"isArchived", "description", "tags", "properties", "systemMetadata"}
_NEW = {
    "isArchived": False,
    "description": "Made by the test control.",
    "tags": {},
    "properties": {},
    "systemMetadata": None,
    "foundation": "base_model",
}


def models(plane: Plane, seed: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The seed's models with every change laid over them, newest first."""
    rows = {(row["name"], row["version"]): row for row in seed}
    for document in plane.store.each(KIND):
        change = document.body
        known = rows.get((change["name"], change["version"]))
        rows[change["name"], change["version"]] = {**(known or _NEW), **change}
    return sorted(rows.values(), key=lambda row: row["createdAt"], reverse=True)


def routes(plane: Plane) -> Iterable[web.RouteDef]:
    """`/_emulator/registry-models/NAME/VERSION`: change one, make one, take it back."""

    @open_to_all
    async def put(request: web.Request) -> web.Response:
        body = await json_body(request)
        if unknown := sorted(set(body) - _KEYS):
            text = f"Unknown keys {unknown}; known are {sorted(_KEYS)}."
            raise ArmError(400, "BadModel", text)
        name, version = request.match_info["name"], request.match_info["version"]
        change = {"name": name, "version": version, **body}
        if not any((row["name"], row["version"]) == (name, version) for row in _seed()):
            change["createdAt"] = iso(plane.clock.now())
        plane.store.put(KIND, _key(request), change)
        return answer(change)

    @open_to_all
    async def delete(request: web.Request) -> web.Response:
        return empty(200 if plane.store.delete(KIND, _key(request)) else 204)

    one = f"{PREFIX}registry-models/{{name}}/{{version}}"
    return [web.put(one, put), web.delete(one, delete)]


def _key(request: web.Request) -> str:
    return f"{request.match_info['name']}/{request.match_info['version']}"


def _seed() -> Sequence[dict[str, Any]]:
    from local.azureml.registry import seeded

    return seeded("models")
