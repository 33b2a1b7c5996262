"""From `trained` to `approved`: the job's metrics into the record, and the gate's verdict on them.

A model that the gate refuses is never deployed. It is registered all the same when the manifest says so, with
the tag `gate=failed`, so that people can look at it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import msgspec

from shared.errors import Problem
from shared.runs.current import current_model
from shared.runs.gate import judge
from shared.runs.outcomes import Advance, Outcome, Stop, Wait
from shared.runs.phases import Phase
from shared.runs.registration import FAILED, PASSED, register
from shared.runs.training import manifest_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shared.runs.measures import Measured, Point
    from shared.runs.ports import World
    from shared.runs.record import Facts, Run

MOST_POINTS: Final = 100
"""Points of a metric's curve that the record keeps."""

MOST_CURVES: Final = 50
"""Metrics whose curve the record keeps; Azure ML takes 50 names per run."""


def trained(run: Run, world: World) -> Outcome:
    """Read the metrics and let the gate judge; the verdict is written down before anything follows from it."""
    if run.facts.gate is None:
        return _judged(run, world)
    said = "; ".join(run.facts.verdict)
    if run.facts.gate == PASSED:
        return Advance(Phase.APPROVED, f"the gate approved: {said}", run.facts)
    facts = run.facts
    if manifest_of(run).gate.refused == "register":
        facts = register(run, world)
    problems = tuple(Problem("gate", reason) for reason in facts.verdict)
    return Stop(Phase.REJECTED, f"the gate refused: {said}", problems, facts)


def _judged(run: Run, world: World) -> Outcome:
    measured = world.workspace.measured(run.facts.job or "")
    manifest = manifest_of(run)
    current = current_model(run, world.endpoints.load(manifest.endpoint), world)
    verdict = judge(measured, manifest.gate, current)
    facts = msgspec.structs.replace(
        _with_metrics(run.facts, measured),
        gate=PASSED if verdict.passed else FAILED,
        verdict=list(verdict.reasons),
    )
    return Wait(world.pace.at_once, "the gate has judged", facts)


def _with_metrics(facts: Facts, measured: Measured) -> Facts:
    return msgspec.structs.replace(
        facts,
        metrics={name: value for name, value in measured.last.items() if math.isfinite(value)},
        curves={
            name: thinned(curve) for name, curve in sorted(measured.curves.items())[:MOST_CURVES]
        },
        trained_tokens=dict(measured.tokens),
    )


def thinned(curve: Sequence[Point], most: int = MOST_POINTS) -> list[Point]:
    """At most `most` finite points of a curve, evenly spread, the last one among them.

    >>> thinned([(step, 1.0) for step in range(5)], most=3)
    [(0, 1.0), (2, 1.0), (4, 1.0)]
    """
    finite = [(step, value) for step, value in curve if math.isfinite(value)]
    if len(finite) <= most:
        return finite
    last = len(finite) - 1
    return [finite[round(index * last / (most - 1))] for index in range(most)]
