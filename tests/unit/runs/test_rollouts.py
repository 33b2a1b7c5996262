"""How a new deployment comes to the traffic, and what becomes of it, and of the old one, when it does not."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from msgspec.structs import replace

from shared.assets import AssetId
from shared.errors import Denied, Unavailable
from shared.runs import reconciler
from shared.runs.endpoints import Rest
from shared.runs.machines import VmSize
from shared.runs.measures import Measured, Seen
from shared.runs.outcomes import Stop
from shared.runs.phases import Phase
from shared.runs.ports import Look, ModelRequest, Provisioning
from shared.runs.record import Wish
from shared.runs.room import end_keeping, needed, shortage
from shared.serving.retiring import retire_idle
from tests.unit.runs.test_hard_cases import fail
from tests.unit.runs.test_reconciler import GOOD, drop, play
from tests.worlds import BIG, SIZE, CrashError, Simulation

BASE = GOOD | {"compute": {"size": BIG}}  # trains on other quota than it is served on
CANARY = {"rollout": "canary", "canary": {"shares": [10, 50], "bake": "10m"}, "keep_old": "0s"}


@pytest.fixture
def sim() -> Simulation:
    """A world in which both sizes are allowed."""
    sim = Simulation()
    sim.limited(instance_types=(SIZE, BIG))
    return sim


def manifest(number: int, **deploy: object) -> dict:
    """A manifest of the same endpoint, another for each number."""
    return BASE | {"idle": {"after": f"{number}h"}, "deploy": deploy}


def served(sim: Simulation) -> str:
    """A first run that serves."""
    run = drop(sim, BASE)
    play(sim)
    assert sim.run(run).phase is Phase.SERVING
    return run


def replacing(sim: Simulation, **deploy: object) -> tuple[str, str]:
    """A run that serves, and a newer one that is to be rolled out in its place."""
    return served(sim), drop(sim, manifest(2, **deploy))


def traffic(sim: Simulation) -> dict[str, int]:
    return {k: v for k, v in sim.workspace.endpoints[sim.azure_name("chat")].traffic.items() if v}


def deployments(sim: Simulation) -> set[str]:
    sim.workspace._tidy()
    return {name for _, name in sim.workspace.made}


def name_of(sim: Simulation, run: str) -> str:
    return sim.run(run).facts.deployment or ""


def seen(sim: Simulation, before: str, after: str, **health: Seen) -> None:
    sim.workspace.health = {
        name_of(sim, before): health.get("old", Seen(900, 9, 400.0)),
        f"r{'-'.join(after.split('-')[-2:])}": health.get("new", Seen(100, 1, 400.0)),
    }


@pytest.mark.parametrize(("startup", "end"), [("15m", Phase.FAILED), ("4h", Phase.SERVING)])
def test_a_rollout_has_an_end_and_the_time_that_its_model_takes_to_load(sim, startup, end):
    """What the manifest grants for loading is not counted against it; what never comes up is let go of."""
    sim.workspace.rollout_takes = timedelta(hours=3)
    run = drop(sim, BASE | {"deploy": {"startup": startup}})
    play(sim, minutes=60 * 8)
    assert sim.run(run).phase is end
    if end is Phase.FAILED:
        assert "the rollout took longer than 135m" in sim.run(run).why
        assert "log of" in (sim.run(run).facts.logs or "")
        assert not deployments(sim)


# The canary -------------------------------------------------------------------------------------


def test_a_canary_gets_more_and_more_and_then_all(sim):
    """Each share bakes its time; the record keeps how it fared at each."""
    old, new = replacing(sim, **CANARY)
    seen(sim, old, new)
    play(sim, minutes=120, until=Phase.SUPERSEDED)
    facts = sim.run(new).facts
    assert [stage.share for stage in facts.shares] == [10, 50]
    assert all(stage.until - stage.since == timedelta(minutes=10) for stage in facts.shares)
    assert all("1 of 100 requests failed" in stage.verdict[0] for stage in facts.shares)
    assert sim.run(new).phase is Phase.SERVING
    assert "did well with 10 % and 50 % of the traffic" in sim.run(new).timeline[-1].why
    assert traffic(sim) == {name_of(sim, new): 100}


@pytest.mark.parametrize(
    ("health", "told"),
    [
        (Seen(50, 5, 400.0), "more than 5.0% of its requests fail"),
        (Seen(50, 0, 900.0), "it is more than 2 times as slow"),
    ],
)
def test_a_bad_canary_is_taken_back_by_itself(sim, health, told):
    """Errors or slowness end it before its time; the old deployment has all traffic again."""
    old, new = replacing(sim, **CANARY)
    seen(sim, old, new, new=health)
    play(sim, minutes=90)
    run = sim.run(new)
    assert (run.phase, sim.run(old).phase) == (Phase.FAILED, Phase.SERVING)
    assert told in run.why
    assert told in run.facts.shares[0].verdict
    assert traffic(sim) == {name_of(sim, old): 100}
    assert deployments(sim) == {name_of(sim, old)}
    assert sim.endpoints.records["chat"].candidate is None


def test_a_canary_is_not_blamed_for_what_the_old_one_does_as_well(sim):
    """When both fail alike it is not the new model's fault."""
    old, new = replacing(sim, **CANARY)
    seen(sim, old, new, new=Seen(50, 5, 9000.0), old=Seen(500, 60, 8000.0))
    play(sim, minutes=120)
    assert sim.run(new).phase is Phase.SERVING
    assert sim.run(old).phase is Phase.SUPERSEDED


