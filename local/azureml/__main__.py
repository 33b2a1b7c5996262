"""`python -m local.azureml`: the control plane as a process."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from local.azureml.plane import Settings


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        prog="python -m local.azureml",
        description="The Azure ML control plane on this machine, for the unmodified SDK.",
        epilog="The workspace's storage account is read from AZURE_STORAGE_CONNECTION_STRING, the secret of "
        "the identity endpoint from IDENTITY_HEADER (drawn when it is not set).",
    )
    add = made.add_argument
    add("--state", type=Path, required=True, metavar="DIR", help="what must survive a restart")
    add("--port", type=int, required=True, help="HTTPS port of ARM, registry, tracking, scoring")
    add("--identity-port", type=int, required=True, help="plain port of the identity endpoint")
    add("--certificates", type=Path, required=True, metavar="DIR", help="made here if missing")
    add("--tracking-uri", metavar="URL", help="the MLflow server, such as http://127.0.0.1:5000")
    add("--train-python", metavar="PATH", help="the Python that trains and scores")
    add("--command-python", metavar="PATH", help="the Python that command jobs run in")
    add(
        "--pace",
        choices=("instant", "seconds", "minutes"),
        default="seconds",
        help="how long Azure's waits last (default: %(default)s)",
    )
    add(
        "--training-slots",
        type=int,
        default=1,
        metavar="N",
        help="jobs that train at once (default: %(default)s)",
    )
    add("--topic-endpoint", metavar="URL", help="Event Grid topic for job events")
    add("--topic-key-file", type=Path, metavar="FILE", help="file with the topic's key")
    add(
        "--datastore",
        action="append",
        default=[],
        metavar="NAME=CONTAINER",
        help="a further datastore, without credentials; may be given again",
    )
    return made


def read_settings(arguments: Sequence[str] | None, environment: dict[str, str]) -> Settings:
    """Settings from the command line and the environment.

    Raises:
        SystemExit: With one line that names everything that is wrong.
    """
    from local.azureml.plane import Settings, Topic
    from local.certificates import ensure_certificates

    line = parser()
    given = line.parse_args(arguments)
    storage = environment.get("AZURE_STORAGE_CONNECTION_STRING", "")
    problems = [] if storage else ["AZURE_STORAGE_CONNECTION_STRING is not set"]
    if (given.topic_endpoint is None) != (given.topic_key_file is None):
        problems.append("--topic-endpoint and --topic-key-file go together")
    stores = [each.partition("=") for each in given.datastore]
    problems += [f"--datastore {''.join(each)}: NAME=CONTAINER" for each in stores if not each[2]]
    topic = None
    if given.topic_endpoint and given.topic_key_file:
        try:
            topic = Topic(given.topic_endpoint, given.topic_key_file.read_text().strip())
        except OSError as problem:
            problems.append(f"--topic-key-file: {problem}")
    if problems:
        line.error("; ".join(problems))
    python = given.train_python or sys.executable
    return Settings(
        state=given.state,
        certificates=ensure_certificates(given.certificates),
        storage=storage,
        tracking_uri=given.tracking_uri,
        train_command=(python, "-m", "local.compute.finetune"),
        command_python=given.command_python or "",
        score_command=(python, "-m", "local.compute.score"),
        pace=given.pace,
        topic=topic,
        datastores={name: container for name, _, container in stores},
        training_slots=given.training_slots,
        identity_header=environment.get("IDENTITY_HEADER", ""),
    )


async def serve(settings: Settings, port: int, identity_port: int) -> None:
    """Serve until SIGTERM or SIGINT."""
    from local.azureml.server import ControlPlane

    stop = asyncio.Event()
    for each in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(each, stop.set)
    await ControlPlane(settings, port=port, identity_port=identity_port).serve(stop)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the control plane; 0 after a signal, 1 when it cannot start."""
    settings = read_settings(arguments, dict(os.environ))
    given = parser().parse_args(arguments)
    logging.basicConfig(
        stream=sys.stdout, level=logging.INFO, format="%(asctime)s azureml %(message)s"
    )
    for chatty in ("azure", "urllib3", "mlflow"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    try:
        asyncio.run(serve(settings, given.port, given.identity_port))
    except OSError as problem:
        print(f"The control plane cannot start: {problem}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
