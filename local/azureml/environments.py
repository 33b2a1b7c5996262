"""Environments: written down and shown, never built. Jobs run in one Python of this machine.

That is the laptop's one difference in a command job: it runs in the interpreter that the control plane was given
(`--command-python`), whatever the environment asks for. An image to be built from a folder is refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiohttp import web

from local.azureml.azure_types import typed_body
from local.azureml.clock import iso
from local.azureml.identity import PRINCIPAL
from local.azureml.versioned import Versions
from local.azureml.wire import PROVIDER, WORKSPACE, ArmError, NotEmulated, answer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from local.azureml.plane import Plane

VERSIONS = Versions("environment-version", "environments")
_KEPT = ("image", "condaFile", "osType", "tags", "description", "properties", "isAnonymous")


def routes(plane: Plane) -> Iterable[web.RouteDef]:
    """`environments/{name}/versions/{version}`: get, create or update."""
    one = f"{WORKSPACE}/environments/{{name}}/versions/{{version}}"

    async def get(request: web.Request) -> web.Response:
        name, version = request.match_info["name"], request.match_info["version"]
        found = VERSIONS.find(plane, VERSIONS.id(plane, name, version))
        if found is None:
            raise ArmError(404, "UserError", f"Environment {name}:{version} not found.")
        return answer(_shown(plane, found))

    async def put(request: web.Request) -> web.Response:
        return await _put(plane, request)

    return [web.get(one, get), web.put(one, put)]


async def _put(plane: Plane, request: web.Request) -> web.Response:
    name, version = request.match_info["name"], request.match_info["version"]
    sent = (await typed_body(request, "workspaces/environments/versions"))["properties"]
    if sent.get("build"):
        raise NotEmulated("an environment that is built from a folder")
    if not sent.get("image"):
        raise ArmError(400, "UserError", "Environment has neither an image nor a build context.")
    arm_id = VERSIONS.id(plane, name, version)
    before = plane.store.get(VERSIONS.kind, arm_id)
    body = {
        "name": name,
        "version": version,
        "sent": {key: sent.get(key) for key in _KEPT},
        "created_at": before.body["created_at"] if before else iso(plane.clock.now()),
    }
    plane.store.put(VERSIONS.kind, arm_id, body)
    return answer(_shown(plane, body), 200 if before else 201)


def _shown(plane: Plane, body: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": VERSIONS.id(plane, body["name"], body["version"]),
        "name": body["version"],
        "type": f"{PROVIDER}/workspaces/environments/versions",
        "properties": {
            **body["sent"],
            "isArchived": False,
            "autoRebuild": "Disabled",
            "environmentType": "UserCreated",
            "provisioningState": "Succeeded",
        },
        "systemData": {
            "createdAt": body["created_at"],
            "createdBy": PRINCIPAL,
            "createdByType": "User",
        },
    }
