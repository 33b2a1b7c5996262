"""What the scoring proxy adds to a request, beside other ways to the same backend.

    python -m benchmarks.scoring_proxy [--seconds 5] [--connections 32] [--litellm VENV]

Every server is a process of its own with one worker; all speak over real sockets to one backend that answers
at once, so that what is measured is the hop alone. In one run:

- `direct`: the backend itself;
- `droptune`: `shared.serving.proxy` behind a small aiohttp server, standing where the Functions host does;
- `httpx`: the same code with httpx (version 2) as the client, to show what the client's choice is worth;
- `litellm`: LiteLLM's proxy, if `--litellm` names a virtual environment that has `litellm[proxy]`; with
  `--litellm install` one is made in a temporary folder and thrown away.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from shared.serving.directory import Found, Listed

KEY = "sk-benchmark"
QUESTION = "Summarize what a managed online endpoint is in two sentences. " * 8
ANSWER = "A managed online endpoint answers requests with a model that somebody else runs. " * 8
ASKED = json.dumps(
    {"model": "chat", "messages": [{"role": "user", "content": QUESTION}], "max_tokens": 100}
).encode()
SCORED = json.dumps({"output": ANSWER}).encode()
COMPLETED = json.dumps(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "chat",
        "choices": [
            {
                "index": 0,
                "finish_reason": "stop",
                "message": {"role": "assistant", "content": ANSWER},
            }
        ],
        "usage": {"prompt_tokens": 80, "completion_tokens": 100, "total_tokens": 180},
    }
).encode()


@dataclass(frozen=True, slots=True)
class Measure:
    """What one way to the backend reached.

    Attributes:
        name: Which way.
        per_second: Requests answered per second with all connections busy.
        alone_ms: Median milliseconds of a request with nothing else going on.
        cpu_ms: The server's own processor time for a request under load; unlike the others, it hardly
            changes with what else the machine does.
    """

    name: str
    per_second: float
    alone_ms: float
    cpu_ms: float


@dataclass(frozen=True, slots=True)
class Served:
    """A server: where it listens, and its process."""

    port: int
    pid: int

    def cpu(self) -> float:
        """Processor seconds spent so far, those of its children included."""
        import psutil

        process = psutil.Process(self.pid)
        times = [each.cpu_times() for each in (process, *process.children(recursive=True))]
        return sum(each.user + each.system for each in times)


class Ports:
    """The proxy's ports for one model that always serves."""

    def __init__(self, uri: str) -> None:
        self._uri = uri

    async def find(self, model: str) -> Found:
        """The backend, whatever the model."""
        from shared.serving.directory import Target

        del model
        return Target(self._uri, KEY, "run")

    async def models(self) -> list[Listed]:
        """None."""
        return []

    async def wake(self, model: str) -> None:
        """Do nothing."""

    async def nudge(self, model: str) -> None:
        """Do nothing."""

    async def note_use(self, model: str, at: datetime) -> None:
        """Do nothing."""


def backend() -> web.Application:
    """An endpoint that answers at once, in Azure ML's shape and in OpenAI's."""

    def answering(body: bytes) -> Callable[[web.Request], Any]:
        async def answer(request: web.Request) -> web.Response:
            await request.read()
            return web.Response(body=body, content_type="application/json")

        return answer

    app = web.Application()
    app.router.add_post("/score", answering(SCORED))
    app.router.add_post("/v1/chat/completions", answering(COMPLETED))
    return app


def droptune(uri: str) -> web.Application:
    """The proxy as the product has it."""
    from shared.serving.api_keys import ApiKeys, digest
    from shared.serving.proxy import Proxy

    ports = Ports(uri)
    proxy = Proxy(ApiKeys([digest(KEY)]), ports, ports, ports)

    async def chat(request: web.Request) -> web.Response:
        answer = await proxy.chat(request.headers.get("Authorization"), await request.read())
        return web.Response(status=answer.status, body=answer.body, headers=answer.headers)

    async def close(_: web.Application) -> None:
        await proxy.close()

    app = web.Application()
    app.router.add_post("/v1/chat/completions", chat)
    app.on_cleanup.append(close)
    return app


