"""A job's life: told when it stands still, tried again when the machines failed, ended with a reason."""

from __future__ import annotations

import json
from dataclasses import replace

import msgspec
import pytest

from shared.runs import reconciler
from shared.runs.phases import Phase
from shared.runs.ports import JobState, Look
from shared.runs.record import Run
from shared.runs.submission import display_name
from tests.unit.runs.test_reconciler import GOOD, drop, phases, play
from tests.worlds import CrashError, Simulation

DAY = 60 * 24


def trains(sim: Simulation, manifest: dict = GOOD) -> str:
    run = drop(sim, manifest)
    play(sim, until=Phase.TRAINING)
    return run


def the_job(sim: Simulation, run: str, attempt: int = 1):
    return sim.workspace.jobs[f"{run}-a{attempt}"]


@pytest.mark.parametrize("how", ["Queued", "Preparing", "NotStarted", "its steps"])
def test_a_job_that_waits_for_machines_says_so_and_ends_after_the_longest_time(how):
    """It is cancelled, and the run fails with what a person can do."""
    sim = Simulation()
    sim.workspace.job_takes *= 1000
    run = trains(sim)
    the_job(sim, run).status = "Running" if how == "its steps" else how
    the_job(sim, run).waits = how == "its steps"
    play(sim, minutes=60)
    assert sim.run(run).phase is Phase.TRAINING
    assert "no machines since 2026-01-05 08:" in sim.run(run).why
    play(sim, minutes=DAY + 10)
    assert sim.run(run).phase is Phase.FAILED
    assert sim.run(run).facts.training_failure == "job-stuck-queued"
    assert "Choose another size" in sim.run(run).timeline[-1].why
    assert the_job(sim, run).cancelled


def test_a_job_that_moves_on_forgets_that_it_stood_still():
    """Only an unbroken wait counts."""
    sim = Simulation()
    sim.workspace.job_takes *= 1000
    run = trains(sim)
    the_job(sim, run).status = "Queued"
    play(sim, minutes=DAY - 60)
    the_job(sim, run).status = "Running"
    play(sim, minutes=5)
    assert sim.run(run).facts.standstill is None
    the_job(sim, run).status = "Queued"
    play(sim, minutes=120)
    assert sim.run(run).phase is Phase.TRAINING


def test_a_job_that_does_not_respond_is_cancelled_and_tried_again():
    """The next attempt begins when the first is gone, so that never two of a run's jobs live."""
    sim = Simulation()
    sim.workspace.job_takes *= 1000
    run = trains(sim)
    the_job(sim, run).status = "NotResponding"
    play(sim, minutes=30)
    assert "no response since" in sim.run(run).why
    play(sim, minutes=40)
    assert the_job(sim, run).cancelled
    assert sim.run(run).facts.attempt == 2
    assert phases(sim, run).count(Phase.TRAINING) == 2
    assert any("did not respond" in note for note in sim.run(run).facts.notes)
    the_job(sim, run, 2).status = "NotResponding"
    play(sim, minutes=90)
    assert sim.run(run).phase is Phase.FAILED
    assert sim.run(run).facts.training_failure == "job-not-responding"


def test_a_worker_that_dies_after_it_cancelled_a_silent_job_does_not_end_the_run():
    """The record knows whose cancellation it was: another attempt follows."""
    sim = Simulation()
    sim.workspace.job_takes *= 1000
    run = trains(sim)
    the_job(sim, run).status = "NotResponding"
    died: list[str] = []

    def dies(call: str) -> None:
        if call == "workspace.cancel_job" and not died:
            died.append(call)
            raise CrashError

    sim.faults.after = dies
    with pytest.raises(CrashError):
        play(sim, minutes=90)
    assert the_job(sim, run).cancelled
    reconciler.look(sim.world, Look(run))
    play(sim, minutes=5)
    assert sim.run(run).facts.attempt == 2
    assert sim.run(run).phase is Phase.TRAINING


