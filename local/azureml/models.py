"""Models of the workspace: containers with versions, archived and restored, never lost."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from aiohttp import web

from local.azureml.api_versions import in_version
from local.azureml.azure_types import typed_body
from local.azureml.clock import iso
from local.azureml.datastores import DEFAULT
from local.azureml.identity import authored
from local.azureml.versioned import Versions
from local.azureml.wire import (
    PROVIDER,
    WORKSPACE,
    ArmError,
    answer,
    check_order,
    empty,
    not_found,
    page_size,
    page_token,
    paged_documents,
    put_answer,
    wanted_view,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from local.azureml.plane import Plane

_PREVIEWS = ("autoDeleteSetting", "intellectualProperty")
CONTAINER = "model"
VERSIONS = Versions("model-version", "models")
_NAME = re.compile(r"^[a-zA-Z0-9][a-zA-Z0-9._-]{0,254}$")
_TYPES = ("custom_model", "mlflow_model", "triton_model")
_JOB_OUTPUT = re.compile(
    r"^azureml://(?:subscriptions/.+/workspaces/[^/]+/)?jobs/(?P<job>[^/]+)"
    r"/outputs/(?P<output>[^/]+)(?:/paths)?(?:/(?P<path>.*))?$",
    re.IGNORECASE,
)


def model_id(plane: Plane, name: str) -> str:
    """The ARM id of a model container."""
    return f"{plane.workspace_id}/models/{name}"


def datastore_uri(plane: Plane, datastore: str, path: str) -> str:
    """The long `azureml://` address of a path in a datastore."""
    names = plane.settings
    return (
        f"azureml://subscriptions/{names.subscription}/resourceGroups/{names.group}"
        f"/workspaces/{names.workspace}/datastores/{datastore}/paths/{path}"
    )


def routes(plane: Plane) -> Iterable[web.RouteDef]:
    """`models`: containers and versions."""
    one, versions = f"{WORKSPACE}/models/{{model}}", f"{WORKSPACE}/models/{{model}}/versions"

    async def containers(request: web.Request) -> web.Response:
        page = plane.store.list(
            CONTAINER,
            f"{plane.workspace_id}/models/",
            limit=page_size(request, 30),
            token=page_token(request),
            newest_first=True,
            keep=wanted_view(request),
        )
        return paged_documents(request, page, lambda body: body)

    async def container(request: web.Request) -> web.Response:
        return answer(_container(plane, request.match_info["model"]))

    async def put_container(request: web.Request) -> web.Response:
        return await _put_container(plane, request)

    async def listed(request: web.Request) -> web.Response:
        return _list_versions(plane, request)

    async def version(request: web.Request) -> web.Response:
        return answer(in_version(request, _version(plane, request), *_PREVIEWS))

    async def put(request: web.Request) -> web.Response:
        return await _put_version(plane, request)

    async def delete(request: web.Request) -> web.Response:
        name, number = request.match_info["model"], request.match_info["version"]
        return empty(
            200 if plane.store.delete(VERSIONS.kind, VERSIONS.id(plane, name, number)) else 204
        )

    return [
        web.get(f"{WORKSPACE}/models", containers),
        web.get(one, container),
        web.put(one, put_container),
        web.get(versions, listed),
        web.get(f"{versions}/{{version}}", version),
        web.put(f"{versions}/{{version}}", put),
        web.delete(f"{versions}/{{version}}", delete),
    ]


def _container(plane: Plane, name: str) -> dict[str, Any]:
    found = plane.store.get(CONTAINER, model_id(plane, name))
    if found is None:
        raise not_found("ModelNotFound", f"Model container with name: {name} not found.")
    return found.body


def _version(plane: Plane, request: web.Request) -> dict[str, Any]:
    name, number = request.match_info["model"], request.match_info["version"]
    if number == "latest":
        raise ArmError(400, "UserError", "'latest' is a label of the SDK, not a version.")
    found = VERSIONS.find(plane, VERSIONS.id(plane, name, number))
    if found is None:
        raise not_found("ModelNotFound", f"Model {name} (version: {number}) not found.")
    return found


def _list_versions(plane: Plane, request: web.Request) -> web.Response:
    check_order(request)
    name = request.match_info["model"]
    archived = _container(plane, name)["properties"]["isArchived"]
    view = wanted_view(request)

    def keep(body: dict[str, Any]) -> bool:
        shown = body["properties"]
        hidden = {**body, "properties": {**shown, "isArchived": shown["isArchived"] or archived}}
        return not shown["isAnonymous"] and view(hidden)

    page = plane.store.list(
        VERSIONS.kind,
        VERSIONS.prefix(plane, name),
        limit=page_size(request, 30),
        token=page_token(request),
        newest_first=True,
        keep=keep,
    )
    return paged_documents(request, page, lambda body: in_version(request, body, *_PREVIEWS))


async def _put_container(plane: Plane, request: web.Request) -> web.Response:
    name = request.match_info["model"]
    given = (await typed_body(request, "workspaces/models"))["properties"]
    before = plane.store.get(CONTAINER, model_id(plane, name))
    body = before.body if before else _new_container(plane, name)
    for key in ("description", "tags", "properties", "isArchived"):
        if given.get(key) is not None:
            body["properties"][key] = given[key]
    plane.store.put(CONTAINER, body["id"], body)
    return put_answer(request, body, new=before is None)


def _new_container(plane: Plane, name: str) -> dict[str, Any]:
    now = iso(plane.clock.now())
    return {
        "id": model_id(plane, name),
        "name": name,
        "type": f"{PROVIDER}/workspaces/models",
        "properties": {
            "description": None,
            "tags": {},
            "properties": {},
            "isArchived": False,
            "latestVersion": None,
            "nextVersion": "1",
            "provisioningState": "Succeeded",
        },
        "systemData": authored(now, now),
    }


async def _put_version(plane: Plane, request: web.Request) -> web.Response:
    name, number = request.match_info["model"], request.match_info["version"]
    given = (await typed_body(request, "workspaces/models/versions"))["properties"]
    uri, job = _checked(plane, name, number, given)
    identity = VERSIONS.id(plane, name, number)
    before, now = plane.store.get(VERSIONS.kind, identity), iso(plane.clock.now())
    if before and before.body["properties"]["modelUri"] != uri:
        raise ArmError(400, "UserError", "Asset paths cannot be updated.")
    body: dict[str, Any] = {
        "id": identity,
        "name": number,
        "type": f"{PROVIDER}/workspaces/models/versions",
        "properties": {
            "description": given.get("description"),
            "tags": given.get("tags") or {},
            "properties": given.get("properties") or {},
            "isArchived": bool(given.get("isArchived")),
            "isAnonymous": bool(given.get("isAnonymous")),
            "autoDeleteSetting": given.get("autoDeleteSetting"),
            "flavors": given.get("flavors") or {},
            "modelType": given.get("modelType") or "custom_model",
            "modelUri": uri,
            "jobName": job or given.get("jobName"),
            "provisioningState": "Succeeded",
            "stage": given.get("stage")
            or ("Logged" if given.get("isAnonymous") else "Development"),
            "intellectualProperty": None,
        },
        "systemData": authored(before.body["systemData"]["createdAt"] if before else now, now),
    }
    plane.store.put(VERSIONS.kind, identity, body)
    if not before:
        _count_version(plane, name, number)
    return put_answer(request, in_version(request, body, *_PREVIEWS), new=before is None)


def _count_version(plane: Plane, name: str, number: str) -> None:
    """Let the container know its newest version and the next free number."""
    found = plane.store.get(CONTAINER, model_id(plane, name))
    body = found.body if found else _new_container(plane, name)
    shown = body["properties"]
    shown["latestVersion"] = number
    if number.isdigit():
        shown["nextVersion"] = str(max(int(shown["nextVersion"]), int(number) + 1))
    plane.store.put(CONTAINER, body["id"], body)


def _checked(
    plane: Plane, name: str, number: str, given: dict[str, Any]
) -> tuple[str, str | None]:
    """The model's address in a datastore, and the job whose output it is, if any.

    Raises:
        ArmError: As Azure refuses it.
    """
    problems = []
    if not _NAME.match(name):
        problems.append(f"The model name '{name}' is invalid")
    if not _NAME.match(number) or len(number) > 30:  # noqa: PLR2004  the service's limit
        problems.append(f"The model version '{number}' is invalid")
    kind = given.get("modelType") or "custom_model"
    if kind not in _TYPES:
        problems.append(f"modelType '{kind}' is none of {', '.join(_TYPES)}")
    uri = str(given.get("modelUri") or "")
    if not uri.startswith(("azureml:", "https://", "wasbs://", "abfss://", "runs:/")):
        problems.append(f"modelUri '{uri}' is no address that a model can have")
    if problems:
        raise ArmError(400, "UserError", "; ".join(problems) + ".")
    matched = _JOB_OUTPUT.match(uri)
    if matched is None:
        return re.sub("/resourcegroups/", "/resourceGroups/", uri, count=1), None
    job = matched["job"]
    if plane.store.get("job", f"{plane.workspace_id}/jobs/{job}") is None:
        raise ArmError(404, "UserError", f"Run with id {job} was not found.")
    path = (matched["path"] or "").strip("/")
    inside = f"azureml/{job}/{matched['output']}/" + (f"{path}/" if path else "")
    return datastore_uri(plane, DEFAULT, inside), job
