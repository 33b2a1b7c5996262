"""A job's folder: what is asked (`job.json`), what happens (`steps.jsonl`), what came of it (`result.json`).

The folder is the whole contract between the control plane and the training process, so that either
can die and start again. Properties of the job's root run go to `properties.json`. `job.json` is only read
here; the others are only written here.
"""

from __future__ import annotations

import json
import os
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from local.compute.failures import JobFailed, SystemFailure

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

OUTPUTS: Final = ("mlflow_model_folder", "pytorch_model_folder")


@dataclass(frozen=True, slots=True)
class Job:
    """One training job.

    Attributes:
        folder: Where the job's files lie.
        name: The job's name in the control plane.
        tracking_uri: The MLflow server, `http://host:port`.
        tracking_run_id: The MLflow run that takes parameters and metrics.
        inputs: The component's inputs as sent, unchecked.
        outputs: The folder of each output, by the output's name.
    """

    folder: Path
    name: str
    tracking_uri: str
    tracking_run_id: str
    inputs: Mapping[str, Any]
    outputs: Mapping[str, Path]
    _told: set[tuple[str, str]] = field(default_factory=set)

    def tell_step(self, step: str, status: str) -> None:
        """Append one line to `steps.jsonl`, unless an earlier life of this job has told it."""
        if (step, status) in self._told:
            return
        self._told.add((step, status))
        line = {"step": step, "status": status, "time": datetime.now(UTC).isoformat()}
        with (self.folder / "steps.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def tell_properties(self, values: Mapping[str, Any]) -> None:
        """Write `properties.json` in one atomic move: the properties of the job's root run, as text."""
        told = {name: str(value) for name, value in values.items()}
        write_atomically(self.folder / "properties.json", json.dumps(told))

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Tell that a step runs, and how it ended."""
        self.tell_step(name, "Running")
        try:
            yield
        except Exception:
            self.tell_step(name, "Failed")
            raise
        self.tell_step(name, "Completed")

    def finish(self, error: JobFailed | None = None) -> None:
        """Write `result.json` in one atomic move; nothing may follow it."""
        result: dict[str, Any] = {"status": "Completed"}
        if error is not None:
            result = {"status": "Failed", "error": {"code": error.code, "message": str(error)}}
        write_atomically(self.folder / "result.json", json.dumps(result))


def open_job(folder: Path) -> Job:
    """Read `job.json` and what an earlier life of the job has told.

    Raises:
        SystemFailure: `job.json` is missing or is not what the control plane promises.
    """
    path = folder / "job.json"
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        return Job(
            folder=folder,
            name=str(raw["name"]),
            tracking_uri=str(raw["tracking_uri"]),
            tracking_run_id=str(raw["tracking_run_id"]),
            inputs=dict(raw["inputs"]),
            outputs={name: Path(raw["outputs"][name]) for name in OUTPUTS},
            _told=set(_told_before(folder / "steps.jsonl")),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = f"misses {error}" if isinstance(error, KeyError) else str(error)
        raise SystemFailure(f"{path} cannot be used: {reason}") from error


def _told_before(path: Path) -> Iterator[tuple[str, str]]:
    if not path.exists():
        return
    text = path.read_text(encoding="utf-8")
    if text and not text.endswith("\n"):  # an earlier life died within a line: cut it off
        text = text[: text.rfind("\n") + 1]
        write_atomically(path, text)
    for line in text.splitlines():
        told = json.loads(line)
        yield told["step"], told["status"]


def write_atomically(path: Path, text: str) -> None:
    """Write a file so that a reader sees all of it or nothing, whenever the process dies."""
    new = path.with_name(f".{path.name}.new")
    with new.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
