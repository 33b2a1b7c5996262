"""What goes wrong at the worst moment: between two saves, for good, or in the middle of another's look."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest

from shared.errors import Denied, ManifestRejected, Refused, Unavailable
from shared.runs import intake, manifest, reconciler
from shared.runs.endpoints import Rest
from shared.runs.phases import Phase
from shared.runs.ports import JobState, Look, Provisioning
from shared.runs.record import Wish
from shared.serving.retiring import retire_idle
from tests.unit.runs.test_reconciler import GOOD, drop, play
from tests.worlds import Simulation

OTHER = GOOD | {"idle": {"after": "2h"}}


def fail(sim: Simulation, call: str, error: Exception, times: int = 1) -> None:
    """Have the next calls of this name fail."""
    left = [times]

    def before(made: str) -> None:
        if made == call and left[0]:
            left[0] -= 1
            raise error

    sim.faults.before = before


def at(sim: Simulation, call: str, act) -> None:
    """Have something else happen right before the next call of this name."""
    done = []

    def before(made: str) -> None:
        if made == call and not done:
            done.append(call)
            act()

    sim.faults.before = before


def deployments(sim: Simulation) -> list[str]:
    sim.workspace._tidy()
    return [name for _, name in sim.workspace.made]


def test_a_container_that_is_replaced_during_the_smoke_test_is_asked_again():
    """A killed process or node comes back by itself; what serves in the end is what was trained."""
    sim = Simulation()
    fail(sim, "workspace.ask", Unavailable("The user container is not ready."), times=3)
    run = drop(sim)
    play(sim)
    assert sim.run(run).phase is Phase.SERVING


def test_a_container_that_never_comes_back_fails_the_smoke_test_in_time():
    """After the time in which it could have loaded its model: what stands there bills."""
    sim = Simulation()
    fail(sim, "workspace.ask", Unavailable("The user container is not ready."), times=10**6)
    run = drop(sim, GOOD | {"deploy": {"startup": "10m"}})
    play(sim, minutes=40)
    assert sim.run(run).phase is Phase.FAILED
    assert "the smoke test failed: The user container is not ready." in sim.run(run).why
    assert deployments(sim) == []


def test_sleep_that_was_decided_on_is_never_given_up():
    """A 403 on the deletion is told and tried again: what stands there bills."""
    sim = Simulation()
    run = drop(sim)
    play(sim)
    sim.clock.advance(timedelta(hours=2))
    retire_idle(sim.world)
    fail(sim, "workspace.delete_endpoint", Denied("403"), times=3)
    play(sim, minutes=2)
    assert sim.run(run).phase is Phase.SERVING
    assert "cannot fall asleep: 403" in sim.run(run).why
    play(sim)
    assert sim.run(run).phase is Phase.ASLEEP
    assert not deployments(sim)


def test_letting_go_is_never_given_up():
    """A run that failed does not end before its deployment is gone."""
    sim = Simulation()
    sim.workspace.answer = None
    run = drop(sim)
    fail(sim, "workspace.delete_deployment", Denied("403"), times=3)
    play(sim, minutes=45)
    assert sim.run(run).phase is Phase.FAILED
    assert not deployments(sim)


def test_a_submission_under_way_when_the_run_is_called_off_leaves_no_job():
    """Looking again just before submitting, or waiting for what shows up late: never a job unseen."""
    sim = Simulation()
    run = drop(sim)
    at(sim, "workspace.submit", lambda: reconciler.cancel(sim.world, run, "called off"))
    play(sim, minutes=30)
    assert sim.run(run).phase is Phase.CANCELLED
    assert not sim.workspace.live_jobs(run)


def test_a_rollout_under_way_when_the_run_is_called_off_leaves_no_deployment():
    """Inside the fence it looks again whether it is still wanted."""
    sim = Simulation()
    old = drop(sim)
    play(sim)
    new = drop(sim, OTHER)
    at(
        sim,
        "workspace.create_deployment",
        lambda: reconciler.cancel(sim.world, new, "called off"),
    )
    play(sim, minutes=90)
    assert sim.run(new).phase is Phase.CANCELLED
    assert deployments(sim) == [sim.run(old).facts.deployment]


def test_what_already_has_the_traffic_can_no_longer_be_called_off():
    """Between the two saves of a take-over it is too late; the model goes on to serve."""
    sim = Simulation()
    old = drop(sim)
    play(sim)
    new = drop(sim, OTHER)
    save = sim.runs.save

    def cancelled_just_before(run, etag):
        if run.phase is Phase.SERVING and run.id == new:
            sim.runs.save = save
            reconciler.cancel(sim.world, new, "called off")
        return save(run, etag)

    sim.runs.save = cancelled_just_before
    play(sim, minutes=90)
    assert sim.run(new).phase is Phase.SERVING
    assert sim.run(old).phase is Phase.SUPERSEDED
    assert deployments(sim) == [sim.run(new).facts.deployment]


def test_a_manifest_that_no_record_could_hold_is_refused():
    """Half a surrogate pair can be escaped in JSON and never be written again."""
    with pytest.raises(ManifestRejected, match="surrogate"):
        manifest.parse("m.json", b'{"finetune": {"\\ud800": 1}}')


def test_a_worker_that_dies_of_the_data_each_time_is_given_up():
    """Out of memory again and again: told after five times, not tried for ever."""
    sim = Simulation()
    run = drop(sim)

    def die(*_):
        raise KeyboardInterrupt

    sim.preparation.prepare = die
    for _ in range(40):
        sim.clock.advance(timedelta(minutes=3))
        reconciler.reconcile(sim.world)
        for look in sim.looks.due():
            try:
                reconciler.look(sim.world, look)
            except KeyboardInterrupt:
                continue
    assert sim.run(run).phase is Phase.FAILED
    assert "ended its worker 5 times" in sim.run(run).why


def test_the_second_event_of_a_second_drop_starts_nothing():
    """A drop while the run is on its way is that run's, however late it is told again."""
    sim = Simulation()
    sim.workspace.fates = [(JobState.FAILED, False)]
    first = drop(sim)
    assert drop(sim) == first
    play(sim, until=Phase.FAILED)
    again = intake.receive(sim.world, "chat.json")
    assert again is not None
    assert again.id == first


