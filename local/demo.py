"""`make demo`: the main job from a dropped manifest to an answer, asleep and awake again, told as it happens.

Everything here is what a user would do: upload blobs with the storage SDK, look at Droptune's own HTTP API,
ask with the official OpenAI client. Only the training log is read from the stack's own folder.
"""

from __future__ import annotations

import json
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rich.console import Console
from rich.panel import Panel
from rich.table import Table

from local.ports import free_port
from local.stack import host_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from openai import OpenAI

    from local.stack import Stack

ROOT: Final = Path(__file__).parents[1]
EXAMPLES: Final = ROOT / "examples"
MANIFEST: Final = EXAMPLES / "velora-chat.json"
BASE_MODEL: Final = ROOT / "local" / "compute" / "base_model"
MODEL: Final = "velora-chat"
QUESTION: Final = "Which hours are you open on Saturday?"
ENDS_BADLY: Final = ("rejected", "failed", "cancelled")
DEADLINE: Final = 600.0
"""Seconds after which the demo gives up on a phase."""


class DemoFailed(Exception):
    """The demo cannot go on; the message says why."""


def run(stack: Stack, console: Console | None = None) -> int:
    """Play the demo on a stack that runs; returns the process's exit code."""
    told = console or Console(highlight=False, soft_wrap=True)
    try:
        Demo(stack, told).play()
    except DemoFailed as error:
        told.print(f"\n[red]The demo stopped:[/] {error}", markup=True)
        told.print(f"Logs are in {stack.state / 'logs'}.")
        return 1
    return 0


