"""VM sizes, usages and quotas of the region.

Sizes and families are those that the real service lists (a part of them). The limits are a
plausible subscription: some cores for current GPU families, none for the old ones.
"""

from __future__ import annotations

import functools
import json
from collections import Counter
from importlib import resources
from typing import TYPE_CHECKING, Any

from aiohttp import web

from local.azureml.wire import LOCATION, PROVIDER, ArmError, page_size, page_token, paged

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from local.azureml.plane import Plane

    Usage = Callable[[], dict[str, int]]


LOW_PRIORITY = "TotalLowPriorityCores"
"""The region's quota for low-priority nodes; families have none of their own there."""

_UNLIMITED = -1


@functools.cache
def _seed() -> dict[str, Any]:
    text = resources.files("local.azureml").joinpath("seed/sizes.json").read_text("utf-8")
    loaded: dict[str, Any] = json.loads(text)
    return loaded


def sizes() -> list[dict[str, Any]]:
    """Every VM size, with `name`, `family`, `vCPUs`, `gpus`, `memoryGB` and more."""
    rows: list[dict[str, Any]] = _seed()["sizes"]
    return rows


def find_size(name: str) -> dict[str, Any] | None:
    """The size of that name, in any case; None if there is none."""
    return next((each for each in sizes() if each["name"].lower() == name.lower()), None)


def limits(plane: Plane) -> dict[str, int]:
    """The quota in cores of each family: the seed's, or what `/_emulator/quota` made of it."""
    changed = plane.store.get("setting", "quota")
    return {**_seed()["limits"], **(changed.body.get("limits", {}) if changed else {})}


def count_usage(plane: Plane, usage: Usage) -> None:
    """Let `usage` take part in the count of cores in use (cores by VM size family)."""
    plane.parts.setdefault("usages", []).append(usage)


def cores_in_use(plane: Plane) -> dict[str, int]:
    """Cores in use by family: by everything that told `count_usage`, and by others."""
    total: Counter[str] = Counter()
    for usage in plane.parts.get("usages", []):
        total.update(usage())
    changed = plane.store.get("setting", "quota")
    total.update(changed.body.get("used", {}) if changed else {})
    return dict(total)


def routes(plane: Plane) -> Iterable[web.RouteDef]:
    """`vmSizes`, `usages`, `quotas`."""

    async def vm_sizes(request: web.Request) -> web.Response:
        _check_region(plane, request)
        return _paged_rows(request, sizes())

    async def usages(request: web.Request) -> web.Response:
        _check_region(plane, request)
        used = cores_in_use(plane)
        rows = [
            _row(plane, "usages", family, _UNLIMITED, "lowPriorityCores") | {"currentValue": 0}
            for family in limits(plane)
            if family != LOW_PRIORITY
        ]
        rows += [
            _row(plane, "usages", family, limit) | {"currentValue": used.get(family, 0)}
            for family, limit in limits(plane).items()
        ]
        return _paged_rows(request, rows)

    async def quotas(request: web.Request) -> web.Response:
        _check_region(plane, request)
        rows = [
            _row(plane, "quotas", family, limit)
            for family, limit in limits(plane).items()
            if family != LOW_PRIORITY
        ]
        return _paged_rows(request, rows)

    return [
        web.get(f"{LOCATION}/vmSizes", vm_sizes),
        web.get(f"{LOCATION}/usages", usages),
        web.get(f"{LOCATION}/quotas", quotas),
    ]


def _check_region(plane: Plane, request: web.Request) -> None:
    given = request.match_info["location"]
    if given.lower() != plane.region:
        raise ArmError(
            400,
            "LocationNotAvailableForResourceType",
            f"The provided location '{given}' is not available for resource type "
            f"'{PROVIDER}/locations'. List of available regions for the resource type is "
            f"'{plane.region}'.",
        )


def _row(
    plane: Plane, kind: str, family: str, limit: int, cores: str = "dedicatedCores"
) -> dict[str, Any]:
    """A usage or quota; a family has one for each priority, told apart by the type."""
    scope = f"/subscriptions/{plane.settings.subscription}/providers/{PROVIDER}"
    total = family == LOW_PRIORITY
    priority = "Dedicated" if cores == "dedicatedCores" else "LowPriority"
    named = "Total Cluster LowPriority Regional" if total else f"{family} Cluster {priority}"
    return {
        "id": f"{scope}/locations/{plane.region}/{kind}/{family}",
        "amlWorkspaceLocation": plane.region,
        "type": f"{PROVIDER}/{'totalLowPriorityCores' if total else f'vmFamily/{cores}'}/{kind}",
        "unit": "Count",
        "limit": limit,
        "name": {"value": family, "localizedValue": f"{named} vCPUs"},
    }


def _paged_rows(request: web.Request, rows: list[dict[str, Any]]) -> web.Response:
    size, start = page_size(request, 1000), int(page_token(request) or 0)
    following = str(start + size) if start + size < len(rows) else None
    return paged(request, rows[start : start + size], following)
