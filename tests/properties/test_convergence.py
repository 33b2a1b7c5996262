"""Whatever is lost, doubled, late or broken: in the end there is one job, one model, one deployment."""

from __future__ import annotations

import copy
import itertools
import json
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, event, example, given, settings
from hypothesis import strategies as st

from shared.errors import Busy, Denied, Refused, Throttled, Unavailable
from shared.runs import intake, naming, reconciler
from shared.runs.endpoints import Rest
from shared.runs.phases import FINAL, NEXT, RESTING, Phase
from shared.runs.ports import JobState, Look, Provisioning
from shared.runs.record import Wish
from tests.worlds import BIG, LIMITS, SIZE, CrashError, Simulation

# Trains on other quota than it is served on.
TRAIN = {"size": BIG}
FIRST = json.dumps(
    {
        "name": "chat",
        "dataset": {"files": ["a.jsonl"]},
        "compute": {**TRAIN, "cluster": "gpus", "priority": ["dedicated", "low-priority"]},
    }
).encode()
SECOND = json.dumps({"name": "chat", "dataset": {"files": ["b.jsonl"]}, "compute": TRAIN}).encode()
WRONG = b'{"name": "chat", "dataset": {}}'
CANARY = {"rollout": "canary", "canary": {"shares": [10, 50], "bake": "5m"}}
DROPS = {
    "first": FIRST,
    "second": SECOND,
    "wrong": WRONG,
    "canary": json.dumps(
        {"name": "chat", "dataset": {"files": ["c.jsonl"]}, "compute": TRAIN, "deploy": CANARY}
    ).encode(),
    "canary too": json.dumps(
        {
            "name": "chat",
            "dataset": {"files": ["d.jsonl"]},
            "compute": TRAIN,
            "deploy": {**CANARY, "keep_old": "0s"},
        }
    ).encode(),
    "direct": json.dumps(
        {
            "name": "chat",
            "dataset": {"files": ["e.jsonl"]},
            "compute": TRAIN,
            "deploy": {"rollout": "direct", "keep_old": "1h"},
            "idle": {"action": "delete-deployments"},
        }
    ).encode(),
    "small": json.dumps(
        {
            "name": "chat",
            "dataset": {"files": ["f.jsonl"]},
            "compute": TRAIN,
            "deploy": {"short_of_quota": "direct"},
            "gate": {"better_than_current": "eval_loss", "refused": "register"},
        }
    ).encode(),
}

ERRORS = {
    "busy": Busy("409"),
    "throttled": Throttled("429", retry_after=timedelta(seconds=7)),
    "unavailable": Unavailable("500"),
    "crash": CrashError(),
}
PERMANENT = {"denied": Denied("403"), "refused": Refused("400")}

ACTIONS = {
    "drop": st.sampled_from(
        ["first", "second", "second", "canary", "canary", "canary too", "direct", "small", "wrong"]
    ),
    "pass": st.sampled_from([1, 20, 300, 1500, 8000]),
    "deliver": st.sampled_from(["all", "lose", "twice", "backwards"]),
    "work": st.integers(1, 100),
    "event": st.integers(0, 3),
    "tick": st.just(0),
    "sleep": st.integers(0, 3),
    "wake": st.integers(0, 3),
    "cancel": st.integers(0, 3),
}
# Most of the time the world just works on, so that schedules get deep into a run's life.
USUAL = ["work"] * 5 + ["drop", "pass", "deliver", "event", "sleep", "wake"]
actions = st.lists(
    st.one_of(
        st.sampled_from(USUAL).flatmap(lambda name: st.tuples(st.just(name), ACTIONS[name])),
        st.sampled_from(sorted(ACTIONS)).flatmap(lambda n: st.tuples(st.just(n), ACTIONS[n])),
    ),
    max_size=30,
)
# Around which port call (counted) what happens: an error before it, an error after it was done (a lost
# answer), a crash, or what other instances do at the same time.
MEANWHILE = ["another look", "a timer", "a wish", "a cancel", "a drop"]


def plans(*names: str) -> st.SearchStrategy[dict[int, tuple[str, str]]]:
    when = st.tuples(st.sampled_from(names), st.sampled_from(["before", "after"]))
    return st.dictionaries(st.integers(0, 600), when, max_size=40)


