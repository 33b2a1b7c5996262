"""The 69 inputs of the registry component `chat_completion_pipeline` 0.0.82, checked.

Names, types, enums, minima and defaults are those of the component's specification (Azure/azureml-assets,
assets/training/finetune_acft_hf_nlp/components/pipeline_components/chat_completion/spec.yaml). The service
checks them when a job is made; the rules between inputs are those of the component's own scripts.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, fields
from pathlib import Path
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Final,
    Literal,
    get_args,
    get_origin,
    get_type_hints,
)

from local.compute.failures import InputsRefused

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


@dataclass(frozen=True, slots=True)
class Minimum:
    """The least value that an input takes."""

    value: int


Positive = Annotated[int, Minimum(1)]
Scheduler = Literal[
    "linear", "cosine", "cosine_with_restarts", "polynomial", "constant", "constant_with_warmup"
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """The component's inputs by name; flags, which travel as "true" and "false", are booleans here."""

    # compute: taken and checked; a laptop has one node
    instance_type_model_import: str = "Standard_d12_v2"
    instance_type_preprocess: str = "Standard_d12_v2"
    instance_type_finetune: str = "Standard_nc24rs_v3"
    instance_type_model_evaluation: str = "Standard_nc24rs_v3"
    shm_size_finetune: str = "5g"
    num_nodes_finetune: Positive = 1
    number_of_gpu_to_use_finetuning: Positive = 1
    # model
    huggingface_id: str | None = None
    pytorch_model_path: Path | None = None
    mlflow_model_path: Path | None = None
    finetune_config_path: Path | None = None
    trust_remote_code: bool = False
    # preprocess
    task_name: Literal["ChatCompletion"]
    batch_size: Positive = 1000
    pad_to_max_length: bool = False
    max_seq_length: int = -1
    train_file_path: Path | None = None
    validation_file_path: Path | None = None
    test_file_path: Path | None = None
    train_mltable_path: Path | None = None
    validation_mltable_path: Path | None = None
    test_mltable_path: Path | None = None
    # LoRA
    apply_lora: bool = False
    merge_lora_weights: bool = True
    lora_alpha: int = 128
    lora_r: int = 8
    lora_dropout: float = 0.0
    # training
    num_train_epochs: Positive = 1
    max_steps: int = -1
    per_device_train_batch_size: Positive = 1
    per_device_eval_batch_size: Positive = 1
    auto_find_batch_size: bool = False
    optim: Literal["adamw_torch", "adafactor"] = "adamw_torch"
    learning_rate: float = 2e-5
    warmup_steps: int = 0
    weight_decay: float = 0.0
    adam_beta1: float = 0.9
    adam_beta2: float = 0.999
    adam_epsilon: float = 1e-8
    gradient_accumulation_steps: int = 1
    eval_accumulation_steps: int = -1
    lr_scheduler_type: Scheduler = "linear"
    precision: Literal["32", "16"] = "32"
    seed: int = 42
    enable_full_determinism: bool = False
    dataloader_num_workers: int = 0
    ignore_mismatched_sizes: bool = False
    max_grad_norm: float = 1.0
    # evaluation, logging, saving
    evaluation_strategy: Literal["epoch", "steps", "disable"] = "epoch"
    evaluation_steps_interval: float = 0.0
    eval_steps: int = 500
    logging_strategy: Literal["epoch", "steps"] = "steps"
    logging_steps: int = 10
    metric_for_best_model: Literal["loss", "f1", "exact"] = "loss"
    resume_from_checkpoint: bool = False
    save_total_limit: int = -1
    apply_early_stopping: bool = False
    early_stopping_patience: int = 1
    early_stopping_threshold: float = 0.0
    # DeepSpeed and ONNX Runtime
    apply_deepspeed: bool = False
    deepspeed: Path | None = None
    deepspeed_stage: Literal["2", "3"] = "2"
    apply_ort: bool = False
    # left over from a step that the pipeline no longer has
    evaluation_config: Path | None = None
    evaluation_config_params: str | None = None
    compute_model_import: str = "serverless"
    compute_preprocess: str = "serverless"
    compute_finetune: str = "serverless"
    compute_model_evaluation: str = "serverless"


FLAGS: Final = {"true": True, "false": False}
GATHERING_STAGE: Final = 3  # of DeepSpeed: parameters are spread over processes
FOLDERS: Final = ("pytorch_model_path", "mlflow_model_path")


def check(raw: Mapping[str, Any]) -> Inputs:
    """Turn a job's inputs into typed values.

    Numbers may come as JSON numbers or, as Azure ML carries literals, as strings.

    Raises:
        InputsRefused: With every problem: unknown names, wrong types, values outside an enum or below
            a minimum, paths that lead nowhere, combinations that the component refuses.
    """
    hints = get_type_hints(Inputs, include_extras=True)
    problems = [
        f"{name}: the component has no such input" for name in sorted(set(raw) - set(hints))
    ]
    values: dict[str, Any] = {}
    for name, hint in hints.items():
        if raw.get(name) is None:
            if name == "task_name":
                problems.append("task_name: is required; write ChatCompletion")
            continue
        try:
            values[name] = _convert(raw[name], hint)
        except ValueError as error:
            problems.append(f"{name}: {error}")
    if not problems:
        inputs = Inputs(**values)
        problems.extend(_paths(inputs))
        problems.extend(_combinations(inputs))
        if not problems:
            return inputs
    raise InputsRefused(problems)


