"""Deployments of managed online endpoints: made, found, listed, scaled, deleted; sizes and logs."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from aiohttp import web

from local.azureml import (
    deployment_logs,
    deployment_settings,
    endpoints,
    identity,
    model_files,
    operations,
    provisioning,
    quota,
    sizes,
)
from local.azureml.azure_types import typed_body
from local.azureml.clock import iso
from local.azureml.online_rules import busy, invalid, missing, name_problems, refuse
from local.azureml.transitions import atomically
from local.azureml.wire import (
    PROVIDER,
    ArmError,
    NotEmulated,
    answer,
    empty,
    page_size,
    page_token,
    paged,
    paged_documents,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from local.azureml.deployment_settings import Deployment
    from local.azureml.plane import Plane

    Body = dict[str, Any]

TYPE = "workspaces/onlineEndpoints/deployments"
KIND = endpoints.DEPLOYMENT
ALL = f"{endpoints.ONE}/deployments"
ONE = f"{ALL}/{{deployment}}"

lifespan = provisioning.lifespan


def deployment_id(plane: Plane, endpoint: str, name: str) -> str:
    """The ARM id of a deployment."""
    return f"{endpoints.endpoint_id(plane, endpoint)}/deployments/{name}"


def find(plane: Plane, endpoint: str, name: str) -> Body | None:
    """The stored deployment, or None.

    Its keys: `id`, `name`, `endpoint`, `location`, `tags`, `identity`, `properties` with defaults
    filled in, `instances`, `cores` (of the quota), `state`, `made` (whether it ever came up),
    `serving` (what runs: the last properties that came up), `operation`, `ends`,
    `operation_address` (of the last change), `created_at`, `modified_at`.
    """
    found = plane.store.get(KIND, deployment_id(plane, endpoint, name))
    return found.body if found else None


def _get(plane: Plane, request: web.Request) -> Body:
    endpoint, name = request.match_info["endpoint"], request.match_info["deployment"]
    found = find(plane, endpoint, name)
    if found is None:
        raise missing(
            plane.settings.group,
            f"{plane.settings.workspace}/onlineEndpoints/{endpoint}/deployments/{name}",
        )
    return found


def shown(body: Body) -> Body:
    """The deployment as ARM shows it."""
    properties = body["properties"]
    variables = dict(properties["environmentVariables"])
    if body["made"]:
        name, version = _name_and_version(str(properties["model"]))
        variables["AZUREML_MODEL_DIR"] = f"/var/azureml-app/azureml-models/{name}/{version}"
    return {
        "id": body["id"],
        "name": body["name"],
        "type": f"{PROVIDER}/workspaces/onlineEndpoints/deployments",
        "properties": {
            **properties,
            "properties": {
                **properties["properties"],
                operations.ADDRESS: body.get("operation_address"),
            },
            "environmentVariables": variables,
            "provisioningState": body["state"],
        },
        "systemData": {
            "createdAt": body["created_at"],
            "createdBy": identity.PRINCIPAL,
            "lastModifiedAt": body["modified_at"],
        },
        "tags": body["tags"],
        "location": body["location"],
        "kind": "Managed",
        **({"identity": body["identity"]} if body["identity"] else {}),
        "sku": {"name": "Default", "tier": "Standard", "capacity": body["instances"]},
    }


def _name_and_version(model: str) -> tuple[str, str]:
    parts = model.rstrip("/").split("/")
    return (parts[-3], parts[-1]) if len(parts) > 3 else (model, "1")  # noqa: PLR2004


def routes(plane: Plane) -> Iterable[web.RouteDef]:
    """`deployments`: list, get, create or update, scale, delete, `skus`, `getLogs`."""
    sizes.count_usage(plane, lambda: _cores_in_use(plane))

    async def listed(request: web.Request) -> web.Response:
        endpoint = endpoints.get(plane, request.match_info["endpoint"])
        page = plane.store.list(
            KIND,
            f"{endpoint['id']}/deployments/",
            limit=page_size(request, 30),
            token=page_token(request),
            newest_first=True,
        )
        return paged_documents(request, page, shown)

    async def one(request: web.Request) -> web.Response:
        return answer(shown(_get(plane, request)))

    async def put(request: web.Request) -> web.Response:
        return await _put(plane, request)

    async def patch(request: web.Request) -> web.Response:
        return await _patch(plane, request)

    async def delete(request: web.Request) -> web.Response:
        return _delete(plane, request)

    async def skus(request: web.Request) -> web.Response:
        return paged(request, [_sku(_get(plane, request))], None)

    async def get_logs(request: web.Request) -> web.Response:
        given = await typed_body(request, "DeploymentLogsRequest")
        return answer(deployment_logs.read(plane, _get(plane, request), given))

    return [
        web.get(ALL, listed),
        web.get(ONE, one),
        web.put(ONE, put),
        web.patch(ONE, patch),
        web.delete(ONE, delete),
        web.get(f"{ONE}/skus", skus),
        web.post(f"{ONE}/getLogs", get_logs),
    ]


def _sku(body: Body) -> Body:
    """How far a deployment scales, as `skus` lists it."""
    return {
        "resourceType": shown(body)["type"],
        "sku": {"name": "Default", "tier": "Standard"},
        "capacity": {
            "default": 1,
            "minimum": 1,
            "maximum": deployment_settings.MOST_INSTANCES,
            "scaleType": "Manual",
        },
    }


def _cores_in_use(plane: Plane) -> dict[str, int]:
    used: Counter[str] = Counter()
    for each in plane.store.each(KIND):
        size = sizes.find_size(each.body["properties"]["instanceType"])
        used[str(size["family"]) if size else ""] += each.body["cores"]
    return dict(used)


# Making and changing ------------------------------------------------------------------------


async def _put(plane: Plane, request: web.Request) -> web.Response:
    endpoint_name, name = request.match_info["endpoint"], request.match_info["deployment"]
    given = await typed_body(request, TYPE)
    properties = deployment_settings.with_defaults(dict(given.get("properties") or {}))
    capacity = (given.get("sku") or {}).get("capacity")
    before = find(plane, endpoint_name, name)
    endpoint = _check_parent(plane, endpoint_name, name)
    _check_state(plane, endpoint, name, before)
    wanted = deployment_settings.read(properties, capacity)
    cores = _check(plane, wanted, before)
    now = iso(plane.clock.now())
    body: Body = {
        "id": before["id"] if before else deployment_id(plane, endpoint["name"], name),
        "name": before["name"] if before else name,
        "endpoint": endpoint["name"],
        "location": given.get("location") or plane.region,
        "tags": given.get("tags") or {},
        "identity": given.get("identity"),
        "properties": properties,
        "instances": wanted.instances,
        "cores": cores,
        "made": bool(before and before["made"]),
        "serving": before["serving"] if before else None,
        "created_at": before["created_at"] if before else now,
    }
    headers = _begin(plane, request, body, "Updating" if before else "Creating")
    return answer(_just_put(body) if before else shown(body), 201, headers)


def _just_put(body: Body) -> Body:
    """What a PUT of a deployment that exists answers: not yet all of it (recorded 2025-02-27)."""
    now = shown(body)
    now["properties"] |= {"provisioningState": "Creating", "instanceType": None}
    return {**now, "systemData": {"lastModifiedAt": body["modified_at"]}}


def _check_parent(plane: Plane, endpoint: str, name: str) -> Body:
    found = endpoints.find(plane, endpoint)
    if found is None:
        parent = f"{plane.settings.workspace}/onlineEndpoints/{endpoint}"
        raise ArmError(
            404,
            "ParentResourceNotFound",
            "Failed to perform 'write' on resource(s) of type "
            f"'workspaces/onlineEndpoints/deployments', because the parent resource "
            f"'{endpoints.endpoint_id(plane, endpoint)}' could not be found ({parent}/{name}).",
        )
    return found


def _check_state(plane: Plane, endpoint: Body, name: str, before: Body | None) -> None:
    """Refuse a change for what its endpoint or the deployment itself goes through.

    Raises:
        ArmError: 409 while something is under way; 400 for a first failure, too many, the name.
    """
    if endpoint["state"] in ("Creating", "Deleting"):
        raise busy("endpoint", endpoint["name"], endpoint["state"])
    if before is not None and before["operation"]:
        raise busy("deployment", name, before["state"])
    if before is not None and not before["made"]:
        raise refuse(
            f"Specified deployment [{name}] failed during initial provisioning and is in an "
            "unrecoverable state. Delete and re-create."
        )
    if before is None:
        said = name_problems("deployment", name)
        most = quota.read(plane).deployments
        if len(endpoints.deployments_of(plane, endpoint["name"])) >= most:
            said.append(f"Endpoint '{endpoint['name']}' has {most} deployments: that is the most.")
        if said:
            raise refuse(*said)


def _check(plane: Plane, wanted: Deployment, before: Body | None) -> int:
    """Refuse a model, a size or a number that cannot be had; returns the cores it takes."""
    source = model_files.locate(plane, wanted.model)
    size = sizes.find_size(wanted.instance_type)
    problems: dict[str, list[str]] = {}
    if source is None:
        problems["Model"] = [f"The model '{wanted.model}' was not found."]
    elif not source.mlflow and not wanted.environment_id:
        problems["EnvironmentId"] = [
            "Environment and scoring script are required for a model that is not an MLflow model."
        ]
    if size is None:
        problems["VmSize"] = [
            f"The VM size '{wanted.instance_type}' is not supported in region {plane.region}."
        ]
    if problems or size is None:
        raise invalid(problems)
    cores = quota.cores_needed(size, wanted.instances)
    family, held = size["family"], 0
    if before is not None:
        old = sizes.find_size(before["properties"]["instanceType"])
        held = before["cores"] if old and old["family"] == family else 0
    quota.check(
        quota.read(plane),
        plane.settings.subscription,
        size,
        additional=cores - held,
        used=sizes.cores_in_use(plane).get(family, 0),
    )
    return cores


def _begin(plane: Plane, request: web.Request, body: Body, state: str) -> dict[str, str]:
    """Write the deployment with its operation and begin what is to happen."""
    table = plane.timetable
    seconds = {
        "Creating": table.deployment_create,
        "Updating": table.deployment_update,
        "Deleting": table.deployment_delete,
    }[state]
    provisioning.fleet(plane)  # while the server starts, this refuses
    now = plane.clock.now()
    with atomically(plane.store):
        lasts = body["id"] if state != "Deleting" else None
        operation, headers = operations.begin(plane, request, of="deployment", location=lasts)
        body |= {
            "state": state,
            "operation": operation,
            "operation_address": headers[operations.HEADER],
            "ends": iso(now + timedelta(seconds=seconds)),
            "modified_at": iso(now),
        }
        plane.store.put(KIND, body["id"], body)
    provisioning.begin(plane, body)
    return headers


async def _patch(plane: Plane, request: web.Request) -> web.Response:
    """`tags` and `sku.capacity`: all that a PATCH of a deployment may change."""
    body = _get(plane, request)
    given = await typed_body(request, TYPE, partial=True)
    if other := sorted(set(given) - {"tags", "sku"}):
        raise NotEmulated(f"PATCH of a deployment's {', '.join(other)}")
    endpoint = endpoints.get(plane, body["endpoint"])
    _check_state(plane, endpoint, body["name"], body)
    capacity = (given.get("sku") or {}).get("capacity", body["instances"])
    wanted = deployment_settings.read(body["properties"], capacity)
    body["cores"] = _check(plane, wanted, body)
    body["instances"] = wanted.instances
    body["tags"] = {**body["tags"], **(given.get("tags") or {})}
    headers = _begin(plane, request, body, "Updating")
    return answer(shown(body), 202, headers)


def _delete(plane: Plane, request: web.Request) -> web.Response:
    endpoint_name, name = request.match_info["endpoint"], request.match_info["deployment"]
    body = find(plane, endpoint_name, name)
    if body is None:
        return empty(204)
    endpoint = endpoints.get(plane, endpoint_name)
    if endpoint["state"] == "Deleting":
        raise busy("endpoint", endpoint_name, endpoint["state"])
    if body["operation"]:
        raise busy("deployment", name, body["state"])
    splits = (endpoint["live_traffic"], endpoint["properties"]["traffic"])
    if share := max(split.get(body["name"], 0) for split in splits):
        raise refuse(
            f"Deployment '{body['name']}' cannot be deleted while it has traffic ({share} %). Set "
            "its traffic to 0 first."
        )
    return answer(None, 202, _begin(plane, request, body, "Deleting"))