mishaps = plans(*ERRORS, *ERRORS, *PERMANENT, *MEANWHILE, *MEANWHILE)
passing_mishaps = plans(*ERRORS, "another look", "a timer")
fates = st.lists(
    st.sampled_from(
        [(JobState.COMPLETED, False)] * 4 + [(JobState.FAILED, True), (JobState.FAILED, False)]
    ),
    max_size=4,
)
sizes = st.sampled_from([1000, LIMITS.in_function, LIMITS.in_function + 1, 10**12])
"""Bytes of data: the last two are a job's work."""
update_fates = st.lists(
    st.sampled_from([Provisioning.SUCCEEDED] * 4 + [Provisioning.FAILED]), max_size=6
)
cluster_fates = st.lists(
    st.sampled_from([Provisioning.SUCCEEDED, Provisioning.FAILED]), max_size=3
)
# What a job shows while it is under way: it may fall silent, or wait for machines.
statuses = st.lists(st.sampled_from(["Running", "Running", "NotResponding", "Queued"]), max_size=4)
deployment_fates = st.lists(
    st.sampled_from([Provisioning.SUCCEEDED] * 3 + [Provisioning.FAILED]), max_size=6
)
deployment_errors = st.lists(
    st.sampled_from(
        [
            "InternalServerError: try again later",
            "OutOfQuota: lack of Azure Machine Learning capacity",
            "ResourceNotReady: User container has crashed",
        ]
    ),
    max_size=6,
)
quotas = st.sampled_from([{}, {SIZE: 24}, {SIZE: 48}])
ill = st.lists(st.booleans(), max_size=12)


class Driver:
    """Plays a schedule of events and mishaps against the real reconciler."""

    def __init__(self, plan: dict[int, tuple[str, str]]) -> None:
        self.sim = Simulation()
        self.sim.limited(instance_types=(SIZE, BIG))
        self.plan = plan
        self.calls = 0
        self.nested = False
        self.sim.faults.before = lambda call: self._mishap(call, "before")
        self.sim.faults.after = lambda call: self._mishap(call, "after")

    def _mishap(self, call: str, when: str) -> None:
        if when == "before":
            self.calls += 1
        what, at = self.plan.get(self.calls, ("", ""))
        if at != when or self.nested:
            return
        del self.plan[self.calls]
        if what not in ERRORS | PERMANENT:
            self.nested = True
            try:
                self._meanwhile(what)
            finally:
                self.nested = False
        elif not (call == "endpoints.hold" and when == "after" and what != "crash"):
            raise (ERRORS | PERMANENT)[what]

    def _meanwhile(self, what: str) -> None:
        """What other instances do in the middle of a look."""
        if what == "a timer":
            self.guarded(lambda: reconciler.reconcile(self.sim.world))
            return
        if what == "a drop":
            self.play("drop", "second")
            return
        for run in self.sim.all_runs():
            if what == "a cancel":
                self.guarded(lambda run=run: reconciler.cancel(self.sim.world, run.id, "why not"))
            elif what == "another look":
                self.guarded(lambda run=run: reconciler.look(self.sim.world, Look(run.id)))
            else:
                wanted = Wish.WAKE if run.phase is Phase.ASLEEP else Wish.SLEEP
                self.guarded(
                    lambda run=run, wanted=wanted: reconciler.wish(self.sim.world, run.id, wanted)
                )

    def guarded(self, act) -> None:
        """Run one function invocation; the host survives whatever it raises."""
        try:
            act()
        except (CrashError, Busy, Throttled, Unavailable, Denied, Refused):
            event("an invocation failed")
        self.check_always()

    def deliver(self, how: str) -> None:
        due = self.sim.looks.due()
        if how == "backwards":
            due.reverse()
        if how == "twice":
            due = [look for look in due for _ in range(2)]
        if how != "lose":
            for look in due:
                self.guarded(lambda look=look: reconciler.look(self.sim.world, look))

    def play(self, action: str, argument) -> None:
        sim = self.sim
        runs = sorted(run.id for run in sim.all_runs())
        chosen = runs[argument % len(runs)] if isinstance(argument, int) and runs else None
        if action == "drop":
            sim.manifests.drop("chat.json", DROPS[argument])
            self.guarded(lambda: intake.receive(sim.world, "chat.json"))
        elif action == "pass":
            sim.clock.advance(timedelta(seconds=argument))
        elif action == "deliver":
            self.deliver(argument)
        elif action == "work":
            for _ in range(argument):
                self.deliver("all")
                sim.clock.advance(timedelta(seconds=30))
        elif action == "tick":
            self.guarded(lambda: reconciler.reconcile(sim.world))
        elif chosen is None:
            return
        elif action == "event":
            self.guarded(lambda: reconciler.look(sim.world, Look(chosen)))
        elif action == "cancel":
            self.guarded(lambda: reconciler.cancel(sim.world, chosen, "called off"))
        else:
            wanted = Wish.SLEEP if action == "sleep" else Wish.WAKE
            self.guarded(lambda: reconciler.wish(sim.world, chosen, wanted))

    def settle(self) -> None:
        """The world behaves from now on: the timers tick, messages arrive."""
        self.plan.clear()
        for _ in range(1500):
            self.guarded(lambda: intake.sweep(self.sim.world))
            self.guarded(lambda: reconciler.reconcile(self.sim.world))
            self.deliver("all")
            if self.at_rest() and not self.sim.looks.queue and not self.sim.runs.marks:
                return
            self.sim.clock.advance(timedelta(seconds=30))
        stuck = [(run.id, run.phase, run.why) for run in self.sim.all_runs() if run.is_active]
        pytest.fail(f"did not come to rest: {stuck} {self.sim.runs.marks}")

    def at_rest(self) -> bool:
        return all(not run.is_active for run in self.sim.all_runs())

    def check_always(self) -> None:
        """What must hold at every moment, not only in the end."""
        sim = self.sim
        for run in sim.all_runs():
            assert len(sim.workspace.live_jobs(run.id)) <= 1
            for kind in (naming.data_job_name, naming.job_name):
                jobs = [
                    name
                    for name, job in sim.workspace.jobs.items()
                    if job.run == run.id
                    and (name in sim.workspace.data_jobs) is (kind is naming.data_job_name)
                ]
                assert jobs == [kind(run.id, n + 1) for n in range(len(jobs))]
                assert len(jobs) <= sim.world.limits.attempts
            assert list(sim.workspace.models.values()).count(run.id) <= 1
            phases = [entry.to for entry in run.timeline]
            assert all(to in NEXT[origin] for origin, to in itertools.pairwise(phases))

    def check_at_rest(self) -> None:
        sim = self.sim
        for run in sim.all_runs():
            assert run.phase in FINAL | RESTING
            assert run.due_at is None or run.is_final
            assert run.why
            if run.is_final:
                assert not sim.workspace.live_jobs(run.id)
        sim.workspace._tidy()
        ended = {run.id for run in sim.all_runs() if run.is_final}
        assert not [d for d in sim.workspace.made.values() if d.run in ended]
        for record in sim.endpoints.records.values():
            if record.rest in (Rest.SERVING, Rest.WAKING, Rest.ASLEEP):
                assert record.owner is not None
                assert sim.run(record.owner).phase.value == record.rest.value
        serving = [run for run in sim.all_runs() if run.phase is Phase.SERVING]
        sim.workspace._tidy()
        record = sim.endpoints.records.get("chat")
        azure = sim.workspace.endpoints.get(sim.azure_name("chat"))
        made = {name for _, name in sim.workspace.made}
        if not serving:
            assert made == set()
            assert record is None or record.rest is not Rest.SERVING
            return
        (run,) = serving
        assert record is not None
        assert (record.owner, record.rest) == (run.id, Rest.SERVING)
        assert azure is not None
        assert azure.traffic == {run.facts.deployment: 100}
        assert made == {run.facts.deployment}
        assert (record.candidate, record.emptied_for) == (None, None)