class Demo:
    """One telling of the story."""

    def __init__(self, stack: Stack, console: Console) -> None:
        self.stack = stack
        self.console = console
        self.begun = time.monotonic()
        self.environment = stack.environment
        self.told = 0

    def say(self, text: str, style: str = "") -> None:
        """One line with the seconds since the start."""
        self.console.print(
            f"[dim]{time.monotonic() - self.begun:6.1f} s[/]  [{style or 'none'}]{text}[/]"
        )

    def play(self) -> None:
        """The whole story."""
        before = self.ask_base_model()
        self.say(f'The base model, asked "{QUESTION}", says: {before}')
        run_id = self.drop()
        self.follow(run_id, until="serving")
        after = self.ask()
        self.show(before, after)
        self.say("Nobody asks any more. The timer looks for idle endpoints …")
        self.follow(run_id, until="asleep")
        self.wake(run_id)
        self.summary(run_id)

    # Before

    def ask_base_model(self) -> str:
        """What the model says before anybody tuned it, by the scoring process that deployments use."""
        port = free_port()
        python = ROOT / ".venv-train" / "bin" / "python"
        command: list[str | Path] = [
            python,
            "-m",
            "local.compute.score",
            "--model",
            BASE_MODEL,
            "--port",
            str(port),
        ]
        process = subprocess.Popen(
            [str(part) for part in command],
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            url = f"http://127.0.0.1:{port}"
            self.wait_for(lambda: _answers(url), "the base model loads")
            body = {"input_data": {"input_string": [{"role": "user", "content": QUESTION}]}}
            return str(_http(f"{url}/score", body)["output"]).strip()
        finally:
            process.terminate()
            process.wait()

    # The run

    def drop(self) -> str:
        """Upload data and manifest as anybody would; the event does the rest."""
        from azure.storage.blob import BlobServiceClient

        connection = self.environment["AZURE_STORAGE_CONNECTION_STRING"]
        content = MANIFEST.read_bytes()
        with BlobServiceClient.from_connection_string(
            connection, connection_verify=str(self.stack.bundle)
        ) as storage:
            for split in ("train", "validation", "test"):
                path = f"velora/{split}.jsonl"
                data = (EXAMPLES / path).read_bytes()
                storage.get_blob_client("data", path).upload_blob(data, overwrite=True)
            dropped = storage.get_blob_client("manifests", MANIFEST.name)
            etag = dropped.upload_blob(content, overwrite=True)["etag"].strip('"')
        self.say(f"Dropped {MANIFEST.name} into the container manifests", "bold")
        found: list[str] = []

        def appeared() -> bool:
            listed = self.api(f"runs?manifest={MANIFEST.name}")["runs"]
            found.extend(
                line["id"]
                for line in listed
                if self.api(f"runs/{line['id']}")["etag"].strip('"') == etag
            )
            return bool(found)

        self.wait_for(appeared, "the manifest becomes a run")
        return found[0]

    def follow(self, run_id: str, until: str) -> None:
        """Tell each phase as it happens, and the training's progress, until the run is in `until`."""
        log = self.training_log(run_id)
        deadline = time.monotonic() + DEADLINE
        while True:
            record = self.api(f"runs/{run_id}")
            for entry in record["timeline"][self.told :]:
                self.say(f"[bold cyan]{entry['to']:<11}[/] {entry['why']}")
            self.told = len(record["timeline"])
            if record["phase"] == "training":
                for line in next(log, []):
                    self.console.print(f"           [dim]│ {line}[/]", markup=True)
            if record["phase"] == until:
                return
            if record["phase"] in ENDS_BADLY:
                raise DemoFailed(f"run {run_id} is {record['phase']}: {record['why']}")
            if time.monotonic() > deadline:
                raise DemoFailed(
                    f"run {run_id} is {record['phase']} for too long: {record['why']}"
                )
            time.sleep(0.3)

    def training_log(self, run_id: str) -> Iterator[list[str]]:
        """New lines of the job's log, each time it is asked."""
        path = self.stack.state / "azureml" / "jobs" / f"{run_id}-a1" / "std_log.txt"
        position = 0
        while True:
            lines: list[str] = []
            if path.exists():
                with path.open("rb") as log:
                    log.seek(position)
                    fresh = log.read().rpartition(b"\n")[0]
                    position += len(fresh) + bool(fresh)
                    lines = fresh.decode(errors="replace").splitlines()
            yield [line for line in lines if "loss" in line]

    # The answers

    def client(self, retries: int) -> OpenAI:
        """The official client, pointed at Droptune."""
        from openai import OpenAI

        return OpenAI(
            base_url=f"{self.environment['DROPTUNE_URL']}/api/v1",
            api_key=self.environment["DROPTUNE_API_KEY"],
            max_retries=retries,
            timeout=60,
        )

    def ask(self, retries: int = 2) -> str:
        """One question through the proxy."""
        with self.client(retries) as client:
            answer = client.chat.completions.create(
                model=MODEL, messages=[{"role": "user", "content": QUESTION}], temperature=0
            )
        return (answer.choices[0].message.content or "").strip()

    def show(self, before: str, after: str) -> None:
        """Both answers side by side."""
        table = Table(show_header=False, box=None, padding=(0, 2))
        table.add_row("asked", f"[bold]{QUESTION}[/]")
        table.add_row("before", f"[dim]{before}[/]")
        table.add_row("after", f"[bold green]{after}[/]")
        self.console.print(Panel(table, title=f"{MODEL}, by the openai client", expand=False))

    def wake(self, run_id: str) -> None:
        """A request finds the model asleep, and the client's own retries find it awake."""
        from openai import APIStatusError

        try:
            self.ask(retries=0)
        except APIStatusError as error:
            pause = error.response.headers.get("retry-after")
            if error.status_code != 503 or pause is None:  # noqa: PLR2004
                raise DemoFailed(f"expected 503 with Retry-After, got {error}") from error
            why = error.response.json()["error"]["message"]
            self.say(f"The next request gets 503, Retry-After {pause}: {why}")
        else:
            raise DemoFailed("the endpoint answered although it should be asleep")
        answer = self.ask(retries=30)
        self.follow(run_id, until="serving")
        self.say(f"The client's retry is answered: [bold green]{answer}[/]")

    def summary(self, run_id: str) -> None:
        """How long each phase took."""
        record = self.api(f"runs/{run_id}")
        self.say(
            f"Done. {len(record['timeline'])} transitions, eval loss "
            f"{record['facts']['metrics'].get('eval_loss', float('nan')):.3f}, "
            f"model {record['facts']['model']}:{record['facts']['model_version']}",
            "bold",
        )

    # Plumbing

    def api(self, path: str) -> Any:
        """Droptune's own HTTP API, with the host's key."""
        url = f"{self.environment['DROPTUNE_URL']}/api/{path}"
        return _http(url, headers={"x-functions-key": host_key(self.stack.state)})

    def wait_for(self, condition: Callable[[], bool], what: str, seconds: float = 120) -> None:
        """Ask until it is so.

        Raises:
            DemoFailed: It did not come about in time.
        """
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                raise DemoFailed(f"waited {seconds:g} s in vain: {what}")
            time.sleep(0.2)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as response:  # noqa: S310
            return bool(response.status == 200)  # noqa: PLR2004
    except OSError:
        return False


def _http(url: str, body: Any = None, headers: dict[str, str] | None = None) -> Any:
    request = urllib.request.Request(  # noqa: S310
        url,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Content-Type": "application/json", **(headers or {})},
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310
            return json.load(response)
    except urllib.error.HTTPError as error:
        raise DemoFailed(f"{url} answered {error.code}: {error.read(300).decode()}") from error