def with_httpx(uri: str) -> web.Application:
    """The same decisions with httpx as the client."""
    import httpx2

    from shared.serving.openai import ChatRequest, completion, read_request
    from shared.serving.scoring import Reply, read_reply, scoring_body

    client = httpx2.AsyncClient(limits=httpx2.Limits(max_connections=500))
    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}

    async def chat(request: web.Request) -> web.Response:
        asked = read_request(await request.read())
        assert isinstance(asked, ChatRequest)
        answer = await client.post(uri, content=scoring_body(asked), headers=headers)
        reply = read_reply(answer.content)
        assert isinstance(reply, Reply)
        return web.Response(body=completion(asked, reply), content_type="application/json")

    async def close(_: web.Application) -> None:
        await client.aclose()

    app = web.Application()
    app.router.add_post("/v1/chat/completions", chat)
    app.on_cleanup.append(close)
    return app


async def serve(app: web.Application) -> None:
    """Serve on a free port, which is told in a line on stdout, until SIGTERM."""
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    print(runner.addresses[0][1], flush=True)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()
    await runner.cleanup()


@contextmanager
def process(*arguments: str) -> Iterator[Served]:
    """One of the servers above as a process."""
    command = [sys.executable, "-m", "benchmarks.scoring_proxy", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as served:
        assert served.stdout is not None
        try:
            yield Served(int(served.stdout.readline()), served.pid)
        finally:
            served.terminate()


@contextmanager
def litellm(venv: Path, backend_port: int) -> Iterator[Served]:
    """LiteLLM's proxy before the backend, one worker, without a database."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config = {
        "model_list": [
            {
                "model_name": "chat",
                "litellm_params": {
                    "model": "openai/chat",
                    "api_base": f"http://127.0.0.1:{backend_port}/v1",
                    "api_key": KEY,
                },
            }
        ],
        "general_settings": {"master_key": KEY},
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "config.yaml")
        path.write_text(json.dumps(config))
        command = [venv / "bin" / "litellm", "--config", path, "--host", "127.0.0.1"]
        environment = {
            **os.environ,
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            "LITELLM_LOG": "ERROR",
            "PATH": f"{venv / 'bin'}:{os.environ.get('PATH', '')}",
        }
        with subprocess.Popen(
            [*map(str, command), "--port", str(port), "--num_workers", "1"],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as served:
            try:
                wait_for(port, served)
                yield Served(port, served.pid)
            finally:
                served.terminate()


def wait_for(port: int, served: subprocess.Popen[bytes], patience: float = 120) -> None:
    """Wait until somebody listens on `port`.

    Raises:
        RuntimeError: The process ended, or it took too long.
    """
    until = time.monotonic() + patience
    while time.monotonic() < until and served.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.2)
        else:
            return
    raise RuntimeError("LiteLLM's proxy did not start")


async def ask(port: int, request: bytes, until: Callable[[], bool]) -> list[float]:
    """Ask over one kept connection until told to stop; the seconds that each answer took.

    Raises:
        RuntimeError: An answer was no success.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    spans = []
    while not until():
        began = time.perf_counter()
        writer.write(request)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
        body = await reader.readexactly(length)
        if b" 200 " not in head[:15]:
            raise RuntimeError(f"{head[:15]!r}: {body[:500]!r}")
        spans.append(time.perf_counter() - began)
    writer.close()
    await writer.wait_closed()
    return spans


async def load(port: int, path: str, connections: int, seconds: float) -> list[float]:
    """Keep `connections` busy for so many seconds; the seconds that each answer took."""
    request = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {KEY}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(ASKED)}\r\n\r\n"
    ).encode() + ASKED
    end = time.perf_counter() + seconds

    def over() -> bool:
        return time.perf_counter() >= end

    spans = await asyncio.gather(*(ask(port, request, over) for _ in range(connections)))
    return [span for each in spans for span in each]


