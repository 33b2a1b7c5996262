"""Jobs on the wire: submit, look, list, cancel, change what may be changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiohttp import web

from local.azureml import events, job_documents, job_runner
from local.azureml.api_versions import in_version
from local.azureml.azure_types import typed_body
from local.azureml.clock import iso
from local.azureml.job_checks import check_job
from local.azureml.wire import (
    WORKSPACE,
    ArmError,
    NotEmulated,
    answer,
    empty,
    page_size,
    page_token,
    paged_documents,
    put_answer,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from local.azureml.job_documents import Job
    from local.azureml.plane import Plane

lifespan = job_runner.lifespan

_FIXED = ("computeId", "componentId", "experimentName", "settings", "inputs", "outputs", "jobs")
_FILTERS = frozenset(
    {"api-version", "listViewType", "jobType", "tag", "$skip", "$skipToken", "$top"}
)


def routes(plane: Plane) -> Iterable[web.RouteDef]:
    """`jobs`: list, get, create or update, cancel."""
    one = f"{WORKSPACE}/jobs/{{job}}"

    async def get(request: web.Request) -> web.Response:
        return answer(_shown(plane, request, require(plane, request.match_info["job"])))

    async def listed(request: web.Request) -> web.Response:
        page = plane.store.list(
            job_documents.KIND,
            f"{plane.workspace_id}/jobs/",
            limit=page_size(request, 50),
            token=page_token(request),
            newest_first=True,
            keep=_wanted(request),
        )
        return paged_documents(request, page, lambda job: _shown(plane, request, job))

    async def put(request: web.Request) -> web.Response:
        return await _put(plane, request)

    async def cancel(request: web.Request) -> web.Response:
        return _cancel(plane, require(plane, request.match_info["job"]))

    return [
        web.get(f"{WORKSPACE}/jobs", listed),
        web.get(one, get),
        web.put(one, put),
        web.post(f"{one}/cancel", cancel),
    ]


def require(plane: Plane, name: str) -> Job:
    """The kept job.

    Raises:
        ArmError: 404, as Azure says it.
    """
    found = job_documents.find(plane, name)
    if found is None:
        raise ArmError(404, "UserError", f"Job {name} not found.")
    return found


def _shown(plane: Plane, request: web.Request, job: Job) -> dict[str, Any]:
    return in_version(request, job_documents.shown(plane, job), *job_documents.PREVIEWS)


def _wanted(request: web.Request) -> Callable[[Job], bool]:
    unknown = sorted(set(request.query) - _FILTERS)
    if unknown:
        raise NotEmulated(f"a list of jobs filtered by {', '.join(unknown)}")
    view = request.query.get("listViewType") or "ActiveOnly"
    kind = request.query.get("jobType")
    tag, _, value = (request.query.get("tag") or "").partition("=")

    def keep(job: Job) -> bool:
        if view != "All" and job["archived"] is not (view == "ArchivedOnly"):
            return False
        if tag and (tag not in job["tags"] or (value and job["tags"][tag] != value)):
            return False
        return not kind or kind == "Pipeline"

    return keep


async def _put(plane: Plane, request: web.Request) -> web.Response:
    name = request.match_info["job"]
    sent = (await typed_body(request, "workspaces/jobs"))["properties"]
    before = job_documents.find(plane, name)
    if before is not None:
        return _update(plane, request, before, sent)
    checked = check_job(plane, name, sent)
    now = iso(plane.clock.now())
    job: Job = {
        "name": name,
        "sent": {key: sent.get(key) for key in (*_FIXED, "identity") if key in sent},
        "component": checked.component,
        "step": checked.step,
        "literals": checked.inputs.literals,
        "paths": {
            key: {"type": each.type, "uri": each.uri} for key, each in checked.inputs.paths.items()
        },
        "outputs": checked.outputs,
        "experiment": sent.get("experimentName") or "Default",
        "display_name": sent.get("displayName") or name,
        "description": sent.get("description"),
        "tags": sent.get("tags") or {},
        "properties": sent.get("properties") or {},
        "settings": sent.get("settings") or {},
        "archived": bool(sent.get("isArchived")),
        "status": "NotStarted",
        "since": now,
        "timeline": [["NotStarted", now]],
        "created_at": now,
        "started_at": None,
        "ended_at": None,
        "error": None,
        "children": {},
        "tracking_run": None,
        "process": None,
        "deaths": 0,
    }
    with plane.store.transaction():
        job_documents.save(plane, job)
        events.queue_run(plane, job_documents.root_run(plane, job))
    events.wake(plane)
    job_runner.start(plane, name)
    return put_answer(request, _shown(plane, request, job), new=True)


def _update(plane: Plane, request: web.Request, job: Job, sent: Mapping[str, Any]) -> web.Response:
    """A PUT of a job that exists: its labels may change, what it runs may not.

    A client may send what it sent at first, or what it was shown.
    """
    shown = job_documents.shown(plane, job)["properties"]
    changed = [
        key[0].upper() + key[1:]
        for key in _FIXED
        if key in sent
        and _told(sent[key]) not in (_told(job["sent"].get(key)), _told(shown.get(key)))
    ]
    if changed:
        raise ArmError(
            400,
            "UserError",
            "A job with this name already exists. If you are trying to create a new job, use a "
            "different name. If you are trying to update an existing job, the existing job's "
            f"{', '.join(changed)} cannot be changed. Only description, tags, displayName, "
            "properties, and isArchived can be updated.",
            details=(ArmError(400, "Immutable", "JobPropertyImmutable"),),
        )
    relabel(plane, job, sent)
    return answer(_shown(plane, request, job))


def _told(value: Any) -> Any:
    """A value without the nulls and the empty objects, which say nothing."""
    if isinstance(value, dict):
        kept = {key: told for key, each in value.items() if (told := _told(each)) is not None}
        return kept or None
    return value


def relabel(plane: Plane, job: Job, sent: Mapping[str, Any]) -> None:
    """Change description, display name, tags and properties (merged), archived or not."""
    job["description"] = sent.get("description") or job["description"]
    job["display_name"] = sent.get("displayName") or job["display_name"]
    job["tags"] = {**job["tags"], **(sent.get("tags") or {})}
    job["properties"] = {**job["properties"], **(sent.get("properties") or {})}
    if sent.get("isArchived") is not None:
        job["archived"] = bool(sent["isArchived"])
    job_documents.save(plane, job)


def _cancel(plane: Plane, job: Job) -> web.Response:
    if job["status"] in ("Completed", "Failed"):
        raise ArmError(
            400,
            "UserError",
            f"Job {job['name']} is in terminal state {job['status']} and cannot be canceled.",
        )
    if job["status"] not in ("CancelRequested", "Canceled"):
        job_runner.cancel(plane, job)
    return empty(200)
