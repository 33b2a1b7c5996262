"""Droptune as its users reach it: blobs, its HTTP API, an OpenAI client. Nothing of its inside."""

from __future__ import annotations

import http.client
import json
import time
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from azure.storage.blob import BlobServiceClient
from openai import OpenAI

from local.stack import host_key

EXAMPLES = Path(__file__).parents[2] / "examples"

SMALL: Mapping[str, Any] = {
    "name": "velora",
    "dataset": {
        "files": {
            "train": "velora/train.jsonl",
            "validation": "velora/validation.jsonl",
            "test": "velora/test.jsonl",
        }
    },
    "finetune": {"max_steps": 3, "per_device_train_batch_size": 4},
    "idle": {"after": "1d"},
}
"""A manifest that trains for three steps."""


@dataclass
class Droptune:
    """A running stack, seen from outside."""

    state: Path
    environment: Mapping[str, str]

    def blobs(self) -> BlobServiceClient:
        return BlobServiceClient.from_connection_string(
            self.environment["AZURE_STORAGE_CONNECTION_STRING"],
            connection_verify=self.environment["REQUESTS_CA_BUNDLE"],
        )

    def upload(self, container: str, path: str, content: bytes) -> None:
        with self.blobs() as blobs:
            blobs.get_blob_client(container, path).upload_blob(content, overwrite=True)

    def upload_example(self) -> None:
        for split in ("train", "validation", "test"):
            path = f"velora/{split}.jsonl"
            self.upload("data", path, (EXAMPLES / path).read_bytes())

    def drop(self, path: str, manifest: Mapping[str, Any] | bytes) -> None:
        content = manifest if isinstance(manifest, bytes) else json.dumps(manifest).encode()
        self.upload("manifests", path, content)

    def api(self, path: str, method: str = "GET") -> Any:
        request = urllib.request.Request(
            f"{self.environment['DROPTUNE_URL']}/api/{path}",
            method=method,
            headers={"x-functions-key": host_key(self.state)},
        )
        with urllib.request.urlopen(request, timeout=120) as response:
            return json.load(response)

    def runs(self, manifest: str) -> list[dict[str, Any]]:
        return self.api(f"runs?manifest={manifest}")["runs"]

    def the_run(self, manifest: str) -> dict[str, Any] | None:
        """The manifest's newest run, whole; `None` while there is none or nobody answers."""
        try:
            found = self.runs(manifest)
            return self.api(f"runs/{found[0]['id']}") if found else None
        except (OSError, http.client.HTTPException):
            return None

    def wait(self, manifest: str, *phases: str, seconds: float = 480) -> dict[str, Any]:
        """The manifest's run, once it is in one of `phases`."""
        run: dict[str, Any] | None = None

        def arrived() -> bool:
            nonlocal run
            run = self.the_run(manifest)
            return run is not None and run["phase"] in phases

        def told():
            return "no run" if run is None else f"{run['phase']}: {run['why']}"

        eventually(arrived, f"{manifest} in {phases}", seconds, told)
        assert run is not None
        return run

    def client(self, **options: Any) -> OpenAI:
        return OpenAI(
            base_url=f"{self.environment['DROPTUNE_URL']}/api/v1",
            api_key=self.environment["DROPTUNE_API_KEY"],
            **options,
        )


def eventually(
    condition: Callable[[], bool],
    what: str,
    seconds: float = 240,
    told: Callable[[], str] = lambda: "",
) -> None:
    """Ask until it is so; the condition is somebody else's doing, in another process."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"in vain for {seconds:g} s: {what} ({told()})"
        time.sleep(0.2)
