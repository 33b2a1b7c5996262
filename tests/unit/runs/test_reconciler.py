"""The run's story, told on a clock that the test sets."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from shared.errors import DataRejected, Problem, Refused, Throttled
from shared.runs import intake, reconciler
from shared.runs.endpoints import Rest
from shared.runs.phases import Phase, phase_named
from shared.runs.ports import JobState, Look, Provisioning
from shared.runs.record import Wish
from tests.worlds import Simulation

GOOD = {"name": "chat", "dataset": {"files": ["a.jsonl"]}, "idle": {"after": "1h"}}


def drop(sim: Simulation, manifest: dict | bytes = GOOD, path: str = "chat.json") -> str:
    content = manifest if isinstance(manifest, bytes) else json.dumps(manifest).encode()
    sim.manifests.drop(path, content)
    run = intake.receive(sim.world, path)
    assert run is not None
    return run.id


def play(sim: Simulation, minutes: int = 60, until: Phase | None = None) -> None:
    """Let messages be delivered for so long on the test's clock; no timer ticks."""
    for _ in range(minutes * 6):
        for look in sim.looks.due():
            reconciler.look(sim.world, look)
        if until is not None and any(run.phase is until for run in sim.all_runs()):
            return
        sim.clock.advance(timedelta(seconds=10))


def phases(sim: Simulation, run: str) -> list[Phase]:
    return [entry.to for entry in sim.run(run).timeline]


def test_a_manifest_becomes_a_served_model_by_messages_alone():
    """Every phase is passed in order, each with a time and a reason, without any event or timer."""
    sim = Simulation()
    run = drop(sim)
    play(sim)
    assert phases(sim, run) == [
        Phase.RECEIVED,
        Phase.PREPARED,
        Phase.TRAINING,
        Phase.TRAINED,
        Phase.APPROVED,
        Phase.REGISTERED,
        Phase.DEPLOYING,
        Phase.SERVING,
    ]
    assert all(entry.why for entry in sim.run(run).timeline)
    record = sim.endpoints.records["chat"]
    assert (record.owner, record.rest) == (run, Rest.SERVING)
    assert sim.run(run).facts.answers
    assert not sim.runs.marks


def test_an_idle_run_sleeps_and_a_request_wakes_it():
    """Asleep nothing is left in Azure; awake the same deployment is there again."""
    sim = Simulation()
    run = drop(sim)
    play(sim)
    sim.clock.advance(timedelta(hours=2))
    reconciler.wish(sim.world, run, Wish.SLEEP)
    play(sim)
    assert sim.run(run).phase is Phase.ASLEEP
    sim.workspace._tidy()
    assert not sim.workspace.endpoints
    assert not sim.workspace.made
    reconciler.wish(sim.world, run, Wish.WAKE)
    play(sim)
    assert sim.run(run).phase is Phase.SERVING
    assert sim.endpoints.records["chat"].rest is Rest.SERVING
    assert len(sim.workspace.jobs) == 1


def test_only_deployments_are_deleted_when_the_manifest_says_so():
    """`delete-deployments` keeps the endpoint, its address and its keys."""
    sim = Simulation()
    run = drop(sim, GOOD | {"idle": {"after": "1h", "action": "delete-deployments"}})
    play(sim)
    sim.clock.advance(timedelta(hours=2))
    reconciler.wish(sim.world, run, Wish.SLEEP)
    play(sim)
    sim.workspace._tidy()
    assert sim.run(run).phase is Phase.ASLEEP
    assert list(sim.workspace.endpoints) == [sim.azure_name("chat")]
    assert not sim.workspace.made


def test_without_wake_on_request_an_idle_run_retires():
    """The run ends, and the endpoint's name is free for another manifest."""
    sim = Simulation()
    run = drop(sim, GOOD | {"idle": {"after": "1h", "wake_on_request": False}})
    play(sim)
    sim.clock.advance(timedelta(hours=2))
    reconciler.wish(sim.world, run, Wish.SLEEP)
    play(sim)
    assert sim.run(run).phase is Phase.RETIRED
    other = drop(sim, GOOD, path="other.json")
    play(sim)
    assert sim.run(other).phase is Phase.SERVING


