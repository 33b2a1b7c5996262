"""More data than a function prepares: a job does it, and the run goes on from its output."""

from __future__ import annotations

import json

import pytest

from tests.loop.droptune import Droptune
from tests.memory import conversation

pytestmark = pytest.mark.timeout(1800)


def rows(start: int, count: int = 500) -> bytes:
    """Rows of about a kilobyte, no two alike."""
    return b"".join(
        json.dumps(conversation(f"Question {n}? " + "why " * 120, "because " * 60)).encode()
        + b"\n"
        for n in range(start, start + count)
    )


def test_a_run_whose_data_is_too_much_for_a_function_goes_on_from_a_job(droptune: Droptune, sdk):
    """Three nodes prepare three files; the run trains on what they wrote, as on any data."""
    paths = [f"large/{number}.jsonl" for number in range(3)]
    for number, path in enumerate(paths):
        droptune.upload("data", path, rows(500 * number))
    droptune.drop(
        "large.json",
        {"name": "large", "dataset": {"files": paths}, "finetune": {"max_steps": 1}},
    )
    prepared = ("training", "trained", "approved", "registered", "deploying", "serving")
    run = droptune.wait("large.json", *prepared)
    facts = run["facts"]
    assert facts["data_job"] == f"{run['id']}-d1"
    assert sum(facts["rows"].values()) == 1500
    assert [entry["to"] for entry in run["timeline"]][:3] == ["received", "prepared", "training"]
    job = sdk(droptune.environment).jobs.get(facts["data_job"])
    assert job.status == "Completed"
    assert job.tags == {"droptune_run": run["id"]}
    assert job.resources.instance_count == 3
    droptune.api(f"runs/{run['id']}/cancel", method="POST")
    droptune.wait("large.json", "cancelled", "serving")
