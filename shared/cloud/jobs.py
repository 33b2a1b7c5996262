"""Fine-tuning jobs: submitted as Microsoft's fine-tuning notebook does it, one pipeline around one component.

Names are derived, so a job of that name that is there already is ours, from a try whose answer was lost.
"""

from __future__ import annotations

import logging
import re
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from shared.cloud.failures import failing, plain
from shared.cloud.registry import ComponentReference, fetched
from shared.cloud.sdk import workspace_client
from shared.errors import Busy, DroptuneError, Missing, Refused
from shared.runs.naming import TAG
from shared.runs.parameters import ASSETS
from shared.runs.ports import Job, JobState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from shared.cloud.arm import Arm, Place
    from shared.runs.ports import JobRequest

STAGES: Final = ("model_import", "preprocess", "finetune", "model_evaluation")
"""The component's stages, each with a compute of its own."""

OUTPUT: Final = "trained_model"
"""The job's output: an MLflow model."""

SERVERLESS: Final = "serverless"

_MOST_RUNS_READ: Final = 24
"""How many child runs are read in search of what failed, or waits."""

_PIPELINE_RUN: Final = "azureml.pipelinerun"

_STATES: Final = {
    "completed": JobState.COMPLETED,
    "failed": JobState.FAILED,
    "canceled": JobState.CANCELLED,
    "cancelled": JobState.CANCELLED,
}
_WAITING: Final = frozenset(
    {"notstarted", "starting", "provisioning", "preparing", "queued", "paused"}
)
_ENDED: Final = frozenset({"completed", "failed", "canceled", "cancelled"})
_VAGUE = re.compile(
    r"(?i)child (run|job)s?|failed (step|node)s?|see .*(details|logs)|pipeline .*fail"
)

building = threading.Lock()
"""Held while a job is built: the SDK builds pipelines on a stack that all threads share, and adds to the one that is
being built whatever job another thread makes meanwhile; it also changes the component on the way."""

logger = logging.getLogger(__name__)


class Jobs:
    """The jobs of one workspace.

    Args:
        arm: For the run history, which tells why a job failed.
        place: The workspace.
    """

    def __init__(self, arm: Arm, place: Place) -> None:
        self._arm = arm
        self._place = place
        self._history_address: str | None = None

    def get(self, name: str) -> Job | None:
        """The job, if there is one; of one that failed, also why."""
        try:
            client = workspace_client(self._place)
            with failing(f"reading the job {name}"):
                found = client.jobs.get(name)
        except Missing:
            return None
        job = job_from(found)
        if job.state is JobState.FAILED:
            return self._with_reason(job)
        # A pipeline runs from its first seconds on, also while its steps wait for machines for days.
        return self._with_steps(job) if job.status.lower() == "running" else job

    def properties(self, name: str) -> Mapping[str, str]:
        """The properties of a job's root run; none when there is no such job."""
        client = workspace_client(self._place)
        try:
            with failing(f"reading the properties of the job {name}"):
                return dict(client.jobs.get(name).properties or {})
        except Missing:
            return {}

    def submit(self, request: JobRequest) -> Job:
        """Submit the job. A job of this name that is there already is returned as it is.

        Raises:
            Refused: Azure will not run it.
        """
        present = self.get(request.name)
        if present is not None:
            return present
        component = fetched(ComponentReference.of_id(request.component))
        client = workspace_client(self._place)
        try:
            with building, failing(f"submitting the job {request.name}"):
                job = pipeline_job(request, component)
                return job_from(client.jobs.create_or_update(job))
        except (Busy, Refused) as error:
            # Somebody else may have submitted it since we looked.
            present = self.get(request.name)
            if present is None:
                raise
            logger.info("%s was there already: %s", request.name, error)
            return present

    def cancel(self, name: str) -> None:
        """Begin to cancel the job; nothing happens if it has ended or is not there."""
        client = workspace_client(self._place)
        try:
            with failing(f"cancelling the job {name}"):
                client.jobs.begin_cancel(name, polling=False)
        except Missing:
            return
        except (Busy, Refused):
            job = self.get(name)
            if job is None or job.state is JobState.ACTIVE:
                raise

    def _with_reason(self, job: Job) -> Job:
        try:
            code, message = self._reason(job.name)
        except DroptuneError as error:
            logger.warning("%s failed, and its history cannot be read: %s", job.name, error)
            return job
        return replace(job, error=plain(message) or None, code=code)

    def _with_steps(self, job: Job) -> Job:
        try:
            waits = self._waits(job.name)
        except DroptuneError as error:
            logger.warning("%s runs, and its steps cannot be read: %s", job.name, error)
            return job
        return replace(job, waits=waits)

    def _waits(self, name: str) -> bool:
        doing = f"reading the steps of the job {name}"
        history = self._history(doing)
        return all_wait(name, lambda run: self._children(history, run, doing))

    def _history(self, doing: str) -> str:
        """The address of the workspace's run history; it does not change."""
        if self._history_address is None:
            workspace = self._arm.ask("GET", self._place.path, doing).body
            discovery = str((workspace.get("properties") or {}).get("discoveryUrl") or "")
            services = self._arm.ask("GET", discovery, doing, version="").body
            api = str(services["api"]).rstrip("/")
            self._history_address = f"{api}/history/v1.0{self._place.path}/runs"
        return self._history_address

    def _children(self, history: str, name: str, doing: str) -> list[Any]:
        found = self._arm.find(f"{history}/{quote(name)}/children", doing, version="")
        return (found or {}).get("value") or []

    def _reason(self, name: str) -> tuple[str, str]:
        """Code and message of what failed; that of a child run where the job's own says nothing."""
        doing = f"reading why the job {name} failed"
        history = self._history(doing)
        own = error_in(
            self._arm.ask("GET", f"{history}/{quote(name)}/details", doing, version="").body
        )
        if own[1] and not _VAGUE.search(own[1]):
            return own
        for run in self._failed_below(history, name, doing):
            inner = error_in(run)
            if inner[1] and not _VAGUE.search(inner[1]):
                return inner
        return own

    def _failed_below(self, history: str, name: str, doing: str) -> Iterator[Mapping[str, Any]]:
        """The failed runs below a run, nearest first, a bounded number of them."""
        waiting, left = [name], _MOST_RUNS_READ
        while waiting and left:
            for child in self._children(history, waiting.pop(0), doing):
                if str(child.get("status")).lower() != "failed" or not left:
                    continue
                left -= 1
                yield child
                waiting.append(str(child["runId"]))


