"""Assets with versions: where a version is kept, and how it is found by the id that a job or deployment names.

A container of versions is made by its first version and is nothing by itself here, but for models.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from local.azureml.plane import Plane

_INSIDE = re.compile(r"/(?P<asset>\w+)/(?P<name>[^/]+)/versions/(?P<version>[^/]+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Versions:
    """The versions of one kind of asset.

    Attributes:
        kind: Under which they are kept.
        asset: Their part of an ARM id, such as `codes`.
    """

    kind: str
    asset: str

    def prefix(self, plane: Plane, name: str) -> str:
        """How the ARM ids of all versions of one asset begin."""
        return f"{plane.workspace_id}/{self.asset}/{name}/versions/"

    def id(self, plane: Plane, name: str, version: str) -> str:
        """The ARM id of a version."""
        return f"{self.prefix(plane, name)}{version}"

    def find(self, plane: Plane, arm_id: str) -> dict[str, Any] | None:
        """The kept version with this ARM id, `azureml:` before it or not, its fixed parts in any case; or None."""
        whole, workspace = arm_id.removeprefix("azureml:"), plane.workspace_id
        if not whole.lower().startswith(f"{workspace}/".lower()):
            return None  # a registry's, or no id at all
        matched = _INSIDE.fullmatch(whole[len(workspace) :])
        if matched is None or matched["asset"].lower() != self.asset:
            return None
        found = plane.store.get(self.kind, self.id(plane, matched["name"], matched["version"]))
        return found.body if found else None
