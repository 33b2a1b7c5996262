"""The core's ports in memory, with a clock, a queue and an Azure ML that misbehave on request.

Fakes stand only at our own ports. What they imitate of Azure is what the core relies on: operations that take
time, 409 while one is under way, a deployment that cannot be deleted while it has traffic, answers that get
lost after the work was done.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from shared.errors import Busy, Missing, Refused, StaleRecord, Unavailable
from shared.runs import naming
from shared.runs.endpoints import EndpointRecord
from shared.runs.limits import Limits, Pace
from shared.runs.machines import Allowance, Cluster, ClusterRequest, Priority, VmSize
from shared.runs.measures import Measured, Seen
from shared.runs.parameters import Component, Input
from shared.runs.ports import (
    DataPlan,
    Deployment,
    Dropped,
    Endpoint,
    FoundationModel,
    Job,
    JobState,
    Look,
    Mark,
    PreparedData,
    Provisioning,
    Standing,
    World,
)
from shared.runs.record import Run

START = datetime(2026, 1, 5, 8, 0, tzinfo=UTC)

INPUTS = {
    "learning_rate": Input("number", 2e-5),
    "num_train_epochs": Input("integer", 1, minimum=1),
    "apply_lora": Input("string", "false", ("true", "false")),
    "precision": Input("string", "32", ("32", "16")),
    "max_seq_length": Input("integer", -1),
    "max_steps": Input("integer", -1),
    "per_device_train_batch_size": Input("integer", 1, minimum=1),
    "gradient_accumulation_steps": Input("integer", 1),
    "apply_early_stopping": Input("string", "false", ("true", "false")),
    "evaluation_strategy": Input("string", "epoch", ("epoch", "steps", "disable")),
    "train_file_path": Input("uri_file"),
    "apply_deepspeed": Input("string", "false", ("true", "false")),
    "auto_find_batch_size": Input("string", "false", ("true", "false")),
    "deepspeed": Input("uri_file"),
}

SIZE = "Standard_NC24ads_A100_v4"
BIG = "Standard_NC48ads_A100_v4"


class CrashError(BaseException):
    """The process dies here."""


@dataclass
class Faults:
    """What happens around port calls: consulted before and after each one."""

    before: Callable[[str], None] = lambda _: None
    after: Callable[[str], None] = lambda _: None

    @contextmanager
    def around(self, call: str) -> Iterator[None]:
        self.before(call)
        yield
        self.after(call)


@dataclass
class Clock:
    time: datetime = START

    def __call__(self) -> datetime:
        return self.time

    def advance(self, by: timedelta) -> None:
        self.time += by


def _as_kept(run: Run) -> Run:
    """The record as it comes back from its JSON: what cannot be written down fails here too."""
    return msgspec.json.decode(msgspec.json.encode(run), type=Run)


@dataclass
class MemoryRuns:
    faults: Faults
    records: dict[str, tuple[Run, int]] = field(default_factory=dict)
    marks: dict[str, datetime] = field(default_factory=dict)
    clock: Callable[[], datetime] = lambda: START

    def load(self, run_id: str) -> tuple[Run, str]:
        with self.faults.around("runs.load"):
            if run_id not in self.records:
                raise Missing(run_id)
            run, etag = self.records[run_id]
            return run, str(etag)

    def create(self, run: Run) -> str:
        with self.faults.around("runs.create"):
            if run.id in self.records:
                raise StaleRecord(run.id)
            self.records[run.id] = (_as_kept(run), 1)
            return "1"

    def save(self, run: Run, etag: str) -> str:
        with self.faults.around("runs.save"):
            _, current = self.records[run.id]
            if str(current) != etag:
                raise StaleRecord(run.id)
            self.records[run.id] = (_as_kept(run), current + 1)
            return str(current + 1)

    def mark_active(self, run_id: str) -> None:
        with self.faults.around("runs.mark_active"):
            self.marks[run_id] = self.clock()

    def mark_inactive(self, run_id: str) -> None:
        with self.faults.around("runs.mark_inactive"):
            self.marks.pop(run_id, None)

    def active(self) -> Iterator[Mark]:
        with self.faults.around("runs.active"):
            marks = sorted(self.marks.items())
        yield from (Mark(run, at) for run, at in marks)


@dataclass
class MemoryLooks:
    faults: Faults
    clock: Clock
    queue: list[tuple[datetime, Look]] = field(default_factory=list)

    def send(self, look: Look, delay: timedelta) -> None:
        with self.faults.around("looks.send"):
            self.queue.append((self.clock() + delay, look))

    def due(self) -> list[Look]:
        now = self.clock()
        ready = [look for at, look in self.queue if at <= now]
        self.queue = [(at, look) for at, look in self.queue if at > now]
        return ready


@dataclass
class Held:
    store: MemoryEndpoints
    name: str
    token: int

    @property
    def record(self) -> EndpointRecord | None:
        return self.store.records.get(self.name)

    def confirm(self) -> None:
        with self.store.faults.around("endpoints.confirm"):
            if self.store.holders.get(self.name, (0, START))[0] != self.token:
                raise StaleRecord(self.name)

    def save(self, record: EndpointRecord) -> None:
        with self.store.faults.around("endpoints.save"):
            if self.store.holders.get(self.name, (0, START))[0] != self.token:
                raise StaleRecord(self.name)
            self.store.records[self.name] = record


@dataclass
class MemoryEndpoints:
    faults: Faults
    clock: Clock
    lease: timedelta = timedelta(seconds=30)
    records: dict[str, EndpointRecord] = field(default_factory=dict)
    holders: dict[str, tuple[int, datetime]] = field(default_factory=dict)
    tokens: int = 0

    def load(self, name: str) -> EndpointRecord | None:
        with self.faults.around("endpoints.load"):
            return self.records.get(name)

    @contextmanager
    def hold(self, name: str) -> Iterator[Held]:
        with self.faults.around("endpoints.hold"):
            if name in self.holders and self.holders[name][1] > self.clock():
                raise Busy(f"{name} is held")
            self.tokens += 1
            token = self.tokens
            self.holders[name] = (token, self.clock() + self.lease)
        try:
            yield Held(self, name, token)
        except CrashError:
            raise  # a dead process releases nothing: the lease runs out by itself
        except BaseException:
            self._release(name, token)
            raise
        self._release(name, token)

    def _release(self, name: str, token: int) -> None:
        if self.holders.get(name, (0, START))[0] == token:
            del self.holders[name]

    def all(self) -> Iterator[EndpointRecord]:
        yield from list(self.records.values())


@dataclass
class MemoryManifests:
    faults: Faults
    blobs: dict[str, tuple[bytes, str]] = field(default_factory=dict)
    notes: set[Dropped] = field(default_factory=set)
    reports: dict[str, bytes] = field(default_factory=dict)
    drops: int = 0

    def drop(self, path: str, content: bytes) -> None:
        self.drops += 1
        self.blobs[path] = (content, f"etag-{self.drops}")

    def read(self, path: str) -> tuple[bytes, str]:
        with self.faults.around("manifests.read"):
            if path not in self.blobs:
                raise Missing(path)
            return self.blobs[path]

    def listed(self) -> Iterator[Dropped]:
        yield from [Dropped(path, etag) for path, (_, etag) in self.blobs.items()]

    def seen(self) -> Iterator[Dropped]:
        yield from list(self.notes)

    def note_seen(self, drop: Dropped) -> None:
        with self.faults.around("manifests.note_seen"):
            self.notes.add(drop)

    def report(self, path: str, body: bytes) -> None:
        with self.faults.around("manifests.report"):
            self.reports[f"{path}.errors.json"] = body

    def show_data(self, path: str, page: bytes) -> None:
        with self.faults.around("manifests.show_data"):
            self.reports[f"{path}.data.html"] = page


@dataclass
class MemoryPreparation:
    faults: Faults
    missing: list[Any] = field(default_factory=list)
    refusal: Exception | None = None
    bytes: int = 1000
    sources: int = 3
    source_version: str = "f00d"
    plans: dict[str, str] = field(default_factory=dict)
    reports: Callable[[], set[str]] = set
    """Fingerprints of what jobs have prepared by now."""
    tokens: int = 4000
    revision: str | None = None
    secret: list[Any] = field(default_factory=list)
    """What keeps a job from reading it."""

    def problems(self, dataset: Any) -> list[Any]:
        del dataset
        return list(self.missing)

    def prepare(self, dataset: Any, max_seq_length: Any, beat: Callable[[], None]) -> PreparedData:
        del dataset, max_seq_length
        with self.faults.around("preparation.prepare"):
            assert self.bytes <= LIMITS.in_function, "too much for a function"
            beat()
            if self.refusal is not None:
                raise self.refusal
            return self._data()

    def size(self, dataset: Any) -> int:
        del dataset
        with self.faults.around("preparation.size"):
            return self.bytes

    def problems_in_job(self, dataset: Any) -> list[Any]:
        del dataset
        with self.faults.around("preparation.problems_in_job"):
            return list(self.secret)

    def fingerprint(self, dataset: Any, max_seq_length: Any) -> str:
        del dataset, max_seq_length
        with self.faults.around("preparation.fingerprint"):
            return self.source_version

    def plan(self, dataset: Any, max_seq_length: Any, job: str, nodes: int) -> DataPlan:
        del dataset, max_seq_length
        with self.faults.around("preparation.plan"):
            self.plans[job] = self.source_version
            return DataPlan(self.source_version, min(nodes, self.sources))

    def finished(self, fingerprint: str, job: str | None = None) -> PreparedData | None:
        with self.faults.around("preparation.finished"):
            if job is not None and self.refusal is not None:
                raise self.refusal
            if fingerprint not in self.reports():
                return None
            return replace(self._data(), fingerprint=fingerprint)

    def _data(self) -> PreparedData:
        splits = {name: f"azureml://{name}" for name in ("train", "validation", "test")}
        return PreparedData(
            "f00d", splits, dict.fromkeys(splits, 20), 1, self.tokens, self.revision
        )

    def page(self, fingerprint: str) -> bytes:
        with self.faults.around("preparation.page"):
            return f"page {fingerprint}".encode()

    def prompts(self, fingerprint: str, count: int) -> list[list[dict[str, str]]]:
        del fingerprint
        return [[{"role": "user", "content": f"question {n}"}] for n in range(count)]


@dataclass
class MemoryConfigs:
    faults: Faults
    files: dict[str, bytes] = field(default_factory=dict)
    kept: dict[str, bytes] = field(default_factory=dict)

    def read(self, path: str) -> bytes:
        with self.faults.around("configs.read"):
            if path not in self.files:
                raise Missing(path)
            return self.files[path]

    def keep(self, content: bytes) -> str:
        with self.faults.around("configs.keep"):
            address = f"azureml://configs/{len(content)}"
            self.kept[address] = content
            return address


@dataclass
class MemoryUses:
    used: dict[str, datetime] = field(default_factory=dict)

    def last(self, name: str) -> datetime | None:
        return self.used.get(name)


@dataclass
class FakeJob:
    run: str
    until: datetime
    fate: JobState
    machines_failed: bool = False
    cancelled: bool = False
    status: str = ""
    waits: bool = False


@dataclass
class FakeCluster:
    shown: Cluster
    until: datetime = START
    fate: Provisioning = Provisioning.SUCCEEDED


@dataclass
class FakeResource:
    run: str
    until: datetime
    fate: Provisioning = Provisioning.SUCCEEDED
    deleting: bool = False
    traffic: dict[str, int] = field(default_factory=dict)
    changing_until: datetime = START
    made_at: datetime = START
    attempt: int = 1
    size: str = ""
    error: str = ""


@dataclass
class SimulatedWorkspace:
    """Azure ML on the test's clock. Keeps its own history, so that tests can count what was made."""

    faults: Faults
    clock: Clock
    job_takes: timedelta = timedelta(minutes=20)
    rollout_takes: timedelta = timedelta(minutes=5)
    place: str = "sub/group/ws"
    curves: Mapping[str, list[tuple[int, float]]] | None = None
    metrics_of_jobs: Mapping[str, float] = field(default_factory=lambda: {"eval_loss": 1.0})
    fates: list[tuple[JobState, bool]] = field(default_factory=list)
    data_fates: list[tuple[JobState, bool]] = field(default_factory=list)
    data_jobs: dict[str, Any] = field(default_factory=dict)
    deployment_fates: list[Provisioning] = field(default_factory=list)
    update_fates: list[Provisioning] = field(default_factory=list)
    error: str = "ResourceNotReady: User container has crashed or terminated"
    errors: list[str] = field(default_factory=list)
    cores_allowed: dict[str, int] = field(default_factory=dict)
    health: dict[str, Seen] = field(default_factory=dict)
    ill: list[bool] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)
    requests_made: list[Any] = field(default_factory=list)
    versions: dict[str, list[FoundationModel]] = field(default_factory=dict)
    sizes: list[VmSize] = field(
        default_factory=lambda: [VmSize(SIZE, "A100", 24, 1), VmSize(BIG, "A100", 48, 2)]
    )
    quotas: dict[Priority, list[Allowance]] = field(default_factory=dict)
    clusters: dict[str, FakeCluster] = field(default_factory=dict)
    cluster_fates: list[Provisioning] = field(default_factory=list)
    statuses: list[str] = field(default_factory=list)
    answer: str | None = "an answer"
    measurable: bool = True
    requests: dict[str, datetime] = field(default_factory=dict)
    jobs: dict[str, FakeJob] = field(default_factory=dict)
    models: dict[tuple[str, str], str] = field(default_factory=dict)
    endpoints: dict[str, FakeResource] = field(default_factory=dict)
    made: dict[tuple[str, str], FakeResource] = field(default_factory=dict)

    def foundation_model(self, registry: str, name: str, version: str) -> FoundationModel:
        with self.faults.around("workspace.foundation_model"):
            if name in self.versions:
                return self._version(name, version)
            chosen = "8" if version == "latest" else version
            model_id = f"azureml://registries/{registry}/models/{name}/versions/{chosen}"
            defaults = {"learning_rate_min": 1e-7}
            return FoundationModel(model_id, name, chosen, defaults, tasks=("chat-completion",))

    def _version(self, name: str, version: str) -> FoundationModel:
        for each in self.versions[name]:
            if version in (each.version, "latest" if not each.archived else ""):
                return each
        raise Missing(f"no version '{version}' of '{name}'")

    def model_versions(self, registry: str, name: str) -> Sequence[FoundationModel]:
        del registry
        return self.versions.get(name, [])

    def component(self) -> Component:
        with self.faults.around("workspace.component"):
            return Component("azureml://component/1", "1", INPUTS)

    def vm_size(self, name: str) -> VmSize | None:
        with self.faults.around("workspace.vm_size"):
            return next((s for s in self.sizes if s.name.lower() == name.lower()), None)

    def quota(self, size: VmSize, priority: Priority) -> Sequence[Allowance]:
        with self.faults.around("workspace.quota"):
            if size.name in self.cores_allowed:
                self._tidy()
                allowed = self.cores_allowed[size.name]
                return [Allowance(f"family of {size.name}", allowed, self._used(size.name))]
            return self.quotas.get(priority, [])

    # Clusters

    def cluster(self, name: str) -> Cluster | None:
        with self.faults.around("workspace.cluster"):
            found = self.clusters.get(name)
            if found is None:
                return None
            ready = self.clock() >= found.until
            return replace(found.shown, provisioning=found.fate if ready else Provisioning.WORKING)

    def create_cluster(self, request: ClusterRequest) -> None:
        with self.faults.around("workspace.create_cluster"):
            if request.name in self.clusters:
                return
            fate = self.cluster_fates.pop(0) if self.cluster_fates else Provisioning.SUCCEEDED
            shown = Cluster(
                request.name,
                Provisioning.WORKING,
                request.run,
                request.size,
                0,
                request.nodes,
                0,
                request.priority,
                error="no machines" if fate is Provisioning.FAILED else None,
            )
            until = self.clock() + timedelta(minutes=1)
            self.clusters[request.name] = FakeCluster(shown, until, fate)

    def delete_cluster(self, name: str) -> None:
        with self.faults.around("workspace.delete_cluster"):
            self.clusters.pop(name, None)

    # Jobs

    def _job_state(self, job: FakeJob) -> JobState:
        if job.cancelled:
            return JobState.CANCELLED
        return job.fate if self.clock() >= job.until else JobState.ACTIVE

    def live_jobs(self, run: str) -> list[str]:
        return [
            name
            for name, job in self.jobs.items()
            if job.run == run and self._job_state(job) is JobState.ACTIVE
        ]

    def _seen(self, name: str) -> Job:
        job = self.jobs[name]
        state = self._job_state(job)
        error = "node lost" if job.machines_failed else "bad data"
        status = job.status if state is JobState.ACTIVE and job.status else state
        return Job(name, state, status, error=error, code="UserError", waits=job.waits)

    def job(self, name: str) -> Job | None:
        with self.faults.around("workspace.job"):
            return self._seen(name) if name in self.jobs else None

    def submit(self, request: Any) -> Job:
        with self.faults.around("workspace.submit"):
            if request.name not in self.jobs:
                assert not self.live_jobs(request.run), "two live jobs of one run"
                fate, again = self.fates.pop(0) if self.fates else (JobState.COMPLETED, False)
                shown = self.statuses.pop(0) if self.statuses else ""
                takes = self.job_takes
                if shown == "NotResponding":
                    takes *= 1000  # it comes to no end by itself
                self.jobs[request.name] = FakeJob(
                    request.run, self.clock() + takes, fate, again, status=shown
                )
            return self._seen(request.name)

    def submit_data_job(self, request: Any) -> Job:
        with self.faults.around("workspace.submit_data_job"):
            if request.name not in self.jobs:
                assert not self.live_jobs(request.run), "two live jobs of one run"
                fate, again = (
                    self.data_fates.pop(0) if self.data_fates else (JobState.COMPLETED, False)
                )
                self.jobs[request.name] = FakeJob(
                    request.run, self.clock() + self.job_takes, fate, again
                )
                self.data_jobs[request.name] = request
            return self._seen(request.name)

    def prepared(self) -> set[str]:
        """Fingerprints of what jobs that completed were to prepare."""
        return {
            request.fingerprint
            for name, request in self.data_jobs.items()
            if self._job_state(self.jobs[name]) is JobState.COMPLETED
        }

    def cancel_job(self, name: str) -> None:
        with self.faults.around("workspace.cancel_job"):
            if self._job_state(self.jobs[name]) is JobState.ACTIVE:
                self.jobs[name].cancelled = True

    def measured(self, job: str) -> Measured:
        with self.faults.around("workspace.measured"):
            assert self._job_state(self.jobs[job]) is JobState.COMPLETED
            last = self.metrics_of_jobs
            curves = {name: [(1, 9.0), (2, value)] for name, value in last.items()}
            return Measured(last, curves if self.curves is None else self.curves, {"training": 7})

    def has_model(self, name: str, version: str) -> bool:
        with self.faults.around("workspace.has_model"):
            return (name, version) in self.models

    def register(self, request: Any) -> None:
        with self.faults.around("workspace.register"):
            self.models[(request.name, request.version)] = request.run
            self.requests_made.append(request)

    # Endpoints

    def _tidy(self) -> None:
        """Let what was being deleted disappear once its time has come."""
        now = self.clock()
        gone = [name for name, e in self.endpoints.items() if e.deleting and e.until <= now]
        for name in gone:
            del self.endpoints[name]
            self.made = {key: d for key, d in self.made.items() if key[0] != name}
        self.made = {k: d for k, d in self.made.items() if not (d.deleting and d.until <= now)}

    def _provisioning(self, resource: FakeResource) -> Provisioning:
        if resource.deleting:
            return Provisioning.DELETING
        if max(resource.until, resource.changing_until) > self.clock():
            return Provisioning.WORKING
        return resource.fate

    def _idle_endpoint(self, name: str) -> FakeResource:
        self._tidy()
        if name not in self.endpoints:
            raise Missing(name)
        endpoint = self.endpoints[name]
        if self._provisioning(endpoint) in (Provisioning.WORKING, Provisioning.DELETING):
            raise Busy(f"{name} is changing")
        return endpoint

    def endpoint(self, name: str) -> Endpoint | None:
        with self.faults.around("workspace.endpoint"):
            self._tidy()
            found = self.endpoints.get(name)
            if found is None:
                return None
            state = self._provisioning(found)
            return Endpoint(name, state, found.run, f"https://{name}/score", dict(found.traffic))

    def standing(self) -> Iterator[Standing]:
        self._tidy()
        for name, found in list(self.endpoints.items()):
            yield Standing(name, found.run, found.made_at, found.deleting)

    def create_endpoint(self, name: str, run: str) -> None:
        with self.faults.around("workspace.create_endpoint"):
            self._tidy()
            if name in self.endpoints:
                return  # the adapter leaves one that is ours as it is
            self.endpoints[name] = FakeResource(
                run, self.clock() + self.rollout_takes / 5, made_at=self.clock()
            )

    def delete_endpoint(self, name: str) -> None:
        with self.faults.around("workspace.delete_endpoint"):
            self._tidy()
            if name in self.endpoints and not self.endpoints[name].deleting:
                endpoint = self._idle_endpoint(name)
                endpoint.deleting = True
                endpoint.until = self.clock() + self.rollout_takes / 5

    def deployment(self, endpoint: str, name: str) -> Deployment | None:
        with self.faults.around("workspace.deployment"):
            self._tidy()
            found = self.made.get((endpoint, name))
            if found is None:
                return None
            state = self._provisioning(found)
            error = found.error if state is Provisioning.FAILED else None
            return Deployment(name, state, found.run, error, found.attempt, found.size)

    def deployments(self, endpoint: str) -> Sequence[Deployment]:
        with self.faults.around("workspace.deployments"):
            self._tidy()
            return [
                Deployment(name, self._provisioning(d), d.run)
                for (of, name), d in self.made.items()
                if of == endpoint
            ]

    def create_deployment(self, request: Any) -> None:
        with self.faults.around("workspace.create_deployment"):
            self._idle_endpoint(request.endpoint)
            assert (request.model, request.model_version) in self.models
            key = (request.endpoint, request.name)
            if key in self.made:
                raise Busy(f"{request.name} is there")
            if self.refusals:
                raise Refused(self.refusals.pop(0))
            allowed = self.cores_allowed.get(request.instance_type)
            if allowed is not None and self._used(request.instance_type) + 24 > allowed:
                raise Refused("BadRequest: VmSize: Not enough quota available")
            fate = (
                self.deployment_fates.pop(0) if self.deployment_fates else Provisioning.SUCCEEDED
            )
            error = self.error
            if fate is Provisioning.FAILED and self.errors:
                error = self.errors.pop(0)
            self.made[key] = FakeResource(
                request.run,
                self.clock() + self.rollout_takes,
                fate,
                attempt=request.attempt,
                size=request.instance_type,
                error=error,
            )
            self.requests_made.append(request)

    def delete_deployment(self, endpoint: str, name: str) -> None:
        with self.faults.around("workspace.delete_deployment"):
            parent = self._idle_endpoint(endpoint)
            found = self.made.get((endpoint, name))
            if found is None or found.deleting:
                return
            if parent.traffic.get(name):
                raise Refused(f"{name} has traffic")
            if self._provisioning(found) is Provisioning.WORKING:
                raise Busy(f"{name} is changing")
            found.deleting, found.until = True, self.clock() + self.rollout_takes / 5

    def logs(self, endpoint: str, deployment: str) -> str:
        return f"log of {endpoint}/{deployment}"

    def set_traffic(self, endpoint: str, traffic: Mapping[str, int]) -> None:
        with self.faults.around("workspace.set_traffic"):
            found = self._idle_endpoint(endpoint)
            for name in traffic:
                target = self.made.get((endpoint, name))
                if target is None or self._provisioning(target) is not Provisioning.SUCCEEDED:
                    raise Refused(f"{name} cannot take traffic")
            found.fate = self.update_fates.pop(0) if self.update_fates else Provisioning.SUCCEEDED
            if found.fate is Provisioning.SUCCEEDED:
                found.traffic = dict(traffic)
            found.changing_until = self.clock() + timedelta(seconds=20)

    def ask(self, endpoint: str, deployment: str, messages: Sequence[Mapping[str, str]]) -> str:
        with self.faults.around("workspace.ask"):
            if self._provisioning(self.made[(endpoint, deployment)]) is not Provisioning.SUCCEEDED:
                raise Unavailable("not up")
            assert messages[-1]["role"] == "user"
            if self.answer is None:
                raise Refused("it answered {}")
            return self.answer

    def _used(self, size: str) -> int:
        return 24 * sum(made.size == size for made in self.made.values())

    def seen(self, endpoint: str, since: datetime) -> Mapping[str, Seen]:
        with self.faults.around("workspace.seen"):
            traffic = self.endpoints[endpoint].traffic
            if self.ill and traffic:
                newest = list(traffic)[-1]
                is_ill = self.ill.pop(0) if len(self.ill) > 1 else self.ill[0]
                return {newest: Seen(100, 50 if is_ill else 0, 300.0)}
            return dict(self.health)

    def last_requests(
        self, endpoints: Sequence[str], since: datetime
    ) -> Mapping[str, datetime | None]:
        with self.faults.around("workspace.last_requests"):
            if not self.measurable:
                return {}
            recent = {name: self.requests.get(name) for name in endpoints}
            return {name: at if at and at > since else None for name, at in recent.items()}


