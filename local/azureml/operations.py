"""Long-running operations: `Azure-AsyncOperation` with a status to poll.

The real service answers 201 or 202 at once with the address of a status document that says
`Updating` (or `InProgress` for compute) until it says `Succeeded` or `Failed`; the client then
reads the resource. An operation ends in one of two ways: at a time fixed when it began (a
timetable), or when its owner says so (a scoring process came up, or did not). Both survive a
restart. Headers and bodies are those of the public test recordings of azure-ai-ml
(Azure/azure-sdk-assets): endpoints and deployments say `Updating`, an end in the year 1 and 0 per
cent until they have ended, and 0 per cent even then; compute says nothing but its status.
"""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

from local.azureml.clock import iso
from local.azureml.wire import LOCATION, REGION, ArmError, answer, empty, origin

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aiohttp import web

    from local.azureml.plane import Plane

KIND = "operation"
HEADER = "Azure-AsyncOperation"
ADDRESS = "AzureAsyncOperationUri"
"""The property in which endpoints and deployments keep the address of their last operation."""
Subject = Literal["endpoint", "deployment", "compute"]
_PREFIXES: dict[Subject, str] = {"endpoint": "oeidp", "deployment": "odidp", "compute": ""}
_NO_END = "0001-01-01T00:00:00+00:00"
_RESULTS = "mfeOperationResults"


def begin(
    plane: Plane,
    request: web.Request,
    *,
    of: Subject = "endpoint",
    seconds: float | None = None,
    location: str | None = None,
) -> tuple[str, dict[str, str]]:
    """Begin an operation.

    Args:
        plane: The control plane.
        request: The call that began it.
        of: What it changes.
        seconds: When it succeeds by itself; None leaves the end to `finish` and `fail`.
        location: The resource's id, for the `Location` of a PUT or PATCH; without one, `Location`
            is where the operation's result will be.

    Returns:
        The operation's name, and the headers for the 201 or 202.
    """
    prefix = _PREFIXES[of]
    name = f"{prefix}:{plane.workspace_guid}:{uuid.uuid4()}" if prefix else str(uuid.uuid4())
    flavour = "mfeOperationsStatus" if prefix else "computeOperationsStatus"
    now = plane.clock.now()
    ends = iso(now + timedelta(seconds=seconds)) if seconds is not None else None
    body = {"flavour": flavour, "start": iso(now), "ends": ends, "status": None, "error": None}
    plane.store.put(KIND, name, body)
    region = LOCATION.format(subscription=plane.settings.subscription, location=REGION)
    base, version = f"{origin(request)}{region}", f"api-version={request.query['api-version']}"
    status = f"{base}/{flavour}/{name}?{version}"
    if not prefix:
        return name, {HEADER: f"{status}&service=new", **plane.retry_after()}
    result = f"{origin(request)}{location}" if location else f"{base}/{_RESULTS}/{name}"
    return name, {
        HEADER: status,
        "Location": f"{result}?{version}",
        "x-ms-async-operation-timeout": "PT30M",
        **plane.retry_after(),
    }


def finish(plane: Plane, name: str) -> None:
    """Let the operation be `Succeeded`; it is no error if it has ended or is unknown."""
    _end(plane, name, "Succeeded", None)


def fail(plane: Plane, name: str, error: ArmError) -> None:
    """Let the operation be `Failed` with `error`, which the SDK raises at its caller."""
    _end(plane, name, "Failed", {"code": error.code, "message": error.message, "details": []})


def fail_in_time(plane: Plane, name: str, error: dict[str, Any]) -> None:
    """Let an operation that has a fixed end be `Failed` then, with `error`."""
    found = plane.store.get(KIND, name)
    if found is not None:
        found.body["fails"] = error
        plane.store.put(KIND, name, found.body)


def cancel(plane: Plane, name: str) -> None:
    """Let the operation be `Canceled`."""
    error = {"code": "OperationCanceled", "message": "Canceled.", "details": []}
    _end(plane, name, "Canceled", error)


def _end(plane: Plane, name: str, status: str, error: dict[str, Any] | None) -> None:
    found = plane.store.get(KIND, name)
    if found is None or found.body["status"]:
        return
    found.body.update(status=status, error=error, ends=iso(plane.clock.now()))
    plane.store.put(KIND, name, found.body)


def routes(plane: Plane) -> Iterable[web.RouteDef]:
    """The addresses that `Azure-AsyncOperation` names."""
    from aiohttp import web

    def find(request: web.Request) -> dict[str, Any]:
        found = plane.store.get(KIND, request.match_info["operation"])
        if found is None:
            raise ArmError(404, "NotFound", "The operation was not found.")
        return found.body

    async def status(request: web.Request) -> web.Response:
        return _status(plane, request, find(request))

    async def result(request: web.Request) -> web.Response:
        return _result(plane, request, find(request))

    return [
        web.get(f"{LOCATION}/{_RESULTS}/{{operation}}", result),
        web.get(f"{LOCATION}/mfeOperationsStatus/{{operation}}", status),
        web.get(f"{LOCATION}/computeOperationsStatus/{{operation}}", status),
    ]


def _ended_as(plane: Plane, body: dict[str, Any]) -> str | None:
    """`Succeeded`, `Failed` or `Canceled`; None while it goes on."""
    status: str | None = body["status"]
    timed = body["ends"] is not None
    if status is None and timed and datetime.fromisoformat(body["ends"]) <= plane.clock.now():
        return "Failed" if body.get("fails") else "Succeeded"
    return status


def _result(plane: Plane, request: web.Request, body: dict[str, Any]) -> web.Response:
    """What a `Location` without a resource leads to: 202 until the end, then 204."""
    if _ended_as(plane, body) is None:
        here = f"{origin(request)}{request.path_qs}"
        return empty(202, {"Location": here, **plane.retry_after()})
    if body["error"]:
        raise ArmError(400, body["error"]["code"], body["error"]["message"])
    return empty(204)


def _status(plane: Plane, request: web.Request, body: dict[str, Any]) -> web.Response:
    """The status document in the words of its flavour."""
    status = _ended_as(plane, body)
    compute = body["flavour"] == "computeOperationsStatus"
    shown = status or ("InProgress" if compute else "Updating")
    document: dict[str, Any] = {"status": shown}
    if not compute:
        document |= {
            "id": request.path,
            "name": request.match_info["operation"],
            "startTime": body["start"],
            "endTime": body["ends"] if status else _NO_END,
            "percentComplete": 0.0,
        }
    elif status:
        document["percentComplete"] = 100.0
    if error := body["error"] or (body.get("fails") if status else None):
        document["error"] = error
    return answer(document, headers={} if status else plane.retry_after())