@pytest.mark.parametrize("how", ["proxy", "direct", "unmeasured"])
def test_a_use_at_the_last_moment_keeps_it_awake(how):
    """Between the decision and the deletion it looks again; what cannot be measured is in use."""
    sim = Simulation()
    run = drop(sim)
    play(sim)
    sim.clock.advance(timedelta(hours=2))
    if how == "proxy":
        sim.uses.used["chat"] = sim.clock()
    elif how == "direct":
        sim.workspace.requests[sim.azure_name("chat")] = sim.clock()
    else:
        sim.workspace.measurable = False
    reconciler.wish(sim.world, run, Wish.SLEEP)
    play(sim, minutes=5)
    assert sim.run(run).phase is Phase.SERVING
    assert "stays awake" in sim.run(run).why
    assert sim.run(run).wish is None


def test_a_newer_manifest_takes_over_and_the_older_run_is_superseded():
    """The old deployment serves until the new one has the traffic, then goes."""
    sim = Simulation()
    old = drop(sim)
    play(sim)
    new = drop(sim, GOOD | {"idle": {"after": "2h"}})
    play(sim, until=Phase.SUPERSEDED)
    play(sim, minutes=10)
    assert sim.run(old).phase is Phase.SUPERSEDED
    assert sim.run(new).phase is Phase.SERVING
    sim.workspace._tidy()
    assert [name for _, name in sim.workspace.made] == [sim.run(new).facts.deployment]


def test_an_endpoint_of_another_manifest_is_not_taken_unasked():
    """Two manifests that name one endpoint: the second is told whose it is, unless it takes over."""
    sim = Simulation()
    first = drop(sim)
    play(sim)
    second = drop(sim, GOOD, path="other.json")
    play(sim, minutes=5)
    assert sim.run(second).phase is Phase.REJECTED
    assert "chat.json" in sim.run(second).why
    third = drop(sim, GOOD | {"deploy": {"take_over": True}}, path="other.json")
    play(sim)
    assert sim.run(third).phase is Phase.SERVING
    assert sim.run(first).phase is Phase.SUPERSEDED


def test_a_rejected_manifest_lists_all_problems_in_record_and_report():
    """Form, limits, parameters and sources are told together."""
    sim = Simulation()
    sim.preparation.missing = [Problem("dataset.files", "a.jsonl is not there")]
    run = drop(
        sim,
        GOOD
        | {
            "finetune": {"learning_rate": -1},
            "compute": {"size": "Standard_NC6", "max_nodes": 9},
            "model": {"registry": "elsewhere"},
        },
    )
    play(sim, minutes=2)
    assert sim.run(run).phase is Phase.REJECTED
    places = {problem.place for problem in sim.run(run).problems}
    assert places == {
        "dataset.files",
        "finetune.learning_rate",
        "compute.size",
        "compute.max_nodes",
        "model.registry",
    }
    report = json.loads(sim.manifests.reports["chat.json.errors.json"])
    assert {problem["place"] for problem in report["problems"]} == places


def test_a_phase_that_there_is_not_is_told_with_those_that_there_are():
    """A list that is empty for a slip of the pen misleads."""
    assert phase_named("serving") is Phase.SERVING
    with pytest.raises(Refused, match=r"phase is 'servin'; it must be one of received, prepared"):
        phase_named("servin")


def test_bad_rows_reject_the_run_before_any_job():
    """Data problems are the author's to mend; nothing was asked of a GPU."""
    sim = Simulation()
    sim.preparation.refusal = DataRejected([Problem("a.jsonl", "3 rows; at least 10 are needed")])
    run = drop(sim)
    play(sim, minutes=2)
    assert sim.run(run).phase is Phase.REJECTED
    assert not sim.workspace.jobs


def test_the_same_drop_told_twice_is_one_run_and_a_new_drop_over_a_failed_run_is_the_next_generation():
    """The blob's ETag tells a second event from a second drop."""
    sim = Simulation()
    sim.workspace.fates = [(JobState.FAILED, False)]
    first = drop(sim)
    assert intake.receive(sim.world, "chat.json").id == first
    play(sim, until=Phase.FAILED)
    assert intake.receive(sim.world, "chat.json").id == first
    second = drop(sim)
    assert second != first
    assert sim.run(second).generation == 2
    play(sim)
    assert sim.run(second).phase is Phase.SERVING


def test_a_lost_upload_event_is_found_by_the_sweep():
    """Losing every event costs time and never a run."""
    sim = Simulation()
    sim.manifests.drop("chat.json", json.dumps(GOOD).encode())
    (run,) = intake.sweep(sim.world)
    assert run.phase is Phase.RECEIVED
    assert intake.sweep(sim.world) == []


