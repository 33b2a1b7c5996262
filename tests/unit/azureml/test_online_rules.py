"""What online endpoints refuse, and how they share out traffic."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local.azureml.online_rules import choose, invalid, name_problems, traffic_problems

SPLITS = st.dictionaries(st.sampled_from(["a", "b", "c", "d"]), st.integers(0, 100), min_size=1)


@pytest.mark.parametrize("name", ["abc", "A-b-3", "a" * 32, "x--y"])
def test_good_names_pass(name):
    """Letters, digits and dashes, 3 to 32, from a letter to a letter or digit."""
    assert name_problems("endpoint", name) == []


@pytest.mark.parametrize(
    "name", ["ab", "a" * 33, "1ab", "ab-", "-ab", "a_b", "a b", "äbc", "abc\n"]
)
def test_bad_names_are_told(name):
    """Whatever else is refused by name."""
    [said] = name_problems("endpoint", name)
    assert f"'{name}'" in said
    assert "must begin with a letter" in said


@pytest.mark.parametrize("traffic", [{}, {"blue": 0}, {"blue": 100}, {"BLUE": 40, "green": 60}])
def test_traffic_may_sum_to_0_or_100(traffic):
    """Names are compared without case, since the SDK lowers them."""
    assert traffic_problems(traffic, ["Blue", "green"]) == []


@pytest.mark.parametrize(
    ("traffic", "said"),
    [
        ({"blue": 99}, "sum to 99"),
        ({"blue": 100, "green": 1}, "sum to 101"),
        ({"gone": 100}, "'gone'"),
        ({"blue": 101}, "'blue' must be a whole number"),
        ({"blue": -1, "green": 101}, "'blue' must be a whole number"),
        ({"blue": "100"}, "'blue' must be a whole number"),
        ({"blue": True}, "'blue' must be a whole number"),
    ],
)
def test_bad_traffic_is_told(traffic, said):
    """Sums, unknown deployments and shares that are no per cent."""
    assert any(said in each for each in traffic_problems(traffic, ["blue", "green"]))


@given(SPLITS, st.floats(0, 1, exclude_max=True))
def test_a_choice_has_positive_weight(traffic, draw):
    """A deployment without weight is never chosen; without any weight nothing is."""
    chosen = choose(traffic, draw)
    if sum(traffic.values()) == 0:
        assert chosen is None
    else:
        assert chosen is not None
        assert traffic[chosen] > 0


@given(SPLITS.filter(lambda split: sum(split.values()) > 0))
def test_choices_over_all_draws_are_the_split(traffic):
    """Draws that are evenly spread hit each deployment as often as it has weight."""
    total = sum(traffic.values())
    chosen = [choose(traffic, (step + 0.5) / total) for step in range(total)]
    assert {name: chosen.count(name) for name in traffic} == traffic


def test_refusals_are_packed_as_the_service_packs_them():
    """The text of the back end is JSON inside the error's detail."""
    error = invalid({"VmSize": ["No."]})
    assert (error.status, error.code, error.message) == (
        400,
        "BadRequest",
        "The request is invalid.",
    )
    [detail] = error.details
    assert detail.code == "InferencingClientCallFailed"
    assert json.loads(detail.message)["errors"] == {"VmSize": ["No."]}
