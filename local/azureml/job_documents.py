"""A job as it is kept and as the wire shows it.

Each change of status is one transaction with the events that it causes, so that a kill in between
loses neither or both.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any, Final

from local.azureml import events
from local.azureml.clock import iso
from local.azureml.identity import PRINCIPAL
from local.azureml.wire import PROVIDER
from local.azureml.workspace import tracking_uri

if TYPE_CHECKING:
    from pathlib import Path

    from local.azureml.plane import Plane

KIND: Final = "job"
TERMINAL: Final = frozenset({"Completed", "Failed", "Canceled"})
STEPS: Final = (
    "validation",
    "model_import",
    "preprocess",
    "finetune",
    "model_converter",
)

PREVIEWS: Final = (
    "secretsConfiguration",
    "inputs.*.pathOnCompute",
    "outputs.*.assetVersion",
    "outputs.*.pathOnCompute",
    "outputs.*.autoDeleteSetting",
    "autologgerSettings",
    "resources.maxInstanceCount",
    "resources.locations",
    "queueSettings.priority",
)
"""What only preview versions of the API show of a job."""

Job = dict[str, Any]


def job_id(plane: Plane, name: str) -> str:
    """The ARM id of a job."""
    return f"{plane.workspace_id}/jobs/{name}"


def find(plane: Plane, name: str) -> Job | None:
    """The kept job, or None."""
    found = plane.store.get(KIND, job_id(plane, name))
    return found.body if found else None


def save(plane: Plane, job: Job) -> None:
    """Write the job."""
    plane.store.put(KIND, job_id(plane, job["name"]), job)


def folder(plane: Plane, name: str) -> Path:
    """The job's folder: `job.json`, `std_log.txt`, data, and what the process tells (see `training`)."""
    return plane.settings.state / "jobs" / name


def experiment_id(plane: Plane, experiment: str) -> str:
    """The GUID of an experiment, derived from its name."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{plane.workspace_id}/experiments/{experiment}"))


def child_name(job: Job, step: str) -> str:
    """The name of a child run, derived from the job's and the step's."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{job['name']}/{step}"))


def set_status(plane: Plane, job: Job, status: str, error: dict[str, str] | None = None) -> None:
    """Move the job to `status`, keep when, and queue the events."""
    now = iso(plane.clock.now())
    job.update(status=status, since=now)
    job["timeline"].append([status, now])
    if status == "Running":
        job["started_at"] = job["started_at"] or now
    if status in TERMINAL:
        job["ended_at"] = now
        job["error"] = error
    with plane.store.transaction():
        save(plane, job)
        events.queue_run(plane, root_run(plane, job))
    events.wake(plane)


def set_child_status(plane: Plane, job: Job, step: str, status: str, time: str) -> None:
    """Move a child run to `status`, and queue its events; a repeat changes nothing."""
    child = job["children"].setdefault(step, {"status": None, "start": time, "end": None})
    if child["status"] == status or (child["status"] in TERMINAL and status == "Running"):
        return
    child["status"] = status
    child["end"] = time if status in TERMINAL else None
    with plane.store.transaction():
        save(plane, job)
        events.queue_run(plane, child_run(plane, job, step))
    events.wake(plane)


def run_properties(job: Job) -> dict[str, str]:
    """The job's properties, with the service's own once it took the job up."""
    own = _own_properties(job) if job["status"] != "NotStarted" else {}
    return {**job["properties"], **own}


def _own_properties(job: Job) -> dict[str, str]:
    """What the service adds to a job's properties once it took the job up."""
    if "command" in job:
        return {
            "azureml.DevPlatv2": "true",
            "_azureml.ComputeTargetType": "amlctrain",
            "ContentSnapshotId": str(uuid.uuid5(uuid.NAMESPACE_URL, str(job["code"]))),
        }
    return {
        "azureml.DevPlatv2": "true",
        "azureml.DatasetAccessMode": "Asset",
        "azureml.runsource": "azureml.PipelineRun",
        "runSource": "MFE",
        "runType": "HTTP",
        "azureml.parameters": "{}",
        "azureml.continue_on_step_failure": str(_goes_on(job["settings"])),
        "azureml.continue_on_failed_optional_input": "True",
        **_default_compute(job),
        "azureml.enforceRerun": str(bool(job["settings"].get("force_rerun"))),
        "azureml.defaultDataStoreName": "workspaceblobstore",
        "azureml.pipelineComponent": "pipelinerun",
    }


def _default_compute(job: Job) -> dict[str, str]:
    compute = job["sent"].get("computeId")
    return {"azureml.defaultComputeName": compute.rsplit("/", 1)[-1]} if compute else {}


def _goes_on(settings: dict[str, Any]) -> bool:
    """Whether the other steps go on when one fails, which they do unless told otherwise."""
    return settings.get("continue_on_step_failure", True) is not False


