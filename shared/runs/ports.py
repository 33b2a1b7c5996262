"""What the core needs of the world, in its own words.

`shared.cloud` fills these for Azure; the tests fill them in memory. Adapters translate every foreign
exception into `shared.errors`; in particular a lost race is `StaleRecord`, and what may be tried again is
`Transient`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from datetime import date, datetime, timedelta

    from shared.errors import Problem
    from shared.runs.endpoints import EndpointRecord
    from shared.runs.limits import Limits, Pace
    from shared.runs.machines import Allowance, Cluster, ClusterRequest, Priority, VmSize
    from shared.runs.manifest import Dataset
    from shared.runs.measures import Measured, Seen
    from shared.runs.parameters import Component
    from shared.runs.record import Run

Message = dict[str, str]
"""One chat message: `{"role": …, "content": …}`."""


@dataclass(frozen=True, slots=True)
class Look:
    """A message of the queue: look at this run. Without a number it is a hint, and always heeded."""

    run: str
    number: int | None = None


@dataclass(frozen=True, slots=True)
class Mark:
    """A run is marked as active, since when."""

    run: str
    at: datetime


class RunStore(Protocol):
    """Run records, each guarded by its ETag, and the marks of those that are active."""

    def load(self, run_id: str) -> tuple[Run, str]:
        """The record and its ETag.

        Raises:
            Missing: There is no such run.
        """

    def create(self, run: Run) -> str:
        """Save a new record; returns its ETag.

        Raises:
            StaleRecord: It exists already.
        """

    def save(self, run: Run, etag: str) -> str:
        """Replace the record if its ETag still is `etag`; returns the new one.

        Raises:
            StaleRecord: Somebody else replaced it.
        """

    def mark_active(self, run_id: str) -> None:
        """Note that the run has to be looked at. Doing it twice changes nothing."""

    def mark_inactive(self, run_id: str) -> None:
        """Take the note back. Doing it twice changes nothing."""

    def active(self) -> Iterator[Mark]:
        """The marks; costs in proportion to them alone."""


class Looks(Protocol):
    """The queue `run-steps`."""

    def send(self, look: Look, delay: timedelta) -> None:
        """Have `look` delivered after `delay`, at least once."""


class HeldEndpoint(Protocol):
    """An endpoint's record while we hold its lease."""

    @property
    def record(self) -> EndpointRecord | None:
        """The record as it stands; `None` before the first save."""

    def confirm(self) -> None:
        """Renew the lease: called just before anything is changed in Azure.

        Raises:
            StaleRecord: The lease ran out and may be somebody else's.
        """

    def save(self, record: EndpointRecord) -> None:
        """Replace the record.

        Raises:
            StaleRecord: The lease ran out and may be somebody else's.
        """


class EndpointStore(Protocol):
    """Endpoint records."""

    def load(self, name: str) -> EndpointRecord | None:
        """The record of the endpoint of this name, in people's words."""

    def hold(self, name: str) -> AbstractContextManager[HeldEndpoint]:
        """Take the lease of the endpoint's record for the length of the block.

        Raises:
            Busy: Somebody else holds it.
        """

    def all(self) -> Iterator[EndpointRecord]:
        """Every endpoint's record."""


@dataclass(frozen=True, slots=True)
class Dropped:
    """A manifest as it lies in its container."""

    path: str
    etag: str


class Manifests(Protocol):
    """The containers `manifests` and `reports`."""

    def read(self, path: str) -> tuple[bytes, str]:
        """Content and ETag; of a blob over the size limit, a little more than the limit.

        Raises:
            Missing: It is gone.
        """

    def listed(self) -> Iterator[Dropped]:
        """Every manifest in the container."""

    def seen(self) -> Iterator[Dropped]:
        """Every drop that was noted with `note_seen`."""

    def note_seen(self, drop: Dropped) -> None:
        """Note that this drop has become a run."""

    def report(self, path: str, body: bytes) -> None:
        """Write `<path>.errors.json` for the manifest's author."""

    def show_data(self, path: str, page: bytes) -> None:
        """Write `<path>.data.html`, the page on the manifest's data, for its author."""


@dataclass(frozen=True, slots=True)
class PreparedData:
    """The files that the job is given.

    Attributes:
        fingerprint: Names the data; the same sources and options have the same one.
        splits: Address of each split's file, as a job input takes it.
        rows: Number of rows in each split.
        dropped: Number of rows refused.
        tokens: Estimate of the tokens in `train`, each row cut at `max_seq_length`.
    """

    fingerprint: str
    splits: Mapping[str, str]
    rows: Mapping[str, int]
    dropped: int
    tokens: int


@dataclass(frozen=True, slots=True)
class DataPlan:
    """What a job is to prepare, written down where the job reads it.

    Attributes:
        fingerprint: Names the data.
        nodes: How many nodes have a share of the sources.
    """

    fingerprint: str
    nodes: int


class Preparation(Protocol):
    """Rows to files."""

    def problems(self, dataset: Dataset) -> list[Problem]:
        """What is wrong with the sources at first sight: files that are not there, unknown formats."""

    def prepare(
        self, dataset: Dataset, max_seq_length: int | None, beat: Callable[[], None]
    ) -> PreparedData:
        """Prepare the rows, calling `beat` at least every few seconds.

        Raises:
            DataRejected: The rows are not fit to train on.
        """

    def size(self, dataset: Dataset) -> int:
        """Bytes of all sources as they lie."""

    def fingerprint(self, dataset: Dataset, max_seq_length: int | None) -> str:
        """Names the data that these sources, as they are now, and these options make."""

    def plan(self, dataset: Dataset, max_seq_length: int | None, job: str, nodes: int) -> DataPlan:
        """Write down for the job of this name what it is to prepare, on at most so many nodes."""

    def finished(self, fingerprint: str, job: str | None = None) -> PreparedData | None:
        """The data of this fingerprint, if somebody has prepared it; `None` if nobody has.

        Raises:
            DataRejected: The rows are not fit to train on, or `job` could not read them.
        """

    def page(self, fingerprint: str) -> bytes:
        """The page (HTML) on the rows that were prepared, or refused, under the fingerprint.

        Raises:
            Missing: Nothing was.
        """

    def prompts(self, fingerprint: str, count: int) -> list[list[Message]]:
        """The first conversations of the test split, each cut to end with a user's turn."""


