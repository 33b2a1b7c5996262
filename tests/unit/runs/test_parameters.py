"""Parameters are checked against the component before a GPU is asked for."""

from __future__ import annotations

import pytest

from shared.runs import parameters
from tests.worlds import INPUTS


@pytest.mark.parametrize(
    ("finetune", "place", "reason"),
    [
        ({"learning_rate": -1.0}, "finetune.learning_rate", "greater than 0"),
        ({"learning_rate": "5e-6"}, "finetune.learning_rate", "must be a number"),
        ({"learning_rate": float("nan")}, "finetune.learning_rate", "finite"),
        ({"num_train_epochs": 0}, "finetune.num_train_epochs", "at least 1"),
        ({"num_train_epochs": True}, "finetune.num_train_epochs", "an integer"),
        ({"num_train_epochs": 1.5}, "finetune.num_train_epochs", "an integer"),
        ({"precision": 8}, "finetune.precision", "allowed are 32, 16"),
        ({"learning_rte": 1e-5}, "finetune.learning_rte", "Did you mean 'learning_rate'?"),
        ({"train_file_path": "x"}, "finetune.train_file_path", "Name the rows in 'dataset'"),
        (
            {"apply_early_stopping": True, "evaluation_strategy": "disable"},
            "finetune.apply_early_stopping",
            "needs evaluation",
        ),
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
