"""Compute clusters (`AmlCompute`): made, found, listed, deleted; their nodes are this machine.

A missing cluster is 404 with no body at all, as on Azure. States follow from times that are
written when an operation begins, so a restart in between changes nothing.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from aiohttp import web

from local.azureml import compute_faults, compute_instances, operations, sizes
from local.azureml.api_versions import in_version
from local.azureml.azure_types import typed_body
from local.azureml.clock import iso
from local.azureml.faults import PREFIX
from local.azureml.wire import (
    PROVIDER,
    WORKSPACE,
    ArmError,
    NotEmulated,
    answer,
    empty,
    json_body,
    open_to_all,
    page_size,
    page_token,
    paged_documents,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from local.azureml.plane import Plane

KIND = "compute"
_CLUSTER = "AmlCompute"
_PREVIEWS = ("properties.enableBatchPrivateLink",)
_NAME = re.compile(r"^[a-zA-Z][a-zA-Z0-9-]{0,30}[a-zA-Z0-9]$")


def compute_id(plane: Plane, name: str) -> str:
    """The ARM id of the cluster called `name`."""
    return f"{plane.workspace_id}/computes/{name}"


def find_cluster(plane: Plane, name: str) -> dict[str, Any] | None:
    """The cluster that a job is to run on, or None if there is none (any more).

    Raises:
        NotEmulated: It is compute of another kind.
    """
    found = find(plane, name)
    if found is not None and _type(found) != _CLUSTER:
        raise NotEmulated(f"a job on compute of type {_type(found)!r}")
    return found


def find(plane: Plane, name: str) -> dict[str, Any] | None:
    """The compute as it is now, or None if there is none (any more)."""
    stored = plane.store.get(KIND, compute_id(plane, name))
    if stored is None:
        return None
    gone = stored.body["gone_at"]
    if gone and datetime.fromisoformat(gone) <= plane.clock.now():
        plane.store.delete(KIND, stored.id)
        return None
    return stored.body


def _type(body: dict[str, Any]) -> str:
    """The compute's type, as Azure calls it."""
    return str(body.get("type", _CLUSTER))


def _shown(plane: Plane, body: dict[str, Any]) -> dict[str, Any]:
    """The compute as ARM shows it at this moment."""
    ready = datetime.fromisoformat(body["ready_at"]) <= plane.clock.now()
    end = "Failed" if body.get("fails") else "Succeeded"
    state = "Deleting" if body["gone_at"] else (end if ready else "Creating")
    kind = _type(body)
    if kind == _CLUSTER:
        own = _shown_cluster(body, settled=ready and not body.get("fails"))
    else:
        own = compute_instances.shown(body)
    return {
        "id": body["id"],
        "name": body["name"],
        "type": f"{PROVIDER}/workspaces/computes",
        "location": body["location"],
        "tags": body["tags"],
        "properties": {
            "createdOn": body["created_on"],
            "modifiedOn": body["modified_on"],
            "disableLocalAuth": body["disable_local_auth"],
            "description": body["description"],
            "resourceId": None,
            "computeType": kind,
            "computeLocation": body["location"],
            "provisioningState": state,
            "provisioningErrors": [{"error": body["fails"]}] if state == "Failed" else None,
            "provisioningWarnings": {},
            "isAttachedCompute": False,
            "properties": own,
        },
    }


