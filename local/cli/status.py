"""`status`: the runs, or one run's timeline."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from local.cli.droptune import Droptune

if TYPE_CHECKING:
    from pathlib import Path

COLOURS = {
    "serving": "green",
    "asleep": "blue",
    "waking": "yellow",
    "rejected": "red",
    "failed": "red",
    "cancelled": "red",
    "superseded": "dim",
    "retired": "dim",
}


def status(state: Path, run: str | None) -> int:
    """Print the runs, or the timeline of `run`; returns the exit code.

    Raises:
        NotRunning: No stack runs, or it does not answer.
    """
    console = Console(highlight=False)
    droptune = Droptune(state)
    if run is None:
        return _list(console, droptune.runs())
    record = droptune.run(run)
    if record is None:
        print(f"There is no run {run}. `python -m local status` lists them.", file=sys.stderr)
        return 1
    return _show(console, record)


def _list(console: Console, runs: list[dict[str, Any]]) -> int:
    if not runs:
        console.print("No runs yet. Make one: python -m local drop MANIFEST")
        return 0
    columns = ("id", "manifest", "phase", "since", "endpoint", "why")
    if not console.is_terminal:
        for run in runs:
            print("\t".join(_text(run.get(column)) for column in columns))
        return 0
    table = Table(*columns, box=None, header_style="bold")
    for run in runs:
        table.add_row(*(_cell(column, run.get(column)) for column in columns))
    console.print(table)
    return 0


def _show(console: Console, record: dict[str, Any]) -> int:
    phase = _text(record.get("phase"))
    console.print(f"[bold]{_text(record.get('id'))}[/]  {_cell('phase', phase)}", soft_wrap=True)
    for name in ("manifest", "endpoint", "job"):
        if record.get(name) and isinstance(record[name], str):
            console.print(f"  {name}: {record[name]}", markup=False, soft_wrap=True)
    problems = record.get("problems", [])
    for entry in record.get("timeline", []):
        step, why = (
            f"{_text(entry.get('from')) or '·'} → {_text(entry.get('to'))}",
            entry.get("why"),
        )
        if len(problems) > 1 and entry.get("to") == record.get("phase"):
            why = f"{len(problems)} problems:"
        line = f"  {_text(entry.get('at'))}  {step}  {_text(why)}"
        console.print(line.rstrip(), markup=False, soft_wrap=True)
    if len(problems) > 1:
        show_problems(console, problems)
    return 0


def show_problems(console: Console, problems: list[dict[str, str]]) -> None:
    """Print one problem a line: place, reason, mend."""
    for each in problems:
        told = ". ".join(each[part] for part in ("reason", "mend") if each.get(part))
        console.print(f"    {each.get('place')}: {told}", markup=False, soft_wrap=True)


def _cell(column: str, value: Any) -> str:
    from rich.markup import escape

    text = _text(value)
    colour = COLOURS.get(text) if column == "phase" else None
    return f"[{colour}]{text}[/]" if colour else escape(text)


def _text(value: Any) -> str:
    return "" if value is None else str(value)