LIMITS = Limits(
    registries=("azureml",), instance_types=(SIZE,), nodes=2, instances=2, runs=2, attempts=2
)


@dataclass
class Simulation:
    """A world in memory and handles on all of its parts."""

    faults: Faults = field(default_factory=Faults)
    clock: Clock = field(default_factory=Clock)

    def __post_init__(self) -> None:
        self.runs = MemoryRuns(self.faults, clock=self.clock)
        self.looks = MemoryLooks(self.faults, self.clock)
        self.endpoints = MemoryEndpoints(self.faults, self.clock)
        self.manifests = MemoryManifests(self.faults)
        self.preparation = MemoryPreparation(self.faults)
        self.configs = MemoryConfigs(self.faults)
        self.workspace = SimulatedWorkspace(self.faults, self.clock)
        self.preparation.reports = self.workspace.prepared
        self.uses = MemoryUses()
        self.world = World(
            runs=self.runs,
            looks=self.looks,
            endpoints=self.endpoints,
            manifests=self.manifests,
            preparation=self.preparation,
            configs=self.configs,
            workspace=self.workspace,
            uses=self.uses,
            limits=LIMITS,
            pace=Pace(),
            now=self.clock,
        )

    def limited(self, **changes: Any) -> None:
        self.world = replace(self.world, limits=replace(self.world.limits, **changes))

    def run(self, run_id: str) -> Run:
        return self.runs.records[run_id][0]

    def all_runs(self) -> list[Run]:
        return [run for run, _ in self.runs.records.values()]

    def azure_name(self, endpoint: str) -> str:
        return naming.endpoint_name(endpoint, self.workspace.place)
