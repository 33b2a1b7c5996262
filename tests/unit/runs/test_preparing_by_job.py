"""Data that is too much for a function is prepared by a job, and the run goes on as if it were not."""

from __future__ import annotations

from datetime import timedelta

import pytest
from msgspec.structs import replace

from shared.errors import DataRejected, Problem, Refused
from shared.runs import reconciler
from shared.runs.failures import FAILURES
from shared.runs.naming import data_job_name, run_of_job
from shared.runs.phases import Phase
from shared.runs.ports import JobState, Look
from tests.unit.runs.test_hard_cases import fail
from tests.unit.runs.test_reconciler import GOOD, drop, phases, play
from tests.worlds import LIMITS, CrashError, Simulation


def big(**changes) -> Simulation:
    """A world in which the data is a terabyte."""
    sim = Simulation()
    sim.preparation.bytes = 10**12
    for name, value in changes.items():
        setattr(sim.workspace, name, value)
    return sim


def begun(sim: Simulation) -> str:
    """A run whose data a job prepares."""
    run = drop(sim)
    for look in sim.looks.due():
        reconciler.look(sim.world, look)
    assert sim.workspace.live_jobs(run) == [data_job_name(run, 1)]
    return run


def test_the_run_goes_on_from_what_the_job_prepared():
    """The phases are those of any run; timeline and facts say which job it was."""
    sim = big()
    run = begun(sim)
    assert sim.run(run).phase is Phase.RECEIVED
    assert sim.run(run).why == f"job {run}-d1 prepares the data on 3 nodes"
    play(sim, minutes=120)
    assert sim.run(run).phase is Phase.SERVING
    assert phases(sim, run)[:3] == [Phase.RECEIVED, Phase.PREPARED, Phase.TRAINING]
    facts = sim.run(run).facts
    assert (facts.data_job, facts.fingerprint) == (data_job_name(run, 1), "f00d")
    assert facts.rows == {"train": 20, "validation": 20, "test": 20}
    assert run_of_job(facts.data_job) == run
    request = sim.workspace.data_jobs[facts.data_job]
    assert (request.run, request.nodes, request.fingerprint) == (run, 3, "f00d")


def test_as_much_as_the_bound_is_prepared_in_the_function():
    """No job is asked for."""
    sim = Simulation()
    sim.preparation.bytes = LIMITS.in_function
    run = drop(sim)
    play(sim)
    assert sim.run(run).phase is Phase.SERVING
    assert not sim.workspace.data_jobs


def test_data_that_was_prepared_before_needs_no_job():
    """The report under the fingerprint is there: a second run uses it."""
    sim = big()
    begun(sim)
    play(sim, minutes=120)
    other = drop(sim, GOOD | {"name": "second"}, path="second.json")
    play(sim, minutes=120)
    assert sim.run(other).facts.fingerprint == "f00d"
    assert len(sim.workspace.data_jobs) == 1


def test_data_that_no_job_may_read_is_refused_before_one_is_made():
    """With place, reason and mend, and the sizes that led there; what was prepared already is used all the same."""
    sim = big()
    sim.preparation.secret = [Problem("dataset.hub", "the job has no token", "Upload it")]
    run = drop(sim)
    play(sim)
    assert sim.run(run).phase is Phase.REJECTED
    (problem,) = sim.run(run).problems
    assert (problem.place, problem.mend) == ("dataset.hub", "Upload it")
    assert problem.reason == (
        "1 TB of data are more than the 2 GB that a function prepares, and the job has no token"
    )
    assert not sim.workspace.data_jobs
    assert sim.run(run).facts.data_job is None
    sim.preparation.reports = lambda: {"f00d"}
    other = drop(sim, GOOD | {"name": "second"}, path="second.json")
    play(sim, minutes=120)
    assert sim.run(other).phase is Phase.SERVING


def test_little_data_that_no_job_may_read_is_prepared_in_the_function():
    """Which has the token."""
    sim = Simulation()
    sim.preparation.secret = [Problem("dataset.hub", "the job has no token", "Upload it")]
    run = drop(sim)
    play(sim)
    assert sim.run(run).phase is Phase.SERVING


def test_rows_that_a_job_found_unfit_reject_the_run():
    """With the problems that the report lists, as when a function finds them."""
    sim = big(data_fates=[(JobState.FAILED, False)])
    run = begun(sim)
    sim.preparation.refusal = DataRejected(
        [Problem("dataset", "half of it is refused", "Mend it")]
    )
    play(sim)
    assert sim.run(run).phase is Phase.REJECTED
    assert [problem.reason for problem in sim.run(run).problems] == ["half of it is refused"]
    assert "chat.json.errors.json" in sim.manifests.reports


