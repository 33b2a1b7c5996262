"""Promises about the component's inputs: what is taken, what is refused, and in which words."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from local.compute.failures import InputsRefused
from local.compute.inputs import Inputs, check

from .processes import BASE_MODEL, EXAMPLE

GOOD = {
    "task_name": "ChatCompletion",
    "mlflow_model_path": str(BASE_MODEL),
    "train_file_path": str(EXAMPLE / "train.jsonl"),
}


def refused(**changes: Any) -> str:
    with pytest.raises(InputsRefused) as caught:
        check(GOOD | changes)
    return str(caught.value)


def test_there_are_the_components_69_inputs() -> None:
    assert len(dataclasses.fields(Inputs)) == 69


def test_literals_come_as_json_numbers_or_as_azure_ml_carries_them() -> None:
    inputs = check(
        GOOD
        | {"num_train_epochs": "3", "learning_rate": "5e-6", "apply_lora": "true", "precision": 16}
    )
    assert (inputs.num_train_epochs, inputs.learning_rate) == (3, 5e-6)
    assert inputs.apply_lora is True
    assert inputs.precision == "16"
    assert inputs.train_file_path == EXAMPLE / "train.jsonl"


def test_an_input_left_out_or_null_takes_the_components_default() -> None:
    inputs = check(GOOD | {"seed": None})
    assert (inputs.seed, inputs.lora_alpha, inputs.optim) == (42, 128, "adamw_torch")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"learning_rate_max": 1}, "learning_rate_max: the component has no such input"),
        ({"task_name": None}, "task_name: is required"),
        ({"task_name": "chat"}, "task_name: must be one of \"ChatCompletion\", not 'chat'"),
        ({"num_train_epochs": 0}, "num_train_epochs: must be at least 1, not 0"),
        ({"num_train_epochs": 1.5}, "num_train_epochs: must be a whole number, not 1.5"),
        ({"num_train_epochs": True}, "num_train_epochs: must be a whole number, not True"),
        ({"learning_rate": "fast"}, "learning_rate: must be a finite number, not 'fast'"),
        ({"learning_rate": float("nan")}, "learning_rate: must be a finite number"),
        ({"apply_lora": True}, 'apply_lora: must be one of "true", "false", not \'True\''),
        ({"optim": "sgd"}, "optim: must be one of"),
        ({"deepspeed_stage": 1}, 'deepspeed_stage: must be one of "2", "3", not \'1\''),
        ({"compute_finetune": 7}, "compute_finetune: must be a text"),
        ({"train_file_path": "a\\b"}, "train_file_path: a path may not hold a backslash"),
        ({"train_file_path": "/no/such"}, "train_file_path: there is no file /no/such"),
        ({"mlflow_model_path": "/no/such"}, "mlflow_model_path: there is no folder /no/such"),
        ({"mlflow_model_path": None}, "mlflow_model_path: give mlflow_model_path or pytorch"),
        ({"mlflow_model_path": None, "huggingface_id": "x/y"}, "huggingface_id: this compute"),
        ({"train_file_path": None}, "train_file_path: give train_file_path or train_mltable"),
        ({"learning_rate": 0}, "learning_rate: must be above 0, not 0"),
        (
            {"apply_early_stopping": "true", "evaluation_strategy": "disable"},
            "apply_early_stopping: needs evaluation",
        ),
        (
            {"apply_deepspeed": "true", "auto_find_batch_size": "true"},
            "auto_find_batch_size: does not go with apply_deepspeed",
        ),
        ({"gradient_accumulation_steps": 0}, "gradient_accumulation_steps: must be at least 1"),
        ({"adam_beta2": 1}, "adam_beta2: must be at least 0 and below 1"),
        ({"apply_lora": "true", "lora_r": 0}, "lora_r: must be at least 1"),
    ],
)
def test_what_the_component_refuses_is_refused_in_words(changes: dict, says: str) -> None:
    assert says in refused(**changes)


def test_all_problems_are_told_at_once() -> None:
    message = refused(nonsense=1, seed="x", optim="sgd")
    assert message.count("\n- ") == 3


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "is not JSON"),
        ("{}", "has no zero_optimization.stage"),
        ('{"zero_optimization": {"stage": 3}}', "stage3_gather_16bit_weights_on_model_save"),
    ],
)
def test_a_deepspeed_file_is_checked_as_the_component_does(
    tmp_path: Path, text: str, says: str
) -> None:
    path = tmp_path / "zero.json"
    path.write_text(text)
    assert says in refused(apply_deepspeed="true", deepspeed=str(path))
    path.write_text(json.dumps({"zero_optimization": {"stage": 2}}))
    assert check(GOOD | {"apply_deepspeed": "true", "deepspeed": str(path)}).apply_deepspeed