def test_a_canary_that_few_ask_is_watched_for_longer_and_then_believed(sim):
    """Its stage is extended twice; then the smoke test is the proof."""
    old, new = replacing(sim, **CANARY)
    seen(sim, old, new, new=Seen(3, 0, None))
    play(sim, minutes=180)
    assert [stage.extended for stage in sim.run(new).facts.shares] == [2, 2]
    assert sim.run(new).phase is Phase.SERVING


def test_a_canary_that_nobody_asks_is_not_kept_waiting(sim):
    """No request, no harm: one bake time a stage."""
    _, new = replacing(sim, **CANARY)
    play(sim, minutes=120)
    assert [stage.extended for stage in sim.run(new).facts.shares] == [0, 0]
    assert sim.run(new).phase is Phase.SERVING


def test_errors_that_no_count_shows_end_a_canary_too(sim):
    """Its servers answer errors with status 200, so it is asked again at the end of each stage."""
    old, new = replacing(sim, **CANARY)
    seen(sim, old, new)
    for _ in range(60):
        play(sim, minutes=1)
        if sim.run(new).facts.shares:
            sim.workspace.answer = None
    assert sim.run(new).phase is Phase.FAILED
    assert "the smoke test failed" in sim.run(new).why
    assert traffic(sim) == {name_of(sim, old): 100}


def test_the_traffic_of_a_canary_that_somebody_changed_is_set_again(sim):
    """What a person does to the traffic meanwhile does not mislead the watch."""
    old, new = replacing(sim, **CANARY)
    seen(sim, old, new)
    for _ in range(60):
        play(sim, minutes=1)
        if sim.run(new).facts.shares:
            break
    sim.workspace.endpoints[sim.azure_name("chat")].traffic = {name_of(sim, old): 100}
    play(sim, minutes=3)
    assert traffic(sim) == {name_of(sim, old): 90, name_of(sim, new): 10}


def test_the_newer_of_two_canaries_goes_first(sim):
    """The older waits without traffic and gives way when the newer one serves."""
    old = served(sim)
    first = drop(sim, manifest(2, **CANARY))
    second = drop(sim, manifest(3, **CANARY))
    for run in (first, second):
        seen(sim, old, run)
    play(sim, minutes=180)
    assert sim.run(second).phase is Phase.SERVING
    assert sim.run(first).phase is Phase.SUPERSEDED
    assert deployments(sim) == {name_of(sim, second)}


def test_a_canary_that_is_called_off_gives_its_traffic_back(sim):
    """A person may still call it off while it bakes."""
    old, new = replacing(sim, **CANARY)
    seen(sim, old, new)
    for _ in range(60):
        play(sim, minutes=1)
        if sim.run(new).facts.shares:
            break
    reconciler.cancel(sim.world, new, "called off")
    play(sim, minutes=30)
    assert sim.run(new).phase is Phase.CANCELLED
    assert traffic(sim) == {name_of(sim, old): 100}
    assert deployments(sim) == {name_of(sim, old)}


def test_the_first_model_of_an_endpoint_needs_no_canary(sim):
    """There is nothing to be held against, and nobody to be hurt."""
    run = drop(sim, manifest(2, **CANARY))
    play(sim)
    assert sim.run(run).phase is Phase.SERVING
    assert sim.run(run).facts.shares == []


# Two at a time ----------------------------------------------------------------------------------


