"""The registry `azureml`: foundation models and the fine-tuning component, as Microsoft has them.

The seed (`seed/models.json`, `seed/components.json`) follows the public sources of the registry
(Azure/azureml-assets): `chat_completion_pipeline` 0.0.82 with its 69 inputs; Phi-4 active;
Phi-3-mini-4k-instruct archived, with the tags that models had until 2026-06-16 (version 14) and
the system metadata that they have since (version 15).
"""

from __future__ import annotations

import functools
import json
from importlib import resources
from typing import TYPE_CHECKING, Any

from aiohttp import web

from local.azureml import registry_changes
from local.azureml.cloud import REGISTRY, REGISTRY_BASE
from local.azureml.wire import (
    PROVIDER,
    ArmError,
    answer,
    check_order,
    not_found,
    page_size,
    page_token,
    paged,
    wanted_view,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from local.azureml.plane import Plane

ASSETS = (
    f"{REGISTRY_BASE}/mferp/managementfrontend/subscriptions/{{subscription}}"
    f"/resourceGroups/{{group}}/providers/{PROVIDER}/registries/{{registry}}"
)
"""The route prefix of everything in a registry."""


@functools.cache
def seeded(kind: str) -> tuple[dict[str, Any], ...]:
    """The rows of a seed file, newest first."""
    path = resources.files("local.azureml").joinpath(f"seed/{kind}.json")
    rows = json.loads(path.read_text("utf-8"))[kind]
    return tuple(sorted(rows, key=lambda row: row["createdAt"], reverse=True))


def asset_id(kind: str, name: str, version: str) -> str:
    """`azureml://registries/azureml/models/NAME/versions/VERSION`."""
    return f"azureml://registries/{REGISTRY}/{kind}/{name}/versions/{version}"


def _all(plane: Plane, kind: str) -> Sequence[dict[str, Any]]:
    """Every version of every asset, newest first; models as the test control has them."""
    rows = seeded(kind)
    return registry_changes.models(plane, rows) if kind == "models" else rows


def find_component(component_id: str) -> dict[str, Any] | None:
    """The seeded component of that id: `name`, `version`, `inputs`, `outputs`, `jobs`."""
    return _find("components", seeded("components"), component_id)


def find_model(plane: Plane, model_id: str) -> dict[str, Any] | None:
    """The model of that id; `foundation` names the folder of its weights."""
    return _find("models", _all(plane, "models"), model_id)


def _find(kind: str, rows: Iterable[dict[str, Any]], wanted: str) -> dict[str, Any] | None:
    for row in rows:
        if asset_id(kind, row["name"], row["version"]).lower() == wanted.rstrip("/").lower():
            return row
    return None


def _version(kind: str, row: dict[str, Any]) -> dict[str, Any]:
    """A version as a list shows it; its `name` is the version."""
    properties: dict[str, Any] = {
        "description": row.get("description"),
        "tags": row.get("tags", {}),
        "properties": row.get("properties", {}),
        "isArchived": row.get("isArchived", False),
        "isAnonymous": False,
    }
    identity = asset_id(kind, row["name"], row["version"])
    if kind == "models":
        properties |= {
            "flavors": {},
            "modelType": "mlflow_model",
            "modelUri": identity,
            "originAssetId": None,
            "jobName": None,
            "intellectualProperty": None,
            "systemMetadata": row["systemMetadata"],
        }
    else:
        shape = ("name", "version", "display_name", "description", "inputs", "outputs", "jobs")
        properties |= {
            "componentSpec": {"type": "pipeline", **{key: row[key] for key in shape}},
            "provisioningState": "Succeeded",
            "stage": None,
        }
    return {
        "id": identity,
        "name": row["version"],
        "type": kind,
        "properties": properties,
        "systemData": {
            "createdAt": row["createdAt"],
            "createdBy": "Microsoft",
            "createdByType": "User",
        },
    }


def _one(kind: str, row: dict[str, Any]) -> dict[str, Any]:
    """A version asked for by itself; a model's `name` is the model's then."""
    shown = _version(kind, row)
    return {**shown, "name": row["name"]} if kind == "models" else shown


def _container(kind: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """A container as the registry shows it; `rows` are its versions, newest first."""
    name = rows[0]["name"]
    return {
        "id": f"azureml://registries/{REGISTRY}/{kind}/{name}",
        "name": name,
        "type": kind,
        "properties": {
            "description": rows[0].get("description"),
            "tags": {},
            "properties": {},
            "isArchived": all(row.get("isArchived", False) for row in rows),
            "latestVersion": rows[0]["version"],
            "nextVersion": None,
            "provisioningState": "Succeeded",
        },
        "systemData": {"createdAt": rows[-1]["createdAt"], "createdByType": "User"},
    }


def _rows(plane: Plane, request: web.Request, kind: str) -> list[dict[str, Any]]:
    """The versions of the asset that the path names, newest first."""
    _check_registry(request)
    name = request.match_info["name"]
    rows = [row for row in _all(plane, kind) if row["name"].lower() == name.lower()]
    if not rows:
        what = kind[:-1].capitalize()
        raise not_found(f"{what}NotFound", f"{what} container with name: {name} not found.")
    return rows


def _check_registry(request: web.Request) -> None:
    given = request.match_info["registry"]
    if given != REGISTRY:
        raise ArmError(404, "RegistryNotFound", f"Registry {given} was not found.")


def _paged(request: web.Request, shown: list[dict[str, Any]]) -> web.Response:
    kept = [each for each in shown if wanted_view(request)(each)]
    size, start = page_size(request, 30), int(page_token(request) or 0)
    following = str(start + size) if start + size < len(kept) else None
    return paged(request, kept[start : start + size], following)


def routes(plane: Plane) -> Iterable[web.RouteDef]:
    """Models and components: containers, versions, one version. Everything is read-only."""
    made: list[web.RouteDef] = []
    for kind in ("models", "components"):
        made += _kind_routes(plane, kind)
    return made


def _kind_routes(plane: Plane, kind: str) -> list[web.RouteDef]:
    async def containers(request: web.Request) -> web.Response:
        _check_registry(request)
        every = _all(plane, kind)
        names = dict.fromkeys(row["name"] for row in every)
        grouped = [[row for row in every if row["name"] == name] for name in names]
        return _paged(request, [_container(kind, rows) for rows in grouped])

    async def container(request: web.Request) -> web.Response:
        return answer(_container(kind, _rows(plane, request, kind)))

    async def versions(request: web.Request) -> web.Response:
        check_order(request)
        return _paged(request, [_version(kind, row) for row in _rows(plane, request, kind)])

    async def version(request: web.Request) -> web.Response:
        wanted = request.match_info["version"]
        for row in _rows(plane, request, kind):
            if row["version"] == wanted:
                return answer(_one(kind, row))
        name, what = request.match_info["name"], kind[:-1].capitalize()
        raise not_found(f"{what}NotFound", f"{what} {name} (version: {wanted}) not found.")

    return [
        web.get(f"{ASSETS}/{kind}", containers),
        web.get(f"{ASSETS}/{kind}/{{name}}", container),
        web.get(f"{ASSETS}/{kind}/{{name}}/versions", versions),
        web.get(f"{ASSETS}/{kind}/{{name}}/versions/{{version}}", version),
    ]
