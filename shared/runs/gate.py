"""The quality gate: metrics against thresholds, with reasons.

Arithmetic only. A metric that is missing or not a finite number fails: silence is not quality.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from shared.runs.manifest import Threshold


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the model may be deployed, and a line for each thing that was looked at."""

    passed: bool
    reasons: tuple[str, ...]


def judge(metrics: Mapping[str, float], thresholds: Mapping[str, Threshold]) -> Verdict:
    """Compare the job's metrics with the manifest's thresholds; both bounds are allowed values."""
    if not thresholds:
        return Verdict(passed=True, reasons=("the manifest sets no thresholds",))
    passed, reasons = True, []
    for name, threshold in sorted(thresholds.items()):
        value = metrics.get(name)
        if value is None:
            known = ", ".join(sorted(metrics)) or "none"
            good, reason = False, f"{name} was not measured (measured: {known})"
        elif not math.isfinite(value):
            good, reason = False, f"{name} is {value}"
        elif threshold.min is not None and value < threshold.min:
            good, reason = False, f"{name} is {value:g}, below {threshold.min:g}"
        elif threshold.max is not None and value > threshold.max:
            good, reason = False, f"{name} is {value:g}, above {threshold.max:g}"
        else:
            bounds = [
                f"{word} {bound:g}"
                for word, bound in (("at least", threshold.min), ("at most", threshold.max))
                if bound is not None
            ]
            good, reason = True, f"{name} is {value:g}, as wanted ({', '.join(bounds)})"
        passed &= good
        reasons.append(reason)
    return Verdict(passed=passed, reasons=tuple(reasons))
