"""Quota as managed online deployments use it: cores by VM family, endpoints, capacity.

The service keeps a fifth more instances than asked for free, so that it can upgrade them: a
deployment of `n` instances needs `ceil(1.2 * n)` times the size's cores
(learn.microsoft.com/azure/machine-learning/how-to-manage-quotas, "Virtual machine quota allocation
for deployment"). The page exempts some sizes and leaves the list to another page that changes;
here the A100, H100 and ND40rs sizes count as exempt. A failed deployment holds its cores until it
is deleted.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aiohttp import web

from local.azureml import sizes
from local.azureml.faults import PREFIX
from local.azureml.online_rules import invalid
from local.azureml.wire import ArmError, answer, json_body, open_to_all

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from local.azureml.plane import Plane

_EXEMPT = ("A100", "H100", "ND40RS")
_SETTING = "quota"
_KEYS = {"limits", "used", "endpoints", "deployments", "out_of_capacity"}


@dataclass(frozen=True, slots=True)
class Quota:
    """What the subscription allows in the region.

    Attributes:
        limits: Cores by VM family.
        endpoints: Online endpoints.
        deployments: Deployments per endpoint.
        out_of_capacity: Sizes (lower case) that the region cannot provide right now.
    """

    limits: Mapping[str, int]
    endpoints: int = 100
    deployments: int = 20
    out_of_capacity: frozenset[str] = frozenset()


def read(plane: Plane) -> Quota:
    """The quota as the seed and the test control have it."""
    found = plane.store.get("setting", _SETTING)
    changed: dict[str, Any] = found.body if found else {}
    return Quota(
        limits=sizes.limits(plane),
        endpoints=changed.get("endpoints", 100),
        deployments=changed.get("deployments", 20),
        out_of_capacity=frozenset(each.lower() for each in changed.get("out_of_capacity", [])),
    )


def cores_needed(size: Mapping[str, Any], instances: int) -> int:
    """The cores that a deployment takes from its family's quota, reserve included."""
    exempt = any(mark in str(size["name"]).upper() for mark in _EXEMPT)
    kept = instances if exempt else math.ceil(1.2 * instances)
    return int(size["vCPUs"]) * kept


def check(
    quota: Quota,
    subscription: str,
    size: Mapping[str, Any],
    *,
    additional: int,
    used: int,
) -> None:
    """Hold `additional` cores of the size's family against its quota.

    Args:
        quota: What is allowed.
        subscription: Its id, for the text.
        size: A row of `sizes`.
        additional: Cores that the request takes on top; none or fewer is always fine.
        used: Cores of the family in use now.

    Raises:
        ArmError: 400 with the text that the service answers when quota is short.
    """
    limit = quota.limits.get(str(size["family"]), 0)
    if additional > 0 and used + additional > limit:
        said = (
            f"Not enough quota available for {size['name']} in SubscriptionId {subscription}. "
            f"Current usage/limit: {used}/{limit}. Additional needed: {additional} Please see "
            "troubleshooting guide, available here: https://aka.ms/oe-tsg#error-outofquota"
        )
        raise invalid({"VmSize": [said]})


def no_capacity(size: str) -> ArmError:
    """How a deployment fails when the region has no machine of that size left."""
    return ArmError(
        400,
        "OutOfQuota",
        f"The specified VM Size {size} failed to provision due to a lack of Azure Machine "
        "Learning capacity. Retry later or try deploying to a different region.",
    )


def routes(plane: Plane) -> Iterable[web.RouteDef]:
    """`/_emulator/quota`: read it, change it. Usage and limits proper are routes of `sizes`."""

    def shown() -> web.Response:
        quota = read(plane)
        return answer(
            {
                "limits": dict(quota.limits),
                "in_use": sizes.cores_in_use(plane),
                "endpoints": quota.endpoints,
                "deployments": quota.deployments,
                "out_of_capacity": sorted(quota.out_of_capacity),
            }
        )

    @open_to_all
    async def get(_request: web.Request) -> web.Response:
        return shown()

    @open_to_all
    async def put(request: web.Request) -> web.Response:
        body = await json_body(request)
        problems = change_problems(body)
        if problems:
            raise ArmError(400, "BadQuota", "; ".join(problems) + ".")
        found = plane.store.get("setting", _SETTING)
        before: dict[str, Any] = found.body if found else {}
        limits = {**before.get("limits", {}), **body.get("limits", {})}
        plane.store.put("setting", _SETTING, {**before, **body, "limits": limits})
        return shown()

    return [web.get(f"{PREFIX}quota", get), web.put(f"{PREFIX}quota", put)]


def change_problems(body: Mapping[str, Any]) -> list[str]:
    """What is wrong with the JSON of `PUT /_emulator/quota`."""
    said = []
    if unknown := sorted(set(body) - _KEYS):
        said.append(f"Unknown keys {unknown}; known are {sorted(_KEYS)}")
    for key in ("limits", "used"):
        cores = body.get(key, {})
        if not isinstance(cores, dict) or any(type(each) is not int for each in cores.values()):
            said.append(f"{key} must be cores by VM family")
    said += [
        f"{key} must be a whole number"
        for key in ("endpoints", "deployments")
        if key in body and type(body[key]) is not int
    ]
    if not isinstance(body.get("out_of_capacity", []), list):
        said.append("out_of_capacity must be a list of VM sizes")
    return said
