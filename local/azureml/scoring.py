"""The gateway in front of the scoring processes: what `https://NAME.REGION.inference.ml.azure.com` is.

It checks the key, chooses the deployment by header or traffic, bounds what is pending and how long
it takes, and says on the container's behalf what went wrong. Status codes and headers follow
"HTTP status codes for online endpoints" (learn.microsoft.com/azure/machine-learning/
how-to-troubleshoot-online-endpoints). On Azure an endpoint has a host name of its own; here it has
a path of its own, `/endpoints/NAME`, and below it the same paths as there.
"""

from __future__ import annotations

import asyncio
import hmac
import random
import time
import uuid
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import aiohttp
import jwt
from aiohttp import web

from local.azureml import (
    deployments,
    endpoint_keys,
    endpoints,
    identity,
    metrics,
    misbehaviour,
    provisioning,
)
from local.azureml.online_rules import choose
from local.azureml.wire import ArmError, open_to_all

if TYPE_CHECKING:
    from collections.abc import Iterable

    from local.azureml.deployment_settings import Deployment
    from local.azureml.plane import Plane
    from local.azureml.replicas import Replica

PREFIX = "/endpoints/{endpoint}"
PATHS = ("/score", "/v1/chat/completions", "/chat/completions")
ROUTE = "azureml-model-deployment"
_PASSED = (
    "Content-Type",
    "Content-Encoding",
    "Accept",
    "Accept-Encoding",
    "x-ms-client-request-id",
)


