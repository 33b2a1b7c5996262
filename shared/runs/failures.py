"""What can go wrong from a manifest to a trained model, what Droptune does about it, and what a person should do.

Every failure that Droptune tells apart has its kind here. The sentence for the person is the one that the
record and the report give as the mend, and docs/OPERATIONS.md has the same table: a test holds it to this one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from shared.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Failure:
    """A kind of failure.

    Attributes:
        what: What happened.
        does: What Droptune does about it.
        mend: What the person should do.
        again: Whether a further attempt may succeed where this one failed.
    """

    what: str
    does: str
    mend: str
    again: bool = False


_REFUSED: Final = "refuses the manifest before anything is made"

FAILURES: Final[Mapping[str, Failure]] = {
    "model-missing": Failure(
        "the registry has no such model or version",
        f"takes a fallback model if `model.allow_fallback` is set, else {_REFUSED}",
        "Check model.registry, model.name and model.version",
    ),
    "model-archived": Failure(
        "`latest` is asked for and every version of the model is archived",
        f"takes a fallback model if `model.allow_fallback` is set, else {_REFUSED}",
        "Choose another model, name a version in model.version, or set model.allow_fallback",
    ),
    "model-retired": Failure(
        "the model's fine-tuning or inference has been retired",
        f"takes a fallback model if `model.allow_fallback` is set, else {_REFUSED}",
        "Choose another model, set model.allow_fallback, or model.allow_retired to try it all "
        "the same",
    ),
    "model-not-tunable": Failure(
        "the model cannot be fine-tuned for chat completion",
        _REFUSED,
        "Choose a model whose fine-tuning tasks have chat-completion",
    ),
    "parameter-unknown": Failure(
        "`finetune` names what is no input of the component version in use",
        f"{_REFUSED}; the same from the model's defaults is dropped with a note",
        "Look the name up in the component's inputs",
    ),
    "parameter-wrong": Failure(
        "a parameter's type or value is not what the component takes",
        _REFUSED,
        "Give a value that the component takes",
    ),
    "parameters-conflict": Failure(
        "parameters do not go together, and training would fail on the GPU",
        _REFUSED,
        "Change one of them",
    ),
    "size-not-supported": Failure(
        "the VM size cannot train or serve the model, or the region lacks it",
        _REFUSED,
        "Choose one of the sizes that the model supports",
    ),
    "quota-too-small": Failure(
        "the quota is smaller than the job needs, whatever else runs",
        f"tries the next of `compute.priority`, else {_REFUSED}",
        "Ask for more quota in the portal, or choose another size or fewer nodes",
    ),
    "quota-in-use": Failure(
        "the quota would do, but others use it",
        "waits for it before it submits; fails the run after `DROPTUNE_LONGEST_QUEUED`",
        "Free some of the quota or ask for more, then drop the manifest again",
    ),
    "cluster-not-usable": Failure(
        "the cluster that is named cannot run the job: another kind of compute, failed, too few "
        "nodes",
        "refuses or fails the run; never touches what it did not make",
        "Mend the cluster, name another one, or leave compute.cluster out for serverless",
    ),
    "cluster-failed": Failure(
        "the cluster that Droptune makes fails to come up",
        "deletes it, tries the next of `compute.priority`, then fails the run",
        "See the reason: most often quota or capacity; another size or region may have some",
    ),
    "job-refused": Failure(
        "Azure ML refuses the job",
        "fails the run with Azure's words",
        "Mend what it names, then drop the manifest again",
    ),
    "job-preempted": Failure(
        "low-priority nodes were taken away",
        "another attempt, up to `DROPTUNE_MAX_ATTEMPTS`",
        "Use dedicated nodes if it happens often",
        again=True,
    ),
    "job-infrastructure": Failure(
        "the infrastructure failed under the job",
        "another attempt, up to `DROPTUNE_MAX_ATTEMPTS`",
        "Look at the service's health if it happens often",
        again=True,
    ),
    "job-user-error": Failure(
        "the job fails by its data, its parameters or the GPU's memory",
        "fails the run with the job's own error",
        "Mend what the error names, then drop the manifest again",
    ),
    "job-stuck-queued": Failure(
        "the job, or all that is left of its steps, waits for machines",
        "says since when; cancels it and fails the run after `DROPTUNE_LONGEST_QUEUED`",
        "Choose another size, region or priority: the one asked for has no machines free",
    ),
    "job-not-responding": Failure(
        "the job does not respond",
        "cancels it after `DROPTUNE_LONGEST_UNRESPONSIVE`; another attempt once it is gone, up to "
        "`DROPTUNE_MAX_ATTEMPTS`",
        "Look at the job's log for what its node died of, most often memory",
        again=True,
    ),
    "job-too-long": Failure(
        "the job trains for longer than 7 days",
        "cancels it and fails the run",
        "Train on fewer rows, fewer epochs or more GPUs",
    ),
    "preparation-too-long": Failure(
        "the job that prepares the data works for longer than `DROPTUNE_PREPARE_FOR_AT_MOST`",
        "cancels it and fails the run",
        "Give the data as more files of about the same size, or allow more nodes or more time",
    ),
    "job-cancelled": Failure(
        "somebody cancels the job in Azure ML",
        "ends the run as cancelled",
        "Drop the manifest again to train after all",
    ),
}
"""Every failure on the way to a trained model, by its kind."""

_PREEMPTED = re.compile(r"(?i)pre-?empt|evict|low.?priority|spot (vm|instance)")
_INFRASTRUCTURE = re.compile(
    r"(?i)node (was )?(lost|unusable|unhealthy|became)|lost node|nodelost|heartbeat|"
    r"job was interrupted|instance .* deallocated|infrastructure|internal ?server ?error|"
    r"service (is )?(temporarily )?unavailable|allocation ?failed|capacity"
)
_SYSTEM_CODES: Final = frozenset({"systemerror", "serviceerror", "internalservererror"})


def problem(kind: str, place: str, reason: str) -> Problem:
    """A problem of this kind, with its mend.

    >>> problem("parameters-conflict", "finetune.x", "does not go with y").mend
    'Change one of them'
    """
    return Problem(place, reason, FAILURES[kind].mend)


def sentence(kind: str, said: str) -> str:
    """What a run ends with: what happened, and what a person should do."""
    return f"{said.rstrip('.')}. {FAILURES[kind].mend}"


def of_job(code: str, message: str) -> str:
    """The kind of a job's failure.

    A pre-empted job has been seen to fail as `UserError`, with `PreemptionError` in its message only
    (github.com/microsoft/MLOpsPython/issues/346), so the message counts before the code.

    >>> of_job("UserError", "PreemptionError: Nodes of this job got pre-empted.")
    'job-preempted'
    """
    if _PREEMPTED.search(f"{code} {message}"):
        return "job-preempted"
    if code.lower() in _SYSTEM_CODES or _INFRASTRUCTURE.search(f"{code} {message}"):
        return "job-infrastructure"
    return "job-user-error"
