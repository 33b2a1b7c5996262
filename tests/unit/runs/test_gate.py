"""The gate says no unless the numbers say yes."""

from __future__ import annotations

import math

import pytest

from shared.runs import manifest
from shared.runs.gate import Current, judge, outdone
from shared.runs.gate_section import Gate
from shared.runs.measures import Measured
from shared.runs.review import thinned


def measured(**last: float) -> Measured:
    return Measured(last, {name: [(1, 9.0), (2, value)] for name, value in last.items()})


def gate(**fields: object) -> Gate:
    return Gate.model_validate(fields)


NAN = float("nan")
BOUNDS = gate(eval_loss={"min": 0.5, "max": 1.6})
BETTER = gate(better_than_current="eval_loss")


@pytest.mark.parametrize(
    ("metrics", "passed"),
    [
        ({"eval_loss": 1.6}, True),
        ({"eval_loss": 0.5}, True),
        ({"eval_loss": 1.61}, False),
        ({"eval_loss": 0.4}, False),
        ({"eval_loss": NAN}, False),
        ({"eval_loss": float("inf")}, False),
        ({"eval_loss": float("-inf")}, False),
        ({"accuracy": 1.0}, False),
        ({}, False),
    ],
)
def test_bounds_are_allowed_values_and_silence_fails(metrics, passed):
    """Missing and non-finite metrics fail like bad ones, with a reason."""
    verdict = judge(measured(**metrics), BOUNDS)
    assert verdict.passed is passed
    assert "eval_loss" in "".join(verdict.reasons)


def test_what_was_approved_may_be_outdone_by_the_time_of_its_rollout():
    """Compared again with whatever has the endpoint then, and only in what it was to be better in."""
    rival = Current("rival-g1", {"eval_loss": 0.7, "accuracy": 0.5}, ("other data",))
    asked = gate(better_than_current={"eval_loss": "lower", "accuracy": "higher"})
    assert outdone({"eval_loss": 0.6, "accuracy": 0.6}, asked, rival) == []
    assert outdone({"eval_loss": 0.7, "accuracy": 0.6}, asked, rival) == [
        "eval_loss is 0.7, no better than the 0.7 of rival-g1 (measured with other data)"
    ]
    assert len(outdone({"eval_loss": 0.8, "accuracy": 0.4}, asked, rival)) == 2
    assert outdone({"eval_loss": 9.0}, BOUNDS, rival) == []
    assert "did not measure it" in outdone({"eval_loss": 0.1}, BETTER, Current("r", {}))[0]


def test_an_empty_curve_fails():
    """A value without a single point behind it proves nothing."""
    verdict = judge(Measured({"eval_loss": 1.0}, {"eval_loss": []}), BOUNDS)
    assert verdict.reasons == ("eval_loss has a value and no points: its curve is empty",)
    assert not verdict.passed


def test_without_thresholds_everything_sane_passes_and_says_so():
    """A manifest without a gate is told apart from one whose gate was met."""
    assert judge(measured(loss=1.0), gate()).reasons == ("the manifest sets no thresholds",)


@pytest.mark.parametrize("wrong", [measured(), measured(train_loss=NAN)])
def test_training_that_went_astray_fails_whatever_the_manifest_says(wrong):
    """No metrics at all, or a loss that is no number: never deployed, gate or none."""
    assert not judge(wrong, gate()).passed


@pytest.mark.parametrize(("ours", "passed"), [(0.9, True), (1.0, False), (1.1, False)])
def test_better_than_current_means_strictly_better(ours, passed):
    """The same again is not better."""
    verdict = judge(measured(eval_loss=ours), BETTER, Current("old-g1", {"eval_loss": 1.0}))
    assert verdict.passed is passed
    assert "old-g1" in verdict.reasons[0]


def test_higher_is_better_where_the_manifest_says_so():
    """The direction is the manifest's, by metric."""
    better = gate(better_than_current={"accuracy": "higher"})
    current = Current("old-g1", {"accuracy": 0.8})
    assert judge(measured(accuracy=0.9), better, current).passed
    assert not judge(measured(accuracy=0.7), better, current).passed


def test_nothing_to_beat_passes_and_what_cannot_be_compared_fails():
    """The first model of an endpoint passes; one before that never measured the metric cannot be beaten."""
    assert judge(measured(eval_loss=9.0), BETTER).passed
    verdict = judge(measured(eval_loss=0.1), BETTER, Current("old-g1", {}))
    assert not verdict.passed
    assert "leave eval_loss out of gate.better_than_current once" in verdict.reasons[0]


def test_a_comparison_across_data_says_so():
    """A loss on other rows is another loss: the reason tells, the comparison stands."""
    current = Current("old-g1", {"eval_loss": 1.0}, ("other data",))
    verdict = judge(measured(eval_loss=0.9), BETTER, current)
    assert verdict.passed
    assert verdict.reasons[0].endswith("(measured with other data)")


def test_a_metric_of_unknown_direction_is_refused_in_the_manifest():
    """Nobody guesses whether higher is better."""
    fields = {"name": "x", "dataset": {"files": ["a"]}, "gate": {"better_than_current": "bleu"}}
    _, problems = manifest.check(fields)
    assert [problem.place for problem in problems] == ["gate.better_than_current"]
    assert '{"bleu": "higher"}' in problems[0].reason


def test_a_gate_comes_back_from_the_record_as_it_went_in():
    """Metrics are keys of their own beside the gate's own keys."""
    given = {
        "eval_loss": {"max": 2.0},
        "better_than_current": ["eval_loss"],
        "refused": "register",
    }
    fields = {"name": "x", "dataset": {"files": ["a"]}, "gate": given}
    found, problems = manifest.check(fields)
    assert not problems
    again = manifest.Manifest.model_validate(found.model_dump(mode="json", exclude_none=True))
    assert again == found
    assert again.gate.thresholds["eval_loss"].max == 2.0
    assert again.gate.better_than_current == {"eval_loss": "lower"}


def test_long_curves_are_thinned_out_and_keep_their_end():
    """The record stays small; what is no number is left out."""
    curve = [(step, float(step)) for step in range(1000)]
    kept = thinned([*curve, (1000, math.nan)], most=10)
    assert len(kept) == 10
    assert (kept[0], kept[-1]) == ((0, 0.0), (999, 999.0))
    assert thinned([]) == []
