"""Quota of deployments."""

from __future__ import annotations

import pytest

from local.azureml.quota import Quota, change_problems, check, cores_needed
from local.azureml.sizes import find_size
from local.azureml.wire import ArmError


@pytest.mark.parametrize(
    ("size", "instances", "cores"),
    [
        ("Standard_DS3_v2", 1, 8),
        ("Standard_DS3_v2", 5, 24),
        ("Standard_DS3_v2", 10, 48),
        ("Standard_NC24ads_A100_v4", 1, 24),
    ],
)
def test_a_fifth_is_kept_in_reserve(size, instances, cores):
    """`ceil(1.2 * instances)` machines count, except of sizes that are exempt."""
    assert cores_needed(find_size(size), instances) == cores


def test_what_fits_passes_and_one_core_more_does_not():
    """The limit itself can be used up."""
    quota, size = Quota(limits={"standardDSv2Family": 8}), find_size("Standard_DS3_v2")
    check(quota, "s", size, additional=4, used=4)
    with pytest.raises(ArmError) as refused:
        check(quota, "s", size, additional=4, used=5)
    assert "usage/limit: 5/8. Additional needed: 4" in refused.value.details[0].message


def test_giving_cores_back_is_always_fine():
    """A smaller deployment passes even when the quota was cut below what is used."""
    check(Quota(limits={}), "s", find_size("Standard_DS3_v2"), additional=-4, used=8)


def test_a_bad_change_is_told_whole():
    """Unknown keys and values of the wrong kind."""
    said = change_problems(
        {"limit": 1, "limits": {"f": "9"}, "endpoints": "9", "out_of_capacity": 1}
    )
    assert len(said) == 4
    assert change_problems({"limits": {"f": 9}, "endpoints": 9, "out_of_capacity": ["S"]}) == []
