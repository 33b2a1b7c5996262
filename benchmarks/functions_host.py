"""What the Functions host adds to a call: HTTP hellos through it, and through aiohttp alone.

    python -m benchmarks.functions_host

Servers run in processes of their own; the client sends over 1 and 32 connections kept alive.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

APP = """
import azure.functions as func
app = func.FunctionApp()
@app.route(route="hello", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
async def hello(req: func.HttpRequest) -> func.HttpResponse:
    return func.HttpResponse("hello")
@app.route(route="sync", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
def sync(req: func.HttpRequest) -> func.HttpResponse:
    return func.HttpResponse("hello")
"""
BARE = """
from aiohttp import web
async def hello(request): return web.Response(text="hello")
async def main():
    import asyncio
    runner = web.ServerRunner(web.Server(hello, access_log=None))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    print("at http://127.0.0.1:%d" % runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()
import asyncio
asyncio.run(main())
"""
SECONDS = 4.0
REQUEST = b"GET %s HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer x\r\nAccept: */*\r\n\r\n"


async def measure(port: int, path: str, connections: int) -> float:
    """Requests per second, each connection sending the next when the last is answered."""
    until = time.perf_counter() + SECONDS
    counts = await asyncio.gather(*(_send(port, path, until) for _ in range(connections)))
    return sum(counts) / SECONDS


async def _send(port: int, path: str, until: float) -> int:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    request, count = REQUEST % path.encode(), 0
    while time.perf_counter() < until:
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        if b" 200 " not in head[:16]:
            raise RuntimeError(head.decode())
        length = re.search(rb"(?i)content-length: (\d+)", head)
        await reader.readexactly(int(length[1]) if length else 0)
        count += 1
    writer.close()
    return count


def _start(command: list[str]) -> tuple[subprocess.Popen[str], int]:
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        found = re.search(r"at http://127\.0\.0\.1:(\d+)", line)
        if found:
            return process, int(found[1])
    raise RuntimeError(f"{command} did not start")


def run() -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory() as folder:
        app = Path(folder)
        (app / "function_app.py").write_text(APP)
        (app / "host.json").write_text(json.dumps({"version": "2.0"}))
        state = str(app / "state")
        host = [sys.executable, "-m", "local.host", "--app", folder, "--port", "0"]
        servers = {
            "aiohttp alone": ([sys.executable, "-c", BARE], "/"),
            "host, async function": ([*host, "--state", state], "/api/hello"),
            "host, sync function": ([*host, "--state", state], "/api/sync"),
        }
        alone: dict[int, float] = {}
        for name, (command, path) in servers.items():
            process, port = _start(command)
            try:
                for connections in (1, 32):
                    rate = asyncio.run(measure(port, path, connections))
                    milliseconds = 1000 / rate
                    added = milliseconds - alone.setdefault(connections, milliseconds)
                    print(
                        f"{name:22} {connections:2} connections: {rate:8.0f} requests/s, "
                        f"{added:+.3f} ms per request"
                    )
            finally:
                process.terminate()
                process.wait()
    print(f"on {os.cpu_count()} cores")


if __name__ == "__main__":
    run()
