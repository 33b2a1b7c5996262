"""Compute of one workspace: VM sizes, quota, clusters. Plain REST, since a cluster is begun and not waited for."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from shared.cloud.arm import PROVIDER
from shared.errors import Busy, Missing, Refused
from shared.runs.machines import Allowance, Cluster, Priority, VmSize
from shared.runs.naming import TAG
from shared.runs.ports import Provisioning

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from shared.cloud.arm import Arm, Place
    from shared.runs.machines import ClusterRequest

_PRIORITIES: Final = {Priority.DEDICATED: "Dedicated", Priority.LOW: "LowPriority"}
_STATES: Final = {
    "succeeded": Provisioning.SUCCEEDED,
    "failed": Provisioning.FAILED,
    "canceled": Provisioning.FAILED,
    "deleting": Provisioning.DELETING,
}
_TOTALS: Final = {
    Priority.DEDICATED: "totaldedicatedcores",
    Priority.LOW: "totallowprioritycores",
}
_OF_FAMILIES: Final = {
    Priority.DEDICATED: "/dedicatedcores/",
    Priority.LOW: "/lowprioritycores/",
}


class ComputeTargets:
    """What can train in one workspace.

    Args:
        arm: Does the asking.
        place: The workspace.
        region: Gives the workspace's region.
    """

    def __init__(self, arm: Arm, place: Place, region: Callable[[], str]) -> None:
        self._arm = arm
        self._place = place
        self._region = region
        self._sizes: Mapping[str, VmSize] | None = None
        self._looking = threading.Lock()

    def size(self, name: str) -> VmSize | None:
        """The VM size of this name, in any case; `None` when the region does not have it."""
        with self._looking:
            if self._sizes is None:
                found = self._arm.ask(
                    "GET", f"{self._location}/vmSizes", "listing the region's VM sizes"
                ).body
                rows = found.get("value") or found.get("amlCompute") or []
                self._sizes = {str(row["name"]).lower(): _size(row) for row in rows}
            return self._sizes.get(name.lower())

    def quota(self, size: VmSize, priority: Priority) -> Sequence[Allowance]:
        """The quotas that nodes of this size count against: its family's, and the region's total.

        Raises:
            Denied: We may not read them.
        """
        doing = f"reading the quota for {size.name}"
        rows = self._arm.each(f"{self._location}/usages", doing)
        return [_allowance(row) for row in rows if _counts(row, size, priority)]

    def get(self, name: str) -> Cluster | None:
        """The compute cluster, if there is one.

        Raises:
            Refused: There is compute of this name and it is no cluster.
        """
        body = self._arm.find(self._path(name), f"reading the cluster {name}")
        return None if body is None else cluster_from(body)

    def create(self, request: ClusterRequest) -> None:
        """Begin to make the cluster. One that is being made already is left to it.

        Raises:
            Refused: Azure will not make it.
        """
        body = {
            "location": self._region(),
            "tags": {TAG: request.run},
            "properties": {
                "computeType": "AmlCompute",
                "description": "Made by Droptune; it has no nodes while nothing trains.",
                "properties": {
                    "osType": "Linux",
                    "vmSize": request.size,
                    "vmPriority": _PRIORITIES[request.priority],
                    "remoteLoginPortPublicAccess": "Disabled",
                    "scaleSettings": {
                        "minNodeCount": 0,
                        "maxNodeCount": request.nodes,
                        "nodeIdleTimeBeforeScaleDown": f"PT{int(request.idle.total_seconds())}S",
                    },
                },
            },
        }
        try:
            self._arm.ask(
                "PUT", self._path(request.name), f"making the cluster {request.name}", body=body
            )
        except Busy:
            if self.get(request.name) is None:
                raise

    def delete(self, name: str) -> None:
        """Begin to delete the cluster; nothing happens if it is not there."""
        query = {"underlyingResourceAction": "Delete"}
        with contextlib.suppress(Missing):
            self._arm.ask("DELETE", self._path(name), f"deleting the cluster {name}", query=query)

    def _path(self, name: str) -> str:
        return f"{self._place.path}/computes/{quote(name)}"

    @property
    def _location(self) -> str:
        return (
            f"/subscriptions/{self._place.subscription}/providers/{PROVIDER}"
            f"/locations/{self._region()}"
        )


def _size(row: Mapping[str, Any]) -> VmSize:
    return VmSize(
        name=str(row["name"]),
        family=str(row.get("family") or ""),
        cores=int(row.get("vCPUs") or 0),
        gpus=int(row.get("gpus") or 0),
    )


def _counts(row: Mapping[str, Any], size: VmSize, priority: Priority) -> bool:
    """Whether a usage is one that nodes of this size and priority count against.

    Azure lists a family once for each priority and tells them apart in the type,
    `…/vmFamily/dedicatedCores/usages`.
    """
    name = str((row.get("name") or {}).get("value")).lower()
    if name == _TOTALS[priority]:
        return True
    kind = str(row.get("type")).lower()
    return name == size.family.lower() and _OF_FAMILIES[priority] in kind


def _allowance(row: Mapping[str, Any]) -> Allowance:
    limit = int(row["limit"])
    used = int(row.get("currentValue") or 0)
    return Allowance(str(row["name"]["value"]), None if limit < 0 else limit, used)


def cluster_from(body: Mapping[str, Any]) -> Cluster:
    """A compute of ARM's as a cluster.

    Raises:
        Refused: It is none.
    """
    name, properties = str(body["name"]), body.get("properties") or {}
    kind = str(properties.get("computeType"))
    if kind.lower() != "amlcompute":
        raise Refused(f"the compute {name} is of type {kind}, not a cluster")
    own = properties.get("properties") or {}
    scale = own.get("scaleSettings") or {}
    state = _STATES.get(str(properties.get("provisioningState")).lower(), Provisioning.WORKING)
    low = str(own.get("vmPriority")).lower() == "lowpriority"
    return Cluster(
        name=name,
        provisioning=state,
        run=(body.get("tags") or {}).get(TAG),
        size=str(own.get("vmSize")),
        least=int(scale.get("minNodeCount") or 0),
        most=int(scale.get("maxNodeCount") or 0),
        nodes=int(own.get("currentNodeCount") or 0),
        priority=Priority.LOW if low else Priority.DEDICATED,
        error=_errors(properties) if state is Provisioning.FAILED else None,
    )


def _errors(properties: Mapping[str, Any]) -> str | None:
    said = []
    for entry in properties.get("provisioningErrors") or []:
        error = entry.get("error") or entry
        said.append(": ".join(str(error[key]) for key in ("code", "message") if error.get(key)))
    return "; ".join(said) or None
