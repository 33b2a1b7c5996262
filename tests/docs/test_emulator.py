"""docs/EMULATOR.md lists what the emulator answers, and nothing else."""

from __future__ import annotations

import contextlib
import re
from collections import defaultdict
from pathlib import Path

import pytest

from local.azureml import registry, wire
from local.azureml.clock import TIMETABLES, Clock
from local.azureml.plane import Plane, Settings
from local.azureml.server import create_app
from local.azureml.state import Store
from local.certificates import Certificates

PAGE = (Path(__file__).parents[2] / "docs" / "EMULATOR.md").read_text()


@pytest.fixture
def app(tmp_path):
    """The application, without sockets."""
    nowhere = Certificates(tmp_path, tmp_path, tmp_path)
    storage = "AccountName=a;AccountKey=eA==;BlobEndpoint=https://127.0.0.1:1/a"
    settings = Settings(state=tmp_path, certificates=nowhere, storage=storage)
    with contextlib.closing(Store(tmp_path / "state.sqlite")) as store:
        yield create_app(Plane(settings, store, Clock(), port=1, identity_port=2))


def told() -> dict[str, set[str]]:
    """Methods by path, as the page has them."""
    short = {"{W}": wire.WORKSPACE, "{L}": wire.LOCATION, "{R}": registry.ASSETS}
    rows: dict[str, set[str]] = {}
    for methods, path in re.findall(
        r"^\| ([A-Z*, ]+) \| `(/[^`]*|\{[WLR]\}[^`]*)` \|", PAGE, re.MULTILINE
    ):
        whole = path
        for sign, meant in short.items():
            whole = whole.replace(sign, meant)
        rows[whole] = set(methods.split(", "))
    return rows


def test_the_route_table_is_the_servers_own(app):
    """Each route has its row with its methods, and each row is a route."""
    real: dict[str, set[str]] = defaultdict(set)
    for route in app.router.routes():
        if route.method != "HEAD":
            real[route.resource.canonical].add(route.method)
    assert told() == dict(real)


def test_the_paces_are_the_timetables():
    """The table of paces has the durations of the code."""
    for pace, table in TIMETABLES.items():
        around = table.job_not_started + table.job_preparing + table.job_queued
        numbers = (
            table.endpoint_create,
            table.deployment_create,
            table.compute_create,
            around + table.job_finalizing,
        )
        (row,) = re.findall(rf"^\| `{pace}` \|.*$", PAGE, re.MULTILINE)
        assert tuple(float(each) for each in re.findall(r"\| ([\d.]+) s", row)) == numbers
