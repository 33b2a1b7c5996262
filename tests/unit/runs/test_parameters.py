"""Parameters are checked against the component before a GPU is asked for."""

from __future__ import annotations

import pytest

from shared.runs import parameters
from tests.worlds import INPUTS


@pytest.mark.parametrize(
    ("finetune", "place", "reason"),
    [
        ({"learning_rate": "5e-6"}, "finetune.learning_rate", "must be a number"),
        ({"learning_rate": float("nan")}, "finetune.learning_rate", "finite"),
        ({"num_train_epochs": 0}, "finetune.num_train_epochs", "at least 1"),
        ({"num_train_epochs": True}, "finetune.num_train_epochs", "an integer"),
        ({"num_train_epochs": 1.5}, "finetune.num_train_epochs", "an integer"),
        ({"precision": 8}, "finetune.precision", "allowed are 32, 16"),
        ({"learning_rte": 1e-5}, "finetune.learning_rte", "Did you mean 'learning_rate'?"),
        ({"train_file_path": "x"}, "finetune.train_file_path", "Name the rows in 'dataset'"),
        ({"max_seq_length": "long"}, "finetune.max_seq_length", "an integer"),
        ({"deepspeed": 3}, "finetune.deepspeed", "the JSON itself"),
        ({"nothing_like_it": 1}, "finetune.nothing_like_it", "Look the name up"),
    ],
)
def test_a_wrong_parameter_names_its_place_and_reason(finetune, place, reason):
    """Each wrong value is told in the manifest's own terms."""
    (problem,) = parameters.check(finetune, INPUTS)
    assert problem.place == place
    assert reason in str(problem)


def test_numbers_and_booleans_become_the_enums_they_mean():
    """The component wants enums as text; people write 16 and true."""
    merged = parameters.merge({"precision": 16, "apply_lora": True}, {}, INPUTS)
    assert merged.values == {"precision": "16", "apply_lora": "true"}


def test_the_manifest_wins_over_the_model_and_unknown_defaults_are_dropped_with_a_note():
    """Phi-3's own defaults name inputs that the component does not have."""
    merged = parameters.merge(
        {"num_train_epochs": 3},
        {"num_train_epochs": 1, "learning_rate": 5e-6, "learning_rate_min": 5e-7},
        INPUTS,
    )
    assert merged.values == {"num_train_epochs": 3, "learning_rate": 5e-6}
    assert any("learning_rate_min" in note for note in merged.notes)
    assert any("num_train_epochs is 3" in note for note in merged.notes)


@pytest.mark.parametrize(
    ("values", "place", "reason"),
    [
        ({"learning_rate": -1.0}, "finetune.learning_rate", "greater than 0"),
        ({"learning_rate": 0}, "finetune.learning_rate", "greater than 0"),
        (
            {"apply_early_stopping": "true", "evaluation_strategy": "disable"},
            "finetune.apply_early_stopping",
            "needs evaluation",
        ),
        (
            {"apply_deepspeed": "true", "auto_find_batch_size": "true"},
            "finetune.auto_find_batch_size",
            "does not work with apply_deepspeed",
        ),
    ],
)
def test_what_does_not_go_together_is_told_before_the_gpu_finds_out(values, place, reason):
    """The rules are those of the component's own script, on the values as merged."""
    (problem,) = parameters.conflicts(values, INPUTS)
    assert problem.place == place
    assert reason in str(problem)


def test_one_parameter_that_is_wrong_by_itself_is_not_told_to_change_one_of_two():
    """The mend fits the problem."""
    (problem,) = parameters.conflicts({"learning_rate": -1.0}, INPUTS)
    assert problem.mend == "Give a value that the component takes"


def test_parameters_that_go_together_have_no_conflict():
    """Nothing is refused that the component would take."""
    good = {"learning_rate": 1e-9, "apply_early_stopping": "true", "apply_deepspeed": "true"}
    assert parameters.conflicts(good, INPUTS) == []


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ([], "no zero_optimization.stage"),
        ({}, "no zero_optimization.stage"),
        ({"zero_optimization": {}}, "no zero_optimization.stage"),
        ({"zero_optimization": {"stage": 3}}, "stage3_gather_16bit_weights_on_model_save"),
    ],
)
def test_a_deepspeed_configuration_that_could_not_save_the_model_is_refused(config, reason):
    """Stage 3 has to gather the weights, and any configuration has to name its stage."""
    (problem,) = parameters.config_problems(config)
    assert problem.place == "finetune.deepspeed"
    assert reason in str(problem)


def test_a_deepspeed_configuration_that_saves_the_model_is_taken():
    """Stage 2 needs nothing, stage 3 gathers."""
    assert parameters.config_problems({"zero_optimization": {"stage": 2}}) == []
    gathered = {"stage": 3, "stage3_gather_16bit_weights_on_model_save": True}
    assert parameters.config_problems({"zero_optimization": gathered}) == []


def test_a_publishers_numbers_are_read_also_from_text():
    """Tools that write YAML 1.1 make text of `5e-6`; what is no number is left out with a note."""
    merged = parameters.merge({}, {"learning_rate": "5e-6", "num_train_epochs": "many"}, INPUTS)
    assert merged.values == {"learning_rate": pytest.approx(5e-6)}
    assert any("num_train_epochs is left out" in note for note in merged.notes)


def test_the_nearest_name_is_never_one_that_droptune_sets_itself():
    """Following the hint would lead to the next refusal."""
    (problem,) = parameters.check({"train_file_pat": "x"}, INPUTS)
    assert "Did you mean" not in problem.mend
