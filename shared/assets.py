"""Addresses of assets in Azure ML registries: `azureml://registries/R/models/N/versions/V`.

Both the settings and the manifest name models this way, so their one reading of it is here, below both.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

LATEST: Final = "latest"
"""Stands for the newest version that is not archived."""

_ID = re.compile(
    r"^azureml://registries/(?P<registry>[^/\s]+)/(?P<kind>[a-z]+)/(?P<name>[^/\s]+)"
    r"/(?:versions/(?P<version>[^/\s]+)|labels/latest)$"
)


@dataclass(frozen=True, slots=True)
class AssetId:
    """An asset of a registry.

    Attributes:
        registry: The registry's name.
        kind: `models`, `components`, …
        name: The asset's name.
        version: A version, or `latest`.
    """

    registry: str
    kind: str
    name: str
    version: str

    def __str__(self) -> str:
        """The address that it was read from."""
        which = "labels/latest" if self.version == LATEST else f"versions/{self.version}"
        return f"azureml://registries/{self.registry}/{self.kind}/{self.name}/{which}"


def parse(text: str, kind: str) -> AssetId:
    """The asset that `text` names.

    Raises:
        ValueError: It names none of this kind; the message is for its author.

    >>> parse("azureml://registries/azureml/models/Phi-4/versions/8", "models").name
    'Phi-4'
    """
    matched = _ID.match(text)
    if matched is None or matched["kind"] != kind:
        raise ValueError(
            f"'{text}' must be azureml://registries/REGISTRY/{kind}/NAME/versions/VERSION, "
            "or …/labels/latest"
        )
    return AssetId(matched["registry"], kind, matched["name"], matched["version"] or LATEST)