def test_a_job_that_somebody_cancels_in_azure_ends_the_run_as_cancelled():
    """That was a person's wish, not a failure."""
    sim = Simulation()
    run = trains(sim)
    the_job(sim, run).cancelled = True
    play(sim, minutes=10)
    assert sim.run(run).phase is Phase.CANCELLED
    assert len(sim.workspace.jobs) == 1


def test_a_run_that_somebody_cancels_cancels_its_job():
    """What bills is let go of before the run ends."""
    sim = Simulation()
    run = trains(sim)
    reconciler.cancel(sim.world, run, "not wanted")
    play(sim, minutes=10)
    assert sim.run(run).phase is Phase.CANCELLED
    assert the_job(sim, run).cancelled


def test_the_record_carries_what_the_job_was_given():
    """Merged once: what the check approved is what is submitted, whatever the registry says by then."""
    sim = Simulation()
    requests = []
    submit = sim.workspace.submit
    sim.workspace.submit = lambda request: (requests.append(request), submit(request))[1]
    run = trains(sim, GOOD | {"finetune": {"precision": 16, "num_train_epochs": 2}})
    assert sim.run(run).facts.parameters == {"precision": "16", "num_train_epochs": 2}
    assert requests[0].parameters == sim.run(run).facts.parameters
    assert any("learning_rate_min" in note for note in sim.run(run).facts.notes)


def test_a_record_from_before_parameters_were_kept_still_trains():
    """Runs on their way while the app is updated go on."""
    sim = Simulation()
    run = drop(sim)
    sim.limited(runs=0)
    play(sim, until=Phase.PREPARED)
    record, number = sim.runs.records[run]
    whole = json.loads(msgspec.json.encode(record))
    for name in ("parameters", "size", "gpus"):
        whole["facts"].pop(name, None)
    sim.runs.records[run] = (msgspec.json.decode(json.dumps(whole), type=Run), number)
    sim.limited(runs=2)
    play(sim)
    assert sim.run(run).phase is Phase.SERVING


def test_a_deepspeed_configuration_is_checked_and_kept_where_the_job_reads():
    """As a file beside the rows, or written into the manifest."""
    sim = Simulation()
    sim.configs.files["ds.json"] = b'{"zero_optimization": {"stage": 2}}'
    for number, given in enumerate(["ds.json", {"zero_optimization": {"stage": 2}}]):
        manifest = GOOD | {"name": f"chat{number}", "finetune": {"deepspeed": given}}
        run = drop(sim, manifest, path=f"chat{number}.json")
        play(sim, minutes=2)
        assert sim.run(run).facts.parameters["deepspeed"] in sim.configs.kept


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ("missing.json", "not in the container 'data'"),
        ("broken.json", "is not JSON"),
        ("stage3.json", "the model could not be saved"),
        ({"zero_optimization": {}}, "has no zero_optimization.stage"),
    ],
)
def test_a_deepspeed_configuration_that_would_fail_rejects_the_manifest(given, reason):
    """Found before the GPU is asked for, and nothing is kept of it."""
    sim = Simulation()
    sim.configs.files |= {
        "broken.json": b"{",
        "stage3.json": b'{"zero_optimization": {"stage": 3}}',
    }
    run = drop(sim, GOOD | {"finetune": {"deepspeed": given}})
    play(sim, minutes=2)
    assert sim.run(run).phase is Phase.REJECTED
    (problem,) = sim.run(run).problems
    assert problem.place == "finetune.deepspeed"
    assert reason in problem.reason
    assert not sim.configs.kept


def test_problems_of_all_kinds_are_told_at_once():
    """Parameters, model, limits and machines in one go: nobody mends a manifest five times."""
    sim = Simulation()
    sim.workspace.versions["Gone"] = []
    wrong = GOOD | {
        "model": {"name": "Gone"},
        "finetune": {"learning_rate": -1.0, "num_train_epochs": 0, "learning_rte": 1},
        "compute": {"cluster": "gpus", "size": "Standard_Nothing"},
    }
    run = drop(sim, wrong)
    play(sim, minutes=2)
    places = {problem.place for problem in sim.run(run).problems}
    assert places == {
        "model",
        "finetune.learning_rate",
        "finetune.num_train_epochs",
        "finetune.learning_rte",
        "compute.size",
    }