def two_at_a_time(
    sim: Simulation,
    losses: tuple[float, float],
    older: dict[str, object] | None = None,
    **deploy: object,
) -> list[str]:
    """A run that serves, and two that are to beat its loss of 1.0; the later one is rolled out as `deploy` says."""
    of_run = {served(sim): 1.0}
    measure = sim.workspace.measured

    def measured(job: str) -> Measured:
        loss = of_run[job.removesuffix("-a1")]
        return Measured({"eval_loss": loss}, {"eval_loss": [(1, loss)]}, measure(job).tokens)

    sim.workspace.measured = measured
    gate = {"gate": {"better_than_current": "eval_loss"}}
    for number, loss in enumerate(losses, start=2):
        how = {"keep_old": "0s"} | (deploy if number > 2 else older or {})
        of_run[drop(sim, manifest(number, **how) | gate)] = loss
        sim.clock.advance(timedelta(seconds=10))
    return list(of_run)


def play_until_the_older_serves(sim: Simulation, older: str, newer: str) -> None:
    """Have the newer run gated against the same model, and its registration fail until the older one serves."""
    register = sim.workspace.register

    def registered(request: ModelRequest) -> None:
        if request.run == newer and sim.run(older).phase is not Phase.SERVING:
            raise Unavailable("503")
        register(request)

    sim.workspace.register = registered
    for _ in range(90):
        if sim.run(older).phase is not Phase.SERVING:
            play(sim, minutes=1)
    assert (sim.run(newer).phase, sim.run(newer).facts.gate) == (Phase.APPROVED, "passed")


@pytest.mark.parametrize("rollout", ["blue-green", "canary", "direct"])
def test_a_model_is_not_replaced_by_a_worse_one_that_was_gated_before_it_came(sim, rollout):
    """Both beat the first model; the one that is rolled out later is asked again, before anything is made for it."""
    first, older, newer = two_at_a_time(sim, (0.5, 0.7), rollout=rollout)
    play_until_the_older_serves(sim, older, newer)
    play(sim, minutes=60)
    assert [sim.run(run).phase for run in (first, older, newer)] == [
        Phase.SUPERSEDED,
        Phase.SERVING,
        Phase.SUPERSEDED,
    ]
    told = f"another model came before it: eval_loss is 0.7, no better than the 0.5 of {older}"
    assert told in sim.run(newer).why
    assert traffic(sim) == {name_of(sim, older): 100}
    assert deployments(sim) == {name_of(sim, older)}


@pytest.mark.parametrize("short", ["refuse", "direct"])
def test_a_model_that_was_outdone_does_not_ask_for_room(sim, short):
    """It ends as what it is, before it is rolled out at all, and not for want of quota."""
    _, older, newer = two_at_a_time(sim, (0.5, 0.7), short_of_quota=short)
    play_until_the_older_serves(sim, older, newer)
    sim.workspace.cores_allowed = {SIZE: 24}
    play(sim, minutes=60)
    run = sim.run(newer)
    assert run.phase is Phase.SUPERSEDED, run.why
    assert Phase.DEPLOYING not in [entry.to for entry in run.timeline]
    assert (run.facts.standstill, run.facts.fallback) == (None, None)


def outdone_in_want_of_room(sim: Simulation, keep: str) -> tuple[str, str]:
    """The model that a better one has just replaced and keeps for so long, and one that waits for room meanwhile."""
    first, older, newer = two_at_a_time(sim, (0.5, 0.7), {"keep_old": keep})
    sim.workspace.cores_allowed = {SIZE: 48}
    for _ in range(60 * 6):
        if sim.run(older).phase is not Phase.SERVING:
            play(sim, minutes=1)
    assert "it waits for quota" in sim.run(newer).why
    return first, newer


@pytest.mark.parametrize("keep", ["0s", "10h"])
def test_a_model_that_is_outdone_while_it_waits_for_room_takes_none(sim, keep):
    """What another manifest keeps is not deleted for a run that will not need it, nor is that run short of quota."""
    first, newer = outdone_in_want_of_room(sim, keep)
    sim.workspace.cores_allowed = {SIZE: 24}
    play(sim, minutes=30)
    assert sim.run(newer).phase is Phase.SUPERSEDED, sim.run(newer).why
    assert (name_of(sim, first) in deployments(sim)) is (keep == "10h")