@pytest.mark.parametrize("trouble", ["no traffic", "failed deployment", "gone"])
def test_a_serving_run_that_does_not_serve_is_brought_back(trouble):
    """Somebody got no answer: the run looks whether it serves in truth."""
    sim = Simulation()
    run = drop(sim)
    play(sim)
    (deployment,) = sim.workspace.made.values()
    (endpoint,) = sim.workspace.endpoints.values()
    if trouble == "no traffic":
        endpoint.traffic = {}
    elif trouble == "failed deployment":
        deployment.fate = Provisioning.FAILED
    else:
        sim.workspace.made.clear()
        sim.workspace.endpoints.clear()
    for _ in range(
        2
    ):  # a wake that finds a failed deployment deletes it; the next request wakes again
        reconciler.wish(sim.world, run, Wish.WAKE)
        play(sim)
    assert sim.run(run).phase is Phase.SERVING
    (endpoint,) = sim.workspace.endpoints.values()
    assert endpoint.traffic == {sim.run(run).facts.deployment: 100}


def test_a_failed_traffic_update_is_mended():
    """Azure leaves the endpoint Failed; saying it again brings it back."""
    sim = Simulation()
    old = drop(sim)
    play(sim)
    sim.workspace.update_fates = [Provisioning.FAILED, Provisioning.FAILED]
    new = drop(sim, OTHER)
    play(sim, minutes=90)
    assert sim.run(new).phase is Phase.SERVING, sim.run(new).why
    assert sim.run(old).phase is Phase.SUPERSEDED


def test_one_look_that_does_not_find_the_job_does_not_end_days_of_training():
    """A 404 is asked again before it is believed."""
    sim = Simulation()
    run = drop(sim)
    play(sim, until=Phase.TRAINING)
    sim.clock.advance(timedelta(minutes=10))
    hidden = dict(sim.workspace.jobs)
    sim.workspace.jobs.clear()
    reconciler.look(sim.world, Look(run))
    sim.workspace.jobs.update(hidden)
    assert sim.run(run).phase is Phase.TRAINING
    assert sim.run(run).failures == 1
    play(sim)
    assert sim.run(run).phase is Phase.SERVING


def test_a_take_over_that_comes_to_nothing_leaves_the_rightful_manifest_its_endpoint():
    """Its next version is not told that the endpoint belongs to somebody else."""
    sim = Simulation()
    drop(sim)
    play(sim)
    sim.workspace.fates = [(JobState.FAILED, False)]
    drop(sim, GOOD | {"deploy": {"take_over": True}}, path="other.json")
    play(sim)
    newer = drop(sim, OTHER)
    play(sim)
    assert sim.run(newer).phase is Phase.SERVING, sim.run(newer).why


