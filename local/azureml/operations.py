"""Long-running operations: `Azure-AsyncOperation` with a status to poll.

The real service answers 201 or 202 at once with the address of a status document that says
`Updating` (or `InProgress` for compute) until it says `Succeeded` or `Failed`; the client then
reads the resource. An operation ends in one of two ways: at a time fixed when it began (a
timetable), or when its owner says so (a scoring process came up, or did not). Both survive a
restart.
"""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from local.azureml.clock import iso
from local.azureml.wire import LOCATION, REGION, ArmError, answer, origin

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aiohttp import web

    from local.azureml.plane import Plane

KIND = "operation"
_NO_END = "0001-01-01T00:00:00+00:00"


def begin(
    plane: Plane,
    request: web.Request,
    *,
    flavour: str = "mfeOperationsStatus",
    seconds: float | None = None,
    location: str | None = None,
) -> tuple[str, dict[str, str]]:
    """Begin an operation.

    Args:
        plane: The control plane.
        request: The call that began it.
        flavour: `mfeOperationsStatus` (endpoints, deployments) or `computeOperationsStatus`.
        seconds: When it succeeds by itself; None leaves the end to `finish` and `fail`.
        location: The resource's address, if this kind of resource sends a `Location` header.

    Returns:
        The operation's name, and the headers for the 201 or 202.
    """
    name = f"oeidp:{plane.workspace_guid}:{uuid.uuid4()}"
    if flavour == "computeOperationsStatus":
        name = str(uuid.uuid4())
    now = plane.clock.now()
    ends = iso(now + timedelta(seconds=seconds)) if seconds is not None else None
    body = {"flavour": flavour, "start": iso(now), "ends": ends, "status": None, "error": None}
    plane.store.put(KIND, name, body)
    path = LOCATION.format(subscription=plane.settings.subscription, location=REGION)
    version = request.query.get("api-version", "")
    headers = {
        "Azure-AsyncOperation": f"{origin(request)}{path}/{flavour}/{name}?api-version={version}",
        "x-ms-async-operation-timeout": "PT1H",
        **plane.retry_after(),
    }
    if location:
        headers["Location"] = f"{origin(request)}{location}?api-version={version}"
    return name, headers


def finish(plane: Plane, name: str) -> None:
    """Let the operation be `Succeeded`; it is no error if it has ended or is unknown."""
    _end(plane, name, "Succeeded", None)


def fail(plane: Plane, name: str, error: ArmError) -> None:
    """Let the operation be `Failed` with `error`, which the SDK raises at its caller."""
    _end(plane, name, "Failed", {"code": error.code, "message": error.message, "details": []})


def fail_in_time(plane: Plane, name: str, error: dict[str, str]) -> None:
    """Let an operation that has a fixed end be `Failed` then; `error` has `code` and `message`."""
    found = plane.store.get(KIND, name)
    if found is not None:
        found.body["fails"] = {**error, "details": []}
        plane.store.put(KIND, name, found.body)


def cancel(plane: Plane, name: str) -> None:
    """Let the operation be `Canceled`."""
    _end(plane, name, "Canceled", {"code": "OperationCanceled", "message": "Canceled."})


def _end(plane: Plane, name: str, status: str, error: dict[str, Any] | None) -> None:
    found = plane.store.get(KIND, name)
    if found is None or found.body["status"]:
        return
    found.body.update(status=status, error=error, ends=iso(plane.clock.now()))
    plane.store.put(KIND, name, found.body)


def routes(plane: Plane) -> Iterable[web.RouteDef]:
    """The addresses that `Azure-AsyncOperation` names."""
    from aiohttp import web

    async def status(request: web.Request) -> web.Response:
        found = plane.store.get(KIND, request.match_info["operation"])
        if found is None:
            raise ArmError(404, "NotFound", "The operation was not found.")
        return _status(plane, request, found.body)

    return [
        web.get(f"{LOCATION}/mfeOperationsStatus/{{operation}}", status),
        web.get(f"{LOCATION}/computeOperationsStatus/{{operation}}", status),
    ]


def _status(plane: Plane, request: web.Request, body: dict[str, Any]) -> web.Response:
    """The status document in the words of its flavour."""
    status = body["status"]
    if (
        status is None
        and body["ends"]
        and datetime.fromisoformat(body["ends"]) <= plane.clock.now()
    ):
        status = "Failed" if body.get("fails") else "Succeeded"
    compute = body["flavour"] == "computeOperationsStatus"
    shown = status or ("InProgress" if compute else "Updating")
    document: dict[str, Any] = {"status": shown}
    if not compute:
        document |= {
            "id": request.path,
            "name": request.match_info["operation"],
            "startTime": body["start"],
            "endTime": body["ends"] if status else _NO_END,
        }
    if not compute or status:
        document["percentComplete"] = 100.0 if status else 0.0
    if error := body["error"] or (body.get("fails") if status else None):
        document["error"] = error
    return answer(document, headers={} if status else plane.retry_after())