def test_what_is_kept_is_let_go_of_only_for_who_may_still_have_the_endpoint(sim):
    """Asked again with the lease in hand: the better one may come just before."""
    first, newer = outdone_in_want_of_room(sim, "10h")
    before = sim.endpoints.records["chat"]
    assert first in before.kept
    outcome = end_keeping(sim.run(newer), sim.world)
    assert isinstance(outcome, Stop)
    assert sim.endpoints.records["chat"] == before


def test_a_model_that_is_outdone_while_it_is_rolled_out_gets_no_traffic(sim):
    """Its deployment stands already when the better one takes the endpoint."""
    _, older, newer = two_at_a_time(sim, (0.5, 0.7))
    play(sim, minutes=90)
    assert (sim.run(older).phase, sim.run(newer).phase) == (Phase.SERVING, Phase.SUPERSEDED)
    assert sim.run(newer).facts.answers
    assert deployments(sim) == {name_of(sim, older)}


def test_a_better_model_still_replaces_one_that_came_meanwhile(sim):
    """Asked again, it passes again."""
    _, older, newer = two_at_a_time(sim, (0.7, 0.5))
    play_until_the_older_serves(sim, older, newer)
    play(sim, minutes=60)
    assert (sim.run(older).phase, sim.run(newer).phase) == (Phase.SUPERSEDED, Phase.SERVING)


def retired(sim: Simulation) -> str:
    """A run that had the endpoint and was retired."""
    run = drop(sim, BASE | {"idle": {"after": "1h", "wake_on_request": False}})
    play(sim)
    sim.clock.advance(timedelta(hours=3))
    retire_idle(sim.world)
    play(sim)
    assert sim.run(run).phase is Phase.RETIRED
    return run


@pytest.mark.parametrize("bad", [False, True])
def test_a_retired_model_stays_retired_while_its_endpoint_is_emptied(sim, bad):
    """It is not compared with, and no wish would wake it, should the rollout fail."""
    first = retired(sim)
    drop(sim, manifest(2, keep_old="0s"))
    sim.clock.advance(timedelta(seconds=150))
    better = {"gate": {"better_than_current": "eval_loss"}}
    newer = drop(sim, manifest(3, rollout="direct") | better)
    play(sim, minutes=22)
    failing(sim, *[SERVICE] * (9 if bad else 0))
    play(sim, minutes=240)
    record = sim.endpoints.records["chat"]
    assert sim.run(newer).phase is (Phase.FAILED if bad else Phase.SERVING), sim.run(newer).why
    assert record.owner == (first if bad else newer)
    assert record.rest is (Rest.RETIRED if bad else Rest.SERVING)


def test_a_retired_model_that_is_recorded_as_asleep_is_not_compared_with(sim):
    """A record of before may say so."""
    retired(sim)
    record = sim.endpoints.records["chat"]
    sim.endpoints.records["chat"] = replace(record, rest=Rest.ASLEEP)
    new = drop(sim, manifest(2) | {"gate": {"better_than_current": "eval_loss"}})
    play(sim)
    assert sim.run(new).phase is Phase.SERVING, sim.run(new).why


# After the switch -------------------------------------------------------------------------------


def test_the_old_deployment_is_kept_for_a_while_without_traffic(sim):
    """Requests in hand end in peace; then it is deleted and its run superseded."""
    old, new = replacing(sim, keep_old="30m")
    play(sim, until=None, minutes=45)
    assert sim.run(new).phase is Phase.SERVING
    assert traffic(sim) == {name_of(sim, new): 100}
    assert deployments(sim) == {name_of(sim, old), name_of(sim, new)}
    assert "is kept until" in sim.run(old).why
    play(sim, minutes=60)
    assert sim.run(old).phase is Phase.SUPERSEDED
    assert deployments(sim) == {name_of(sim, new)}


@pytest.mark.parametrize(("theirs", "later"), [("4h", "0s"), ("2h", "9h")])
def test_a_later_run_neither_shortens_nor_lengthens_what_another_asked_for(sim, theirs, later):
    """How long the old deployment is kept is said by the manifest that took its traffic."""
    first = served(sim)
    second = drop(sim, manifest(2, keep_old=theirs))
    play(sim, minutes=45)
    assert "is kept until" in sim.run(first).why
    third = drop(sim, manifest(3, keep_old=later))
    play(sim, minutes=45)
    assert sim.run(third).phase is Phase.SERVING
    assert name_of(sim, first) in deployments(sim)
    assert (name_of(sim, second) in deployments(sim)) is (later == "9h")
    play(sim, minutes=90)
    assert (name_of(sim, first) in deployments(sim)) is (theirs == "4h")
    assert (name_of(sim, second) in deployments(sim)) is (later == "9h")
    play(sim, minutes=10 * 60)
    assert deployments(sim) == {name_of(sim, third)}