def test_nobody_who_had_the_endpoint_is_forgotten():
    """Two take-overs, the first of which died before it told anybody: all go in the end."""
    sim = Simulation()
    first = drop(sim)
    play(sim)
    second = drop(sim, OTHER)
    mark = sim.runs.mark_active

    def die_once(run_id: str) -> None:
        if run_id == first and sim.endpoints.records["chat"].owner == second:
            sim.runs.mark_active = mark
            raise KeyboardInterrupt
        mark(run_id)

    sim.runs.mark_active = die_once
    for _ in range(300):
        for look in sim.looks.due():
            try:
                reconciler.look(sim.world, look)
            except KeyboardInterrupt:
                third = drop(sim, GOOD | {"idle": {"after": "3h"}})
        sim.clock.advance(timedelta(seconds=10))
        reconciler.reconcile(sim.world)
    play(sim)
    assert sim.run(first).phase is Phase.SUPERSEDED
    assert sim.run(third).phase is Phase.SERVING
    assert deployments(sim) == [sim.run(third).facts.deployment]
    assert sim.endpoints.records["chat"].rest is Rest.SERVING


def test_a_log_that_cannot_be_read_does_not_hide_why_the_deployment_failed():
    """The reason stands; that the log is missing is told beside it."""
    sim = Simulation()
    sim.workspace.deployment_fates = [Provisioning.FAILED]

    def refuse(endpoint: str, deployment: str) -> str:
        raise Refused(f"no log of {endpoint}/{deployment}")

    sim.workspace.logs = refuse
    run = drop(sim)
    play(sim)
    assert "has crashed" in sim.run(run).why
    assert "cannot be read" in (sim.run(run).facts.logs or "")


def test_a_message_told_twice_leads_to_one_further_message():
    """The second copy is stale once the first was heeded."""
    sim = Simulation()
    run = drop(sim)
    play(sim, until=Phase.TRAINING)
    sim.clock.advance(timedelta(minutes=2))
    (look,) = [look for look in sim.looks.due() if look.number == sim.run(run).look]
    reconciler.look(sim.world, look)
    reconciler.look(sim.world, look)
    assert len(sim.looks.queue) == 1


def test_what_was_prepared_while_the_run_was_called_off_is_dropped():
    """The worker comes back to a record that is no longer its own."""
    sim = Simulation()
    run = drop(sim)
    at(sim, "preparation.prepare", lambda: reconciler.cancel(sim.world, run, "called off"))
    play(sim, minutes=5)
    assert sim.run(run).phase is Phase.CANCELLED
    assert not sim.workspace.jobs


def test_a_wish_survives_the_loss_of_its_message():
    """The mark finds it."""
    sim = Simulation()
    run = drop(sim)
    play(sim)
    sim.clock.advance(timedelta(hours=2))
    reconciler.wish(sim.world, run, Wish.SLEEP)
    sim.looks.queue.clear()
    sim.clock.advance(timedelta(minutes=1))
    assert reconciler.reconcile(sim.world) == [run]
    play(sim)
    assert sim.run(run).phase is Phase.ASLEEP


def test_a_former_owner_hears_of_it_though_the_hint_is_lost():
    """It rests and is marked: that alone is reason to look."""
    sim = Simulation()
    old = drop(sim)
    play(sim)
    drop(sim, OTHER)
    play(sim, until=Phase.DEPLOYING)
    send = sim.looks.send
    sim.looks.send = lambda look, delay: None if look.run == old else send(look, delay)
    play(sim, minutes=20)
    assert sim.run(old).phase is Phase.SERVING
    sim.looks.send = send
    assert reconciler.reconcile(sim.world) == [old]
    play(sim)
    assert sim.run(old).phase is Phase.SUPERSEDED


def test_a_run_that_lost_its_endpoint_while_falling_asleep_deletes_nothing():
    """Inside the fence it looks again whose the endpoint is."""
    sim = Simulation()
    run = drop(sim)
    play(sim)
    sim.clock.advance(timedelta(hours=2))
    reconciler.wish(sim.world, run, Wish.SLEEP)
    record = sim.endpoints.records["chat"]

    def taken() -> None:
        sim.endpoints.records["chat"] = msgspec.structs.replace(record, owner="another", live="x")

    at(sim, "endpoints.hold", taken)
    reconciler.look(sim.world, Look(run))
    assert not any(endpoint.deleting for endpoint in sim.workspace.endpoints.values())


def test_a_sleeping_run_is_superseded_when_another_takes_the_endpoint():
    """It has nothing left to let go of, and no request wakes it any more."""
    sim = Simulation()
    old = drop(sim)
    play(sim)
    sim.clock.advance(timedelta(hours=2))
    reconciler.wish(sim.world, old, Wish.SLEEP)
    play(sim)
    assert sim.run(old).phase is Phase.ASLEEP
    new = drop(sim, OTHER)
    play(sim)
    assert sim.run(old).phase is Phase.SUPERSEDED
    assert sim.run(new).phase is Phase.SERVING


