"""Run history: what the SDK streams, lists children with, and downloads by."""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING, Any

from aiohttp import web

from local.azureml import identity, job_documents, jobs
from local.azureml.wire import (
    WORKSPACE,
    ArmError,
    answer,
    json_body,
    open_to_all,
    page_size,
    page_token,
    paged,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from local.azureml.job_documents import Job
    from local.azureml.plane import Plane

HISTORY = f"/history/v1.0{WORKSPACE}"
LOG_NAME = "user_logs/std_log.txt"


def routes(plane: Plane) -> Iterable[web.RouteDef]:
    """Children, details, run data, labels; and the log files that details name."""

    async def run(request: web.Request) -> web.Response:
        return answer(_run(plane, jobs.require(plane, request.match_info["run"])))

    async def children(request: web.Request) -> web.Response:
        return _children(plane, request)

    async def details(request: web.Request) -> web.Response:
        return answer(_details(plane, jobs.require(plane, request.match_info["run"])))

    async def run_data(request: web.Request) -> web.Response:
        wanted = str((await json_body(request)).get("runId"))
        return answer({"runMetadata": _run(plane, jobs.require(plane, wanted))})

    async def relabel(request: web.Request) -> web.Response:
        body = await json_body(request)
        job = jobs.require(plane, request.match_info["run"])
        if job["experiment"] != request.match_info["experiment"]:
            raise ArmError(404, "UserError", f"Run {job['name']} is not in that experiment.")
        jobs.relabel(plane, job, {**body, "isArchived": body.get("hidden")})
        return answer(_run(plane, job))

    @open_to_all
    async def log(request: web.Request) -> web.StreamResponse:
        name = request.match_info["job"]
        if not hmac.compare_digest(request.query.get("sig", ""), _signature(plane, name)):
            raise ArmError(403, "AuthenticationFailed", "The signature of this address is wrong.")
        path = job_documents.folder(plane, name) / "std_log.txt"
        if not path.exists():
            return web.Response(text="")
        return web.FileResponse(path, headers={"Content-Type": "text/plain; charset=utf-8"})

    return [
        web.get(f"{HISTORY}/runs/{{run}}", run),
        web.get(f"{HISTORY}/runs/{{run}}/children", children),
        web.get(f"{HISTORY}/runs/{{run}}/details", details),
        web.post(f"{HISTORY}/rundata", run_data),
        web.patch(f"{HISTORY}/experiments/{{experiment}}/runs/{{run}}", relabel),
        web.get("/artifacts/{job}/user_logs/std_log.txt", log),
    ]


def _signature(plane: Plane, name: str) -> str:
    key = identity.identity_header(plane).encode()
    return hmac.new(key, name.encode(), hashlib.sha256).hexdigest()


def _run(plane: Plane, job: Job) -> dict[str, Any]:
    run = job_documents.root_run(plane, job)
    return {
        "runId": run["runId"],
        "rootRunId": run["runId"],
        "parentRunId": None,
        "experimentId": run["experimentId"],
        "runType": run["runType"],
        "status": run["runStatus"],
        "displayName": job["display_name"],
        "description": job["description"],
        "hidden": job["archived"],
        "tags": run["runTags"],
        "properties": run["runProperties"],
        "createdUtc": job["created_at"],
        "startTimeUtc": job["started_at"],
        "endTimeUtc": job["ended_at"],
        "error": _error(job),
        # Outputs are found under `azureml/{job}/{output}/`: the SDK looks there for those that are
        # not named here.
        "outputs": {},
    }


def _children(plane: Plane, request: web.Request) -> web.Response:
    job = jobs.require(plane, request.match_info["run"])
    rows = []
    for step, child in job["children"].items():
        run = job_documents.child_run(plane, job, step)
        rows.append(
            {
                "runId": run["runId"],
                "rootRunId": job["name"],
                "parentRunId": job["name"],
                "experimentId": run["experimentId"],
                "runType": run["runType"],
                "status": run["runStatus"],
                "displayName": step,
                "tags": run["runTags"],
                "properties": run["runProperties"],
                "startTimeUtc": child["start"],
                "endTimeUtc": child["end"],
            }
        )
    size, start = page_size(request), int(page_token(request) or 0)
    following = str(start + size) if start + size < len(rows) else None
    return paged(request, rows[start : start + size], following)


def _details(plane: Plane, job: Job) -> dict[str, Any]:
    """What `jobs.stream` polls. The log's address is signed, as Azure's are."""
    started = (job_documents.folder(plane, job["name"]) / "std_log.txt").exists()
    address = (
        f"{plane.url}/artifacts/{job['name']}/{LOG_NAME}?sig={_signature(plane, job['name'])}"
    )
    run = job_documents.root_run(plane, job)
    return {
        "runId": job["name"],
        "target": None,
        "status": job["status"],
        "startTimeUtc": job["started_at"],
        "endTimeUtc": job["ended_at"],
        "error": _error(job),
        "warnings": [],
        "properties": run["runProperties"],
        "inputDatasets": [],
        "outputDatasets": [],
        "runDefinition": None,
        "logFiles": {LOG_NAME: address} if started else {},
    }


def _error(job: Job) -> dict[str, Any] | None:
    if not job["error"]:
        return None
    inner = {"code": job["error"]["code"], "message": job["error"]["message"], "details": []}
    return {"error": inner, "time": job["ended_at"]}
