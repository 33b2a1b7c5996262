"""A run's journey over the wire: the real reconciler and adapters against the control plane.

Records, queue and prepared rows are in memory, on a clock of the test's; what Azure ML does is done by the
unmodified SDK and REST against the emulator, which is told to misbehave by its test control.
"""

from __future__ import annotations

import json
import time
import uuid
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import requests

from shared.assets import AssetId
from shared.cloud import storage
from shared.runs import intake, reconciler
from shared.runs.phases import FINAL, Phase
from shared.runs.ports import PreparedData
from tests.worlds import Clock, MemoryPreparation, Simulation

if TYPE_CHECKING:
    from collections.abc import Callable

    from shared.cloud.storage import StorageConnection
    from shared.cloud.workspace import AzureWorkspace
    from shared.runs.ports import Configs, Preparation
    from shared.runs.record import Facts, Run

GPU = "Standard_NC24ads_A100_v4"
FALLBACK = AssetId("azureml", "models", "Phi-4", "latest")
GPUS = (GPU, "Standard_NC48ads_A100_v4", "Standard_NC40ads_H100_v5")


@dataclass
class Prepared(MemoryPreparation):
    """Rows that a job of the control plane can fetch, with an order for its training process."""

    connection: StorageConnection | None = None
    order: dict[str, Any] = field(default_factory=lambda: {"do": "complete"})

    def prepare(self, dataset: Any, max_seq_length: Any, beat: Callable[[], None]) -> PreparedData:
        del dataset, max_seq_length, beat
        assert self.connection is not None
        folder = uuid.uuid4().hex
        container = self.connection.container(storage.DATASETS)
        for split in ("train", "validation", "test"):
            line = (json.dumps(self.order) + "\n").encode()
            container.get_blob_client(f"{folder}/{split}.jsonl").upload_blob(line)
        base = f"azureml://datastores/droptune_datasets/paths/{folder}"
        splits = {split: f"{base}/{split}.jsonl" for split in ("train", "validation", "test")}
        return PreparedData(folder, splits, dict.fromkeys(splits, 20), 0, tokens=4000)


class Journey:
    """Manifests dropped into a world whose Azure ML is the control plane.

    Args:
        workspace: The adapter under test.
        connection: Storage that the control plane reads too.
        url: The control plane's address, for its test control.
    """

    def __init__(self, workspace: AzureWorkspace, connection: StorageConnection, url: str) -> None:
        # Retirement dates are real ones, so the clock begins today.
        self.sim = Simulation(clock=Clock(datetime.now(UTC)))
        self.preparation = Prepared(self.sim.faults, connection=connection)
        self.sim.world = replace(self.sim.world, workspace=workspace, preparation=self.preparation)
        self.sim.limited(instance_types=GPUS, fallback_models=(FALLBACK,))
        self.workspace = workspace
        self._url = url
        self._quota = self.control("GET", "quota")
        self._undo: list[str] = []

    def undo(self) -> None:
        """Take back what the test control was told."""
        self.control("DELETE", "job-orders")
        self.control("DELETE", "faults")
        for path in self._undo:
            self.control("DELETE", path)
        kept = ("limits", "endpoints", "deployments", "out_of_capacity")
        used = dict.fromkeys(self._quota["limits"], 0)
        self.control("PUT", "quota", {key: self._quota[key] for key in kept} | {"used": used})

    def change_model(self, name: str, version: str, **change: Any) -> None:
        """Archive, retire, … or make a model of the registry."""
        self._undo.append(f"registry-models/{name}/{version}")
        self.control("PUT", self._undo[-1], change)

    def spoil_cluster(self, name: str, **fault: Any) -> None:
        """Let the next clusters of that name fail."""
        self._undo.append(f"computes/{name}")
        self.control("PUT", self._undo[-1], fault)

    def put_instance(self, name: str) -> None:
        """Let somebody's compute instance have that name."""
        self._undo.append(f"compute-instances/{name}")
        self.control("PUT", self._undo[-1], {})

    def order(self, **order: Any) -> None:
        """Tell the next jobs that match what is to become of them."""
        self.control("POST", "job-orders", order)

    def use_configs(self, configs: Configs) -> None:
        """Have configuration files read and kept by this adapter."""
        self.sim.world = replace(self.sim.world, configs=configs)

    def use_jobs_for_data(self, preparation: Preparation) -> None:
        """Have all data prepared by jobs, whatever its size."""
        self.sim.world = replace(self.sim.world, preparation=preparation)
        self.sim.limited(in_function=0)

    def control(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """Ask the emulator's test control."""
        answered = requests.request(method, f"{self._url}/_emulator/{path}", json=body, timeout=30)
        assert answered.ok, answered.text
        return answered.json() if answered.content else None

    def drop(self, **manifest: Any) -> str:
        """Drop a manifest of a name of its own; gives the run's id."""
        name = f"m{uuid.uuid4().hex[:8]}"
        usual = {"name": name, "dataset": {"files": ["a.jsonl"]}}
        self.sim.manifests.drop(f"{name}.json", json.dumps(usual | manifest).encode())
        run = intake.receive(self.sim.world, f"{name}.json")
        assert run is not None
        return run.id

    def play(
        self, run: str, until: Callable[[Run], bool], within: float = 180, step: int = 30
    ) -> Run:
        """Deliver looks, letting the run's clock pass by `step` seconds each time, until `until`."""
        deadline = time.monotonic() + within
        while not until(found := self.sim.run(run)):
            assert not found.is_final, (found.phase, found.why)
            assert time.monotonic() < deadline, (found.phase, found.why)
            for look in self.sim.looks.due():
                reconciler.look(self.sim.world, look)
            self.sim.clock.advance(timedelta(seconds=step))
            time.sleep(0.02)
        return found

    def until_phase(self, run: str, phase: Phase, **options: Any) -> Run:
        """Play until the run is in `phase`; any other end fails the test."""

        def there(found: Run) -> bool:
            assert found.phase not in FINAL - {phase}, (found.phase, found.why)
            return found.phase is phase

        return self.play(run, there, **options)

    def ended(self, run: str, **options: Any) -> Run:
        """Play until the run has ended, however it does."""
        return self.play(run, lambda found: found.is_final, **options)

    def trained(self, **manifest: Any) -> Facts:
        """Drop a manifest, play until its job has completed, and give what the record knows.

        Its gate lets nothing pass, so that nothing is registered or deployed.
        """
        found = self.ended(self.drop(gate={"never": {"max": 0}}, **manifest))
        assert Phase.TRAINED in _phases(found), (found.phase, found.why)
        return found.facts

    def refused(self, **manifest: Any) -> str:
        """Drop a manifest that is rejected; gives its problems. Nothing may have been made."""
        before = self.documents()
        found = self.ended(self.drop(**manifest))
        assert found.phase is Phase.REJECTED, (found.phase, found.why)
        assert self.documents() == before, "something was made for a manifest that was refused"
        return "\n".join(f"{p.place}: {p.reason}. {p.mend}" for p in found.problems)

    def documents(self) -> dict[str, int]:
        """How many jobs and clusters the control plane has."""
        kinds = self.control("GET", "counts")["documents"]
        return {kind: kinds.get(kind, 0) for kind in ("job", "compute", "model-version")}


def _phases(run: Run) -> list[Phase]:
    return [entry.to for entry in run.timeline]
