"""What Azure ML is asked for, and what it reports, in the words of the core."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import date, datetime, timedelta


@dataclass(frozen=True, slots=True)
class FoundationModel:
    """A model to start from, as its registry describes it.

    Attributes:
        id: Its asset id.
        name: Its name.
        version: Its version.
        defaults: The parameters that its publisher recommends.
        tasks: What it can be fine-tuned for; `None` when the registry does not say.
        train_sizes: VM sizes that may train it; empty when the registry does not say.
        serve_sizes: VM sizes that may serve it, likewise.
        archived: Whether this version is offered to nobody new.
        tuning_ends: When its fine-tuning is, or was, retired.
        serving_ends: When its inference is, or was, retired.
    """

    id: str
    name: str
    version: str
    defaults: Mapping[str, Any]
    tasks: tuple[str, ...] | None = None
    train_sizes: tuple[str, ...] = ()
    serve_sizes: tuple[str, ...] = ()
    archived: bool = False
    tuning_ends: date | None = None
    serving_ends: date | None = None


@dataclass(frozen=True, slots=True)
class JobRequest:
    """A fine-tuning job to submit."""

    name: str
    display_name: str
    experiment: str
    run: str
    foundation_model: str
    component: str
    splits: Mapping[str, str]
    parameters: Mapping[str, Any]
    cluster: str | None
    size: str
    nodes: int
    gpus: int
    lineage: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class DataJobRequest:
    """A job to submit that prepares data by its plan. Azure ML ends it when it has worked for `at_most`."""

    name: str
    display_name: str
    experiment: str
    run: str
    fingerprint: str
    nodes: int
    at_most: timedelta


class JobState(StrEnum):
    """What matters about a job's status."""

    ACTIVE = "active"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Job:
    """A job as Azure ML reports it.

    Attributes:
        name: Its name.
        state: What matters about its status.
        status: Azure ML's word for it.
        url: Where a person can watch it.
        error: Why it failed.
        code: Azure's code for that.
        waits: Whether it runs only in name: none of its steps does, they wait for machines.
    """

    name: str
    state: JobState
    status: str
    url: str | None = None
    error: str | None = None
    code: str = ""
    waits: bool = False


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """A model version to register from a job's output; tags and properties within Azure ML's bounds."""

    name: str
    version: str
    job: str
    run: str
    description: str
    tags: Mapping[str, str]
    lineage: Mapping[str, str]


class Provisioning(StrEnum):
    """What matters about an endpoint's or deployment's provisioning state."""

    WORKING = "working"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    DELETING = "deleting"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An online endpoint as Azure ML reports it. `run` is its ownership tag's value."""

    name: str
    provisioning: Provisioning
    run: str | None
    scoring_uri: str | None
    traffic: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Standing:
    """An online endpoint as a listing of Azure's shows it.

    Attributes:
        name: Azure's name of it.
        run: The value of its tag `droptune_run`; without it, it is none of ours.
        created_at: When it was made, if Azure says so.
        deleting: Whether its deletion is under way.
    """

    name: str
    run: str | None
    created_at: datetime | None
    deleting: bool = False


@dataclass(frozen=True, slots=True)
class Deployment:
    """A deployment as Azure ML reports it. `run` is its ownership tag's value.

    Attributes:
        error: Of one that failed, Azure's code and message.
        attempt: Which of the run's attempts it is, from 1.
        instance_type: Its VM size.
    """

    name: str
    provisioning: Provisioning
    run: str | None
    error: str | None = None
    attempt: int = 1
    instance_type: str = ""


@dataclass(frozen=True, slots=True)
class DeploymentRequest:
    """A deployment to make.

    Attributes:
        startup: How long it may take to load its model before its probes fail it.
        request_timeout: How long an answer may take.
        concurrent_requests: Requests that an instance works on at once.
    """

    endpoint: str
    name: str
    run: str
    model: str
    model_version: str
    instance_type: str
    instances: int
    attempt: int
    startup: timedelta
    request_timeout: timedelta
    concurrent_requests: int