def _convert(value: Any, hint: Any) -> Any:
    if get_origin(hint) is Annotated:
        kind, minimum = get_args(hint)
        number = _convert(value, kind)
        if number < minimum.value:
            raise ValueError(f"must be at least {minimum.value}, not {number}")
        return number
    if get_origin(hint) is Literal:
        return _choice(str(value), get_args(hint))
    if hint is bool:
        return FLAGS[_choice(value if isinstance(value, str) else repr(value), tuple(FLAGS))]
    if hint is int:
        return _integer(value)
    if hint is float:
        return _number(value)
    if not isinstance(value, str) or not value:
        raise ValueError(f"must be a text that is not empty, not {value!r}")
    if hint == (Path | None):
        if "\\" in value or "'" in value:
            raise ValueError("a path may not hold a backslash or a single quote")
        return Path(value)
    return value


def _choice(value: str, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        raise ValueError(f"must be one of {', '.join(map(json.dumps, allowed))}, not {value!r}")
    return value


def _integer(value: Any) -> int:
    whole = not isinstance(value, bool) and not (isinstance(value, float) and value % 1)
    try:
        if whole:
            return int(value)
    except (ValueError, TypeError, OverflowError):
        pass
    raise ValueError(f"must be a whole number, not {value!r}")


def _number(value: Any) -> float:
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (ValueError, TypeError):
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"must be a finite number, not {value!r}")
    return number


def _paths(inputs: Inputs) -> Iterator[str]:
    for name in (f.name for f in fields(inputs)):
        path = getattr(inputs, name)
        if not isinstance(path, Path):
            continue
        folder = name in FOLDERS or name.endswith("_mltable_path")
        if folder and not path.is_dir():
            yield f"{name}: there is no folder {path}"
        elif not folder and not path.is_file():
            yield f"{name}: there is no file {path}"


def _combinations(inputs: Inputs) -> Iterator[str]:
    if inputs.pytorch_model_path is None and inputs.mlflow_model_path is None:
        if inputs.huggingface_id is None:
            yield "mlflow_model_path: give mlflow_model_path or pytorch_model_path"
        else:
            yield (
                "huggingface_id: this compute downloads no models; give a local folder as"
                " mlflow_model_path or pytorch_model_path"
            )
    if inputs.train_file_path is None and inputs.train_mltable_path is None:
        yield "train_file_path: give train_file_path or train_mltable_path"
    if inputs.learning_rate <= 0:
        yield f"learning_rate: must be above 0, not {inputs.learning_rate:g}"
    if inputs.apply_early_stopping and inputs.evaluation_strategy == "disable":
        yield (
            "apply_early_stopping: needs evaluation; set evaluation_strategy to epoch or steps,"
            " not disable"
        )
    if inputs.apply_deepspeed and inputs.auto_find_batch_size:
        yield "auto_find_batch_size: does not go with apply_deepspeed; switch one of them off"
    yield from _least(inputs)
    yield from _deepspeed(inputs)


def _least(inputs: Inputs) -> Iterator[str]:
    """What the training library refuses later, and with a worse message."""
    least = {
        "gradient_accumulation_steps": 1,
        "warmup_steps": 0,
        "dataloader_num_workers": 0,
        "seed": 0,
    }
    if inputs.evaluation_strategy == "steps":
        least["eval_steps"] = 1
    if inputs.logging_strategy == "steps":
        least["logging_steps"] = 1
    if inputs.apply_lora:
        least |= {"lora_r": 1, "lora_alpha": 1, "lora_dropout": 0}
    if inputs.apply_early_stopping:
        least |= {"early_stopping_patience": 1, "early_stopping_threshold": 0}
    for name, value in least.items():
        if getattr(inputs, name) < value:
            yield f"{name}: must be at least {value}, not {getattr(inputs, name)}"
    for name in ("adam_beta1", "adam_beta2", "lora_dropout"):
        if not 0 <= getattr(inputs, name) < 1:
            yield f"{name}: must be at least 0 and below 1, not {getattr(inputs, name):g}"


def _deepspeed(inputs: Inputs) -> Iterator[str]:
    """The component's own checks of a DeepSpeed configuration."""
    if not inputs.apply_deepspeed or inputs.deepspeed is None or not inputs.deepspeed.is_file():
        return
    try:
        stage = json.loads(inputs.deepspeed.read_text(encoding="utf-8"))["zero_optimization"]
        if stage["stage"] == GATHERING_STAGE and not stage.get(
            "stage3_gather_16bit_weights_on_model_save"
        ):
            yield "deepspeed: stage 3 needs stage3_gather_16bit_weights_on_model_save set to true"
    except (ValueError, OSError):
        yield f"deepspeed: {inputs.deepspeed} is not JSON"
    except (KeyError, TypeError):
        yield f"deepspeed: {inputs.deepspeed} has no zero_optimization.stage"
