"""ARM's manners: what every answer of Azure Resource Manager has in common.

Errors come in one envelope, lists in pages, slow work as long-running operations, and every
request carries a bearer token and an api-version. Resource modules raise `ArmError` and return
JSON; this module and `local.azureml.server` do the rest.

The shapes were read off the public test recordings of azure-ai-ml (Azure/azure-sdk-assets) and the
Resource Provider Contract (Azure/azure-resource-manager-rpc, `v1.0/`).
"""

from __future__ import annotations

import base64
import binascii
import json
import secrets
from typing import TYPE_CHECKING, Any, TypeVar

from aiohttp import web
from yarl import URL

from local.azureml.clock import iso

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from datetime import datetime

    from local.azureml.state import Page

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

PROVIDER = "Microsoft.MachineLearningServices"
WORKSPACE = (
    "/subscriptions/{subscription}/resourceGroups/{group}"
    f"/providers/{PROVIDER}/workspaces/{{workspace}}"
)
"""The route prefix of everything inside a workspace."""
LOCATION = f"/subscriptions/{{subscription}}/providers/{PROVIDER}/locations/{{location}}"
"""The route prefix of what belongs to a region: sizes, quotas, operation statuses."""
REGION = "eastus"
DOCS = "docs/EMULATOR.md"

H = TypeVar("H", bound="Handler")


class ArmError(Exception):
    """A refusal, as Azure words it.

    Args:
        status: The HTTP status.
        code: Azure's code, such as `UserError`; an empty one sends no body at all.
        message: Azure's message.
        details: Inner errors, each with code and message.
        headers: Further headers, such as `Retry-After`.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        details: tuple[ArmError, ...] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(f"{status} {code}: {message}")
        self.status = status
        self.code = code
        self.message = message
        self.details = details
        self.headers = dict(headers or {})


class NotEmulated(ArmError):
    """Something that Azure does and the emulator does not: 501, never a guess.

    Args:
        what: The call or the property, such as `PATCH of a job`.
    """

    def __init__(self, what: str) -> None:
        super().__init__(
            501,
            "NotEmulated",
            f"The emulator does not do this: {what}. {DOCS} lists what it does.",
        )


def not_found(what: str, message: str) -> ArmError:
    """The nested 404 that Azure ML answers for assets; `what` is the inner code."""
    inner = ArmError(404, what, message)
    return ArmError(404, "UserError", "The specified resource was not found.", details=(inner,))


def error_response(error: ArmError, now: datetime, operation: str) -> web.Response:
    """The envelope around an error; an error without a code has an empty body."""
    headers = {"x-ms-response-type": "error" if error.code else "standard", **error.headers}
    if not error.code:
        return web.Response(status=error.status, headers=headers)
    body = {"error": _error_body(error) | {"additionalInfo": _additional_info(now, operation)}}
    return web.json_response(body, status=error.status, headers=headers)


def _error_body(error: ArmError) -> dict[str, Any]:
    return {
        "code": error.code,
        "message": error.message,
        "details": [_error_body(inner) | {"additionalInfo": []} for inner in error.details],
    }


def _additional_info(now: datetime, operation: str) -> list[dict[str, Any]]:
    correlation = {"operation": operation, "request": secrets.token_hex(8)}
    values: dict[str, Any] = {
        "ComponentName": "managementfrontend",
        "Correlation": correlation,
        "Environment": REGION,
        "Location": REGION,
        "Time": iso(now),
    }
    return [{"type": name, "info": {"value": value}} for name, value in values.items()]


def open_to_all(handler: H) -> H:
    """Mark a handler that asks for no bearer token of Azure's (perhaps for a key of its own)."""
    handler.__dict__["open_to_all"] = True
    return handler


def is_open(handler: object) -> bool:
    """Whether the handler was marked by `open_to_all`."""
    return bool(getattr(handler, "open_to_all", False))


async def json_body(request: web.Request) -> dict[str, Any]:
    """The request's JSON object; an empty body is an empty object.

    Raises:
        ArmError: 400 InvalidRequestContent, as ARM says it.
    """
    raw = await request.read()
    if not raw.strip():
        return {}
    try:
        body = json.loads(raw)
    except ValueError as problem:
        raise ArmError(
            400,
            "InvalidRequestContent",
            f"The request content was invalid and could not be deserialized: '{problem}'.",
        ) from None
    if not isinstance(body, dict):
        raise ArmError(400, "InvalidRequestContent", "The request content must be a JSON object.")
    return body