def test_machines_that_fail_are_tried_again():
    """Up to the bound on attempts; each attempt is a job of its own name."""
    sim = big(data_fates=[(JobState.FAILED, True)])
    run = begun(sim)
    play(sim, minutes=120)
    assert sim.run(run).phase is Phase.SERVING
    assert list(sim.workspace.data_jobs) == [data_job_name(run, 1), data_job_name(run, 2)]


@pytest.mark.parametrize("again", [True, False])
def test_a_job_that_fails_for_good_fails_the_run(again):
    """With the job's own error; what would fail again is not repeated."""
    sim = big(data_fates=[(JobState.FAILED, again)] * 5)
    run = begun(sim)
    play(sim, minutes=120)
    assert sim.run(run).phase is Phase.FAILED
    assert "-d" in sim.run(run).why
    kind = "job-infrastructure" if again else "job-user-error"
    assert sim.run(run).facts.training_failure == kind
    assert sim.run(run).why.endswith(FAILURES[kind].mend)
    assert len(sim.workspace.data_jobs) == (LIMITS.attempts if again else 1)


def test_data_that_changes_while_a_job_reads_it_is_read_again():
    """The next job prepares what lies there now."""
    sim = big(data_fates=[(JobState.FAILED, False)])
    run = begun(sim)
    sim.preparation.source_version = "beef"
    play(sim, minutes=120)
    assert sim.run(run).phase is Phase.SERVING
    assert sim.run(run).facts.fingerprint == "beef"
    assert sim.workspace.data_jobs[data_job_name(run, 2)].fingerprint == "beef"


def test_a_job_that_failed_after_the_report_was_written_did_its_work():
    """What counts is the report: somebody else may have written it."""
    sim = big(data_fates=[(JobState.FAILED, False)])
    run = begun(sim)
    sim.preparation.reports = lambda: {"f00d"}
    play(sim)
    assert sim.run(run).phase is Phase.SERVING


def test_a_job_that_hangs_after_the_report_was_written_did_its_work():
    """When its time is over it is cancelled, since the run goes on without it; then the report is taken."""
    sim = big(job_takes=timedelta(days=9))
    run = begun(sim)
    play(sim, minutes=5)
    sim.preparation.reports = lambda: {"f00d"}
    sim.clock.advance(sim.world.pace.preparing)
    reconciler.look(sim.world, Look(run))
    assert sim.run(run).phase is Phase.RECEIVED
    assert sim.run(run).why == f"job {run}-d1 has prepared the data and is cancelled"
    assert not sim.workspace.live_jobs(run)
    sim.workspace.job_takes = timedelta(minutes=20)
    play(sim)
    assert sim.run(run).phase is Phase.SERVING


@pytest.mark.parametrize("last", [False, True])
def test_a_job_that_fell_silent_after_the_report_was_written_did_its_work(last):
    """No other job follows, and the last one does not fail the run."""
    sim = big(job_takes=timedelta(days=9))
    run = begun(sim)
    if last:
        sim.workspace.jobs[data_job_name(run, 1)].status = "NotResponding"
        play(sim, minutes=90)
    attempt = LIMITS.attempts if last else 1
    sim.workspace.jobs[data_job_name(run, attempt)].status = "NotResponding"
    sim.preparation.reports = lambda: {"f00d"}
    sim.workspace.job_takes = timedelta(minutes=20)
    play(sim, minutes=120)
    assert sim.run(run).phase is Phase.SERVING, sim.run(run).why
    assert len(sim.workspace.data_jobs) == attempt


def test_a_job_cancelled_in_azure_cancels_the_run():
    """Whoever cancelled it wanted the run to end."""
    sim = big()
    run = begun(sim)
    sim.workspace.cancel_job(data_job_name(run, 1))
    play(sim)
    assert sim.run(run).phase is Phase.CANCELLED
    assert sim.run(run).facts.training_failure == "job-cancelled"


def test_a_job_that_azure_refuses_fails_the_run_with_azures_words():
    """And with what a person can do about it, as for a job that trains."""
    sim = big()
    run = drop(sim)
    fail(sim, "workspace.submit_data_job", Refused("the image is not there"))
    play(sim, minutes=20)
    assert sim.run(run).phase is Phase.FAILED
    assert sim.run(run).facts.training_failure == "job-refused"
    assert sim.run(run).why == f"the image is not there. {FAILURES['job-refused'].mend}"


