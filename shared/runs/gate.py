"""The quality gate: what a job logged against what the manifest demands, with reasons.

Arithmetic only. Silence is not quality: a metric that is missing, has no points or is not a finite number
fails, and so does a job that logged nothing at all, or whose loss ended in no number, whatever the manifest
says.

`better_than_current` compares with the model that has the endpoint now, serving or asleep: strictly better, so
that training the same again does not pass. Where no model has the endpoint there is nothing to beat. A model
that has it without having measured the metric cannot be beaten in it: that fails too, and says how to go on. A
loss is only comparable on the same validation rows and the same foundation model; where these differ, the
reason says so, and the comparison stands. By the time of the rollout another model may have the endpoint:
`outdone` compares again.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from shared.runs.gate_section import Direction, Gate, Threshold
    from shared.runs.measures import Measured


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the model may be deployed, and a line for each thing that was looked at."""

    passed: bool
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Current:
    """The model that has the endpoint now.

    Attributes:
        run: The run that made it.
        metrics: What it measured.
        differs: What makes its metrics less comparable: `other data`, `another foundation model`.
    """

    run: str
    metrics: Mapping[str, float]
    differs: tuple[str, ...] = field(default=())


Finding = tuple[bool, str]
"""Whether one thing is as wanted, and what was found."""


def judge(measured: Measured, gate: Gate, current: Current | None = None) -> Verdict:
    """Compare what the job logged with the manifest's demands; both bounds are allowed values.

    Args:
        measured: What the job logged.
        gate: The manifest's demands.
        current: The model that has the endpoint; `None` when none has.
    """
    found = list(_sane(measured))
    found += [_within(name, bounds, measured) for name, bounds in sorted(gate.thresholds.items())]
    found += [
        _better(name, direction, measured, current)
        for name, direction in sorted(gate.better_than_current.items())
    ]
    if not found:
        return Verdict(passed=True, reasons=("the manifest sets no thresholds",))
    return Verdict(all(good for good, _ in found), tuple(reason for _, reason in found))


def outdone(metrics: Mapping[str, float], gate: Gate, current: Current) -> list[str]:
    """In what a model that was approved is no better than the one that has the endpoint now; a line each.

    Args:
        metrics: What the model's job measured.
        gate: The manifest's demands, of which those that compare count.
        current: The model that has the endpoint now.
    """
    found = [
        _compared(name, direction, metrics[name], current)
        for name, direction in sorted(gate.better_than_current.items())
        if name in metrics
    ]
    return [reason for good, reason in found if not good]


def _sane(measured: Measured) -> Iterator[Finding]:
    """What is wrong with any training, whatever the manifest says."""
    if not measured.last:
        yield False, "the job logged no metrics: nothing shows that it trained"
    for name, value in sorted(measured.last.items()):
        if name.lower().endswith("loss") and not math.isfinite(value):
            yield False, f"{name} ended in {value}: the training went astray"


def _problem_with(name: str, measured: Measured) -> str | None:
    """Why a metric cannot be judged; `None` when it can."""
    value = measured.last.get(name)
    if value is None:
        known = ", ".join(sorted(measured.last)) or "none"
        return f"{name} was not measured (measured: {known})"
    if not math.isfinite(value):
        return f"{name} is {value}"
    if not measured.curves.get(name):
        return f"{name} has a value and no points: its curve is empty"
    return None


def _within(name: str, threshold: Threshold, measured: Measured) -> Finding:
    problem = _problem_with(name, measured)
    if problem is not None:
        return False, problem
    value = measured.last[name]
    if threshold.min is not None and value < threshold.min:
        return False, f"{name} is {value:g}, below {threshold.min:g}"
    if threshold.max is not None and value > threshold.max:
        return False, f"{name} is {value:g}, above {threshold.max:g}"
    bounds = [
        f"{word} {bound:g}"
        for word, bound in (("at least", threshold.min), ("at most", threshold.max))
        if bound is not None
    ]
    return True, f"{name} is {value:g}, as wanted ({', '.join(bounds)})"


def _better(
    name: str, direction: Direction, measured: Measured, current: Current | None
) -> Finding:
    problem = _problem_with(name, measured)
    if problem is not None:
        return False, problem
    value = measured.last[name]
    if current is None:
        return True, f"{name} is {value:g}, and no model has the endpoint to be compared with"
    return _compared(name, direction, value, current)


def _compared(name: str, direction: Direction, value: float, current: Current) -> Finding:
    theirs = current.metrics.get(name)
    if theirs is None or not math.isfinite(theirs):
        return False, (
            f"{name} is {value:g}, and {current.run}, which has the endpoint, did not measure it; leave "
            f"{name} out of gate.better_than_current once"
        )
    better = value < theirs if direction == "lower" else value > theirs
    said = "better" if better else "no better"
    but = f" (measured with {' and '.join(current.differs)})" if current.differs else ""
    return better, f"{name} is {value:g}, {said} than the {theirs:g} of {current.run}{but}"