def _shown_cluster(body: dict[str, Any], *, settled: bool) -> dict[str, Any]:
    """The cluster's own part; nodes and account are told once it is there, secrets never."""
    cluster = {
        "isolatedNetwork": False,
        "enableBatchPrivateLink": False,
        "enableNodePublicIp": True,
        "remoteLoginPortPublicAccess": "NotSpecified",
        "osType": "Linux",
        "vmPriority": "Dedicated",
        **{key: value for key, value in body["cluster"].items() if value is not None},
        "subnet": None,
        "virtualMachineImage": None,
        "errors": None,
    }
    account = cluster.pop("userAccountCredentials", None)
    if not settled:
        nodes = ("currentNodeCount", "targetNodeCount", "nodeStateCounts", "allocationState")
        return {**cluster, "vmSize": cluster["vmSize"].upper(), **dict.fromkeys(nodes)}
    if account:
        cluster["userAccountCredentials"] = {**account, "adminUserPassword": None}
    return {
        **cluster,
        "currentNodeCount": 0,
        "targetNodeCount": 0,
        "nodeStateCounts": _NO_NODES,
        "allocationState": "Steady",
        "allocationStateTransitionTime": body["ready_at"],
        "propertyBag": {},
    }


_NO_NODES = dict.fromkeys(
    (
        "preparingNodeCount",
        "runningNodeCount",
        "idleNodeCount",
        "unusableNodeCount",
        "leavingNodeCount",
        "preemptedNodeCount",
    ),
    0,
)