def page_size(request: web.Request, default: int = 100) -> int:
    """How many rows a page may have: `$top`, `$maxpagesize` or `count`, between 1 and 1000.

    Raises:
        ArmError: The number is none.
    """
    for name in ("$top", "$maxpagesize", "count"):
        if (given := request.query.get(name)) is not None:
            if not given.isdigit() or int(given) < 1:
                raise ArmError(400, "UserError", f"{name} must be a positive number: {given!r}.")
            return min(int(given), 1000)
    return default


def page_token(request: web.Request) -> str | None:
    """The store's token in `$skipToken` or `$skip`, if the request continues a list.

    Raises:
        ArmError: The token is none that this server wrote.
    """
    given = request.query.get("$skipToken") or request.query.get("$skip")
    if not given:
        return None
    try:
        return base64.b64decode(given, altchars=b"-_", validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise ArmError(400, "UserError", f"Invalid continuation token: {given!r}.") from None


def paged(
    request: web.Request, rows: list[Any], token: str | None, *, skip: str = "$skipToken"
) -> web.Response:
    """A list's answer: `value`, and `nextLink` while there is more.

    Args:
        request: What was asked; the link repeats it with the token.
        rows: The JSON objects of this page.
        token: `Page.token` of the store.
        skip: The query parameter that carries the token.
    """
    body: dict[str, Any] = {"value": rows}
    if token is not None:
        encoded = base64.urlsafe_b64encode(token.encode()).decode()
        query = {**request.query, skip: encoded}
        body["nextLink"] = str(URL(f"{origin(request)}{request.path}").with_query(query))
    return answer(body)


def paged_documents(
    request: web.Request, page: Page, render: Callable[[dict[str, Any]], Any]
) -> web.Response:
    """`paged` over a page of the store; `render` turns a body into what the wire shows."""
    return paged(request, [render(each.body) for each in page.documents], page.token)


def answer(body: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """A JSON answer as Azure marks it."""
    return web.json_response(
        body, status=status, headers={"x-ms-response-type": "standard", **(headers or {})}
    )


def put_answer(request: web.Request, body: Any, *, new: bool) -> web.Response:
    """The answer to a PUT that is done at once: 201 with the resource's address, or 200."""
    if not new:
        return answer(body)
    return answer(body, 201, {"Location": f"{origin(request)}{request.path_qs}"})


def empty(status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """An answer without a body."""
    return web.Response(
        status=status, headers={"x-ms-response-type": "standard", **(headers or {})}
    )


def origin(request: web.Request) -> str:
    """`https://host:port` as the client wrote it."""
    return f"{request.scheme}://{request.host}"


_MEMBERS = {
    "ListViewType.ACTIVE_ONLY": "ActiveOnly",
    "ListViewType.ARCHIVED_ONLY": "ArchivedOnly",
    "ListViewType.ALL": "All",
}


def wanted_view(request: web.Request) -> Callable[[dict[str, Any]], bool]:
    """What `listViewType` keeps; a body is archived when its `properties.isArchived` says so.

    Raises:
        ArmError: The view is none of ActiveOnly, ArchivedOnly, All.
    """
    given = request.query.get("listViewType") or "ActiveOnly"
    # azure-ai-ml sends the member's name instead of its value to registries (str() of an enum).
    view = _MEMBERS.get(given, given)
    if view == "All":
        return lambda _body: True
    if view not in ("ActiveOnly", "ArchivedOnly"):
        raise ArmError(
            400,
            "UserError",
            f"listViewType must be ActiveOnly, ArchivedOnly or All, not {view!r}.",
        )
    archived = view == "ArchivedOnly"
    return lambda body: bool(body["properties"].get("isArchived")) is archived


def check_order(request: web.Request) -> None:
    """Refuse every order but the one all asset lists have here, newest first.

    Raises:
        NotEmulated: Another order is asked for.
    """
    given = request.query.get("$orderBy") or request.query.get("orderBy")
    if given and given.lower() not in ("createdtime desc", "createdat desc"):
        raise NotEmulated(f"$orderBy={given}")