def test_lost_messages_are_made_up_for_by_reconcile():
    """The timer finds an overdue run by its mark."""
    sim = Simulation()
    run = drop(sim)
    sim.looks.queue.clear()
    assert reconciler.reconcile(sim.world) == []
    sim.clock.advance(timedelta(minutes=1))
    assert reconciler.reconcile(sim.world) == [run]
    play(sim)
    assert sim.run(run).phase is Phase.SERVING


def test_a_stale_message_moves_nothing_and_sends_nothing():
    """Of any number of messages one at most leads to another."""
    sim = Simulation()
    run = drop(sim)
    play(sim, until=Phase.TRAINING)
    before = sim.run(run)
    sim.looks.queue.clear()
    reconciler.look(sim.world, Look(run, before.look - 1))
    assert sim.run(run) == before
    assert not sim.looks.queue


def test_an_early_hint_leaves_the_arranged_look_alone():
    """Doubled events do not multiply messages."""
    sim = Simulation()
    run = drop(sim)
    play(sim, until=Phase.TRAINING)
    queued = list(sim.looks.queue)
    for _ in range(5):
        reconciler.look(sim.world, Look(run))
    assert sim.looks.queue == queued


def test_a_hint_moves_the_run_on_at_once():
    """An event shortens the wait for a job that has completed."""
    sim = Simulation()
    run = drop(sim)
    play(sim, until=Phase.TRAINING)
    sim.looks.queue.clear()
    sim.clock.advance(sim.workspace.job_takes)
    reconciler.look(sim.world, Look(run))
    assert sim.run(run).phase in (Phase.REGISTERED, Phase.DEPLOYING)


def test_infrastructure_failures_get_another_attempt_and_user_errors_do_not():
    """Attempts are numbered and bounded; the last error is told."""
    sim = Simulation()
    sim.workspace.fates = [(JobState.FAILED, True), (JobState.FAILED, True)]
    run = drop(sim)
    play(sim, minutes=120)
    assert sim.run(run).phase is Phase.FAILED
    assert list(sim.workspace.jobs) == [f"{run}-a1", f"{run}-a2"]
    assert "node lost" in sim.run(run).why


def test_a_failed_gate_refuses_the_model_with_its_numbers():
    """Nothing is registered or deployed, and the metrics stay in the record."""
    sim = Simulation()
    run = drop(sim, GOOD | {"gate": {"eval_loss": {"max": 0.5}}})
    play(sim)
    assert sim.run(run).phase is Phase.REJECTED
    assert "eval_loss is 1, above 0.5" in sim.run(run).why
    assert sim.run(run).facts.metrics == {"eval_loss": 1.0}
    assert not sim.workspace.models


def test_a_failed_deployment_is_deleted_and_its_log_kept():
    """A deployment that failed still bills, so it goes; what it said stays."""
    sim = Simulation()
    sim.workspace.deployment_fates = [Provisioning.FAILED]
    run = drop(sim)
    play(sim)
    assert sim.run(run).phase is Phase.FAILED
    assert "has crashed" in sim.run(run).why
    assert "log of" in (sim.run(run).facts.logs or "")
    sim.workspace._tidy()
    assert not sim.workspace.made
    assert not sim.workspace.endpoints


def test_an_empty_answer_fails_the_smoke_test_and_the_old_deployment_serves_on():
    """A model that says nothing never gets traffic."""
    sim = Simulation()
    old = drop(sim)
    play(sim)
    sim.workspace.answer = None
    new = drop(sim, GOOD | {"idle": {"after": "2h"}})
    play(sim)
    assert sim.run(new).phase is Phase.FAILED
    assert "smoke test" in sim.run(new).why
    assert sim.run(old).phase is Phase.SERVING
    sim.workspace._tidy()
    endpoint = sim.workspace.endpoints[sim.azure_name("chat")]
    assert endpoint.traffic == {sim.run(old).facts.deployment: 100}
    assert [name for _, name in sim.workspace.made] == [sim.run(old).facts.deployment]


def test_an_endpoint_that_droptune_did_not_make_is_never_touched():
    """Without our tag nothing is changed or deleted."""
    sim = Simulation()
    name = sim.azure_name("chat")
    sim.workspace.create_endpoint(name, None)
    run = drop(sim)
    play(sim)
    assert sim.run(run).phase is Phase.FAILED
    assert "not made by Droptune" in sim.run(run).why
    assert not sim.workspace.endpoints[name].deleting


