"""What people are shown of a run: plain JSON, in the words of the record."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from shared.runs.record import Run


def summary(run: Run) -> dict[str, Any]:
    """One line of a list of runs."""
    return {
        "id": run.id,
        "manifest": run.manifest,
        "name": run.facts.request.get("name", run.id),
        "phase": run.phase,
        "since": run.since,
        "why": run.why,
        "endpoint": endpoint_of(run),
        "due_at": run.due_at,
    }


def endpoint_of(run: Run) -> str | None:
    """The endpoint's name in people's words, once the manifest is checked."""
    request = run.facts.request
    name: str | None = request.get("deploy", {}).get("endpoint") or request.get("name")
    return name


def whole(run: Run) -> dict[str, Any]:
    """The whole record, without the manifest's raw bytes."""
    shown: dict[str, Any] = msgspec.to_builtins(run)
    shown.pop("source", None)
    return summary(run) | shown
