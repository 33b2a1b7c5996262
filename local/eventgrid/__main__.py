"""`python -m local.eventgrid`: the topics of a configuration file, until SIGTERM or Ctrl-C."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from pathlib import Path

from local.eventgrid.configuration import BadConfiguration, Topic, read
from local.eventgrid.retries import PACES
from local.eventgrid.server import EventGrid


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m local.eventgrid", description=__doc__)
    parser.add_argument("--port", type=int, required=True, help="port on 127.0.0.1")
    parser.add_argument("--state", type=Path, required=True, help="folder for its memory")
    parser.add_argument(
        "--config", type=Path, required=True, help="topics and subscriptions, JSON"
    )
    parser.add_argument(
        "--pace", choices=PACES, default="seconds", help="how fast the retry schedule runs"
    )
    options = parser.parse_args(arguments)
    try:
        topics = read(options.config)
    except BadConfiguration as error:
        print(f"The configuration is wrong:\n{error}", file=sys.stderr)
        return 2
    storage = os.environ.get("AZURE_STORAGE_CONNECTION_STRING")
    if storage is None and any(topic.storage_containers for topic in topics):
        print("AZURE_STORAGE_CONNECTION_STRING: is missing; a topic watches it", file=sys.stderr)
        return 2
    try:
        asyncio.run(_serve(options, topics, storage))
    except OSError as error:
        print(f"Cannot listen on port {options.port}: {error.strerror}", file=sys.stderr)
        return 1
    return 0


async def _serve(
    options: argparse.Namespace, topics: tuple[Topic, ...], storage: str | None
) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    grid = EventGrid(
        options.state,
        topics,
        port=options.port,
        pace=PACES[options.pace],
        connection_string=storage,
    )
    async with grid:
        print(f"Event Grid answers at {grid.url}", flush=True)
        broken, stopped = (
            asyncio.create_task(grid.until_broken()),
            asyncio.create_task(stop.wait()),
        )
        await asyncio.wait((broken, stopped), return_when=asyncio.FIRST_COMPLETED)
        if broken.done():
            broken.result()
        broken.cancel()


if __name__ == "__main__":
    sys.exit(main())
