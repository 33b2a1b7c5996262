"""The files of a registered model, fetched to this machine once and kept while they are in use."""

from __future__ import annotations

import asyncio
import hashlib
import re
import shutil
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from local.azureml import datastores, models, registry
from local.azureml.deployment_settings import bad_model
from local.azureml.plane import REPOSITORY
from local.azureml.wire import ArmError

if TYPE_CHECKING:
    from pathlib import Path

    from local.azureml.plane import Plane

_URI = re.compile(
    r"^azureml://(?:subscriptions/[^/]+/resource[gG]roups/[^/]+/workspaces/[^/]+/)?"
    r"datastores/(?P<datastore>[^/]+)/paths/(?P<path>.+?)/*$"
)
_RECIPE = "MLmodel"


@dataclass(frozen=True, slots=True)
class Source:
    """Where a model's files are: a folder of this machine, or blobs under a path."""

    name: str
    mlflow: bool
    folder: Path | None = None
    container: str = ""
    path: str = ""


def locate(plane: Plane, model: str) -> Source | None:
    """Where the model of that id is; None if no such model is registered.

    Args:
        plane: The control plane.
        model: ARM id of a version in the workspace, or `azureml://registries/…`.

    Raises:
        ArmError: It is registered, and its address leads nowhere.
    """
    if found := registry.find_model(plane, model):
        folder = REPOSITORY / "local" / "compute" / str(found["foundation"])
        return Source(name=model, mlflow=True, folder=folder)
    version = models.VERSIONS.find(plane, model)
    if version is None:
        return None
    properties: dict[str, Any] = version["properties"]
    matched = _URI.match(str(properties["modelUri"]))
    if matched is None:
        raise bad_model(
            f"The model's address {properties['modelUri']!r} is none that a deployment can read: "
            "azureml://…/datastores/NAME/paths/PATH is."
        )
    datastore = datastores.find(plane, matched["datastore"])
    if datastore is None:
        raise bad_model(f"The model lies in datastore {matched['datastore']!r}: there is none.")
    return Source(
        name=str(version["id"]),
        mlflow=properties["modelType"] == "mlflow_model",
        container=str(datastore["container"]),
        path=matched["path"],
    )


def cache(plane: Plane) -> Path:
    """The folder that holds fetched models."""
    return plane.settings.state / "models"


def folder_of(plane: Plane, source: Source) -> Path:
    """Where the files of a model in the datastore are kept."""
    digest = hashlib.sha256(f"{source.container}/{source.path}".encode()).hexdigest()
    return cache(plane) / digest[:32]


async def fetch(plane: Plane, source: Source) -> Path:
    """The model's folder on this machine; a half-fetched one is never seen.

    Raises:
        ArmError: BadArgument; nothing is there, or it is no MLflow model.
    """
    if source.folder is not None:
        return _checked(source.folder, source)
    target = folder_of(plane, source)
    if not target.exists():
        partial = target.with_name(f"{target.name}.{uuid.uuid4().hex}.partial")
        store = datastores.storage(plane)
        try:
            await asyncio.to_thread(store.download, source.container, source.path, partial)
            partial.replace(target)
        except FileNotFoundError:
            raise bad_model(
                f"Model artifacts of {source.name} could not be downloaded: nothing is at "
                f"{source.path!r} in container {source.container!r}."
            ) from None
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return _checked(target, source)


def _checked(folder: Path, source: Source) -> Path:
    if not (folder / _RECIPE).is_file():
        raise bad_model(f"The files of model {source.name} hold no {_RECIPE} at their root.")
    return folder


def base_image(folder: Path) -> str | None:
    """`azureml.base_image` of the metadata in a model's MLmodel file, if it is there."""
    import yaml

    try:
        recipe = yaml.safe_load((folder / _RECIPE).read_text("utf-8"))
    except yaml.YAMLError:
        raise bad_model(f"The {_RECIPE} file of the model is no YAML.") from None
    metadata = recipe.get("metadata") if isinstance(recipe, dict) else None
    found = metadata.get("azureml.base_image") if isinstance(metadata, dict) else None
    return str(found) if found else None


def drop_unused(plane: Plane, gone: set[str], used: set[str]) -> None:
    """Remove the fetched files of models that no deployment has any more.

    Args:
        plane: The control plane.
        gone: Ids of models that a deployment had.
        used: Ids of models that others have.
    """
    kept = {_target(plane, name) for name in used}
    for folder in {_target(plane, name) for name in gone} - kept:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


def _target(plane: Plane, model: str) -> Path | None:
    """Where a model's files are kept; None for one that is not fetched or not there any more."""
    try:
        source = locate(plane, model)
    except ArmError:
        return None
    return None if source is None or source.folder else folder_of(plane, source)


def sweep(plane: Plane) -> None:
    """Remove what a killed control plane had fetched by half. Call it before anything fetches."""
    for each in cache(plane).glob("*.partial"):
        shutil.rmtree(each, ignore_errors=True)
