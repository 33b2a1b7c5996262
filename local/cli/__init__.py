"""`python -m local`: the laptop stack from a shell."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from local.stack import DEFAULT_STATE, DEMO_STATE, PACES

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    from local.cli.reset import NotForgotten
    from local.kept import BrokenState
    from local.processes import StartFailed
    from local.stack import NotRunning

    options = parser().parse_args(arguments)
    try:
        return _dispatch(options)
    except (NotRunning, NotForgotten, StartFailed, BrokenState) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # `| head`
        return 141


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        prog="python -m local", description="Droptune and the Azure it needs, on this machine."
    )
    everywhere = argparse.ArgumentParser(add_help=False)
    everywhere.add_argument(
        "--state",
        type=Path,
        default=DEFAULT_STATE,
        metavar="DIR",
        help="where the stack keeps everything (default: .local)",
    )
    commands = made.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name: str, text: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, help=text, description=text, parents=[everywhere])

    def add_pace(command: argparse.ArgumentParser) -> None:
        command.add_argument(
            "--pace", choices=PACES, default="seconds", help="how long Azure's waits last"
        )

    add_pace(add("up", "Run the stack until Ctrl-C."))
    add("env", 'Print shell exports for the stack that runs: eval "$(python -m local env)".')
    drop = add("drop", "Upload a manifest and the data files that it names.")
    drop.add_argument("manifest", type=Path, help="JSON or YAML file")
    drop.add_argument(
        "--data", type=Path, nargs="+", default=[], metavar="FILE", help="further data files"
    )
    status = add("status", "Show the runs, or one run's timeline.")
    status.add_argument("run", nargs="?", help="id of a run")
    chat = add("chat", "Ask a model; without a question, talk with it.")
    chat.add_argument("model", help="name of the model, as `status` shows it")
    chat.add_argument("question", nargs="?", help="one question; the answer goes to stdout")
    text = "Show the whole loop: drop, train, ask, sleep, wake."
    demo = commands.add_parser("demo", help=text, description=text)
    demo.add_argument(
        "--state",
        type=Path,
        default=DEMO_STATE,
        metavar="DIR",
        help="the demo's own state, forgotten at its start (default: .local/demo)",
    )
    add_pace(demo)
    reset = add("reset", "Forget everything that the stack keeps.")
    reset.add_argument("--yes", action="store_true", help="do not ask")
    return made


def _dispatch(options: argparse.Namespace) -> int:
    from local.stack import Stack

    match options.command:
        case "up":
            from local.cli.up import run

            return run(Stack(options.state, pace=options.pace))
        case "env":
            from local.cli.env import show

            return show(options.state)
        case "drop":
            from local.cli.drop import drop

            return drop(options.state, options.manifest, options.data)
        case "status":
            from local.cli.status import status

            return status(options.state, options.run)
        case "chat":
            from local.cli.chat import chat

            return chat(options.state, options.model, options.question)
        case "demo":
            from local.cli.demo import run as play

            return play(Stack(options.state, pace=options.pace))
        case _:
            from local.cli.reset import reset

            return reset(options.state, sure=options.yes)
