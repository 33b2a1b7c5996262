"""Managed online endpoints: made, found, listed, changed, deleted; their keys and tokens.

A change is a long-running operation: 201 or 200 with `Azure-AsyncOperation`, `provisioningState`
Creating or Updating until it ends, and no scoring address before an endpoint was made. Traffic
that a change brings is in effect when the change is done.
"""

from __future__ import annotations

import contextlib
import functools
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from aiohttp import web

from local.azureml import endpoint_keys, endpoint_names, identity, operations, quota
from local.azureml.azure_types import typed_body
from local.azureml.clock import iso
from local.azureml.endpoint_filters import wanted
from local.azureml.online_rules import (
    busy,
    invalid,
    missing,
    name_problems,
    refuse,
    traffic_problems,
)
from local.azureml.transitions import atomically, transitions
from local.azureml.wire import (
    PROVIDER,
    WORKSPACE,
    NotEmulated,
    answer,
    empty,
    json_body,
    page_size,
    page_token,
    paged_documents,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from local.azureml.plane import Plane

    Body = dict[str, Any]

TYPE = "workspaces/onlineEndpoints"
KIND = "online-endpoint"
DEPLOYMENT = "online-deployment"
ONE = f"{WORKSPACE}/onlineEndpoints/{{endpoint}}"
_AUTH_MODES = ("Key", "AMLToken", "AADToken")


def endpoint_id(plane: Plane, name: str) -> str:
    """The ARM id of the endpoint called `name`."""
    return f"{plane.workspace_id}/onlineEndpoints/{name}"


def find(plane: Plane, name: str) -> Body | None:
    """The stored endpoint, or None.

    Its keys: `id`, `name`, `location`, `tags`, `identity`, `properties` as sent, `state` (the
    provisioning state), `made` (whether creation has ended), `live_traffic` (the split in effect),
    `operation`, `ends` (of the change under way), `operation_address` (of the last change),
    `created_at`, `modified_at`.
    """
    found = plane.store.get(KIND, endpoint_id(plane, name))
    return found.body if found else None


def get(plane: Plane, name: str) -> Body:
    """The stored endpoint.

    Raises:
        ArmError: 404 as ARM answers it.
    """
    found = find(plane, name)
    if found is None:
        raise missing(
            plane.settings.group,
            f"{plane.settings.workspace}/onlineEndpoints/{name}",
        )
    return found


def shown(plane: Plane, body: Body) -> Body:
    """The endpoint as ARM shows it."""
    properties, made = body["properties"], body["made"]
    base = f"{plane.url}/endpoints/{body['name']}"
    return {
        "id": body["id"],
        "name": body["name"],
        "type": f"{PROVIDER}/workspaces/onlineEndpoints",
        "properties": {
            "description": properties.get("description"),
            "properties": {
                **(properties.get("properties") or {}),
                "azureml.onlineendpointid": body["id"].lower(),
                operations.ADDRESS: body.get("operation_address"),
            },
            "scoringUri": f"{base}/score" if made else None,
            "swaggerUri": f"{base}/swagger.json" if made else None,
            "authMode": properties["authMode"],
            "provisioningState": body["state"],
            "compute": None,
            "traffic": properties["traffic"],
            "mirrorTraffic": {},
            "publicNetworkAccess": properties.get("publicNetworkAccess") or "Enabled",
        },
        "systemData": {
            "createdAt": body["created_at"],
            "createdBy": identity.PRINCIPAL,
            "lastModifiedAt": body["modified_at"],
        },
        "tags": body["tags"],
        "location": body["location"],
        "kind": "Managed",
        "identity": body["identity"],
    }


def routes(plane: Plane) -> Iterable[web.RouteDef]:
    """`onlineEndpoints`: list, get, create or update, patch, delete, keys, token."""

    async def listed(request: web.Request) -> web.Response:
        return _list(plane, request)

    async def one(request: web.Request) -> web.Response:
        return answer(shown(plane, get(plane, request.match_info["endpoint"])))

    async def put(request: web.Request) -> web.Response:
        return await _put(plane, request)

    async def patch(request: web.Request) -> web.Response:
        return await _patch(plane, request)

    async def delete(request: web.Request) -> web.Response:
        return _delete(plane, request)

    async def list_keys(request: web.Request) -> web.Response:
        body = _with_auth(plane, request, "Key")
        return answer(endpoint_keys.keys(plane, body["id"]))

    async def regenerate(request: web.Request) -> web.Response:
        return await _regenerate(plane, request)

    async def token(request: web.Request) -> web.Response:
        body = _with_auth(plane, request, "AMLToken")
        return answer(endpoint_keys.token(plane, body["id"]))

    return [
        web.get(f"{WORKSPACE}/onlineEndpoints", listed),
        web.get(ONE, one),
        web.put(ONE, put),
        web.patch(ONE, patch),
        web.delete(ONE, delete),
        web.post(f"{ONE}/listKeys", list_keys),
        web.post(f"{ONE}/regenerateKeys", regenerate),
        web.post(f"{ONE}/token", token),
        *endpoint_names.routes(plane),
    ]


@contextlib.asynccontextmanager
async def lifespan(plane: Plane) -> AsyncIterator[None]:
    """Take up the changes that were under way when the server ended."""
    for document in list(plane.store.each(KIND)):
        if document.body["operation"]:
            _begin_waiting(plane, document.body)
    yield
    await transitions(plane).close()


# Listing ------------------------------------------------------------------------------------


def _list(plane: Plane, request: web.Request) -> web.Response:
    if request.query.get("computeType", "Managed") != "Managed":
        raise NotEmulated(f"endpoints on {request.query['computeType']} compute")
    order = request.query.get("orderBy", "CreatedTimeDesc")
    if order != "CreatedTimeDesc":
        raise NotEmulated(f"orderBy={order}")
    page = plane.store.list(
        KIND,
        endpoint_id(plane, ""),
        limit=page_size(request, 30),
        token=page_token(request),
        newest_first=True,
        keep=wanted(request),
    )
    return paged_documents(request, page, lambda body: shown(plane, body))


# Making and changing ------------------------------------------------------------------------


async def _put(plane: Plane, request: web.Request) -> web.Response:
    name = request.match_info["endpoint"]
    given = await typed_body(request, TYPE)
    properties = dict(given.get("properties") or {})
    before = find(plane, name)
    _check(plane, name, properties, before)
    now = iso(plane.clock.now())
    seconds = plane.timetable.endpoint_update if before else plane.timetable.endpoint_create
    body: Body = {
        "id": before["id"] if before else endpoint_id(plane, name),
        "name": before["name"] if before else name,
        "location": given.get("location") or plane.region,
        "tags": given.get("tags") or {},
        "identity": _identity(given.get("identity")),
        "properties": {**properties, "traffic": _traffic(plane, name, properties), "keys": None},
        "state": "Updating" if before else "Creating",
        "made": bool(before),
        "live_traffic": before["live_traffic"] if before else {},
        "created_at": before["created_at"] if before else now,
        "modified_at": now,
    }
    with atomically(plane.store):
        headers = _begin(plane, request, body, seconds)
        if before is None:
            endpoint_keys.write(plane, body["id"], properties.get("keys") or {})
    _begin_waiting(plane, body)
    return answer(shown(plane, body), 201, headers)


def _check(plane: Plane, name: str, properties: Body, before: Body | None) -> None:
    """Refuse what Azure refuses.

    Raises:
        ArmError: With Azure's code. NotEmulated: Mirrored traffic.
    """
    if before is not None and before["operation"]:
        raise busy("endpoint", name, before["state"])
    if any((properties.get("mirrorTraffic") or {}).values()):
        raise NotEmulated("mirrored traffic")
    problems: dict[str, list[str]] = {}
    whole = [] if before else _new_name_problems(plane, name)
    mode = properties.get("authMode")
    if mode not in _AUTH_MODES:
        problems["AuthMode"] = [f"must be one of {', '.join(_AUTH_MODES)}, not {mode!r}."]
    elif before is not None and before["properties"]["authMode"] != mode:
        problems["AuthMode"] = ["The authentication mode of an endpoint cannot be changed."]
    ready = [
        each["name"]
        for each in deployments_of(plane, name)
        if each["made"] and each["state"] != "Deleting"
    ]
    whole += traffic_problems(properties.get("traffic") or {}, ready)
    if whole:
        problems[""] = whole
    if problems:
        raise invalid(problems)


def _new_name_problems(plane: Plane, name: str) -> list[str]:
    said = name_problems("endpoint", name)
    if endpoint_names.taken(plane, name):
        said.append(
            "There is already an endpoint with this name, Endpoint name needs to be unique within "
            "a region. Try some other name."
        )
    most, there = quota.read(plane).endpoints, plane.store.count(KIND, endpoint_id(plane, ""))
    if there >= most:
        said.append(
            f"Endpoint Quota reached for the subscription {plane.settings.subscription} in region "
            f"{plane.region}: {there}/{most}."
        )
    return said


def _traffic(plane: Plane, name: str, properties: Body) -> dict[str, int]:
    """The split under the deployments' own spelling (the SDK lowers the names)."""
    spelling = {each["name"].lower(): each["name"] for each in deployments_of(plane, name)}
    given: dict[str, int] = properties.get("traffic") or {}
    return {spelling.get(key.lower(), key): share for key, share in given.items()}


def deployments_of(plane: Plane, name: str) -> list[Body]:
    """The stored deployments of an endpoint."""
    prefix = f"{endpoint_id(plane, name)}/deployments/"
    return [each.body for each in plane.store.each(DEPLOYMENT, prefix)]


def _identity(given: Body | None) -> Body:
    chosen = dict(given or {"type": "SystemAssigned"})
    if "SystemAssigned" in str(chosen.get("type")):
        chosen |= {"principalId": identity.PRINCIPAL, "tenantId": identity.TENANT}
    return chosen


async def _patch(plane: Plane, request: web.Request) -> web.Response:
    """`tags` and `identity`: all that a PATCH of an endpoint may change."""
    body = get(plane, request.match_info["endpoint"])
    given = await typed_body(request, TYPE, partial=True)
    if body["operation"]:
        raise busy("endpoint", body["name"], body["state"])
    if other := sorted(set(given) - {"tags", "identity"}):
        raise NotEmulated(f"PATCH of an online endpoint's {', '.join(other)}")
    body["tags"] = {**body["tags"], **(given.get("tags") or {})}
    if "identity" in given:
        body["identity"] = _identity(given["identity"])
    body |= {"state": "Updating", "modified_at": iso(plane.clock.now())}
    headers = _begin(plane, request, body, plane.timetable.endpoint_update)
    _begin_waiting(plane, body)
    return answer(shown(plane, body), 202, headers)


def _begin(plane: Plane, request: web.Request, body: Body, seconds: float) -> dict[str, str]:
    """Write the endpoint with its operation; returns the headers of the answer."""
    lasts = body["id"] if body["state"] != "Deleting" else None
    operation, headers = operations.begin(plane, request, location=lasts)
    body |= {"operation": operation, "operation_address": headers[operations.HEADER]}
    body["ends"] = iso(plane.clock.now() + timedelta(seconds=seconds))
    plane.store.put(KIND, body["id"], body)
    return headers


def _begin_waiting(plane: Plane, body: Body) -> None:
    transitions(plane).start(body["id"], functools.partial(_arrive, plane, body["name"]))


async def _arrive(plane: Plane, name: str) -> None:
    """Wait for the end of the change under way and let it be in effect."""
    body = get(plane, name)
    await plane.clock.sleep_until(datetime.fromisoformat(body["ends"]))
    if body["state"] == "Deleting":
        await _leave(plane, body)
        return
    operation = body["operation"]
    body |= {
        "state": "Succeeded",
        "made": True,
        "operation": None,
        "ends": None,
        "live_traffic": body["properties"]["traffic"],
    }
    with atomically(plane.store):
        plane.store.put(KIND, body["id"], body)
        operations.finish(plane, operation)


async def _leave(plane: Plane, body: Body) -> None:
    """Delete the endpoint, its deployments first."""
    from local.azureml.provisioning import forget

    for each in deployments_of(plane, body["name"]):
        await forget(plane, each)
    with atomically(plane.store):
        plane.store.delete(endpoint_keys.KIND, body["id"])
        plane.store.delete(KIND, body["id"])
        operations.finish(plane, body["operation"])


def _delete(plane: Plane, request: web.Request) -> web.Response:
    body = find(plane, request.match_info["endpoint"])
    if body is None:
        return empty(204)
    if body["operation"]:
        raise busy("endpoint", body["name"], body["state"])
    from local.azureml.provisioning import fleet

    fleet(plane)  # while the server starts, this refuses
    body |= {"state": "Deleting", "live_traffic": {}}
    with atomically(plane.store):
        headers = _begin(plane, request, body, plane.timetable.endpoint_delete)
    _begin_waiting(plane, body)
    return answer(None, 202, headers)


# Keys and tokens ----------------------------------------------------------------------------


def _with_auth(plane: Plane, request: web.Request, mode: str) -> Body:
    body = get(plane, request.match_info["endpoint"])
    actual = body["properties"]["authMode"]
    if actual != mode:
        raise refuse(f"Endpoint '{body['name']}' authenticates with {actual}, not with {mode}.")
    return body


async def _regenerate(plane: Plane, request: web.Request) -> web.Response:
    body = _with_auth(plane, request, "Key")
    given = await json_body(request)
    with atomically(plane.store):
        endpoint_keys.renew(plane, body["id"], given)
        _, headers = operations.begin(plane, request, seconds=0)
    return empty(202, headers)