def _checked(name: str, body: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The request's properties and the cluster in them, known to be good.

    Raises:
        ArmError: As Azure refuses it. NotEmulated: Another kind of compute.
    """
    properties = body.get("properties") or {}
    kind = properties.get("computeType")
    if kind != _CLUSTER:
        raise NotEmulated(f"compute of type {kind!r} (only AmlCompute)")
    if not _NAME.match(name):
        raise ArmError(
            400,
            "InvalidComputeName",
            f"The compute name '{name}' is invalid: it must be 2 to 32 characters long, letters, "
            "digits and dashes, begin with a letter and end with a letter or digit.",
        )
    cluster = dict(properties.get("properties") or {})
    size = sizes.find_size(str(cluster.get("vmSize")))
    if size is None or _CLUSTER not in size["supportedComputeTypes"]:
        raise ArmError(
            400,
            "InvalidPropertyValue",
            f"The specified VM size '{cluster.get('vmSize')}' is not supported in this region.",
        )
    scale = cluster.get("scaleSettings") or {}
    least, most = int(scale.get("minNodeCount") or 0), int(scale.get("maxNodeCount") or 0)
    if most < 1 or not 0 <= least <= most:
        raise ArmError(
            400,
            "InvalidPropertyValue",
            "maxNodeCount must be at least 1 and minNodeCount between 0 and maxNodeCount; given "
            f"are minNodeCount {least} and maxNodeCount {most}.",
        )
    cluster["vmSize"] = size["name"]
    return properties, cluster


def routes(plane: Plane) -> Iterable[web.RouteDef]:
    """`computes`: get, list, create or update, delete; and `/_emulator/compute-instances`."""
    one = f"{WORKSPACE}/computes/{{compute}}"

    async def get(request: web.Request) -> web.Response:
        found = find(plane, request.match_info["compute"])
        if found is None:
            raise ArmError(404, "", "")
        return answer(in_version(request, _shown(plane, found), *_PREVIEWS))

    async def listed(request: web.Request) -> web.Response:
        def there(body: dict[str, Any]) -> bool:
            return find(plane, body["name"]) is not None

        page = plane.store.list(
            KIND,
            f"{plane.workspace_id}/computes/",
            limit=page_size(request),
            token=page_token(request),
            keep=there,
        )
        return paged_documents(
            request, page, lambda body: in_version(request, _shown(plane, body), *_PREVIEWS)
        )

    async def put(request: web.Request) -> web.Response:
        return await _put(plane, request)

    async def delete(request: web.Request) -> web.Response:
        return _delete(plane, request)

    @open_to_all
    async def put_instance(request: web.Request) -> web.Response:
        name = request.match_info["compute"]
        identity = compute_id(plane, name)
        _refuse_cluster(plane, name)
        body = compute_instances.kept(plane, identity, name, await json_body(request))
        plane.store.put(KIND, identity, body)
        return answer(_shown(plane, body))

    @open_to_all
    async def delete_instance(request: web.Request) -> web.Response:
        name = request.match_info["compute"]
        _refuse_cluster(plane, name)
        return empty(200 if plane.store.delete(KIND, compute_id(plane, name)) else 204)

    instance = f"{PREFIX}compute-instances/{{compute}}"
    return [
        web.get(f"{WORKSPACE}/computes", listed),
        web.get(one, get),
        web.put(one, put),
        web.delete(one, delete),
        web.put(instance, put_instance),
        web.delete(instance, delete_instance),
    ]


def _refuse_cluster(plane: Plane, name: str) -> None:
    """Leave a cluster alone, which is no compute instance to be put or taken back.

    Raises:
        ArmError: 409 where one has that name.
    """
    found = find(plane, name)
    if found is not None and _type(found) == _CLUSTER:
        raise ArmError(409, "Conflict", f"The compute '{name}' is a cluster, no compute instance.")


async def _put(plane: Plane, request: web.Request) -> web.Response:
    name = request.match_info["compute"]
    body = await typed_body(request, "workspaces/computes")
    properties, cluster = _checked(name, body)
    before, now = find(plane, name), plane.clock.now()
    if before is not None and _type(before) != _CLUSTER:
        raise NotEmulated(f"a cluster in the place of compute of type {_type(before)!r}")
    if before is not None and before["cluster"]["vmSize"] != cluster["vmSize"]:
        raise ArmError(
            409, "Conflict", f"The VM size of the existing compute '{name}' cannot be changed."
        )
    ready = now + timedelta(seconds=plane.timetable.compute_create)
    fails = compute_faults.take(plane, name, cluster) if before is None else None
    stored = {
        "id": compute_id(plane, name),
        "name": name,
        "location": body.get("location") or plane.region,
        "tags": body.get("tags") or {},
        "description": properties.get("description"),
        "disable_local_auth": bool(properties.get("disableLocalAuth")),
        "cluster": cluster,
        "created_on": before["created_on"] if before else iso(now),
        "modified_on": iso(now),
        "ready_at": iso(ready),
        "gone_at": None,
        "fails": fails,
    }
    plane.store.put(KIND, compute_id(plane, name), stored)
    headers = _operation(plane, request, plane.timetable.compute_create, fails)
    shown = _just_put(plane, stored, new=before is None)
    return answer(in_version(request, shown, *_PREVIEWS), 201, headers)


def _just_put(plane: Plane, body: dict[str, Any], *, new: bool) -> dict[str, Any]:
    """What the PUT answers: `Creating` even of a cluster that exists; of a new one less is known."""
    shown = _shown(plane, body)
    properties = shown["properties"]
    properties |= {
        "provisioningState": "Creating",
        "provisioningErrors": None,
        "properties": _shown_cluster(body, settled=False),
    }
    if new:
        del properties["computeLocation"]
        properties["provisioningWarnings"] = None
        shown["tags"] = shown["tags"] or None
    return shown


def _operation(
    plane: Plane, request: web.Request, seconds: float, error: dict[str, Any] | None = None
) -> dict[str, str]:
    name, headers = operations.begin(plane, request, of="compute", seconds=seconds)
    if error:
        operations.fail_in_time(plane, name, error)
    return headers


def _delete(plane: Plane, request: web.Request) -> web.Response:
    if request.query.get("underlyingResourceAction") not in ("Delete", "Detach"):
        raise ArmError(
            400,
            "MissingParameter",
            "The query parameter underlyingResourceAction must be Delete or Detach.",
        )
    found = find(plane, request.match_info["compute"])
    if found is None:
        return empty(204)
    seconds = plane.timetable.compute_delete
    found["gone_at"] = found["gone_at"] or iso(plane.clock.now() + timedelta(seconds=seconds))
    plane.store.put(KIND, found["id"], found)
    return empty(202, _operation(plane, request, seconds))