def all_wait(name: str, children: Callable[[str], Iterable[Mapping[str, Any]]]) -> bool:
    """Whether all that is left of a job waits for machines: its steps, also those of pipelines in it.

    Args:
        name: The job's.
        children: Gives the runs below a run, as run history has them.
    """
    waiting, left, waits = [name], _MOST_RUNS_READ, False
    while waiting and left:
        left -= 1
        for child in children(waiting.pop(0)):
            status = str(child.get("status")).lower()
            if status in _ENDED:
                continue
            if str(child.get("runType")).lower() == _PIPELINE_RUN:
                waiting.append(str(child["runId"]))
            elif status in _WAITING:
                waits = True
            else:
                return False
    return waits


def error_in(run: Mapping[str, Any]) -> tuple[str, str]:
    """Code and message of a run history's `error`; the innermost code, which tells whose fault it is."""
    error = (run.get("error") or {}).get("error") or {}
    code, inner = str(error.get("code") or ""), error.get("innerError")
    while isinstance(inner, dict):
        code, inner = str(inner.get("code") or code), inner.get("innerError")
    return code, str(error.get("message") or "")


def state_of(status: str | None) -> JobState:
    """What matters about a status of Azure ML's; its spelling has varied in case."""
    return _STATES.get((status or "").lower(), JobState.ACTIVE)


def job_from(found: Any) -> Job:
    """A job of the SDK's as ours."""
    status = str(getattr(found.status, "value", found.status) or "Unknown")  # an enum, or text
    return Job(
        name=str(found.name), state=state_of(status), status=status, url=found.studio_url or None
    )


def component_inputs(request: JobRequest) -> dict[str, Any]:
    """The component's inputs as values; none that is `None`, enums as text, files by address.

    Without a cluster every stage runs serverless, on the size that was asked for: the component's own default
    is a size that has been retired.
    """
    where: dict[str, Any] = {f"compute_{stage}": request.cluster or SERVERLESS for stage in STAGES}
    if request.cluster is None:
        where |= {f"instance_type_{stage}": request.size for stage in STAGES}
    files = {f"{split}_file_path": address for split, address in request.splits.items()}
    given = {
        "task_name": "ChatCompletion",
        "mlflow_model_path": request.foundation_model,
        **where,
        **files,
        **request.parameters,
        "num_nodes_finetune": request.nodes,
        "number_of_gpu_to_use_finetuning": request.gpus,
    }
    return {name: value for name, value in given.items() if value is not None}


def pipeline_job(request: JobRequest, component: Any) -> Any:
    """The pipeline job, ready to be submitted.

    Args:
        request: What is wanted.
        component: The SDK's component.
    """
    from azure.ai.ml import Input
    from azure.ai.ml.dsl import pipeline

    given = component_inputs(request)
    kinds = {name: str(found.type) for name, found in component.inputs.items()}
    # Evaluation has been taken out of the component and its inputs may follow.
    given = {
        name: Input(type=kinds[name], path=value) if kinds[name] in ASSETS else value
        for name, value in given.items()
        if name in kinds
    }

    @pipeline(None, name=request.name, display_name=request.display_name)
    def fine_tuning() -> dict[str, Any]:
        step = component(**given)
        return {OUTPUT: step.outputs.mlflow_model_folder}

    job = fine_tuning()
    job.name = request.name
    job.display_name = request.display_name
    job.experiment_name = request.experiment
    job.tags = {TAG: request.run}
    job.properties = dict(request.lineage)
    assert job.settings is not None  # a pipeline always has them
    job.settings.force_rerun = True
    job.settings.continue_on_step_failure = False
    job.settings.default_compute = request.cluster or SERVERLESS
    return job
