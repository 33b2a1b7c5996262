"""The real host, in a process of its own, with its output at hand."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

ROOT = Path(__file__).parents[2]
SAMPLE = Path(__file__).parent / "apps" / "sample"
PATIENCE = 120.0


def eventually(look: Callable[[], Any], what: str, patience: float = PATIENCE) -> Any:
    """Look until something true is seen."""
    deadline = time.monotonic() + patience
    while not (seen := look()):
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {patience:g} s")
        time.sleep(0.02)
    return seen


@dataclass(frozen=True)
class Reply:
    status: int
    headers: Mapping[str, str]
    body: bytes
    cookies: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        return self.body.decode()

    def json(self) -> Any:
        return json.loads(self.body)


class HostProcess:
    """A context manager around `python -m local.host`."""

    def __init__(
        self,
        app: Path,
        state: Path,
        environment: Mapping[str, str] | None = None,
        *options: str,
    ) -> None:
        self.state = state
        self.seen_file = state / "seen.jsonl"
        self.lines: list[str] = []
        state.mkdir(parents=True, exist_ok=True)
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "local.host", "--app", str(app), "--port", "0"),
                *("--state", str(state), *options),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=ROOT,
            env={**os.environ, "SEEN": str(self.seen_file), **(environment or {})},
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as stream:
            for line in stream:
                self.lines.append(line.rstrip("\n"))

    @property
    def output(self) -> str:
        return "\n".join(self.lines)

    def wait(self, patience: float = PATIENCE) -> int:
        code = self.process.wait(patience)
        self._reader.join(patience)
        return code

    def ready(self) -> Self:
        found = eventually(
            lambda: (
                re.search(r"at (http://127\.0\.0\.1:\d+)", self.output)
                or (self.process.poll() is not None and "ended")
            ),
            "the host's start",
        )
        if isinstance(found, str):
            raise AssertionError(f"the host ended at once:\n{self.output}")
        self.url = found[1]
        return self

    def __enter__(self) -> Self:
        try:
            return self.ready()
        except BaseException:
            self.end()
            raise

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self, number: int = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.wait()
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.wait()
            raise

    @property
    def keys(self) -> dict[str, Any]:
        return json.loads((self.state / "keys.json").read_text())

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        request = urllib.request.Request(
            self.url + path, data=body, headers=dict(headers or {}), method=method
        )
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE) as response:
                return _reply(response)
        except urllib.error.HTTPError as error:
            with error:
                return _reply(error)

    def get(self, path: str, **headers: str) -> Reply:
        return self.ask("GET", path, headers=headers)

    def start(self, function: str, text: str = "") -> Reply:
        """Through the admin route."""
        return self.ask(
            "POST",
            f"/admin/functions/{function}",
            json.dumps({"input": text}).encode(),
            {"x-functions-key": self.keys["master"]},
        )

    def seen(self, name: str = "") -> list[dict[str, Any]]:
        """What the sample app wrote down, of one kind."""
        if not self.seen_file.exists():
            return []
        lines = self.seen_file.read_text().splitlines(keepends=True)
        found = [json.loads(line) for line in lines if line.endswith("\n")]
        return [entry for entry in found if name in entry] if name else found

    def sees(self, name: str, count: int = 1) -> list[dict[str, Any]]:
        """Wait until that many are written down."""

        def look() -> list[dict[str, Any]]:
            found = self.seen(name)
            return found if len(found) >= count else []

        return eventually(look, f"{count} times '{name}' (host's output: {self.output[-2000:]})")

    def let_go(self, gate: str) -> None:
        """Let those go on that the sample app holds at a gate."""
        Path(f"{self.seen_file}.{gate}").touch()

    def says(self, text: str) -> str:
        """Wait for a line on the console."""
        return eventually(
            lambda: next((line for line in list(self.lines) if text in line), ""), f"'{text}'"
        )


def _reply(response: Any) -> Reply:
    headers = {name.lower(): value for name, value in response.headers.items()}
    cookies = response.headers.get_all("Set-Cookie") or []
    return Reply(response.status, headers, response.read(), cookies)
