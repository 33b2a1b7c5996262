"""What the scoring path sees of the records, and what the idle timer does to them."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from shared.errors import DataRejected, Missing, Problem
from shared.runs import intake, reconciler
from shared.runs.endpoints import Rest
from shared.runs.phases import Phase
from shared.runs.record import Wish
from shared.serving.directory import Resting, Target
from shared.serving.records import Records
from shared.serving.retiring import delete_orphans, retire_idle
from tests.worlds import Simulation


@pytest.fixture
def sim() -> Simulation:
    """A world in which the model `chat` serves."""
    sim = Simulation()
    manifest = {"name": "chat", "dataset": {"files": ["a.jsonl"]}, "idle": {"after": "1h"}}
    sim.manifests.drop("chat.json", json.dumps(manifest).encode())
    intake.receive(sim.world, "chat.json")
    work(sim)
    return sim


def work(sim: Simulation) -> None:
    for _ in range(200):
        for look in sim.looks.due():
            reconciler.look(sim.world, look)
        sim.clock.advance(timedelta(seconds=20))


def records(sim: Simulation, key=lambda name: f"key of {name}") -> Records:
    return Records(sim.world, key=key, note=sim.uses.used.__setitem__)


def gone(name: str) -> str:
    raise Missing(name)


async def test_a_serving_model_is_found_with_its_key(sim):
    """Address and key come from the record and from Azure."""
    found = await records(sim).find("chat")
    azure_name = sim.azure_name("chat")
    record = sim.endpoints.records["chat"]
    uri, key = f"https://{azure_name}/score", f"key of {azure_name}"
    assert found == Target(uri, key, record.owner, record.live)
    assert await records(sim).find("other") is None


async def test_an_endpoint_deleted_behind_our_back_is_woken(sim):
    """Azure says there is none: the run is told, and the caller to come again."""
    sim.workspace.made.clear()
    sim.workspace.endpoints.clear()
    assert await records(sim, key=gone).find("chat") == Resting(Rest.ASLEEP)
    work(sim)
    (run,) = sim.all_runs()
    assert run.phase is Phase.SERVING
    assert [entry.to for entry in run.timeline][-3:] == [
        Phase.ASLEEP,
        Phase.WAKING,
        Phase.SERVING,
    ]


async def test_a_sleeping_model_wakes_on_a_wish(sim):
    """The proxy only leaves a wish; the run does the rest."""
    sim.clock.advance(timedelta(hours=2))
    assert retire_idle(sim.world) == ["chat"]
    work(sim)
    assert await records(sim).find("chat") == Resting(Rest.ASLEEP)
    await records(sim).wake("chat")
    work(sim)
    assert isinstance(await records(sim).find("chat"), Target)


def test_the_timer_leaves_alone_what_is_used_young_or_unmeasured(sim):
    """Only certain idleness puts an endpoint to sleep."""
    sim.clock.advance(timedelta(hours=2))
    sim.uses.used["chat"] = sim.clock() - timedelta(minutes=59)
    assert retire_idle(sim.world) == []
    sim.uses.used.clear()
    sim.workspace.measurable = False
    assert retire_idle(sim.world) == []
    sim.workspace.measurable = True
    assert retire_idle(sim.world) == ["chat"]
    (run,) = sim.all_runs()
    assert run.wish is Wish.SLEEP


async def test_uses_are_noted_under_the_models_name(sim):
    """The note is what the idle timer reads."""
    await records(sim).note_use("chat", sim.clock())
    assert sim.world.uses.last("chat") == sim.clock()


async def test_every_endpoint_is_listed_with_its_rest(sim):
    """Sleeping models are models too."""
    (listed,) = await records(sim).models()
    assert (listed.model, listed.rest) == ("chat", Rest.SERVING)


async def test_a_name_whose_only_run_was_rejected_is_no_model():
    """Nobody is told to wait for a run that has ended; while it is under way it is a model to come."""
    sim = Simulation()
    sim.preparation.refusal = DataRejected([Problem("a.jsonl", "3 rows are too few")])
    manifest = {"name": "chat", "dataset": {"files": ["a.jsonl"]}}
    sim.manifests.drop("chat.json", json.dumps(manifest).encode())
    intake.receive(sim.world, "chat.json")
    work(sim)
    assert sim.endpoints.records["chat"].rest is Rest.NEVER_SERVED
    assert await records(sim).find("chat") is None
    assert await records(sim).models() == []
    sim.preparation.refusal = None
    sim.manifests.drop("chat.json", json.dumps(manifest | {"deploy": {}}).encode())
    intake.receive(sim.world, "chat.json")
    for look in sim.looks.due():
        reconciler.look(sim.world, look)
    assert await records(sim).find("chat") == Resting(Rest.NEVER_SERVED)


def test_only_old_endpoints_of_ours_that_no_run_owns_are_deleted(sim):
    """What serves, what is young and what is not ours stays."""
    serving = sim.azure_name("chat")
    sim.workspace.create_endpoint("somebody-elses", None)
    sim.workspace.create_endpoint("left-behind", "chat-0000000000-g1")
    assert delete_orphans(sim.world) == []
    sim.clock.advance(timedelta(hours=2))
    assert delete_orphans(sim.world) == ["left-behind"]
    sim.clock.advance(timedelta(hours=1))
    sim.workspace._tidy()
    assert set(sim.workspace.endpoints) == {serving, "somebody-elses"}