def test_a_switch_that_is_done_twice_keeps_the_old_deployment_no_longer(sim):
    """A worker that died after the endpoint's record was saved: the next look finds it so and changes nothing."""
    _, new = replacing(sim, keep_old="4h")
    found: list[datetime] = []

    def dies(call: str) -> None:
        record = sim.endpoints.records["chat"]
        if call == "endpoints.save" and record.owner == new and not found:
            found.extend(record.kept.values())
            raise CrashError

    sim.faults.after = dies
    with pytest.raises(CrashError):
        play(sim)
    sim.clock.advance(timedelta(hours=2))
    reconciler.look(sim.world, Look(new))
    play(sim, minutes=5)
    assert sim.run(new).phase is Phase.SERVING
    assert found
    assert list(sim.endpoints.records["chat"].kept.values()) == found


def test_a_record_of_before_still_says_how_long_the_old_deployment_is_kept(sim):
    """It had one time for all former owners."""
    old, new = replacing(sim, keep_old="2h")
    play(sim, minutes=30)
    record = sim.endpoints.records["chat"]
    until = record.kept[old]
    sim.endpoints.records["chat"] = replace(record, kept={}, keep_until=until)
    reconciler.look(sim.world, Look(old))
    third = drop(sim, manifest(3, keep_old="0s"))
    play(sim, minutes=30)
    assert sim.run(third).phase is Phase.SERVING
    assert sim.endpoints.records["chat"].kept == {old: until}
    assert deployments(sim) == {name_of(sim, old), name_of(sim, third)}
    play(sim, minutes=120)
    assert sim.run(new).phase is Phase.SUPERSEDED
    assert deployments(sim) == {name_of(sim, third)}


def test_an_endpoint_that_nobody_uses_keeps_no_old_deployment(sim):
    """However long it was to be kept: it bills, and would keep the endpoint awake."""
    old = served(sim)
    new = drop(sim, manifest(1, keep_old="7d"))
    play(sim)
    assert sim.run(new).phase is Phase.SERVING
    assert len(deployments(sim)) == 2
    for _ in range(2):
        sim.clock.advance(timedelta(hours=2))
        retire_idle(sim.world)
        play(sim)
    assert sim.run(old).phase is Phase.SUPERSEDED
    assert sim.run(new).phase is Phase.ASLEEP
    assert not deployments(sim)


# Quota ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "cores", "instances", "machines"),
    [
        ("Standard_DS3_v2", 4, 6, 8),
        ("Standard_DS3_v2", 4, 3, 4),
        (SIZE, 24, 1, 1),
        (BIG, 48, 3, 3),
    ],
)
def test_cores_are_counted_with_azures_reserve(size, cores, instances, machines):
    """A fifth more machines, rounded up, except for the sizes that Azure exempts."""
    assert needed(VmSize(size, "family", cores, 1), instances) == cores * machines


def test_quota_that_may_not_be_read_stands_in_nobodys_way(sim):
    """Reading it takes a role; Azure's own refusal tells as well."""
    fail(sim, "workspace.quota", Denied("403"), times=9)
    assert shortage(SIZE, 1, sim.world) is None
    assert shortage("Standard_Imaginary", 1, sim.world) is None


def test_quota_that_is_still_in_use_is_waited_for(sim):
    """Nodes that trained are given back some minutes late: no reason to fail a run."""
    sim.workspace.cores_allowed = {SIZE: 0}
    run = drop(sim, BASE)
    play(sim, until=Phase.DEPLOYING)
    play(sim, minutes=5)
    assert sim.run(run).phase is Phase.DEPLOYING
    assert "it waits for quota" in sim.run(run).why
    sim.workspace.cores_allowed = {SIZE: 24}
    play(sim)
    assert sim.run(run).phase is Phase.SERVING


def test_no_quota_for_a_second_deployment_is_refused_before_it_is_made(sim):
    """Family, limit, used and needed are told; what serves serves on."""
    sim.workspace.cores_allowed = {SIZE: 24}
    old = served(sim)
    new = drop(sim, manifest(2))
    play(sim)
    run = sim.run(new)
    assert run.phase is Phase.FAILED
    assert f"1 x {SIZE} needs 24 cores of family of {SIZE}, and of its 24 cores 24 are" in run.why
    assert "set deploy.short_of_quota to direct" in run.why
    assert sim.run(old).phase is Phase.SERVING
    assert traffic(sim) == {name_of(sim, old): 100}


