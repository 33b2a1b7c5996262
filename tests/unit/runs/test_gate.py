"""The gate says no unless the numbers say yes."""

from __future__ import annotations

import pytest

from shared.runs.gate import judge
from shared.runs.manifest import Threshold


@pytest.mark.parametrize(
    ("metrics", "passed"),
    [
        ({"eval_loss": 1.6}, True),
        ({"eval_loss": 1.61}, False),
        ({"eval_loss": 0.4}, False),
        ({"eval_loss": float("nan")}, False),
        ({"eval_loss": float("inf")}, False),
        ({"eval_loss": float("-inf")}, False),
        ({}, False),
    ],
)
def test_bounds_are_allowed_values_and_silence_fails(metrics, passed):
    """Missing and non-finite metrics fail like bad ones, with a reason."""
    verdict = judge(metrics, {"eval_loss": Threshold(min=0.5, max=1.6)})
    assert verdict.passed is passed
    assert "eval_loss" in verdict.reasons[0]


def test_without_thresholds_everything_passes_and_says_so():
    """A manifest without a gate is told apart from one whose gate was met."""
    assert judge({}, {}).reasons == ("the manifest sets no thresholds",)