def test_a_run_called_off_cancels_its_job():
    """An ended run leaves nothing behind that bills."""
    sim = big()
    run = begun(sim)
    reconciler.cancel(sim.world, run, "called off")
    play(sim)
    assert sim.run(run).phase is Phase.CANCELLED
    assert sim.workspace.jobs[data_job_name(run, 1)].cancelled


def test_a_job_whose_submission_is_under_way_is_waited_for_before_the_end():
    """The record knows of it before Azure does, so it is cancelled when it appears."""
    sim = big()
    run = drop(sim)

    def called_off(call: str) -> None:
        if call == "workspace.submit_data_job":
            sim.faults.before = lambda _: None
            reconciler.cancel(sim.world, run, "called off")
            for look in sim.looks.due():
                reconciler.look(sim.world, look)
            assert not sim.run(run).is_final

    sim.faults.before = called_off
    for look in sim.looks.due():
        reconciler.look(sim.world, look)
    assert sim.workspace.live_jobs(run)
    play(sim)
    assert sim.run(run).phase is Phase.CANCELLED
    assert not sim.workspace.live_jobs(run)


def test_a_job_that_takes_too_long_is_given_up():
    """And cancelled; the run says what a person can do about it."""
    sim = big(job_takes=timedelta(days=9))
    run = begun(sim)
    play(sim, minutes=5)
    assert sim.run(run).why == f"job {run}-d1 prepares the data: active"
    sim.clock.advance(timedelta(days=2))
    reconciler.look(sim.world, Look(run))
    play(sim)
    assert sim.run(run).phase is Phase.FAILED
    assert sim.run(run).facts.training_failure == "preparation-too-long"
    assert sim.run(run).why.endswith(FAILURES["preparation-too-long"].mend)
    assert not sim.workspace.live_jobs(run)


@pytest.mark.parametrize("early", [timedelta(), timedelta(minutes=30)])
def test_a_job_that_azure_ends_at_its_own_limit_took_too_long(early):
    """Azure counts from when it began, maybe before anybody saw it, and says that it was cancelled, as by a person."""
    sim = big(job_takes=timedelta(days=9))
    run = begun(sim)
    started, name = sim.clock(), data_job_name(run, 1)
    play(sim, minutes=5)
    sim.clock.time = started + sim.workspace.data_jobs[name].at_most - early
    sim.workspace.cancel_job(name)
    play(sim)
    assert sim.run(run).phase is Phase.FAILED
    assert sim.run(run).facts.training_failure == "preparation-too-long"


def test_a_job_that_a_person_cancels_shortly_before_its_time_is_over_was_cancelled():
    """Only what is over its time took too long."""
    sim = big(job_takes=timedelta(days=9))
    run = begun(sim)
    started = sim.clock()
    play(sim, minutes=5)
    sim.clock.time = started + sim.world.pace.preparing - timedelta(minutes=2)
    sim.workspace.cancel_job(data_job_name(run, 1))
    reconciler.look(sim.world, Look(run))
    play(sim)
    assert sim.run(run).facts.training_failure == "job-cancelled"


def test_a_record_of_before_counts_its_jobs_time_from_the_submission():
    """It does not say when the job began, and the job must not begin anew with the next version."""
    sim = big(job_takes=timedelta(days=9))
    run = begun(sim)
    submitted = sim.run(run).facts.data_submitted_at
    play(sim, minutes=20 * 60)
    record, etag = sim.runs.load(run)
    sim.runs.save(replace(record, facts=replace(record.facts, data_begun_at=None)), etag)
    play(sim, minutes=5)
    assert sim.run(run).facts.data_begun_at == submitted
    play(sim, minutes=4 * 60)
    assert sim.run(run).facts.training_failure == "preparation-too-long"


def test_a_job_that_waits_for_machines_says_so_and_ends_after_the_longest_time():
    """By the same rule and in the same words as a job that trains."""
    sim = big(job_takes=timedelta(days=9))
    run = begun(sim)
    sim.workspace.jobs[data_job_name(run, 1)].status = "Queued"
    play(sim, minutes=60)
    assert sim.run(run).why.startswith(f"job {run}-d1 is Queued: no machines since 2026-01-05 08:")
    play(sim, minutes=25 * 60)
    assert sim.run(run).phase is Phase.FAILED
    assert sim.run(run).facts.training_failure == "job-stuck-queued"
    assert sim.workspace.jobs[data_job_name(run, 1)].cancelled


