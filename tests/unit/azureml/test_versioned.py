"""A version is found by its ARM id as clients spell it, and by no other's."""

from __future__ import annotations

import contextlib

import pytest

from local.azureml.clock import Clock
from local.azureml.plane import Plane, Settings
from local.azureml.state import Store
from local.azureml.versioned import Versions
from local.certificates import Certificates

CODES = Versions("code-version", "codes")


@pytest.fixture
def plane(tmp_path):
    settings = Settings(
        state=tmp_path, certificates=Certificates(tmp_path, tmp_path, tmp_path), storage=""
    )
    with contextlib.closing(Store(tmp_path / "state.sqlite")) as store:
        yield Plane(settings, store, Clock(), port=1, identity_port=2)


def test_a_version_is_found_by_its_id_alone(plane):
    """With or without `azureml:`, whatever case the paths have; not a registry's, another kind's or another one's."""
    whole = CODES.id(plane, "Mine", "1")
    plane.store.put(CODES.kind, whole, {"name": "Mine"})
    lowered = whole.replace("/resourceGroups/", "/resourcegroups/").replace("/codes/", "/Codes/")
    for known in (whole, f"azureml:{whole}", lowered):
        assert CODES.find(plane, known) == {"name": "Mine"}
    for other in (
        "azureml://registries/azureml/codes/Mine/versions/1",
        "azureml:Mine:1",
        f"{whole}0",
        f"{whole}/more",
        whole.replace("/codes/", "/models/"),
        whole.replace("/workspaces/", "/workspaces/other-"),
        "",
    ):
        assert CODES.find(plane, other) is None