def root_run(plane: Plane, job: Job) -> dict[str, Any]:
    """The job as run history and events have it."""
    pipeline = "command" not in job
    marks = {"azureml.pipelineComponent": "pipelinerun"} if pipeline else {}
    return {
        "experimentId": experiment_id(plane, job["experiment"]),
        "experimentName": job["experiment"],
        "runId": job["name"],
        "runType": "azureml.PipelineRun" if pipeline else "azureml.scriptrun",
        "runTags": {**job["tags"], **marks},
        "runProperties": run_properties(job),
        "runStatus": job["status"],
    }


def child_run(plane: Plane, job: Job, step: str) -> dict[str, Any]:
    """A child run as run history and events have it."""
    node = uuid.uuid5(uuid.NAMESPACE_URL, step).hex[:8]
    return {
        "experimentId": experiment_id(plane, job["experiment"]),
        "experimentName": job["experiment"],
        "runId": child_name(job, step),
        "runType": "azureml.StepRun",
        "runTags": {
            "azureml.pipelinerunid": job["name"],
            "azureml.nodeid": node,
        },
        "runProperties": {
            "azureml.runsource": "azureml.StepRun",
            "azureml.nodeid": node,
            "azureml.pipelinerunid": job["name"],
            "azureml.moduleName": step,
            "stepType": "PythonScriptStep",
            "computeTargetType": "AmlCompute",
        },
        "runStatus": job["children"][step]["status"],
    }


def shown(plane: Plane, job: Job) -> dict[str, Any]:
    """The job as ARM shows it."""
    studio = (
        f"https://ml.azure.com/runs/{job['name']}?wsid=/subscriptions/"
        f"{plane.settings.subscription}/resourcegroups/{plane.settings.group}"
        f"/workspaces/{plane.settings.workspace}"
    )
    services = {"Tracking": f"{tracking_uri(plane)}?", "Studio": studio}
    sent = job["sent"]
    return {
        "id": job_id(plane, job["name"]),
        "name": job["name"],
        "type": f"{PROVIDER}/workspaces/jobs",
        "properties": {
            "description": job["description"],
            "tags": job["tags"],
            "properties": run_properties(job),
            "displayName": job["display_name"],
            "status": job["status"],
            "experimentName": job["experiment"],
            "services": {name: _service(name, address) for name, address in services.items()},
            "computeId": sent.get("computeId"),
            "isArchived": job["archived"],
            "identity": sent.get("identity"),
            "componentId": sent.get("componentId"),
            "notificationSetting": None,
            "secretsConfiguration": None,
            **_shown_of_its_type(job),
            "outputs": {name: _output(plane, job, name) for name in job["outputs"]},
        },
        "systemData": {
            "createdAt": job["created_at"],
            "createdBy": PRINCIPAL,
            "createdByType": "User",
        },
    }


def _shown_of_its_type(job: Job) -> dict[str, Any]:
    from local.azureml import command_jobs

    if command_jobs.is_command(job):
        return command_jobs.shown(job)
    sent = job["sent"]
    return {
        "jobType": "Pipeline",
        "settings": job["settings"],
        "jobs": sent.get("jobs") or {},
        "inputs": shown_inputs(sent.get("inputs") or {}) or None,
        "sourceJobId": None,
    }


def _service(name: str, endpoint: str) -> dict[str, Any]:
    return {
        "jobServiceType": name,
        "port": None,
        "endpoint": endpoint,
        "status": None,
        "errorMessage": None,
        "properties": None,
        "nodes": None,
    }


def shown_inputs(given: dict[str, Any]) -> dict[str, Any]:
    """A job's inputs with every field that the service shows of their kind."""
    return {name: _input(each) for name, each in given.items()}


def _input(given: dict[str, Any]) -> dict[str, Any]:
    usual = {"description": None}
    if given["jobInputType"] != "literal":
        usual |= {"uri": None, "mode": None, "pathOnCompute": None}
    return {**usual, **given}


def _output(plane: Plane, job: Job, name: str) -> dict[str, Any]:
    """An output; its address is known once it is there."""
    from local.azureml.models import datastore_uri

    declared = job["outputs"][name]
    done = job["status"] == "Completed"
    return {
        "description": None,
        "uri": datastore_uri(plane, "workspaceblobstore", output_path(job, name))
        if done
        else None,
        "assetName": None,
        "assetVersion": None,
        "mode": declared.get("mode") or "ReadWriteMount",
        "pathOnCompute": None,
        "autoDeleteSetting": None,
        "jobOutputType": declared["type"],
    }


def output_path(job: Job, output: str) -> str:
    """Where an output lies in `workspaceblobstore`."""
    return f"azureml/{job['name']}/{output}/"