class _Refusal(Exception):
    """An answer of the gateway's own."""

    def __init__(self, status: int, text: str, **headers: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


@dataclass(slots=True)
class _Lane:
    """What is pending for one deployment."""

    free: asyncio.Semaphore
    wanted: Deployment
    pending: int = 0


@dataclass(slots=True)
class _Passage:
    """One request on its way, and what is to be counted of it."""

    endpoint: dict[str, Any]
    started: float = field(default_factory=time.perf_counter)
    deployment: str = ""
    model_status: str = ""
    stream: web.StreamResponse | None = None


def routes(plane: Plane) -> Iterable[web.RouteDef]:
    """`/score` and the OpenAI paths below each endpoint's own path."""
    lanes: dict[str, _Lane] = {}

    @open_to_all
    async def score(request: web.Request) -> web.StreamResponse:
        return await _score(plane, lanes, request)

    return [web.post(f"{PREFIX}{path}", score) for path in PATHS]


async def _score(
    plane: Plane, lanes: dict[str, _Lane], request: web.Request
) -> web.StreamResponse:
    """Answer one scoring request, and count it if there is such an endpoint."""
    body = endpoints.find(plane, request.match_info["endpoint"])
    if body is None or not body["made"] or body["state"] == "Deleting":
        return web.Response(status=404, text="There is no such endpoint.")
    passage = _Passage(body)
    status = 499  # the caller went away
    try:
        _check_key(plane, body, request)
        response = await _forward(plane, lanes, request, passage)
        status = response.status
    except _Refusal as refusal:
        status = refusal.status
        response = _refused(request, passage, refusal)
    finally:
        metrics.counts(plane).add(
            body["id"],
            now=plane.clock.now(),
            deployment=passage.deployment,
            status=status,
            model_status=passage.model_status,
            milliseconds=(time.perf_counter() - passage.started) * 1000,
        )
    if not response.prepared:
        _mark(response, request, passage)
    return response


def _refused(request: web.Request, passage: _Passage, refusal: _Refusal) -> web.StreamResponse:
    """The refusal as an answer; an answer that has begun to stream can only be cut off."""
    if passage.stream is None:
        return web.Response(status=refusal.status, text=refusal.text, headers=refusal.headers)
    if request.transport is not None:
        request.transport.abort()
    return passage.stream


def _mark(response: web.StreamResponse, request: web.Request, passage: _Passage) -> None:
    """The headers that every answer of the gateway carries."""
    response.headers["x-request-id"] = str(uuid.uuid4())
    if (given := request.headers.get("x-ms-client-request-id")) is not None:
        response.headers["x-ms-client-request-id"] = given
    if passage.deployment:
        response.headers[ROUTE] = passage.deployment
        response.headers["azureml-model-session"] = passage.deployment


def _check_key(plane: Plane, body: dict[str, Any], request: web.Request) -> None:
    """Hold the caller to the endpoint's kind of credentials.

    Raises:
        _Refusal: 401, in the gateway's words.
    """
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not given.strip():
        raise _Refusal(401, "key_auth_bad_header_forbidden")
    mode = body["properties"]["authMode"]
    if mode == "Key":
        known = endpoint_keys.keys(plane, body["id"]).values()
        if not any(hmac.compare_digest(given.strip().encode(), key.encode()) for key in known):
            raise _Refusal(401, "key_auth_access_denied")
        return
    audience = body["id"].lower() if mode == "AMLToken" else identity.AML_RESOURCE
    try:
        identity.check_bearer(plane, request, audience=audience)
    except (ArmError, jwt.InvalidTokenError):
        raise _Refusal(401, "token_auth_access_denied") from None


async def _forward(
    plane: Plane, lanes: dict[str, _Lane], request: web.Request, passage: _Passage
) -> web.StreamResponse:
    """Pass the request to a deployment and its answer back."""
    chosen = _choose(plane, request, passage.endpoint)
    passage.deployment = chosen["name"]
    lane = _lane(lanes, chosen)
    if lane.pending >= lane.wanted.most_pending:
        raise _Refusal(
            429,
            f"Too many pending requests for deployment {passage.deployment}: at most "
            f"{lane.wanted.most_pending} (2 * max_concurrent_requests_per_instance * "
            "instance_count) are taken at once.",
        )
    content = await request.read()
    where = f"{passage.endpoint['name']}/{passage.deployment}"
    if (failure := misbehaviour.failures(plane).of_scoring(where)) is not None:
        return await _misbehave(failure)
    lane.pending += 1
    try:
        async with asyncio.timeout(lane.wanted.request_timeout) as limit:
            async with lane.free:
                return await _ask(plane, request, passage, chosen["id"], content)
    except TimeoutError:
        if not limit.expired():
            raise
        raise _Refusal(408, "upstream request timeout") from None
    finally:
        lane.pending -= 1


async def _misbehave(failure: misbehaviour.ScoringFailure) -> web.StreamResponse:
    """Answer as the test control has it."""
    await asyncio.sleep(failure.delay)
    if failure.status == HTTPStatus.OK:
        return web.Response(text=failure.body, content_type="application/json")
    if failure.status == HTTPStatus.FAILED_DEPENDENCY:
        reason = HTTPStatus(failure.model_status).phrase
        raise _model_error(failure.model_status, reason, failure.body)
    raise _Refusal(failure.status, failure.body)


def _choose(plane: Plane, request: web.Request, endpoint: dict[str, Any]) -> dict[str, Any]:
    """The deployment that the header names, or that the traffic split draws."""
    name = request.headers.get(ROUTE)
    if name is None:
        # The draw shares out load; nothing depends on its being unpredictable.
        name = choose(endpoint["live_traffic"], random.random())  # noqa: S311
        if name is None:
            raise _Refusal(
                404, "The endpoint doesn't have any valid deployment with positive weight."
            )
    found = deployments.find(plane, endpoint["name"], name)
    if found is None or not found["made"] or found["state"] == "Deleting":
        raise _Refusal(404, f"The endpoint has no deployment {name!r} that is ready.")
    return found


def _lane(lanes: dict[str, _Lane], deployment: dict[str, Any]) -> _Lane:
    """The deployment's lane; a new one when what it runs has changed."""
    wanted = provisioning.read({**deployment, **deployment["serving"]})
    lane = lanes.get(deployment["id"])
    if lane is None or lane.wanted != wanted:
        free = asyncio.Semaphore(wanted.max_concurrent * wanted.instances)
        lane = lanes[deployment["id"]] = _Lane(free, wanted)
    return lane


async def _ask(
    plane: Plane, request: web.Request, passage: _Passage, deployment_id: str, content: bytes
) -> web.StreamResponse:
    """Ask one of the deployment's processes."""
    replica = provisioning.fleet(plane).pick(deployment_id)
    if replica is None:
        raise _model_error(502, "Bad Gateway", "The user container is not ready.")
    path = request.path.split("/", 3)[3]
    asking = provisioning.fleet(plane).session.post(
        f"{replica.url}/{path}",
        data=content,
        headers={name: request.headers[name] for name in _PASSED if name in request.headers},
        skip_auto_headers=("Accept-Encoding", "Content-Type", "User-Agent"),
        timeout=aiohttp.ClientTimeout(total=None),
    )
    try:
        with replica.in_hand():
            async with asking as upstream:
                passage.model_status = str(upstream.status)
                return await _answer(request, passage, upstream)
    except aiohttp.ClientError as problem:
        raise _lost(replica, problem) from None


def _lost(replica: Replica, problem: aiohttp.ClientError) -> _Refusal:
    reason = replica.failed or f"{type(problem).__name__} from the user container."
    return _model_error(502, "Bad Gateway", reason)


def _model_error(status: int, reason: str, text: str) -> _Refusal:
    """The 424 that stands for whatever else than 200 a container answers."""
    return _Refusal(
        424,
        text,
        ms_azureml_model_error_statuscode=str(status),
        ms_azureml_model_error_reason=reason,
    )


async def _answer(
    request: web.Request, passage: _Passage, upstream: aiohttp.ClientResponse
) -> web.StreamResponse:
    """The container's answer as the caller gets it; events are passed on as they come."""
    headers = {"Content-Type": upstream.headers.get("Content-Type", "application/json")}
    if "Content-Encoding" in upstream.headers:
        headers["Content-Encoding"] = upstream.headers["Content-Encoding"]
    if upstream.status != HTTPStatus.OK:
        headers |= _model_error(upstream.status, upstream.reason or "", "").headers
        return web.Response(status=424, body=await upstream.read(), headers=headers)
    if not headers["Content-Type"].startswith("text/event-stream"):
        return web.Response(body=await upstream.read(), headers=headers)
    passage.stream = web.StreamResponse(headers=headers)
    _mark(passage.stream, request, passage)
    await passage.stream.prepare(request)
    async for chunk in upstream.content.iter_any():
        await passage.stream.write(chunk)
    await passage.stream.write_eof()
    return passage.stream
