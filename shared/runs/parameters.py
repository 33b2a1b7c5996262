"""The fine-tune parameters, checked against the component's own inputs before anything is submitted.

The SDK checks neither minima nor enums, so a wrong value would fail on the GPU, an hour later. What is known
of an input comes from the component version in use, fetched from its registry; nothing of it is copied here.
"""

from __future__ import annotations

import difflib
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from shared.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Mapping

OURS: Final[Mapping[str, str]] = {
    "task_name": "it is always ChatCompletion",
    "mlflow_model_path": "name the model in 'model'",
    "pytorch_model_path": "name the model in 'model'",
    "huggingface_id": "name the model in 'model'",
    "num_nodes_finetune": "use 'compute.max_nodes'",
    "number_of_gpu_to_use_finetuning": "it follows from 'compute.size'",
    **{
        f"{split}_{kind}_path": "name the rows in 'dataset'"
        for split in ("train", "validation", "test")
        for kind in ("file", "mltable")
    },
    **{
        f"{kind}_{stage}": "use 'compute'"
        for kind in ("compute", "instance_type")
        for stage in ("model_import", "preprocess", "finetune", "model_evaluation")
    },
}
"""Inputs that Droptune sets itself, and what to use instead."""


@dataclass(frozen=True, slots=True)
class Input:
    """One input of the component, as its own specification states it.

    Attributes:
        type: `string`, `integer`, `number`, `boolean`, or an asset type such as `uri_file`.
        default: Its default; `None` when it has none.
        enum: The only values allowed; empty when any is.
        minimum: The smallest value allowed.
        maximum: The largest value allowed.
    """

    type: str
    default: Any = None
    enum: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None


@dataclass(frozen=True, slots=True)
class Component:
    """The exact version of the pipeline component, and its inputs by name."""

    id: str
    version: str
    inputs: Mapping[str, Input]


@dataclass(frozen=True, slots=True)
class Parameters:
    """What the job is given, and what a person should know about how that came to be.

    Attributes:
        values: What differs from the component's defaults.
        notes: What a person should know.
        in_effect: Every input with the value that the job will see.
    """

    values: Mapping[str, Any]
    notes: tuple[str, ...]
    in_effect: Mapping[str, Any]


def _as_text(value: object) -> str:
    """A value as the component's string enums spell it: `true`, `16`."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def converted(value: object, spec: Input) -> Any:
    """`value` in the type that `spec` asks for.

    Raises:
        ValueError: It is of another type or out of bounds; the message is for the manifest's author.
    """
    if spec.enum:
        text = _as_text(value)
        if text not in spec.enum:
            raise ValueError(f"is {value!r}; allowed are {', '.join(spec.enum)}")
        return text
    if spec.type in ("integer", "number"):
        wanted = int if spec.type == "integer" else (int, float)
        if isinstance(value, bool) or not isinstance(value, wanted):
            article = "an integer" if spec.type == "integer" else "a number"
            raise ValueError(f"is {value!r}; it must be {article}")
        number = float(value)
        if not math.isfinite(number):
            raise ValueError(f"is {value!r}; it must be finite")
        if spec.minimum is not None and number < spec.minimum:
            raise ValueError(f"is {value!r}; it must be at least {spec.minimum:g}")
        if spec.maximum is not None and number > spec.maximum:
            raise ValueError(f"is {value!r}; it must be at most {spec.maximum:g}")
        return value
    if not isinstance(value, str):
        raise ValueError(f"is {value!r}; it must be text")
    return value


def _across(values: Mapping[str, Any]) -> list[Problem]:
    """The rules that the component's finetune script checks itself, when the GPU already bills.

    Source: `finetune.py` of the component in Azure/azureml-assets.
    """
    problems = []
    rate = values.get("learning_rate")
    if isinstance(rate, int | float) and rate <= 0:
        problems.append(
            Problem("finetune.learning_rate", f"is {rate:g}", "It must be greater than 0")
        )
    if values.get("apply_early_stopping") == "true" and (
        values.get("evaluation_strategy") == "disable"
    ):
        problems.append(
            Problem(
                "finetune.apply_early_stopping",
                "needs evaluation, and evaluation_strategy is 'disable'",
                "Set evaluation_strategy to 'epoch' or 'steps'",
            )
        )
    if values.get("apply_deepspeed") == "true" and values.get("auto_find_batch_size") == "true":
        problems.append(
            Problem("finetune.auto_find_batch_size", "does not work with apply_deepspeed")
        )
    return problems


def check(finetune: Mapping[str, Any], inputs: Mapping[str, Input]) -> list[Problem]:
    """Everything that is wrong with a manifest's `finetune` section."""
    problems: list[Problem] = []
    values: dict[str, Any] = {name: spec.default for name, spec in inputs.items()}
    for name, value in finetune.items():
        place = f"finetune.{name}"
        if name in OURS:
            problems.append(Problem(place, "is set by Droptune", OURS[name].capitalize()))
        elif name not in inputs:
            close = difflib.get_close_matches(name, inputs, n=1)
            mend = f"Did you mean '{close[0]}'?" if close else ""
            problems.append(Problem(place, "is not an input of the component", mend))
        else:
            try:
                values[name] = converted(value, inputs[name])
            except ValueError as error:
                problems.append(Problem(place, str(error)))
    return problems + _across(values)


def merge(
    finetune: Mapping[str, Any], model_defaults: Mapping[str, Any], inputs: Mapping[str, Input]
) -> Parameters:
    """Component default < the model's own default < the manifest, with notes on what differs.

    Only what differs from the component's default is returned: the component fills in the rest.
    The model's defaults are its publisher's and may name things that the component does not take
    (Phi-3's have named `learning_rate_min` since 2025): those are left out, with a note.
    """
    values: dict[str, Any] = {}
    notes: list[str] = []
    for name, default in model_defaults.items():
        if name not in inputs or name in OURS:
            notes.append(f"the model's default {name}={default} is not an input of the component")
            continue
        try:
            values[name] = converted(default, inputs[name])
        except ValueError as error:
            notes.append(f"the model's default {name} {error}")
    for name, value in finetune.items():
        chosen = converted(value, inputs[name])
        if name in values and values[name] != chosen:
            notes.append(f"{name} is {chosen}; the model's own default is {values[name]}")
        values[name] = chosen
    in_effect = {name: spec.default for name, spec in inputs.items()} | values
    return Parameters(values, tuple(notes), in_effect)