def test_the_time_in_the_queue_is_not_the_jobs_own():
    """Machines after 23 hours, and 23 hours of work: neither is too long."""
    sim = big(job_takes=timedelta(hours=46))
    run = begun(sim)
    job = sim.workspace.jobs[data_job_name(run, 1)]
    job.status = "Queued"
    play(sim, minutes=23 * 60)
    job.status = "Running"
    play(sim, minutes=25 * 60)
    assert sim.run(run).phase is not Phase.RECEIVED
    assert not sim.run(run).ending
    assert sim.run(run).facts.training_failure is None


def test_a_job_that_does_not_respond_is_cancelled_and_tried_again():
    """The next one begins when the first is gone; attempts are bounded, and each is noted for good."""
    sim = big(job_takes=timedelta(days=9))
    run = begun(sim)
    sim.workspace.jobs[data_job_name(run, 1)].status = "NotResponding"
    play(sim, minutes=30)
    assert "no response since" in sim.run(run).why
    sim.workspace.job_takes = timedelta(minutes=10)
    play(sim, minutes=120)
    assert sim.workspace.jobs[data_job_name(run, 1)].cancelled
    assert sim.run(run).phase is Phase.SERVING
    facts = sim.run(run).facts
    assert facts.data_job == data_job_name(run, 2)
    assert f"data, attempt 1: job {run}-d1 did not respond and was cancelled" in facts.notes


def test_each_job_has_its_own_time():
    """What one has worked, or stood still, does not count against the next."""
    sim = big(job_takes=timedelta(hours=20), data_fates=[(JobState.FAILED, True)])
    run = begun(sim)
    play(sim, minutes=19 * 60 + 20)
    sim.workspace.jobs[data_job_name(run, 1)].status = "NotResponding"
    sim.workspace.statuses = ["NotResponding"]
    play(sim, minutes=80)
    assert not sim.workspace.jobs[data_job_name(run, 2)].cancelled
    second = sim.workspace.jobs[data_job_name(run, 2)]
    second.status, second.until = "", sim.clock() + timedelta(hours=20)
    play(sim, minutes=20 * 60 + 10)
    assert sim.run(run).phase is not Phase.RECEIVED
    assert sim.run(run).facts.training_failure is None


def test_jobs_none_of_which_responds_fail_the_run():
    """As many as the limits allow, then a kind of failure that says so."""
    sim = big(job_takes=timedelta(days=9))
    run = begun(sim)
    for attempt in range(1, LIMITS.attempts + 1):
        sim.workspace.jobs[data_job_name(run, attempt)].status = "NotResponding"
        play(sim, minutes=90)
    assert sim.run(run).phase is Phase.FAILED
    assert sim.run(run).facts.training_failure == "job-not-responding"
    assert len(sim.workspace.data_jobs) == LIMITS.attempts


def test_a_worker_that_dies_after_it_cancelled_a_silent_job_does_not_end_the_run():
    """The record knows whose cancellation it was: another job follows."""
    sim = big(job_takes=timedelta(days=9))
    run = begun(sim)
    sim.workspace.jobs[data_job_name(run, 1)].status = "NotResponding"
    died: list[str] = []

    def dies(call: str) -> None:
        if call == "workspace.cancel_job" and not died:
            died.append(call)
            raise CrashError

    sim.faults.after = dies
    with pytest.raises(CrashError):
        play(sim, minutes=90)
    sim.workspace.job_takes = timedelta(minutes=10)
    play(sim, minutes=120)
    reconciler.reconcile(sim.world)
    play(sim, minutes=60)
    assert sim.run(run).facts.data_job == data_job_name(run, 2)
    assert sim.run(run).phase is Phase.SERVING


def test_runs_take_turns_with_the_machines():
    """No more jobs prepare or train at a time than may."""
    sim = big(job_takes=timedelta(hours=5))
    sim.limited(runs=1)
    first = begun(sim)
    second = drop(sim, GOOD | {"name": "second"}, path="second.json")
    play(sim, minutes=30)
    assert sim.workspace.live_jobs(first)
    assert not sim.workspace.live_jobs(second)
    assert "1 runs are ahead" in sim.run(second).why


def test_any_number_of_early_hints_leaves_a_run_that_waits_for_its_job_alone():
    """Each look at such a run is a claim on it: none is left behind, or it would pass for a worker's death."""
    sim = big(job_takes=timedelta(hours=1))
    run = begun(sim)
    for _ in range(3 * reconciler.MOST_BUGS):
        sim.clock.advance(timedelta(seconds=65))
        reconciler.look(sim.world, Look(run))
        assert sim.run(run).busy is None
        assert sim.run(run).bugs == 0
    play(sim, minutes=120)
    assert sim.run(run).phase is Phase.SERVING
