"""Review, gate and registration: what a run keeps of its job, and which models are registered with what."""

from __future__ import annotations

import pytest
from online import fresh
from whole_runs import GOOD, Droptune

from shared.errors import Missing
from shared.runs.naming import TAG, deployment_name
from shared.runs.phases import Phase


def model_of(droptune: Droptune, run: str):
    """The registered model as the unmodified SDK shows it."""
    from conftest import make_client

    facts = droptune.run(run).facts
    return make_client().models.get(facts.model, version=facts.model_version)


@pytest.mark.parametrize("labels", ["properties", "tags"])
def test_metrics_curves_and_tokens_are_read_from_the_job(droptune: Droptune, labels: str) -> None:
    """Through mlflow, into the record, and from there into the model's properties.

    The component leaves its counts of tokens as properties of the root run, which are those of the job; a tracking
    server may show such labels as tags.
    """
    orders = {
        "metrics": {"loss": [3.0, 2.0, 1.0], "eval_loss": [2.5, 0.5]},
        labels: {"__azureml_ft_training_tokens": "1234", "__azureml_ft_assistant_tokens": "567"},
    }
    gate = {"eval_loss": {"max": 0.6}}
    run = droptune.play(droptune.drop(f"reviewed-{labels}", orders, gate=gate))
    assert run.phase is Phase.SERVING, run.why
    facts = run.facts
    assert facts.metrics == {"loss": 1.0, "eval_loss": 0.5}
    assert facts.curves["loss"] == [(0, 3.0), (1, 2.0), (2, 1.0)]
    assert facts.trained_tokens == {"training": 1234, "assistant": 567}
    assert (facts.gate, facts.verdict) == (
        "passed",
        ["eval_loss is 0.5, as wanted (at most 0.6)"],
    )

    model = model_of(droptune, run.id)
    assert model.type == "mlflow_model"
    assert model.tags[TAG] == run.id
    assert (model.tags["gate"], model.tags["manifest"]) == ("passed", f"reviewed-{labels}.json")
    properties = model.properties
    assert properties["droptune_job"] == facts.job
    assert properties["droptune_foundation_model"] == facts.foundation_model
    assert properties["droptune_fingerprint"] == facts.fingerprint
    assert properties["droptune_metrics"] == '{"eval_loss":0.5,"loss":1.0}'
    assert properties["droptune_tokens"] == '{"assistant":567,"training":1234}'
    assert '"apply_lora":"true"' in properties["droptune_parameters"]
    assert properties["droptune_verdict"] == facts.verdict[0]
    assert len(properties) <= 50
    assert all(len(value) <= 1000 for value in properties.values())


@pytest.mark.parametrize(
    ("metrics", "told"),
    [
        ({"loss": [3.0], "eval_loss": [0.9]}, "eval_loss is 0.9, above 0.6"),
        ({"loss": [3.0]}, "eval_loss was not measured (measured: loss)"),
        ({"loss": [3.0], "eval_loss": [0.5, "NaN"]}, "eval_loss is nan"),
        ({}, "the job logged no metrics"),
    ],
    ids=["too high", "missing", "no number", "no metrics"],
)
def test_what_is_not_proven_good_is_refused_with_reasons(
    droptune: Droptune, metrics: dict, told: str
) -> None:
    """The run is rejected with the reason as a problem; no model is registered, no endpoint made."""
    orders = {"metrics": metrics}
    run = droptune.play(droptune.drop(fresh("refused"), orders, gate={"eval_loss": {"max": 0.6}}))
    assert run.phase is Phase.REJECTED
    assert any(told in problem.reason for problem in run.problems), run.problems
    assert run.facts.gate == "failed"
    assert run.facts.model is None
    assert droptune.workspace.endpoint(run.facts.endpoint or "") is None


def test_a_refused_model_may_be_registered_and_is_never_deployed(droptune: Droptune) -> None:
    """With the tag `gate=failed` and the same lineage, for people to look at."""
    gate = {"eval_loss": {"max": 0.1}, "refused": "register"}
    run = droptune.play(droptune.drop("kept", gate=gate))
    assert run.phase is Phase.REJECTED
    model = model_of(droptune, run.id)
    assert model.tags["gate"] == "failed"
    assert model.properties["droptune_verdict"] == "eval_loss is 1, above 0.1"
    assert droptune.workspace.endpoint(run.facts.endpoint or "") is None


def test_the_next_model_must_be_better_than_the_one_that_serves(droptune: Droptune) -> None:
    """Compared with the record of the run that has the endpoint; the same is not better."""
    gate = {"better_than_current": "eval_loss"}
    first = droptune.play(droptune.drop("better", gate=gate))
    assert "no model has the endpoint to be compared with" in first.facts.verdict[0]
    same = droptune.play(droptune.drop("better", gate=gate))
    assert same.phase is Phase.REJECTED
    assert f"eval_loss is 1, no better than the 1 of {first.id}" in same.why
    assert droptune.run(first.id).phase is Phase.SERVING
    orders = {"metrics": {**GOOD["metrics"], "eval_loss": [2.0, 0.5]}}
    best = droptune.play(droptune.drop("better", orders, gate=gate))
    droptune.settle(first.id, best.id)
    assert (best.phase, droptune.run(first.id).phase) == (Phase.SERVING, Phase.SUPERSEDED)
    assert "(measured with other data)" in best.facts.verdict[0]


def test_a_worse_model_does_not_replace_a_better_one_that_came_after_its_gate(
    droptune: Droptune,
) -> None:
    """Two runs beat the same model; the one that is rolled out later is asked again, and makes no deployment."""
    gate = {"better_than_current": "eval_loss"}
    first = droptune.play(droptune.drop("parallel"))
    runs = []
    for loss in (0.5, 0.7):
        orders = {"metrics": {"loss": [3.0, 1.0], "eval_loss": [2.0, loss]}}
        run = droptune.drop("parallel", orders, gate=gate)
        fault = {"method": "PUT", "path": f"/deployments/{deployment_name(run)}$", "status": 503}
        runs.append((run, droptune.control("POST", "faults", {**fault, "times": 10_000})["name"]))
        droptune.until(lambda run=run: droptune.run(run).facts.fingerprint, bool)
    (older, held), (newer, _) = runs
    for run in (older, newer):
        droptune.until(lambda run=run: droptune.run(run).facts.gate, lambda gate: gate == "passed")
    droptune.control("DELETE", f"faults/{held}")
    droptune.play(older)
    droptune.control("DELETE", "faults")
    outdone = droptune.play(newer)
    droptune.settle(first.id, older, newer)
    assert (droptune.run(older).phase, outdone.phase) == (Phase.SERVING, Phase.SUPERSEDED)
    assert f"eval_loss is 0.7, no better than the 0.5 of {older}" in outdone.why
    assert droptune.traffic(older) == {deployment_name(older): 100}
    assert droptune.deployments(older) == {deployment_name(older)}


def test_metrics_of_a_job_that_is_gone_are_missing(droptune: Droptune) -> None:
    """Not an empty answer: that would look like a job that logged nothing."""
    with pytest.raises(Missing):
        droptune.workspace.measured("nobody-0123456789-g1-a1")