def test_a_malformed_section_does_not_hide_what_is_wrong_with_another():
    """A key too many in one place, and still the person learns what else to mend."""
    sim = Simulation()
    sim.workspace.versions["Gone"] = []
    wrong = GOOD | {
        "idle": {"after": "soon"},
        "compute": {"nodes": 1, "size": "Standard_Nothing"},
        "model": {"name": "Gone"},
        "finetune": {"learning_rate": -1.0, "num_train_epochs": 0},
        "deploy": {"instances": 99},
    }
    run = drop(sim, wrong)
    play(sim, minutes=2)
    assert {problem.place for problem in sim.run(run).problems} == {
        "idle.after",
        "compute.nodes",
        "model",
        "finetune.learning_rate",
        "finetune.num_train_epochs",
        "deploy.instances",
    }


def test_a_registry_that_is_not_allowed_is_not_asked():
    """Who drops a manifest does not choose whom the app talks to; and it is told once."""
    sim = Simulation()
    asked = []
    sim.workspace.foundation_model = lambda *names: asked.append(names)
    run = drop(sim, GOOD | {"model": {"registry": "elsewhere"}})
    play(sim, minutes=2)
    assert [problem.place for problem in sim.run(run).problems] == ["model.registry"]
    assert not asked


def test_the_display_name_has_the_notebooks_form():
    """Model, dataset, effective batch size, scheduler, DeepSpeed, LoRA, kept checkpoints, length."""
    values = {
        "per_device_train_batch_size": 2,
        "gradient_accumulation_steps": 4,
        "lr_scheduler_type": "cosine",
        "apply_deepspeed": "true",
        "deepspeed_stage": "3",
        "apply_lora": "false",
        "save_total_limit": 1,
        "max_seq_length": 2048,
    }
    name = display_name("Phi-4", "ultrachat_200k", values, gpus=2)
    assert name == "Phi-4-ultrachat_200k-bs16-cosine-ds3-nolora-save_limit1-seqlen2048"


def test_infrastructure_failures_are_bounded_and_each_is_noted():
    """The last failure ends the run, and the record tells them all."""
    sim = Simulation()
    sim.workspace.fates = [(JobState.FAILED, True)] * 5
    run = drop(sim)
    play(sim, minutes=120)
    assert sim.run(run).phase is Phase.FAILED
    assert len(sim.workspace.jobs) == 2, "as many as the limits allow"
    assert sim.run(run).facts.training_failure == "job-infrastructure"
    assert any("attempt 1: job" in note for note in sim.run(run).facts.notes)


def test_waiting_for_machines_does_not_count_as_silence():
    """What the job waits for has changed, so that its time begins anew."""
    sim = Simulation()
    sim.workspace.job_takes *= 1000
    run = trains(sim)
    the_job(sim, run).status = "Queued"
    play(sim, minutes=120)
    the_job(sim, run).status = "NotResponding"
    play(sim, minutes=50)
    assert not the_job(sim, run).cancelled
    play(sim, minutes=20)
    assert the_job(sim, run).cancelled


def test_what_the_check_approved_is_submitted_though_the_model_has_changed():
    """The registry's defaults may change while a run waits for its turn."""
    sim = Simulation()
    requests = []
    submit = sim.workspace.submit
    sim.workspace.submit = lambda request: (requests.append(request), submit(request))[1]
    found = sim.workspace.foundation_model("azureml", "Phi-4", "8")
    sim.workspace.versions["Phi-4"] = [replace(found, defaults={"num_train_epochs": 2})]
    run = drop(sim)
    sim.limited(runs=0)
    play(sim, until=Phase.PREPARED)
    sim.workspace.versions["Phi-4"] = [replace(found, defaults={"num_train_epochs": 9})]
    sim.limited(runs=2)
    play(sim, until=Phase.TRAINING)
    assert sim.run(run).phase is Phase.TRAINING
    assert requests[0].parameters == {"num_train_epochs": 2}