def test_no_quota_for_a_second_deployment_may_fall_back_to_direct(sim):
    """Then the old one goes first; the note says why there was an interruption."""
    sim.workspace.cores_allowed = {SIZE: 24}
    old, new = replacing(sim, short_of_quota="direct")
    play(sim, minutes=90)
    assert sim.run(new).phase is Phase.SERVING
    assert "rolled out direct, for want of quota" in sim.run(new).facts.notes[-1]
    assert sim.run(old).phase is Phase.SUPERSEDED
    assert deployments(sim) == {name_of(sim, new)}


@pytest.mark.parametrize("how", ["refused at once", "failed later"])
def test_quota_that_only_azure_tells_falls_back_to_direct_too(sim, how):
    """Where the quota may not be read, the refusal is what tells; the manifest's wish is the same."""
    old = served(sim)
    said = "BadRequest: VmSize: Not enough quota available"
    if how == "refused at once":
        sim.workspace.refusals = [said]
    else:
        sim.workspace.deployment_fates, sim.workspace.errors = [Provisioning.FAILED], [said]
    new = drop(sim, manifest(2, short_of_quota="direct"))
    play(sim, minutes=90)
    facts = sim.run(new).facts
    assert sim.run(new).phase is Phase.SERVING
    assert [failure.kind for failure in facts.failures] == ["deployment-quota"]
    assert "rolled out direct, for want of quota" in facts.notes[-1]
    assert sim.run(old).phase is Phase.SUPERSEDED
    assert deployments(sim) == {name_of(sim, new)}


def test_a_direct_rollout_tries_every_size_before_one_again(sim):
    """Quota may come back for the first, but another may have some at once."""
    sim.limited(instance_types=(SIZE, BIG), attempts=4)
    served(sim)
    sim.workspace.refusals = ["Not enough quota available"] * 3
    new = drop(sim, manifest(2, rollout="direct", instance_types=[BIG]))
    play(sim, minutes=90)
    assert sim.run(new).phase is Phase.SERVING
    tried = [failure.size for failure in sim.run(new).facts.failures]
    assert tried == [SIZE, BIG, SIZE]


def test_the_next_size_is_taken_where_quota_is_short(sim):
    """Sizes are tried in the manifest's order; the note says which was left out, and why."""
    sim.workspace.cores_allowed = {SIZE: 24, BIG: 96}
    _, new = replacing(sim, instance_types=[BIG])
    play(sim, minutes=90)
    assert sim.run(new).phase is Phase.SERVING
    assert sim.run(new).facts.instance_type == BIG
    assert f"served on {BIG}: 1 x {SIZE} needs 24 cores" in sim.run(new).facts.notes[-1]


def test_what_is_only_kept_makes_room(sim):
    """Quota that an old deployment without traffic still holds is freed early."""
    sim.workspace.cores_allowed = {SIZE: 48}
    first = served(sim)
    second = drop(sim, manifest(2, keep_old="10h"))
    play(sim)
    third = drop(sim, manifest(3))
    play(sim, minutes=120)
    assert sim.run(third).phase is Phase.SERVING
    assert sim.run(first).phase is Phase.SUPERSEDED
    assert deployments(sim) == {name_of(sim, third)}
    assert sim.run(second).phase is Phase.SUPERSEDED


def test_quota_is_waited_for_from_when_the_endpoint_is_empty(sim):
    """Deleting takes long, and what was deleted gives its cores back a while later: that is no failure."""
    old = served(sim)
    sim.workspace.rollout_takes = timedelta(hours=2)  # a deletion then takes 24 minutes
    new = drop(sim, manifest(2, rollout="direct"))
    play(sim, minutes=22, until=Phase.DEPLOYING)
    sim.workspace.cores_allowed = {SIZE: 0}
    play(sim, minutes=60, until=Phase.ASLEEP)
    sim.workspace.rollout_takes = timedelta(minutes=5)
    play(sim, minutes=5)
    assert sim.run(old).phase is Phase.ASLEEP
    assert sim.run(new).phase is Phase.DEPLOYING
    assert sim.run(new).facts.standstill.on == "quota"
    sim.workspace.cores_allowed = {SIZE: 24}
    play(sim, minutes=30)
    assert sim.run(new).phase is Phase.SERVING
    assert sim.run(new).facts.standstill is None


