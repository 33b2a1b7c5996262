"""Datastores: names for containers, with the credentials to reach them.

`workspaceblobstore` (the default) and `workspaceartifactstore` come with the workspace. Further
ones are declared when the server starts, without credentials as on a workspace that uses
identities, or made through the API.
"""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any

from aiohttp import web

from local.azureml.azure_types import typed_body
from local.azureml.clock import iso
from local.azureml.identity import PRINCIPAL, authored
from local.azureml.storage import Storage, account_sas
from local.azureml.wire import (
    PROVIDER,
    WORKSPACE,
    ArmError,
    NotEmulated,
    answer,
    empty,
    page_size,
    page_token,
    paged_documents,
    put_answer,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from local.azureml.plane import Plane

KIND = "datastore"
DEFAULT = "workspaceblobstore"
DEFAULT_CONTAINER = "azureml-blobstore"
ARTIFACTS = "workspaceartifactstore"
ARTIFACTS_CONTAINER = "azureml"
_NAME = re.compile(r"^[a-zA-Z0-9_]{1,255}$")
_AS_GIVEN = (
    "subscriptionId",
    "resourceGroup",
    "endpoint",
    "protocol",
    "serviceDataAccessAuthIdentity",
)


def storage(plane: Plane) -> Storage:
    """The workspace's storage account."""
    made = plane.parts.get("storage")
    if made is None:
        bundle = plane.settings.certificates.bundle
        made = plane.parts["storage"] = Storage(plane.settings.storage, bundle)
    assert isinstance(made, Storage)
    return made


def datastore_id(plane: Plane, name: str) -> str:
    """The ARM id of the datastore called `name`."""
    return f"{plane.workspace_id}/datastores/{name}"


def find(plane: Plane, name: str) -> dict[str, Any] | None:
    """The stored datastore: `name`, `container`, `account`, `credentials`; None if unknown."""
    found = plane.store.get(KIND, datastore_id(plane, name))
    return found.body if found else None


def seed(plane: Plane) -> None:
    """Write the workspace's own and the declared datastores, as this start has them."""
    account = storage(plane).account.shown_name
    own = {DEFAULT: DEFAULT_CONTAINER, ARTIFACTS: ARTIFACTS_CONTAINER}
    for name, container in {**own, **plane.settings.datastores}.items():
        before = find(plane, name)
        body = {
            "name": name,
            "container": container,
            "account": account,
            "credentials": "AccountKey" if name in own else "None",
            "created_at": before["created_at"] if before else iso(plane.clock.now()),
            "own": True,
        }
        if before != body:
            plane.store.put(KIND, datastore_id(plane, name), body)


def _shown(plane: Plane, body: dict[str, Any]) -> dict[str, Any]:
    default = body["name"] == DEFAULT
    return {
        "id": datastore_id(plane, body["name"]),
        "name": body["name"],
        "type": f"{PROVIDER}/workspaces/datastores",
        "properties": {
            "description": body.get("description"),
            "tags": body.get("tags"),
            "properties": None,
            "isDefault": default,
            "credentials": {"credentialsType": body["credentials"]},
            "subscriptionId": plane.settings.subscription if default else None,
            "resourceGroup": plane.settings.group if default else None,
            "datastoreType": "AzureBlob",
            "accountName": body["account"],
            "containerName": body["container"],
            "endpoint": "core.windows.net",
            "protocol": "https",
            "serviceDataAccessAuthIdentity": (
                "WorkspaceSystemAssignedIdentity" if default else "None"
            ),
            **body.get("given", {}),
        },
        "systemData": _made(body),
    }


def _made(body: dict[str, Any]) -> dict[str, Any]:
    """Who made it: a caller, or the workspace itself, which is not told as its maker."""
    created = body["created_at"]
    if not body.get("own"):
        return authored(created, body.get("modified_at", created))
    return {
        "createdAt": created,
        "lastModifiedAt": created,
        "lastModifiedBy": PRINCIPAL,
        "lastModifiedByType": "Application",
    }


def _found(plane: Plane, request: web.Request) -> dict[str, Any]:
    name = request.match_info["datastore"]
    found = find(plane, name)
    if found is None:
        raise ArmError(404, "UserError", f"Could not find datastore: {name}")
    return found


def routes(plane: Plane) -> Iterable[web.RouteDef]:
    """`datastores`: get, list, create or update, delete, `listSecrets`."""
    seed(plane)
    one = f"{WORKSPACE}/datastores/{{datastore}}"

    async def get(request: web.Request) -> web.Response:
        return answer(_shown(plane, _found(plane, request)))

    async def listed(request: web.Request) -> web.Response:
        default_only = request.query.get("isDefault", "").lower() == "true"
        page = plane.store.list(
            KIND,
            f"{plane.workspace_id}/datastores/",
            limit=page_size(request, 30),
            token=page_token(request),
            newest_first=True,
            keep=lambda body: not default_only or body["name"] == DEFAULT,
        )
        return paged_documents(request, page, lambda body: _shown(plane, body))

    async def put(request: web.Request) -> web.Response:
        return await _put(plane, request)

    async def delete(request: web.Request) -> web.Response:
        found = find(plane, request.match_info["datastore"])
        if found is None:
            return empty(204)
        if found.get("own"):
            raise ArmError(400, "UserError", f"Datastore {found['name']} cannot be deleted.")
        plane.store.delete(KIND, datastore_id(plane, found["name"]))
        return empty(200)

    async def secrets(request: web.Request) -> web.Response:
        found, asked = _found(plane, request), await typed_body(request, "SecretExpiry")
        shown = _secrets(plane, found, asked)
        if found.get("own"):  # as on Azure, a workspace's own container is always there
            await asyncio.to_thread(storage(plane).container, found["container"])
        return answer(shown)

    return [
        web.get(f"{WORKSPACE}/datastores", listed),
        web.get(one, get),
        web.put(one, put),
        web.delete(one, delete),
        web.post(f"{one}/listSecrets", secrets),
    ]


async def _put(plane: Plane, request: web.Request) -> web.Response:
    name = request.match_info["datastore"]
    properties = (await typed_body(request, "workspaces/datastores"))["properties"]
    if properties.get("datastoreType") != "AzureBlob":
        raise NotEmulated(f"a datastore of type {properties.get('datastoreType')!r}")
    if not _NAME.match(name):
        raise ArmError(
            400,
            "UserError",
            f"Datastore name '{name}' is invalid: only letters, digits and underscores.",
        )
    missing = [key for key in ("accountName", "containerName") if not properties.get(key)]
    if missing:
        raise ArmError(400, "UserError", f"Missing required properties: {', '.join(missing)}.")
    credentials = properties.get("credentials") or {}
    kind = credentials.get("credentialsType") or "None"
    if kind not in ("AccountKey", "Sas", "None"):
        raise NotEmulated(f"datastore credentials of type {kind!r}")
    before = find(plane, name)
    body = {
        "name": name,
        "container": properties["containerName"],
        "account": properties["accountName"],
        "credentials": kind,
        "secrets": credentials.get("secrets"),
        "description": properties.get("description"),
        "tags": properties.get("tags") or {},
        "given": {key: properties[key] for key in _AS_GIVEN if properties.get(key) is not None},
        "created_at": before["created_at"] if before else iso(plane.clock.now()),
        "modified_at": iso(plane.clock.now()),
    }
    plane.store.put(KIND, datastore_id(plane, name), body)
    return put_answer(request, _shown(plane, body), new=before is None)


def _secrets(plane: Plane, body: dict[str, Any], asked: dict[str, Any]) -> dict[str, Any]:
    """What `listSecrets` answers: a signature if one that expires is asked for, else the key."""
    kind, own = body["credentials"], storage(plane)
    if kind == "None":
        raise ArmError(400, "UserError", "No secrets for credentials of type None.")
    kept = body.get("secrets") or {"secretsType": "AccountKey", "key": own.account.key}
    if kind == "Sas" or not asked.get("expirableSecret"):
        return dict(kept)
    hours = asked.get("expireAfterHours") or 1
    signature = own.account_sas(hours) if body.get("own") else _signature(body, hours)
    return {"secretsType": "Sas", "sasToken": signature}


def _signature(body: dict[str, Any], hours: int) -> str:
    """A signature with the key that a caller gave for an account of their own."""
    try:
        return account_sas(body["account"], body["secrets"].get("key") or "", hours)
    except ValueError:
        text = f"The account key of datastore {body['name']} is not base64."
        raise ArmError(400, "UserError", text) from None