def measure(name: str, served: Served, path: str, connections: int, seconds: float) -> Measure:
    """Warm up, then load, then ask alone."""
    asyncio.run(load(served.port, path, connections, 1))
    before = served.cpu()
    busy = asyncio.run(load(served.port, path, connections, seconds))
    spent = served.cpu() - before
    alone = asyncio.run(load(served.port, path, 1, seconds / 2))
    return Measure(
        name, len(busy) / seconds, statistics.median(alone) * 1000, spent / len(busy) * 1000
    )


def installed(stack: ExitStack) -> Path:
    """A throw-away virtual environment with `litellm[proxy]`."""
    venv = Path(stack.enter_context(tempfile.TemporaryDirectory()), "litellm")
    subprocess.run([sys.executable, "-m", "venv", venv], check=True)
    subprocess.run([venv / "bin" / "pip", "install", "--quiet", "litellm[proxy]"], check=True)
    return venv


def measures(seconds: float, connections: int, venv: str | None) -> list[Measure]:
    """Measure every way there is, one after the other.

    Args:
        seconds: How long each is kept busy.
        connections: At a time.
        venv: A virtual environment with `litellm[proxy]`, or `install`; without it LiteLLM is left out.
    """
    chat = "/v1/chat/completions"
    with ExitStack() as stack:
        behind = stack.enter_context(process("backend"))
        uri = f"http://127.0.0.1:{behind.port}/score"
        found = [measure("direct", behind, "/score", connections, seconds)]
        for name in ("droptune", "httpx"):
            with process(name, uri) as served:
                found.append(measure(name, served, chat, connections, seconds))
        if venv is not None:
            folder = installed(stack) if venv == "install" else Path(venv)
            with litellm(folder, behind.port) as served:
                found.append(measure("litellm", served, chat, connections, seconds))
    return found


def table(found: list[Measure]) -> str:
    """The figures as lines for a terminal."""
    by_name = {each.name: each for each in found}
    ours, direct = by_name["droptune"], by_name["direct"]
    lines = [
        (
            f"{'way':10}{'requests/s':>12}{'ms alone':>10}{'ms added':>10}{'CPU ms each':>13}"
            f"{'droptune is':>14}{'by CPU':>10}"
        )
    ]
    for each in found:
        added = each.alone_ms - direct.alone_ms
        ratio, by_cpu = ours.per_second / each.per_second, each.cpu_ms / ours.cpu_ms
        lines.append(
            f"{each.name:10}{each.per_second:12,.0f}{each.alone_ms:10.2f}{added:10.2f}"
            f"{each.cpu_ms:13.3f}{ratio:12.2f} x{by_cpu:8.2f} x"
        )
    return "\n".join(lines)


def run(seconds: float = 5, connections: int = 32, venv: str | None = None) -> None:
    """Measure and print the table (see `measures`)."""
    print(f"{connections} connections, {os.cpu_count()} cores, 1 worker each")
    print(table(measures(seconds, connections, venv)))


def main(arguments: list[str] | None = None) -> None:
    """Print the table; or be one of the servers."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=5, help="how long each is kept busy")
    parser.add_argument("--connections", type=int, default=32, help="at a time")
    parser.add_argument("--litellm", metavar="VENV", help="where LiteLLM is, or 'install'")
    parser.add_argument("role", nargs="?", help=argparse.SUPPRESS)
    parser.add_argument("uri", nargs="?", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    roles: dict[str | None, Callable[[], web.Application]] = {
        "backend": backend,
        "droptune": lambda: droptune(given.uri),
        "httpx": lambda: with_httpx(given.uri),
    }
    if given.role in roles:
        asyncio.run(serve(roles[given.role]()))
        return
    run(given.seconds, given.connections, given.litellm)


if __name__ == "__main__":
    main()
