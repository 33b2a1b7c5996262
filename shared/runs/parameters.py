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
from shared.runs.failures import problem

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


CONFIG: Final = "deepspeed"
"""The one input that is a file of the manifest's author: a DeepSpeed configuration."""

ASSETS: Final = frozenset(
    {"uri_file", "uri_folder", "mltable", "mlflow_model", "custom_model", "triton_model"}
)
"""Types of inputs that are addresses of data, not values."""

_GATHER: Final = "stage3_gather_16bit_weights_on_model_save"
_GATHERED_STAGE: Final = 3


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
        return _number(value, spec)
    if spec.type == "boolean":
        if not isinstance(value, bool):
            raise ValueError(f"is {value!r}; it must be true or false")
        return value
    if not isinstance(value, str):
        raise ValueError(f"is {value!r}; it must be text")
    return value


def _number(value: object, spec: Input) -> int | float:
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


def check(finetune: Mapping[str, Any], inputs: Mapping[str, Input]) -> list[Problem]:
    """What is wrong with each entry of a manifest's `finetune` section by itself."""
    problems: list[Problem] = []
    for name, value in finetune.items():
        place = f"finetune.{name}"
        if name in OURS:
            problems.append(Problem(place, "is set by Droptune", OURS[name].capitalize()))
        elif name not in inputs:
            problems.append(_unknown(name, inputs))
        elif name == CONFIG:
            if not isinstance(value, str | dict):
                reason = (
                    f"is {value!r}; it must be a path in the container 'data', or the JSON itself"
                )
                problems.append(problem("parameter-wrong", place, reason))
        elif inputs[name].type in ASSETS:
            problems.append(
                problem("parameter-wrong", place, "is a file, which Droptune does not pass on")
            )
        else:
            try:
                converted(value, inputs[name])
            except ValueError as error:
                problems.append(problem("parameter-wrong", place, str(error)))
    return problems


def _unknown(name: str, inputs: Mapping[str, Input]) -> Problem:
    place, reason = f"finetune.{name}", "is not an input of the component"
    close = difflib.get_close_matches(name, set(inputs) - set(OURS), n=1)
    if close:
        return Problem(place, reason, f"Did you mean '{close[0]}'?")
    return problem("parameter-unknown", place, reason)


def conflicts(values: Mapping[str, Any], inputs: Mapping[str, Input]) -> list[Problem]:
    """What the component's finetune script refuses itself, when the GPU already bills.

    Source: `finetune.py` of the component in Azure/azureml-assets.

    Args:
        values: The parameters as merged.
        inputs: The component's, whose defaults hold for the rest.
    """
    effective = effective_values(values, inputs)
    problems, found = list[Problem](), []
    rate = effective.get("learning_rate")
    if isinstance(rate, int | float) and rate <= 0:
        reason = f"is {rate:g}; it must be greater than 0"
        problems.append(problem("parameter-wrong", "finetune.learning_rate", reason))
    if effective.get("apply_early_stopping") == "true" and (
        effective.get("evaluation_strategy") == "disable"
    ):
        reason = "needs evaluation, and evaluation_strategy is 'disable'"
        found.append(("apply_early_stopping", reason))
    if effective.get("apply_deepspeed") == "true" and (
        effective.get("auto_find_batch_size") == "true"
    ):
        reason = "does not work with apply_deepspeed, and both are 'true'"
        found.append(("auto_find_batch_size", reason))
    return problems + [
        problem("parameters-conflict", f"finetune.{name}", why) for name, why in found
    ]


def config_problems(config: Any) -> list[Problem]:
    """What the component's finetune script refuses of a DeepSpeed configuration.

    Args:
        config: The configuration as JSON has it.
    """
    zero = config.get("zero_optimization") if isinstance(config, dict) else None
    if not isinstance(zero, dict) or zero.get("stage") is None:
        reason = "has no zero_optimization.stage"
        return [problem("parameter-wrong", f"finetune.{CONFIG}", reason)]
    if zero["stage"] == _GATHERED_STAGE and not zero.get(_GATHER):
        reason = f"has zero_optimization.stage 3 without {_GATHER}: the model could not be saved"
        return [problem("parameters-conflict", f"finetune.{CONFIG}", reason)]
    return []


def effective_values(values: Mapping[str, Any], inputs: Mapping[str, Input]) -> dict[str, Any]:
    """The values with the component's defaults for those that are not given."""
    return {name: spec.default for name, spec in inputs.items()} | dict(values)


def merge(
    finetune: Mapping[str, Any], model_defaults: Mapping[str, Any], inputs: Mapping[str, Input]
) -> Parameters:
    """Component default < the model's own default < the manifest, with notes on what differs.

    Only what differs from the component's default is returned: the component fills in the rest.
    The model's defaults are its publisher's and may name things that the component does not take
    (Phi-3's have named `learning_rate_min` since 2025): those are left out, with a note.

    Args:
        finetune: The manifest's section, in which `check` found nothing.
        model_defaults: What the model's publisher recommends.
        inputs: The component's.
    """
    values: dict[str, Any] = {}
    notes: list[str] = []
    for name, default in model_defaults.items():
        if name not in inputs or name in OURS or inputs[name].type in ASSETS:
            notes.append(f"the model's default {name}={default} is not an input of the component")
            continue
        try:
            values[name] = converted(_read(default, inputs[name]), inputs[name])
        except ValueError as error:
            notes.append(f"the model's default {name} is left out: it {error}")
    for name, value in finetune.items():
        chosen = value if name == CONFIG else converted(value, inputs[name])
        if name in values and values[name] != chosen:
            notes.append(f"{name} is {chosen}; the model's own default is {values[name]}")
        values[name] = chosen
    return Parameters(values, tuple(notes), effective_values(values, inputs))


def _read(default: Any, spec: Input) -> Any:
    """A default as its publisher meant it: tools that write YAML 1.1 make text of `5e-6`."""
    if isinstance(default, str) and spec.type in ("integer", "number") and not spec.enum:
        for kind in (int, float):
            try:
                return kind(default)
            except ValueError:
                continue
    return default