class Configs(Protocol):
    """Small configuration files that a job is given beside its rows."""

    def read(self, path: str) -> bytes:
        """The file at this path of the container `data`.

        Raises:
            Missing: There is none.
        """

    def keep(self, content: bytes) -> str:
        """Put the content where jobs read; returns its address as a job input takes it."""


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
    """A job to submit that prepares data by its plan. It is given up after `at_most`."""

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


class Workspace(Protocol):
    """Azure ML. Whatever begins a long operation returns as soon as it has begun."""

    @property
    def place(self) -> str:
        """Subscription, resource group and workspace in one line; part of endpoint names."""

    def foundation_model(self, registry: str, name: str, version: str) -> FoundationModel:
        """The model version; `latest` is resolved.

        Raises:
            Missing: There is none.
        """

    def model_versions(self, registry: str, name: str) -> Sequence[FoundationModel]:
        """Every version of a model, newest first, archived ones too; none when there is no such model."""

    def component(self) -> Component:
        """The newest version of the fine-tuning pipeline component."""

    def vm_size(self, name: str) -> VmSize | None:
        """The VM size of this name, in any case; `None` when the region does not have it."""

    def quota(self, size: VmSize, priority: Priority) -> Sequence[Allowance]:
        """The quotas that nodes of this size count against.

        Raises:
            Denied: We may not read them.
        """

    def cluster(self, name: str) -> Cluster | None:
        """The compute cluster, if there is one.

        Raises:
            Refused: There is compute of this name and it is no cluster.
        """

    def create_cluster(self, request: ClusterRequest) -> None:
        """Begin to make a compute cluster.

        Raises:
            Refused: Azure will not make it.
        """

    def delete_cluster(self, name: str) -> None:
        """Begin to delete the compute cluster; nothing happens if it is not there."""

    def job(self, name: str) -> Job | None:
        """The job, if there is one."""

    def submit(self, request: JobRequest) -> Job:
        """Submit the job. A job of this name that is there already is returned as it is."""

    def submit_data_job(self, request: DataJobRequest) -> Job:
        """Submit a job that prepares data; likewise. `job` and `cancel_job` know it by its name."""

    def cancel_job(self, name: str) -> None:
        """Begin to cancel the job; nothing happens if it has ended."""

    def measured(self, job: str) -> Measured:
        """What the job logged: last values, curves, tokens.

        Raises:
            Missing: Nothing is known of such a job.
        """

    def has_model(self, name: str, version: str) -> bool:
        """Whether the model version is registered."""

    def register(self, request: ModelRequest) -> None:
        """Register the model version."""

    def endpoint(self, name: str) -> Endpoint | None:
        """The endpoint, if there is one."""

    def standing(self) -> Iterator[Standing]:
        """Every online endpoint of the workspace, ours or not."""

    def create_endpoint(self, name: str, run: str) -> None:
        """Begin to make an endpoint with key authentication."""

    def delete_endpoint(self, name: str) -> None:
        """Begin to delete the endpoint with all its deployments."""

    def deployment(self, endpoint: str, name: str) -> Deployment | None:
        """The deployment, if there is one."""

    def deployments(self, endpoint: str) -> Sequence[Deployment]:
        """The endpoint's deployments; none when there is no such endpoint."""

    def create_deployment(self, request: DeploymentRequest) -> None:
        """Begin to make a deployment; it gets no traffic.

        Raises:
            Refused: Azure will not make it; its words say why.
        """

    def delete_deployment(self, endpoint: str, name: str) -> None:
        """Begin to delete the deployment."""

    def logs(self, endpoint: str, deployment: str) -> str:
        """The tail of the deployment's log; empty when there is none."""

    def set_traffic(self, endpoint: str, traffic: Mapping[str, int]) -> None:
        """Begin to set the traffic shares, in percent by deployment."""

    def ask(self, endpoint: str, deployment: str, messages: Sequence[Message]) -> str:
        """Put a conversation to one deployment, whatever traffic it has, and return its answer.

        Raises:
            Refused: It answered with an error, or with nothing.
        """

    def seen(self, endpoint: str, since: datetime) -> Mapping[str, Seen]:
        """How each deployment of the endpoint answered since `since`, as Azure Monitor counts.

        A deployment that nobody asked is missing from the answer.
        """

    def last_requests(
        self, endpoints: Sequence[str], since: datetime
    ) -> Mapping[str, datetime | None]:
        """When each endpoint was last asked, as Azure Monitor counts; `None`: not since `since`.

        An endpoint that could not be measured is missing from the answer.
        """


class Uses(Protocol):
    """When the proxy last used an endpoint: fresher than metrics, which lag by minutes."""

    def last(self, name: str) -> datetime | None:
        """The last noted use of the endpoint of this name, in people's words."""


@dataclass(frozen=True, slots=True)
class World:
    """Everything that steps and the reconciler act on."""

    runs: RunStore
    looks: Looks
    endpoints: EndpointStore
    manifests: Manifests
    preparation: Preparation
    configs: Configs
    workspace: Workspace
    uses: Uses
    limits: Limits
    pace: Pace
    now: Callable[[], datetime]