def test_a_run_called_off_cancels_its_job():
    """Cancelling waits until the job has ended, then the run ends."""
    sim = Simulation()
    run = drop(sim)
    play(sim, until=Phase.TRAINING)
    reconciler.cancel(sim.world, run, "called off by a person")
    play(sim, minutes=5)
    assert sim.run(run).phase is Phase.CANCELLED
    assert sim.workspace.jobs[f"{run}-a1"].cancelled


def test_no_more_runs_train_than_the_settings_allow():
    """The run that came later waits, and says for what."""
    sim = Simulation()
    sim.limited(runs=1)
    first = drop(sim)
    second = drop(sim, GOOD | {"name": "other"}, path="other.json")
    play(sim, minutes=5)
    assert sim.run(first).phase is Phase.TRAINING
    assert sim.run(second).phase is Phase.PREPARED
    assert "1 may train at a time" in sim.run(second).why
    play(sim)
    assert sim.run(second).phase is Phase.SERVING


def test_throttling_waits_as_long_as_it_was_asked_to():
    """Retry-After is heeded when it is longer than our own pause."""
    sim = Simulation()
    throttled = iter([Throttled("429", retry_after=timedelta(seconds=77))])

    def once(call: str) -> None:
        if call == "workspace.submit" and (error := next(throttled, None)):
            raise error

    sim.faults.before = once
    run = drop(sim)
    for look in sim.looks.due():
        reconciler.look(sim.world, look)
    assert sim.run(run).due_at == sim.clock() + timedelta(seconds=77)
    assert sim.run(run).failures == 1


def test_trouble_without_end_is_given_up_with_its_reason():
    """Patience is bounded; the last reason is told."""
    sim = Simulation()

    def always(call: str) -> None:
        if call == "workspace.component":
            raise Throttled("no end of 429")

    sim.faults.before = always
    run = drop(sim)
    play(sim, minutes=7 * 60)
    assert sim.run(run).phase is Phase.FAILED
    assert "no end of 429" in sim.run(run).why


def test_a_bug_is_tried_five_times_and_then_told():
    """An error in our own code fails the run loudly and soon."""
    sim = Simulation()

    def broken(call: str) -> None:
        if call == "workspace.component":
            raise ZeroDivisionError("oops")

    sim.faults.before = broken
    run = drop(sim)
    play(sim, minutes=30)
    assert sim.run(run).phase is Phase.FAILED
    assert "ZeroDivisionError" in sim.run(run).why


def test_a_dead_preparation_is_taken_over_and_a_live_one_is_left_alone():
    """The heart in the record says whether somebody works."""
    sim = Simulation()
    run = drop(sim)
    prepare = sim.preparation.prepare
    calls = []

    def slow(*args):
        calls.append(sim.clock())
        if len(calls) == 1:
            sim.clock.advance(timedelta(seconds=25))
            args[2]()  # beats
            reconciler.look(sim.world, Look(run))  # another looks: it sees the heart and leaves
            raise KeyboardInterrupt  # and the process dies
        return prepare(*args)

    sim.preparation.prepare = slow
    with pytest.raises(KeyboardInterrupt):
        reconciler.look(sim.world, Look(run))
    assert len(calls) == 1
    play(sim)
    assert len(calls) == 2
    assert sim.run(run).phase is Phase.SERVING


def test_an_error_of_the_endpoint_is_refused_not_retried():
    """What Azure refuses for good ends the run with Azure's words."""
    sim = Simulation()

    def refuse(call: str) -> None:
        if call == "workspace.create_deployment":
            raise Refused("OutOfQuota")

    sim.faults.before = refuse
    run = drop(sim)
    play(sim)
    assert sim.run(run).phase is Phase.FAILED
    assert "OutOfQuota" in sim.run(run).why
    sim.workspace._tidy()
    assert not sim.workspace.endpoints


def test_one_record_that_cannot_be_read_does_not_stop_the_others():
    """The timer tells of it and goes on to the next run."""
    sim = Simulation()
    first = drop(sim)
    second = drop(sim, GOOD | {"name": "other"}, path="other.json")
    sim.looks.queue.clear()
    sim.clock.advance(timedelta(minutes=5))
    broken, load = min(first, second), sim.runs.load

    def damaged(run_id):
        if run_id == broken:
            raise Refused("the record cannot be read")
        return load(run_id)

    sim.runs.load = damaged
    assert reconciler.reconcile(sim.world) == [max(first, second)]
