"""Whole runs over the real adapters: real storage, the unmodified SDK, the control plane, its own clock.

Only preparing rows is cut short: the "rows" are the orders of the training and scoring processes. Messages are
delivered from memory, on the control plane's clock, so that a test can let time pass.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import requests

from local.azureml.server import ControlPlane
from shared.cloud import sdk, storage
from shared.cloud.arm import Place
from shared.cloud.configs import BlobConfigs
from shared.cloud.endpoint_store import BlobEndpointStore
from shared.cloud.manifests import BlobManifests
from shared.cloud.run_store import BlobRunStore
from shared.cloud.storage import StorageConnection
from shared.cloud.uses import BlobUses
from shared.cloud.workspace import AzureWorkspace
from shared.runs import intake, reconciler
from shared.runs.limits import Limits, Pace
from shared.runs.phases import FINAL, RESTING, Phase
from shared.runs.ports import Look, PreparedData, World
from shared.runs.record import Run

GPU = "Standard_NC24ads_A100_v4"
BIG = "Standard_NC48ads_A100_v4"
TRAIN = {"size": "Standard_NC40ads_H100_v5"}
"""Another family's quota than the models are served on."""
FAMILY = "StandardNCADSA100v4Family"
GOOD = {"do": "complete", "metrics": {"loss": [3.0, 1.0], "eval_loss": [2.0, 1.0]}}
PROMPTS = [[{"role": "user", "content": f"Question {number}?"}] for number in range(3)]


@dataclass
class Looks:
    """`shared.runs.ports.Looks` in memory: nothing is lost, and nothing comes before its time."""

    now: Callable[[], datetime]
    waiting: list[tuple[datetime, Look]] = field(default_factory=list)

    def send(self, look: Look, delay: timedelta) -> None:
        self.waiting.append((self.now() + delay, look))

    def due(self, now: datetime) -> list[Look]:
        ready = [look for at, look in self.waiting if at <= now]
        self.waiting = [(at, look) for at, look in self.waiting if at > now]
        return ready


@dataclass
class Orders:
    """`shared.runs.ports.Preparation`: orders for the processes in place of rows."""

    connection: StorageConnection
    orders: dict[str, Any] = field(default_factory=lambda: dict(GOOD))
    number: int = 0

    def problems(self, dataset: Any) -> list[Any]:
        del dataset
        return []

    def size(self, dataset: Any) -> int:
        del dataset
        return 0

    def prepare(self, dataset: Any, longest: Any, beat: Callable[[], None]) -> PreparedData:
        del longest
        beat()
        self.number += 1
        fingerprint = f"orders-{self.number}-{dataset.files.train[0]}"
        container = self.connection.container(storage.DATASETS)
        for split in ("train", "validation", "test"):
            blob = container.get_blob_client(f"{fingerprint}/{split}.jsonl")
            blob.upload_blob(json.dumps(self.orders).encode() + b"\n", overwrite=True)
        base = f"azureml://datastores/droptune_datasets/paths/{fingerprint}"
        splits = {split: f"{base}/{split}.jsonl" for split in ("train", "validation", "test")}
        return PreparedData(fingerprint, splits, dict.fromkeys(splits, 20), 0, 100)

    def page(self, fingerprint: str) -> bytes:
        return fingerprint.encode()

    def prompts(self, fingerprint: str, count: int) -> list[list[dict[str, str]]]:
        del fingerprint
        return PROMPTS[:count]


