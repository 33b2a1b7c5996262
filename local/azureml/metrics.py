"""Azure Monitor for online endpoints: the metrics of one resource, and of up to 50 in one call.

`GET {resource}/providers/Microsoft.Insights/metrics` belongs to ARM, `POST
/subscriptions/{id}/metrics:getBatch` to the regional data plane (`eastus.metrics.monitor.azure.com`
on Azure, this server here), whose tokens have an audience of their own. Errors of Azure Monitor
have no `error` around them.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import jwt
from aiohttp import web

from local.azureml import endpoints, identity
from local.azureml.api_versions import check_api_version
from local.azureml.clock import Pace, iso
from local.azureml.faults import PREFIX
from local.azureml.metric_query import (
    NAMESPACE,
    BadQuery,
    NotCounted,
    Query,
    parse,
    series,
    shown_metric,
)
from local.azureml.request_counts import RequestCounts
from local.azureml.wire import (
    ArmError,
    NotEmulated,
    answer,
    json_body,
    open_to_all,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from local.azureml.plane import Plane

MOST_RESOURCES = 50
AUDIENCE = "https://metrics.monitor.azure.com"
DELAYS: dict[Pace, float] = {"instant": 0.0, "seconds": 0.0, "minutes": 120.0}
"""Seconds until a request shows in the metrics; on Azure, "one to three minutes"."""
_SETTING = "metrics"


def counts(plane: Plane) -> RequestCounts:
    """The requests that were counted."""
    made = plane.parts.get("request-counts")
    if made is None:
        made = plane.parts["request-counts"] = RequestCounts(plane.store)
    assert isinstance(made, RequestCounts)
    return made


def delay(plane: Plane) -> float:
    """Seconds until a request shows: by pace, or as the test control has it."""
    found = plane.store.get("setting", _SETTING)
    return float(found.body["delay"]) if found else DELAYS[plane.settings.pace]


def routes(plane: Plane) -> Iterable[web.RouteDef]:
    """One resource, a batch, and `/_emulator/metrics` for the delay."""
    counts(plane)

    async def one(request: web.Request) -> web.Response:
        return _one(plane, request)

    @open_to_all
    async def batch(request: web.Request) -> web.Response:
        _check_token(plane, request)
        check_api_version(request)
        return await _batch(plane, request)

    return [
        web.get(f"{endpoints.ONE}/providers/Microsoft.Insights/metrics", one),
        web.get(f"{endpoints.ONE}/providers/microsoft.insights/metrics", one),
        web.post("/subscriptions/{subscription}/metrics:getBatch", batch),
        *_control_routes(plane),
    ]


def _control_routes(plane: Plane) -> Iterable[web.RouteDef]:
    @open_to_all
    async def get(_request: web.Request) -> web.Response:
        return answer({"delay": delay(plane)})

    @open_to_all
    async def put(request: web.Request) -> web.Response:
        body = await json_body(request)
        given = body.get("delay")
        if set(body) != {"delay"} or not isinstance(given, int | float) or given < 0:
            raise ArmError(400, "BadMetrics", 'Give {"delay": seconds}, seconds at least 0.')
        plane.store.put("setting", _SETTING, {"delay": float(given)})
        return answer(body)

    return [web.get(f"{PREFIX}metrics", get), web.put(f"{PREFIX}metrics", put)]


def _check_token(plane: Plane, request: web.Request) -> None:
    """Take a token of ARM's or one for the metrics data plane.

    Raises:
        ArmError: 401 as ARM answers it.
    """
    _, _, token = request.headers.get("Authorization", "").partition(" ")
    try:
        claims = jwt.decode(token, options={"verify_signature": False})
    except jwt.InvalidTokenError:
        claims = {}
    if str(claims.get("aud", "")).rstrip("/") == AUDIENCE:
        identity.check_bearer(plane, request, audience=str(claims["aud"]))
    else:
        identity.check_bearer(plane, request)


def _parsed(plane: Plane, request: web.Request) -> Query:
    given = {key.lower().lstrip("$"): value for key, value in request.query.items()}
    try:
        return parse(given, plane.clock.now())
    except NotCounted as what:
        raise NotEmulated(f"{what}") from None


def _refusal(problem: BadQuery | str, status: int = 400, code: str = "BadRequest") -> web.Response:
    return web.json_response({"code": code, "message": f"{problem}"}, status=status)


def _one(plane: Plane, request: web.Request) -> web.Response:
    body = endpoints.get(plane, request.match_info["endpoint"])
    try:
        query = _parsed(plane, request)
    except BadQuery as problem:
        return _refusal(problem)
    return answer(_result(plane, query, body["id"], batch=False))


async def _batch(plane: Plane, request: web.Request) -> web.Response:
    resources = (await json_body(request)).get("resourceids")
    if not isinstance(resources, list) or not resources:
        return _refusal("The request body must have resourceids, a list of resource ids.")
    if len(resources) > MOST_RESOURCES:
        return _refusal(
            f"The number of resource ids, {len(resources)}, exceeds the maximum of "
            f"{MOST_RESOURCES} in one batch."
        )
    prefix = endpoints.endpoint_id(plane, "").lower()
    strangers = [each for each in resources if not _is_endpoint(each, prefix)]
    if strangers:
        return _refusal(
            f"All resources of a batch must be {NAMESPACE} of the subscription and region in the "
            f"request; these are not: {', '.join(map(str, strangers))}"
        )
    try:
        query = _parsed(plane, request)
    except BadQuery as problem:
        return _refusal(problem)
    return answer({"values": [_result(plane, query, each, batch=True) for each in resources]})


def _is_endpoint(resource: object, prefix: str) -> bool:
    text = str(resource).lower()
    return text.startswith(prefix) and "/" not in text[len(prefix) :]


def _result(plane: Plane, query: Query, resource: str, *, batch: bool) -> dict[str, Any]:
    """The answer about one resource; the data plane says its times apart, and names it."""
    visible = plane.clock.now() - timedelta(seconds=delay(plane))
    rows = [
        each
        for each in counts(plane).read(resource, query.start, query.end)
        if each.minute <= visible
    ]
    shown = [
        shown_metric(resource, metric, series(query, metric, rows)) for metric in query.metrics
    ]
    start, end = iso(query.start), iso(query.end)
    times = {"starttime": start, "endtime": end} if batch else {"timespan": f"{start}/{end}"}
    return {
        "cost": 0,
        **times,
        "interval": query.grain_text,
        "namespace": NAMESPACE,
        "resourceregion": plane.region,
        **({"resourceid": resource} if batch else {}),
        "value": shown,
    }
