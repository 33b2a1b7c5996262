"""What a training will take is known, told and bounded before any GPU is asked for."""

from __future__ import annotations

from dataclasses import replace

import pytest

from shared.errors import DataRejected, ManifestRejected, Missing, Problem
from shared.runs import manifest
from shared.runs.phases import Phase
from shared.runs.ports import FoundationModel
from shared.runs.tokens import estimate
from tests.unit.runs.test_reconciler import GOOD, drop, play
from tests.worlds import Simulation


def never():
    raise AssertionError("nobody needs to know the devices")


def test_epochs_multiply_the_tokens_of_train():
    found = estimate(1_000_000, 500, {"num_train_epochs": 3, "max_steps": -1}, never)
    assert (found.tokens, found.how) == (3_000_000, "1,000,000 tokens in 3 epochs")
    assert estimate(10, 1, {}, never).how == "10 tokens in 1 epoch"


def test_steps_override_epochs_whether_they_are_fewer_or_more():
    """As in transformers: a positive max_steps decides alone, and rows begin anew when they run out."""
    values = {
        "num_train_epochs": 3,
        "max_steps": 100,
        "per_device_train_batch_size": 2,
        "gradient_accumulation_steps": 4,
    }
    few = estimate(1_000_000, 5000, values, lambda: 2)
    assert few.tokens == 100 * (2 * 4 * 2) * 200
    assert few.how == "100 steps of 16 rows with 200 tokens on average"
    many = estimate(1_000_000, 5000, values | {"max_steps": 10_000}, lambda: 2)
    assert many.tokens > 3_000_000


def dropped(sim, **changes):
    run = drop(sim, GOOD | changes)
    play(sim, 5)
    return sim.run(run)


def test_the_record_says_what_the_training_takes():
    sim = Simulation()
    run = dropped(sim, finetune={"num_train_epochs": 3})
    assert run.facts.tokens == 12_000
    assert "about 12,000 tokens to train on" in run.timeline[1].why


def test_a_run_over_its_bound_is_rejected_with_the_figures_before_any_job():
    sim = Simulation()
    run = dropped(sim, limits={"max_tokens": 11_999}, finetune={"num_train_epochs": 3})
    assert run.phase is Phase.REJECTED
    (problem,) = run.problems
    assert problem.place == "limits.max_tokens"
    assert problem.reason == (
        "training would take about 12,000 tokens (4,000 tokens in 3 epochs), more than the 11,999 it may"
    )
    assert "num_train_epochs" in problem.mend
    assert "raise the bound" in problem.mend
    assert not sim.workspace.jobs


def test_a_run_at_its_bound_trains():
    sim = Simulation()
    assert dropped(sim, limits={"max_tokens": 4000}).phase is Phase.TRAINING


def test_steps_are_bounded_with_the_devices_they_run_on():
    """Two nodes of one GPU each take twice the rows of a step."""
    stepped = {"finetune": {"max_steps": 5}, "compute": {"max_nodes": 2}}
    run = dropped(Simulation(), limits={"max_tokens": 2000}, **stepped)
    assert run.phase is Phase.TRAINING
    assert run.facts.tokens == 5 * 2 * 200
    (problem,) = dropped(Simulation(), limits={"max_tokens": 1999}, **stepped).problems
    assert "Lower finetune.max_steps" in problem.mend


def test_the_operator_bounds_every_manifest():
    sim = Simulation()
    sim.limited(tokens=3999)
    (problem,) = dropped(sim, limits={"max_tokens": 10_000}).problems
    assert problem.reason.endswith("at most 3,999 are allowed here")
    assert "raise" not in problem.mend


def test_the_models_own_defaults_count():
    """What the manifest leaves open the model's publisher decides: epochs, and where rows are cut."""
    sim = Simulation()
    asked = []
    model = sim.workspace.foundation_model
    defaults = {"num_train_epochs": 2, "max_seq_length": 512}
    sim.workspace.foundation_model = lambda *name: replace(model(*name), defaults=defaults)
    prepare = sim.preparation.prepare
    sim.preparation.prepare = lambda dataset, limit, beat: (
        asked.append(limit),
        prepare(dataset, limit, beat),
    )[1]
    assert isinstance(sim.workspace.foundation_model("r", "n", "1"), FoundationModel)
    assert dropped(sim).facts.tokens == 8000
    assert asked == [512]


def test_the_author_gets_a_page_on_the_data():
    sim = Simulation()
    dropped(sim)
    assert sim.manifests.reports["chat.json.data.html"] == b"page f00d"


def test_refused_data_has_its_page_too():
    sim = Simulation()
    sim.preparation.refusal = DataRejected([Problem("dataset", "is bad")], "bad0")
    assert dropped(sim).phase is Phase.REJECTED
    assert sim.manifests.reports["chat.json.data.html"] == b"page bad0"


def test_data_that_was_never_read_has_no_page():
    sim = Simulation()
    sim.preparation.refusal = DataRejected([Problem("dataset", "is not there")])
    assert dropped(sim).phase is Phase.REJECTED
    assert set(sim.manifests.reports) == {"chat.json.errors.json"}


def test_a_page_that_cannot_be_written_stops_no_run():
    sim = Simulation()

    def gone(fingerprint):
        raise Missing("no page")

    sim.preparation.page = gone
    assert dropped(sim).phase is Phase.TRAINING


@pytest.mark.parametrize(("given", "read"), [(2_000_000, 2_000_000), (2e9, 2_000_000_000)])
def test_a_bound_may_be_written_as_a_large_number(given, read):
    fields = GOOD | {"limits": {"max_tokens": given}}
    found, problems = manifest.check(fields)
    assert not problems
    assert found is not None
    assert found.limits.max_tokens == read


@pytest.mark.parametrize("given", [0, -1, 1.5, "1000", True, [1]])
def test_a_bound_that_is_none_is_refused(given):
    found, problems = manifest.check(GOOD | {"limits": {"max_tokens": given}})
    assert found is None
    assert problems[0].place.startswith("limits.max_tokens")


def test_a_key_beside_it_is_refused_with_the_one_that_was_meant():
    with pytest.raises(ManifestRejected, match="Did you mean 'max_tokens'"):
        manifest.read(
            "x.json", b'{"name": "x", "dataset": {"files": "a"}, "limits": {"max_token": 1}}'
        )