@settings(
    max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
@given(
    schedule=actions,
    plan=mishaps,
    jobs=fates,
    deployment_fates=deployment_fates,
    update_fates=update_fates,
    errors=deployment_errors,
    cores_allowed=quotas,
    ill=ill,
    cluster_fates=cluster_fates,
    statuses=statuses,
    data_fates=fates,
    size=sizes,
)
def test_every_schedule_converges(schedule, plan, jobs, *, size, **azure):
    """Any order of events, losses, errors and crashes ends at rest, with nothing twice and nothing left."""
    driver = Driver(dict(plan))
    driver.sim.preparation.bytes = size
    driver.sim.workspace.fates = list(jobs)
    for name, drawn in azure.items():
        setattr(driver.sim.workspace, name, copy.copy(drawn))
    for action, argument in [("drop", "first"), *schedule]:
        driver.play(action, argument)
    driver.settle()
    driver.check_at_rest()
    for run in driver.sim.all_runs():
        event(f"ends {run.phase}")


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    plan=passing_mishaps,
    bad=st.booleans(),
    second=st.sampled_from(["canary", "canary too", "direct", "second"]),
)
def test_a_second_run_takes_over_or_leaves_everything_as_it_was(plan, bad, second):
    """Canary, blue-green or direct, good or bad: at rest one deployment has all traffic, and the right one."""
    driver = Driver({})
    driver.play("drop", "first")
    driver.settle()
    (old,) = driver.sim.all_runs()
    driver.calls, driver.plan = 0, dict(plan)
    if bad:
        driver.sim.workspace.deployment_fates = [Provisioning.FAILED]
        if second.startswith("canary"):
            driver.sim.workspace.deployment_fates = []
            driver.sim.workspace.ill = [False, False, True]
    driver.play("drop", second)
    driver.play("work", 200)
    driver.settle()
    driver.check_at_rest()
    new = next(run for run in driver.sim.all_runs() if run.id != old.id)
    kept = driver.sim.run(old.id)
    if bad:
        assert (new.phase, kept.phase) == (Phase.FAILED, Phase.SERVING), new.why
    else:
        assert (new.phase, kept.phase) == (Phase.SERVING, Phase.SUPERSEDED), new.why


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    plan=passing_mishaps,
    drops=st.lists(
        st.tuples(
            st.sampled_from([0.3, 0.5, 0.7, 0.9]),
            st.sampled_from([{}, CANARY, {"rollout": "direct"}]),
            st.integers(0, 50),
        ),
        min_size=2,
        max_size=4,
    ),
)
@example(  # no drop gets through: the timer's sweep makes the run
    plan={1: ("unavailable", "before"), 2: ("unavailable", "before")},
    drops=[(0.5, {}, 0), (0.3, {}, 0)],
)
def test_the_endpoint_goes_from_better_to_better(plan, drops):
    """Runs side by side are gated against what serves then; whoever gets the endpoint beats whom it gets it from."""
    driver = Driver(dict(plan))
    sim, owners = driver.sim, list[str]()
    measure, check = sim.workspace.measured, driver.check_always

    def loss_of(run):
        """By the number in its manifest: who made the run, and when, is not known here."""
        (file,) = sim.run(run).facts.request["dataset"]["files"]["train"]
        return drops[int(file.removesuffix(".jsonl"))][0]

    def measured(job):
        loss = loss_of(job.rpartition("-a")[0])
        return replace(measure(job), last={"eval_loss": loss}, curves={"eval_loss": [(1, loss)]})

    def check_always():
        check()
        record = sim.endpoints.records.get("chat")
        if record is not None and record.owner not in (None, *owners[-1:]):
            owners.append(record.owner)

    sim.workspace.measured, driver.check_always = measured, check_always
    for number, (_, deploy, gap) in enumerate(drops):
        fields = {
            "name": "chat",
            "dataset": {"files": [f"{number}.jsonl"]},
            "compute": TRAIN,
            "deploy": deploy,
            "gate": {"better_than_current": "eval_loss"},
        }
        sim.manifests.drop("chat.json", json.dumps(fields).encode())
        driver.guarded(lambda: intake.receive(sim.world, "chat.json"))
        driver.play("work", gap)
    driver.settle()
    driver.check_at_rest()
    owned = [loss_of(run) for run in owners]
    assert owned
    assert owned == sorted(set(owned), reverse=True)
    event(f"{len(owned)} owners of {len(drops)}")


