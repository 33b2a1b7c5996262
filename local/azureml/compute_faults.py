"""How clusters fail to come up: for lack of quota as on Azure, or as the test control has it.

A cluster that could not have a single node is made and then `Failed`, whatever its minimum; the text
is the service's, as users of several subscriptions have reported it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiohttp import web

from local.azureml import sizes
from local.azureml.faults import PREFIX
from local.azureml.wire import ArmError, answer, empty, json_body, open_to_all

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from local.azureml.plane import Plane

KIND = "compute-fault"
_KEYS = {"code", "message", "times", "priority", "refuse"}
_PRIORITIES = ("Dedicated", "LowPriority")


def take(plane: Plane, name: str, cluster: Mapping[str, Any]) -> dict[str, Any] | None:
    """The error with which the cluster that is being made will fail; None if it comes up.

    Raises:
        ArmError: The test control has it refused at once.
    """
    found = plane.store.get(KIND, name)
    fault = found.body if found else None
    priority = cluster.get("vmPriority") or "Dedicated"
    if fault is None or fault.get("priority") not in (None, priority):
        return _short_of_quota(plane, cluster, priority)
    fault["times"] -= 1
    if fault["times"] > 0:
        plane.store.put(KIND, name, fault)
    else:
        plane.store.delete(KIND, name)
    if fault.get("refuse"):
        raise ArmError(400, fault["code"], fault["message"])
    return _error(fault["code"], fault["message"])


def _error(code: str, message: str) -> dict[str, Any]:
    return {"code": code, "message": message, "target": None, "details": [], "additionalInfo": []}


def _short_of_quota(
    plane: Plane, cluster: Mapping[str, Any], priority: str
) -> dict[str, Any] | None:
    size = sizes.find_size(str(cluster["vmSize"]))
    assert size is not None
    low = priority == "LowPriority"
    family = sizes.LOW_PRIORITY if low else str(size["family"])
    limit, nodes = sizes.limits(plane).get(family, 0), 1
    cores = int(size["vCPUs"]) * nodes
    if cores <= limit:
        return None
    whose = "total" if low else f"{family}"
    return _error(
        "ClusterMinNodesExceedCoreQuota",
        f"The specified subscription has a {whose} vCPU quota of {limit} and cannot "
        f"accomodate for at least {nodes} requested managed compute nodes which maps to "
        f"{cores} vCPUs.",
    )


def routes(plane: Plane) -> Iterable[web.RouteDef]:
    """`/_emulator/computes/NAME`: let the next clusters of that name fail."""

    @open_to_all
    async def put(request: web.Request) -> web.Response:
        body = await json_body(request)
        if unknown := sorted(set(body) - _KEYS):
            text = f"Unknown keys {unknown}; known are {sorted(_KEYS)}."
            raise ArmError(400, "BadFault", text)
        fault = {
            "code": "InternalServerError",
            "message": "Injected by /_emulator/computes.",
            "times": 1,
            **body,
        }
        if type(fault["times"]) is not int or fault["times"] < 1:
            raise ArmError(400, "BadFault", "times must be a whole number of at least 1.")
        if fault.get("priority") not in (None, *_PRIORITIES):
            raise ArmError(400, "BadFault", f"priority must be one of {_PRIORITIES}.")
        plane.store.put(KIND, request.match_info["compute"], fault)
        return answer(fault)

    @open_to_all
    async def delete(request: web.Request) -> web.Response:
        name = request.match_info["compute"]
        return empty(200 if plane.store.delete(KIND, name) else 204)

    one = f"{PREFIX}computes/{{compute}}"
    return [web.put(one, put), web.delete(one, delete)]