@dataclass
class Droptune:
    """The core over the real adapters, and a test's hands on the world around it."""

    plane: ControlPlane
    connection: StorageConnection
    workspace: AzureWorkspace
    looks: Looks
    rows: Orders
    world: World

    def now(self) -> datetime:
        return self.plane.plane.clock.now()

    def control(self, method: str, path: str, body: Any = None) -> Any:
        """The control plane's test control."""
        url = f"{self.plane.url}/_emulator/{path}"
        answered = requests.request(method, url, json=body, timeout=10)
        assert answered.ok, answered.text
        return answered.json() if answered.content else None

    def advance(self, **span: float) -> None:
        """Let time pass on the control plane's clock, and with it on ours."""
        self.control("PUT", "clock", {"advance": timedelta(**span).total_seconds()})

    def drop(self, name: str, orders: dict[str, Any] | None = None, **manifest: Any) -> str:
        """Drop a manifest; returns its run's id. The same name is the same endpoint."""
        self.rows.orders = {**GOOD, "serves": {}, **(orders or {})}
        number = len(list(self.world.manifests.listed())) + 1
        fields = {"name": name, "dataset": {"files": [f"{number}.jsonl"]}, **manifest}
        fields.setdefault("deploy", {"keep_old": "0s"})
        fields.setdefault("compute", TRAIN)
        container = self.connection.container(storage.MANIFESTS)
        path = f"{name}.json"
        content = json.dumps({**fields, "dataset": {"files": [f"{self.rows.number}.jsonl"]}})
        container.get_blob_client(path).upload_blob(content.encode(), overwrite=True)
        run = intake.receive(self.world, path)
        assert run is not None
        return run.id

    def run(self, run: str) -> Run:
        return self.world.runs.load(run)[0]

    def deliver(self) -> None:
        for look in self.looks.due(self.now()):
            reconciler.look(self.world, look)

    def play(self, run: str, *phases: Phase, within: float = 240.0) -> Run:
        """Deliver messages until the run rests, ends or is in one of `phases`."""
        wanted = phases or (FINAL | RESTING)
        return self.until(lambda: self.run(run), lambda found: found.phase in wanted, within)

    def until(self, look: Callable[[], Any], wanted: Callable[[Any], bool], within=240.0) -> Any:
        """Deliver messages until `look` gives what is wanted."""
        deadline = time.monotonic() + within
        while not wanted(found := look()):
            assert time.monotonic() < deadline, found
            self.deliver()
            time.sleep(0.02)
        return found

    def settle(self, *runs: str, within: float = 240.0) -> None:
        """Deliver messages until these runs rest or have ended, want nothing more, and nothing is due."""

        def left() -> list[str]:
            due = [look.run for at, look in self.looks.waiting if at <= self.now()]
            return due + [self.run(run).why for run in runs if self.run(run).is_active]

        self.until(left, lambda found: not found, within)

    def traffic(self, run: str) -> dict[str, int]:
        endpoint = self.workspace.endpoint(self.run(run).facts.endpoint or "")
        assert endpoint is not None
        return {name: share for name, share in endpoint.traffic.items() if share}

    def deployments(self, run: str) -> set[str]:
        found = self.workspace.deployments(self.run(run).facts.endpoint or "")
        return {deployment.name for deployment in found}

    def hint(self, run: str) -> None:
        reconciler.look(self.world, Look(run))


@contextmanager
def droptune(plane: ControlPlane, connection: StorageConnection) -> Iterator[Droptune]:
    """Droptune over `plane`, whose environment must be pointed at already."""
    for cached in (storage.credential, sdk._workspace_client, sdk._registry_client):
        cached.cache_clear()
    settings = plane.plane.settings
    place = Place(settings.subscription, settings.group, settings.workspace)
    clock = plane.plane.clock.now
    workspace = AzureWorkspace(
        place,
        metrics_endpoint=plane.url,
        metadata_url=plane.environment["ARM_CLOUD_METADATA_URL"],
        now=clock,
    )
    looks, rows = Looks(clock), Orders(connection)
    soon = timedelta(milliseconds=50)
    world = World(
        runs=BlobRunStore(connection),
        looks=looks,
        endpoints=BlobEndpointStore(connection),
        manifests=BlobManifests(connection),
        preparation=rows,
        configs=BlobConfigs(connection, "droptune_datasets"),
        workspace=workspace,
        uses=BlobUses(connection),
        limits=Limits(
            registries=("azureml",),
            instance_types=(GPU, BIG, TRAIN["size"]),
            nodes=1,
            instances=4,
            runs=4,
            attempts=2,
        ),
        pace=Pace(
            job=soon,
            rollout=soon,
            turn=soon,
            freeing=soon,
            first_pause=soon,
            longest_pause=soon * 4,
        ),
        now=clock,
    )
    try:
        yield Droptune(plane, connection, workspace, looks, rows, world)
    finally:
        workspace.close()