@pytest.mark.parametrize("rollout", ["blue-green", "canary", "direct"])
def test_an_endpoint_whose_record_somebody_removed_ends_a_rollout_with_that_reason(rollout):
    """It is no error of Droptune's own, and nothing of the run is left standing."""
    sim = Simulation()
    old = drop(sim)
    play(sim)
    new = drop(sim, OTHER | {"deploy": {"rollout": rollout}})
    play(sim, minutes=40, until=Phase.DEPLOYING)
    del sim.endpoints.records["chat"]
    play(sim, minutes=60)
    assert sim.run(new).phase is Phase.FAILED
    assert "the endpoint's record is gone" in sim.run(new).why
    assert deployments(sim) in ([], [sim.run(old).facts.deployment])


def test_a_direct_rollout_that_is_called_off_wakes_who_was_waking():
    """Also when that one is just letting go of what it had made so far: the wish is not lost."""
    sim = Simulation()
    old = drop(sim, OTHER | {"idle": {"after": "2h", "wake_on_request": False}})
    play(sim)
    first = drop(sim, GOOD | {"deploy": {"rollout": "direct"}})
    play(sim, minutes=60, until=Phase.ASLEEP)
    sim.workspace.rollout_takes = timedelta(hours=1)
    reconciler.cancel(sim.world, first, "called off")
    play(sim, minutes=180, until=Phase.WAKING)
    second = drop(sim, OTHER | {"deploy": {"rollout": "direct"}})
    while sim.run(old).ending is None:
        assert sim.run(old).phase is Phase.WAKING
        play(sim, minutes=1)
    sim.workspace.rollout_takes = timedelta(minutes=5)
    reconciler.cancel(sim.world, second, "called off")
    play(sim, minutes=120)
    assert sim.run(second).phase is Phase.CANCELLED
    assert sim.run(old).phase is Phase.SERVING


def test_an_older_run_that_comes_late_gives_way():
    """What was dropped last serves, whichever trains faster; no GPU is asked for the other."""
    sim = Simulation()
    old = drop(sim)
    play(sim, until=Phase.TRAINING)
    sim.workspace.jobs[f"{old}-a1"].until += timedelta(hours=3)
    sim.clock.advance(timedelta(seconds=1))
    new = drop(sim, OTHER)
    play(sim, minutes=60)
    assert sim.run(new).phase is Phase.SERVING
    play(sim, minutes=240)
    assert sim.run(old).phase is Phase.SUPERSEDED
    assert deployments(sim) == [sim.run(new).facts.deployment]


def test_a_job_that_does_not_show_right_after_its_submission_is_waited_for():
    """Reads may lag behind writes: that is no failure."""
    sim = Simulation()
    run = drop(sim)
    play(sim, until=Phase.TRAINING)
    hidden = dict(sim.workspace.jobs)
    sim.workspace.jobs.clear()
    reconciler.look(sim.world, Look(run))
    assert (sim.run(run).phase, sim.run(run).failures) == (Phase.TRAINING, 0)
    sim.workspace.jobs.update(hidden)


@pytest.mark.parametrize("kind", ["trains", "prepares data"])
def test_a_run_called_off_right_after_a_submission_leaves_no_job(kind):
    """Reads may lag behind writes: a job that does not show yet is waited for and cancelled."""
    sim = Simulation()
    if kind == "prepares data":
        sim.preparation.bytes = 10**12
    run = drop(sim)
    for look in sim.looks.due():
        reconciler.look(sim.world, look)
    (name,) = hidden = dict(sim.workspace.jobs)
    sim.workspace.jobs.clear()
    reconciler.cancel(sim.world, run, "called off")
    play(sim, minutes=2)
    assert not sim.run(run).is_final
    assert f"job {name} may still show" in sim.run(run).why
    sim.workspace.jobs.update(hidden)
    play(sim, minutes=2)
    assert sim.run(run).phase is Phase.CANCELLED
    assert not sim.workspace.live_jobs(run)


def test_an_endpoint_made_while_the_run_is_called_off_is_let_go_of():
    """What is there is read inside the fence: who held it before may have made it."""
    sim = Simulation()
    run = drop(sim)
    play(sim, until=Phase.REGISTERED)
    name = sim.azure_name("chat")
    made = sim.workspace.endpoints.pop(name)
    reconciler.cancel(sim.world, run, "called off")
    at(sim, "endpoints.hold", lambda: sim.workspace.endpoints.update({name: made}))
    play(sim, minutes=10)
    assert sim.run(run).phase is Phase.CANCELLED
    assert not list(sim.workspace.standing())


def test_a_mark_made_while_another_look_put_the_run_to_rest_is_kept():
    """Somebody wished something just before the mark was taken back."""
    sim = Simulation()
    run = drop(sim)
    play(sim)
    sim.clock.advance(timedelta(hours=2))
    at(
        sim,
        "runs.mark_inactive",
        lambda: reconciler.wish(sim.world, run, Wish.SLEEP),
    )
    reconciler.look(sim.world, Look(run))
    assert run in sim.runs.marks