@settings(max_examples=60, deadline=None)
@given(plan=passing_mishaps, size=sizes)
def test_without_permanent_faults_the_run_serves(plan, size):
    """Passing faults cost time and never the run: one drop ends in one serving deployment."""
    driver = Driver(dict(plan))
    driver.sim.preparation.bytes = size
    driver.play("drop", "first")
    driver.play("work", 100)
    driver.settle()
    driver.check_at_rest()
    (run,) = driver.sim.all_runs()
    assert run.phase is Phase.SERVING, run.why
    assert len(driver.sim.workspace.models) == 1
    assert len(driver.sim.workspace.data_jobs) == (size > LIMITS.in_function)
    assert len(driver.sim.workspace.jobs) == 1 + (size > LIMITS.in_function)


def test_a_permanent_error_while_training_cancels_the_job():
    """A run that cannot go on does not leave a job behind that bills."""
    driver = Driver({})
    driver.play("drop", "first")
    driver.play("work", 8)
    sim = driver.sim
    (run,) = sim.all_runs()
    assert run.phase is Phase.TRAINING
    denied = iter([Denied("403")])

    def once(call: str) -> None:
        if call == "workspace.job" and (error := next(denied, None)):
            raise error

    sim.faults.before = once
    reconciler.look(sim.world, Look(run.id))
    driver.settle()
    assert sim.run(run.id).phase is Phase.FAILED
    assert not sim.workspace.live_jobs(run.id)
    assert sim.workspace.jobs