# Direct -----------------------------------------------------------------------------------------


def test_direct_replaces_and_never_has_two(sim):
    """The owner sleeps, its deployment goes, the new one comes and takes over."""
    sim.workspace.cores_allowed = {SIZE: 24}
    old, new = replacing(sim, rollout="direct")
    play(sim, minutes=90)
    assert sim.run(new).phase is Phase.SERVING
    phases = [entry.to for entry in sim.run(old).timeline]
    assert phases[-2:] == [Phase.ASLEEP, Phase.SUPERSEDED]
    assert deployments(sim) == {name_of(sim, new)}
    record = sim.endpoints.records["chat"]
    assert (record.owner, record.rest, record.emptied_for) == (new, Rest.SERVING, None)


@pytest.mark.parametrize("action", ["delete-endpoint", "delete-deployments"])
def test_a_direct_rollout_that_fails_wakes_the_old_one(sim, action):
    """What served before serves again, although it had to go."""
    sim.workspace.cores_allowed = {SIZE: 24}
    old = drop(sim, BASE | {"idle": {"after": "1h", "action": action}})
    play(sim)
    sim.workspace.deployment_fates = [Provisioning.FAILED]
    new = drop(sim, manifest(2, rollout="direct"))
    play(sim, minutes=120)
    assert sim.run(new).phase is Phase.FAILED
    assert sim.run(old).phase is Phase.SERVING
    assert traffic(sim) == {name_of(sim, old): 100}
    assert deployments(sim) == {name_of(sim, old)}
    assert sim.endpoints.records["chat"].emptied_for is None


def test_a_request_during_a_direct_rollout_does_not_wake_the_old_one(sim):
    """It would take the room that was just made."""
    sim.workspace.cores_allowed = {SIZE: 24}
    old, new = replacing(sim, rollout="direct")
    for _ in range(90):
        play(sim, minutes=1)
        reconciler.wish(sim.world, old, Wish.WAKE)
    assert sim.run(new).phase is Phase.SERVING
    assert Phase.WAKING not in [entry.to for entry in sim.run(old).timeline]


# Failures ---------------------------------------------------------------------------------------


def failing(sim: Simulation, *errors: str) -> None:
    sim.workspace.deployment_fates = [Provisioning.FAILED] * len(errors)
    sim.workspace.errors = list(errors)


CAPACITY = "OutOfQuota: failed to provision due to a lack of Azure Machine Learning capacity"
SERVICE = "InternalServerError: An internal server error occurred"


def test_a_passing_failure_is_tried_again(sim):
    """Azure's own trouble: the failed deployment is deleted, the same is made again."""
    failing(sim, SERVICE)
    run = drop(sim)
    play(sim, minutes=90)
    facts = sim.run(run).facts
    assert sim.run(run).phase is Phase.SERVING
    assert [(f.attempt, f.kind) for f in facts.failures] == [(1, "deployment-service")]
    assert facts.failures[0].logs
    assert deployments(sim) == {name_of(sim, run)}


def test_trying_again_has_an_end(sim):
    """As many failures as there may be attempts; then the run fails with Azure's words."""
    failing(sim, *[SERVICE] * 5)
    run = drop(sim)
    play(sim, minutes=120)
    assert sim.run(run).phase is Phase.FAILED
    assert len(sim.run(run).facts.failures) == sim.world.limits.attempts
    assert SERVICE in sim.run(run).why
    assert not deployments(sim)


def test_a_size_without_capacity_is_followed_by_the_next(sim):
    """Quota does not tell of capacity: only making it does."""
    failing(sim, CAPACITY)
    run = drop(sim, manifest(2, instance_types=[BIG]))
    play(sim, minutes=90)
    facts = sim.run(run).facts
    assert sim.run(run).phase is Phase.SERVING
    assert [(f.size, f.kind) for f in facts.failures] == [(SIZE, "deployment-no-capacity")]
    assert facts.instance_type == BIG


def test_without_a_next_size_there_is_nothing_to_try(sim):
    """The person is told what to do."""
    failing(sim, CAPACITY)
    run = drop(sim)
    play(sim, minutes=90)
    assert sim.run(run).phase is Phase.FAILED
    assert "Name further sizes in `deploy.instance_types`" in sim.run(run).why


