"""Code assets: the files of a job's `code`, uploaded by the SDK to a place that it asks for first.

The SDK looks for an asset of the same content, asks for a container of its own with a signature, uploads file by
file, and writes the version down. What a version is may not change.
"""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING, Any

from aiohttp import web

from local.azureml import datastores
from local.azureml.clock import iso
from local.azureml.identity import PRINCIPAL
from local.azureml.versioned import Versions
from local.azureml.wire import (
    PROVIDER,
    WORKSPACE,
    ArmError,
    NotEmulated,
    answer,
    json_body,
    page_size,
    page_token,
    paged_documents,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from local.azureml.plane import Plane

VERSIONS = Versions("code-version", "codes")


def place_of(plane: Plane, code: dict[str, Any]) -> tuple[str, str]:
    """Container and path of the code's files."""
    endpoint = datastores.storage(plane).account.endpoint
    container, _, path = str(code["uri"])[len(endpoint) + 1 :].partition("/")
    return container, path


def routes(plane: Plane) -> Iterable[web.RouteDef]:
    """`codes/{name}/versions`: list by content, get, create; and where to upload."""
    versions = f"{WORKSPACE}/codes/{{name}}/versions"
    one = f"{versions}/{{version}}"

    async def listed(request: web.Request) -> web.Response:
        wanted = request.query.get("hash")
        page = plane.store.list(
            VERSIONS.kind,
            VERSIONS.prefix(plane, request.match_info["name"]),
            limit=page_size(request, 30),
            token=page_token(request),
            newest_first=True,
            keep=lambda code: not wanted or code["properties"].get("hash_sha256") == wanted,
        )
        return paged_documents(request, page, lambda code: _shown(plane, code))

    async def get(request: web.Request) -> web.Response:
        return answer(_shown(plane, _require(plane, request)))

    async def put(request: web.Request) -> web.Response:
        return await _put(plane, request)

    async def start_upload(request: web.Request) -> web.Response:
        return await _start_upload(plane, request)

    return [
        web.get(versions, listed),
        web.get(one, get),
        web.put(one, put),
        web.post(f"{one}/startPendingUpload", start_upload),
    ]


def _require(plane: Plane, request: web.Request) -> dict[str, Any]:
    name, version = request.match_info["name"], request.match_info["version"]
    found = plane.store.get(VERSIONS.kind, VERSIONS.id(plane, name, version))
    if found is None:
        raise ArmError(404, "UserError", f"Code {name}:{version} not found.")
    return found.body


async def _put(plane: Plane, request: web.Request) -> web.Response:
    name, version = request.match_info["name"], request.match_info["version"]
    sent = (await json_body(request)).get("properties") or {}
    uri = str(sent.get("codeUri") or "").rstrip("/")
    if not uri.startswith(f"{datastores.storage(plane).account.endpoint}/"):
        raise NotEmulated(f"code at {uri.split('?', maxsplit=1)[0]!r} (outside of the storage)")
    arm_id = VERSIONS.id(plane, name, version)
    before = plane.store.get(VERSIONS.kind, arm_id)
    if before is not None and before.body["uri"] != uri:
        raise ArmError(
            400,
            "UserError",
            f"A code version with this name and version already exists: {name}:{version}; its "
            "codeUri cannot be changed.",
        )
    body = {
        "name": name,
        "version": version,
        "uri": uri,
        "anonymous": bool(sent.get("isAnonymous")),
        # The SDK sends the hash's version as a number; Azure keeps properties as text.
        "properties": {key: str(each) for key, each in (sent.get("properties") or {}).items()},
        "created_at": before.body["created_at"] if before else iso(plane.clock.now()),
    }
    plane.store.put(VERSIONS.kind, arm_id, body)
    return answer(_shown(plane, body), 200 if before else 201)


async def _start_upload(plane: Plane, request: web.Request) -> web.Response:
    """A container for this version alone, and a signature to write there."""
    kind = (await json_body(request)).get("pendingUploadType") or "TemporaryBlobReference"
    if kind != "TemporaryBlobReference":
        raise NotEmulated(f"a pending upload of type {kind!r}")
    name, version = request.match_info["name"], request.match_info["version"]
    container = f"code-{uuid.uuid5(uuid.NAMESPACE_URL, VERSIONS.id(plane, name, version))}"
    store = datastores.storage(plane)
    await asyncio.to_thread(store.container, container)
    uri = f"{store.account.endpoint}/{container}"
    return answer(
        {
            "blobReferenceForConsumption": {
                "blobUri": uri,
                "storageAccountArmId": None,
                "credential": {"credentialType": "SAS", "sasUri": f"{uri}{store.account_sas()}"},
            },
            "pendingUploadId": None,
            "pendingUploadType": "TemporaryBlobReference",
        }
    )


def _shown(plane: Plane, body: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": VERSIONS.id(plane, body["name"], body["version"]),
        "name": body["version"],
        "type": f"{PROVIDER}/workspaces/codes/versions",
        "properties": {
            "description": None,
            "tags": {},
            "properties": body["properties"],
            "isArchived": False,
            "isAnonymous": body["anonymous"],
            "codeUri": body["uri"],
            "provisioningState": "Succeeded",
        },
        "systemData": {
            "createdAt": body["created_at"],
            "createdBy": PRINCIPAL,
            "createdByType": "User",
        },
    }
