"""MLflow as the workspace serves it: a real MLflow server behind Azure ML's addresses and run ids.

On Azure ML the MLflow run id of a job is the job's name. The server behind makes ids of its own,
so requests and answers are translated on the way. azureml-mlflow makes of an address
`azureml://localhost:PORT/mlflow/v1.0...` the `https://localhost:PORT/mlflow/v2.0...` that it asks.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from typing import TYPE_CHECKING, Any

import aiohttp
from aiohttp import web

from local.azureml import job_documents
from local.azureml.wire import WORKSPACE, ArmError, NotEmulated

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

    from local.azureml.job_documents import Job
    from local.azureml.plane import Plane

LOG = logging.getLogger("local.azureml")
KIND = "tracking-run"
JOB_TAG = "azureml.jobName"
_ID_KEYS = frozenset({"run_id", "run_uuid", "runId", "runUuid"})
_ID_TAGS = frozenset({"mlflow.rootRunId", "mlflow.parentRunId"})
_TRIES = 240
"""Half a second apart: the server needs a quarter of a minute to start, more when all is busy."""


@contextlib.asynccontextmanager
async def lifespan(plane: Plane) -> AsyncIterator[None]:
    """One pooled session to the MLflow server."""
    timeout = aiohttp.ClientTimeout(total=60, connect=5)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        plane.parts["tracking"] = session
        yield


async def _call(plane: Plane, method: str, path: str, **sent: Any) -> tuple[int, dict[str, Any]]:
    session: aiohttp.ClientSession = plane.parts["tracking"]
    url = f"{plane.settings.tracking_uri}/api/2.0/mlflow/{path}"
    async with session.request(method, url, **sent) as response:
        return response.status, await response.json(content_type=None)


async def ensure_run(plane: Plane, job: Job) -> str:
    """The id of the job's run on the MLflow server, made if it is missing.

    Waits for a server that is still starting.

    Raises:
        ConnectionError: The server does not answer, or answers with an error.
    """
    if job["tracking_run"]:
        return str(job["tracking_run"])
    for attempt in range(_TRIES):
        try:
            run_id = await _find_run(plane, job) or await _create_run(plane, job)
            break
        except (aiohttp.ClientError, TimeoutError) as problem:
            if attempt == _TRIES - 1:
                raise ConnectionError(f"The MLflow server does not answer: {problem}") from None
            await asyncio.sleep(0.5)
    identity = job_documents.job_id(plane, job["name"])
    with plane.store.transaction():
        plane.store.update(
            job_documents.KIND, identity, lambda kept: kept.update(tracking_run=run_id)
        )
        plane.store.put(KIND, run_id, {"job": job["name"]})
    return run_id


async def _experiment(plane: Plane, name: str) -> str:
    status, body = await _call(
        plane, "GET", "experiments/get-by-name", params={"experiment_name": name}
    )
    if status == 404:  # noqa: PLR2004
        status, body = await _call(plane, "POST", "experiments/create", json={"name": name})
        return str(_good(status, body)["experiment_id"])
    return str(_good(status, body)["experiment"]["experiment_id"])


async def _find_run(plane: Plane, job: Job) -> str | None:
    experiment = await _experiment(plane, job["experiment"])
    wanted = {
        "experiment_ids": [experiment],
        "filter": f"tags.`{JOB_TAG}` = '{job['name']}'",
        "max_results": 1,
    }
    runs = _good(*await _call(plane, "POST", "runs/search", json=wanted)).get("runs") or []
    return str(runs[0]["info"]["run_id"]) if runs else None


async def _create_run(plane: Plane, job: Job) -> str:
    tags = {**job["tags"], JOB_TAG: job["name"]}
    body = {
        "experiment_id": await _experiment(plane, job["experiment"]),
        "run_name": job["display_name"],
        "start_time": int(plane.clock.now().timestamp() * 1000),
        "tags": [{"key": key, "value": str(value)} for key, value in tags.items()],
    }
    made = _good(*await _call(plane, "POST", "runs/create", json=body))
    return str(made["run"]["info"]["run_id"])


async def end_run(plane: Plane, job: Job, status: str) -> None:
    """Say on the MLflow server how the job's run ended (FINISHED, FAILED, KILLED).

    A server that does not answer is told of in the log: the job's own status is the fact.
    """
    if not job["tracking_run"]:
        return
    body = {
        "run_id": job["tracking_run"],
        "status": status,
        "end_time": int(plane.clock.now().timestamp() * 1000),
    }
    try:
        _good(*await _call(plane, "POST", "runs/update", json=body))
    except (aiohttp.ClientError, TimeoutError, ConnectionError) as problem:
        LOG.warning("job %s: MLflow was not told that it ended: %s", job["name"], problem)


def _good(status: int, body: dict[str, Any]) -> dict[str, Any]:
    if status >= 400:  # noqa: PLR2004
        raise ConnectionError(f"The MLflow server answered {status}: {body.get('message')}")
    return body


def routes(plane: Plane) -> Iterable[web.RouteDef]:
    """The MLflow REST API under the workspace's own address."""

    async def proxy(request: web.Request) -> web.Response:
        if not plane.settings.tracking_uri:
            raise NotEmulated("tracking without an MLflow server (start it with --tracking-uri)")
        return await _proxy(plane, request)

    return [
        web.route("*", f"/mlflow/{{version}}{WORKSPACE}/api/{{api}}/mlflow/{{call:.+}}", proxy),
    ]


async def _proxy(plane: Plane, request: web.Request) -> web.Response:
    session: aiohttp.ClientSession = plane.parts["tracking"]
    call, api = request.match_info["call"], request.match_info["api"]
    url = f"{plane.settings.tracking_uri}/api/{api}/mlflow/{call}"
    query = [
        (key, _to_server(plane, value) if key in _ID_KEYS else value)
        for key, value in request.query.items()
    ]
    raw = await request.read()
    body = _translated(raw, lambda value: _to_server(plane, value)) if raw else None
    headers = {"Content-Type": request.content_type} if raw else {}
    try:
        async with session.request(
            request.method, url, params=query, data=body, headers=headers
        ) as response:
            content = await response.read()
            status, kind = response.status, response.content_type
    except (aiohttp.ClientError, TimeoutError) as problem:
        raise ArmError(
            502, "BadGateway", f"The MLflow server does not answer: {problem}"
        ) from None
    shown = _translated(content, lambda value: _to_client(plane, value))
    return web.Response(body=shown, status=status, content_type=kind)


def _to_server(plane: Plane, run_id: str) -> str:
    job = job_documents.find(plane, run_id)
    return str(job["tracking_run"]) if job and job["tracking_run"] else run_id


def _to_client(plane: Plane, run_id: str) -> str:
    found = plane.store.get(KIND, run_id)
    return str(found.body["job"]) if found else run_id


def _translated(raw: bytes, swap: Callable[[str], str]) -> bytes:
    """A JSON text with every run id swapped; anything else as it is."""
    try:
        content = json.loads(raw)
    except ValueError:
        return raw
    return json.dumps(_swapped(content, swap)).encode()


def _swapped(value: Any, swap: Callable[[str], str]) -> Any:
    if isinstance(value, list):
        return [_swapped(each, swap) for each in value]
    if not isinstance(value, dict):
        return value
    if value.get("key") in _ID_TAGS and isinstance(value.get("value"), str):
        return {**value, "value": swap(value["value"])}
    return {
        key: swap(each) if key in _ID_KEYS and isinstance(each, str) else _swapped(each, swap)
        for key, each in value.items()
    }