def test_a_refusal_counts_as_a_failure(sim):
    """Quota may go between the question and the deployment; then Azure refuses at once."""
    sim.workspace.refusals = ["making it: BadRequest: VmSize: Not enough quota available"]
    run = drop(sim, manifest(2, instance_types=[BIG]))
    play(sim, minutes=90)
    assert sim.run(run).phase is Phase.SERVING
    assert [(f.size, f.kind) for f in sim.run(run).facts.failures] == [(SIZE, "deployment-quota")]


def test_an_earlier_rollouts_failures_do_not_count_against_a_wake(sim):
    """Each wake has its own attempts, and a failed one may be tried again by the next request."""
    failing(sim, SERVICE)
    run = drop(sim)
    play(sim, minutes=90)
    sim.clock.advance(timedelta(hours=2))
    reconciler.wish(sim.world, run, Wish.SLEEP)
    play(sim)
    failing(sim, SERVICE)
    reconciler.wish(sim.world, run, Wish.WAKE)
    play(sim)
    assert sim.run(run).phase is Phase.SERVING
    assert [f.attempt for f in sim.run(run).facts.failures] == [1, 2]


# Review and registration ------------------------------------------------------------------------


@pytest.mark.parametrize("refused", ["register", "discard"])
def test_a_refused_model_is_registered_where_the_manifest_says_so_and_never_deployed(sim, refused):
    """With the tag `gate=failed`; without that wish it is not registered at all."""
    gate = {"eval_loss": {"max": 0.5}, "refused": refused}
    run = drop(sim, GOOD | {"gate": gate})
    play(sim)
    assert sim.run(run).phase is Phase.REJECTED
    kept = refused == "register"
    assert [each.tags["gate"] for each in sim.workspace.requests_made] == ["failed"] * kept
    assert (sim.run(run).facts.model is not None) is kept
    assert not sim.workspace.endpoints


def test_a_model_that_is_no_better_than_the_one_that_serves_is_refused(sim):
    """The one that serves is compared with, asleep or not."""
    better = {"gate": {"better_than_current": "eval_loss"}}
    old = drop(sim, GOOD | better)
    play(sim)
    assert sim.run(old).phase is Phase.SERVING
    same = drop(sim, manifest(2) | better)
    play(sim)
    assert sim.run(same).phase is Phase.REJECTED
    assert f"no better than the 1 of {old}" in sim.run(same).why
    sim.workspace.metrics_of_jobs = {"eval_loss": 0.9}
    best = drop(sim, manifest(3) | better)
    play(sim, minutes=90)
    assert sim.run(best).phase is Phase.SERVING


def test_a_model_is_named_after_the_one_that_stood_in(sim):
    """Tags and description say what was tuned, not what was asked for."""
    sim.workspace.versions = {"Gone": []}
    sim.limited(fallback_models=(AssetId("azureml", "models", "Phi-4", "latest"),))
    run = drop(sim, BASE | {"model": {"name": "Gone", "allow_fallback": True}})
    play(sim)
    assert sim.run(run).phase is Phase.SERVING
    request = sim.workspace.requests_made[0]
    assert request.tags["foundation_model"] == "Phi-4"
    assert request.description.startswith("Phi-4 fine-tuned on chat.json")


def test_a_model_says_where_it_came_from_within_azures_bounds(sim):
    """Job, foundation model, data, parameters, metrics and manifest; long values go on in pieces."""
    many = {f"metric_{number}": 1.0 for number in range(300)}
    sim.workspace.metrics_of_jobs = {"eval_loss": 1.0, **many}
    sim.preparation.revision = "c0ffee"
    run = drop(sim, GOOD | {"finetune": {"learning_rate": 0.001}})
    play(sim)
    request = sim.workspace.requests_made[0]
    assert request.lineage["droptune_job"] == sim.run(run).facts.job
    assert request.lineage["droptune_foundation_model"].endswith("/models/Phi-4/versions/8")
    assert request.lineage["droptune_fingerprint"] == "f00d"
    assert '"learning_rate":0.001' in request.lineage["droptune_parameters"]
    assert '"revision":"main"' in request.lineage["droptune_dataset"]
    assert request.lineage["droptune_revision"] == sim.run(run).facts.revision == "c0ffee"
    assert request.lineage["droptune_metrics_2"]
    assert request.tags["gate"] == "passed"
    assert len(request.lineage) <= 50
    assert all(len(value) <= 1000 for value in request.lineage.values())
    assert all(len(name) <= 100 for name in request.lineage)
