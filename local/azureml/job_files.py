"""The data of a job: which files its inputs name, and how they come to its folder."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from local.azureml import datastores, models, registry
from local.azureml.plane import REPOSITORY
from local.azureml.wire import ArmError, NotEmulated

if TYPE_CHECKING:
    from local.azureml.component_inputs import GivenPath
    from local.azureml.plane import Plane
    from local.azureml.storage import Storage

_DATASTORE = re.compile(
    r"^azureml://(?:subscriptions/[^/]+/resourcegroups/[^/]+/(?:providers/[^/]+/)?workspaces/[^/]+/)?"
    r"datastores/(?P<store>[^/]+)/paths/(?P<path>.+)$",
    re.IGNORECASE,
)
_SHORT_ASSET = re.compile(r"^azureml:(?P<name>[^/:]+):(?P<version>[^/:]+)$")


@dataclass(frozen=True, slots=True)
class Blobs:
    """A path in a container of the workspace's storage account."""

    container: str
    path: str


def locate(plane: Plane, given: GivenPath) -> Path | Blobs:
    """Where an input's data is: a folder of this machine (foundation models) or blobs.

    Raises:
        ArmError: The asset, the datastore or the address is unknown.
        NotEmulated: The data lies where the emulator does not reach.
    """
    if given.type.endswith("_model"):
        return _locate_model(plane, given.uri)
    return _locate_data(plane, given.uri)


def _locate_model(plane: Plane, uri: str) -> Path | Blobs:
    if uri.startswith("azureml://registries/"):
        seeded = registry.find_model(plane, uri)
        if seeded is None:
            raise ArmError(404, "NotFound", f"key: {uri}, Message: Not found model.")
        return REPOSITORY / "local" / "compute" / str(seeded["foundation"])
    short = _SHORT_ASSET.match(uri)
    arm_id = models.VERSIONS.id(plane, short["name"], short["version"]) if short else uri
    found = models.VERSIONS.find(plane, arm_id)
    if found is not None:
        return _locate_data(plane, found["properties"]["modelUri"])
    if arm_id.startswith("/subscriptions/"):
        raise ArmError(404, "NotFound", f"key: {arm_id}, Message: Not found model.")
    return _locate_data(plane, uri)


def _locate_data(plane: Plane, uri: str) -> Blobs:
    matched = _DATASTORE.match(uri)
    if matched is None:
        return _locate_address(plane, uri)
    store = datastores.find(plane, matched["store"])
    if store is None:
        raise ArmError(404, "UserError", f"Could not find datastore: {matched['store']}")
    if store["account"] != datastores.storage(plane).account.shown_name:
        raise NotEmulated(f"data of another storage account (datastore {store['name']})")
    return Blobs(store["container"], matched["path"])


def _locate_address(plane: Plane, uri: str) -> Blobs:
    endpoint = datastores.storage(plane).account.endpoint
    if not uri.startswith(f"{endpoint}/"):
        raise NotEmulated(
            f"data at {uri.split('?', maxsplit=1)[0]} (outside of the workspace's storage)"
        )
    container, _, path = unquote(urlsplit(uri[len(endpoint) + 1 :]).path).partition("/")
    return Blobs(container, path)


def fetch(store: Storage, where: Path | Blobs, name: str, given: GivenPath, target: Path) -> Path:
    """Bring an input's data to `target`; blocks.

    Args:
        store: The workspace's storage.
        where: What `locate` said.
        name: The input.
        given: Its type and address.
        target: The folder for it.

    Returns:
        The file or folder.

    Raises:
        FileNotFoundError: Nothing is there; the message names the input and the address.
    """
    if isinstance(where, Path):
        if not where.is_dir():
            raise FileNotFoundError(f"input {name}: the foundation model's folder is missing")
        return where
    try:
        found = store.download(where.container, where.path, target / name)
    except FileNotFoundError:
        raise FileNotFoundError(f"input {name}: nothing is at {given.uri}") from None
    if given.type == "uri_file" and not found.is_file():
        raise FileNotFoundError(f"input {name}: {given.uri} is a folder, not a file")
    return found
