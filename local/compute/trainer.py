"""Fine-tune: the component's inputs told to the transformers Trainer, with LoRA by peft.

Importing this module loads torch and transformers (about four seconds), so only a job whose inputs and
data are good imports it.
"""

from __future__ import annotations

import math
import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch
from transformers import (
    AutoModelForCausalLM,
    EarlyStoppingCallback,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)
from transformers.utils import logging as transformers_logging

from local.compute.checkpoints import log_history, mark_complete, newest_complete, step_of
from local.compute.encoding import IGNORED
from local.compute.failures import SystemFailure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from local.compute.encoding import Encoded
    from local.compute.foundation import Foundation
    from local.compute.inputs import Inputs
    from local.compute.tracking import Tracking

MOST_THREADS: Final = 4  # beyond that a small model only pays for synchronisation
BASE: Final = "base_eval"


def prepare_torch() -> None:
    """Use few threads (`OMP_NUM_THREADS` decides if set) and keep progress bars out of the log."""
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(min(MOST_THREADS, len(os.sched_getaffinity(0))))
    # peft still asks transformers for names on their way out; nobody who reads a job's log can mend that.
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()


def load_model(foundation: Foundation, inputs: Inputs) -> Any:
    """The foundation model in 32-bit floats, with LoRA adapters if asked."""
    model = AutoModelForCausalLM.from_pretrained(
        foundation.model,
        dtype=torch.float32,
        ignore_mismatched_sizes=inputs.ignore_mismatched_sizes,
        trust_remote_code=inputs.trust_remote_code,
    )
    model.config.use_cache = False
    if not inputs.apply_lora:
        return model
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(inputs.seed)  # the adapters start from random numbers
    adapters = LoraConfig(
        task_type="CAUSAL_LM",
        r=inputs.lora_r,
        lora_alpha=inputs.lora_alpha,
        lora_dropout=inputs.lora_dropout,
        target_modules=foundation.finetune_config.get("lora_target_modules", "all-linear"),
    )
    return get_peft_model(model, adapters)


def finetune(
    model: Any,
    train: Sequence[Encoded],
    validation: Sequence[Encoded],
    *,
    inputs: Inputs,
    folder: Path,
    tracking: Tracking,
    pad: int,
    pad_to: int | None,
) -> Any:
    """Train, evaluate, save checkpoints; go on from the newest whole one in `folder` if there is one.

    Args:
        model: From `load_model`.
        train: Rows to learn from.
        validation: Rows to evaluate on.
        inputs: The job's inputs.
        folder: Takes `checkpoint-N` folders.
        tracking: Takes every metric.
        pad: The token id that fills up rows.
        pad_to: Pad every row to this length; to the longest of its batch if None.

    Returns:
        The model; with evaluation on, the weights of its best evaluation.

    Raises:
        SystemFailure: The loss stopped being a number.
    """
    arguments = training_arguments(inputs, folder, len(train))
    progress = _Progress(tracking)
    measured = inputs.metric_for_best_model != "loss"
    trainer = Trainer(
        model=model,
        args=arguments,
        data_collator=_Padding(pad, pad_to),
        train_dataset=list(train),
        eval_dataset=list(validation),
        callbacks=[progress],
        compute_metrics=answer_scores if measured else None,
        preprocess_logits_for_metrics=(lambda logits, _: logits.argmax(-1)) if measured else None,
    )
    trainer.remove_callback(PrinterCallback)
    checkpoint = newest_complete(folder)
    if checkpoint is not None:
        print(f"resuming from step {step_of(checkpoint)}", flush=True)
        tracking.resume(log_history(checkpoint))
    elif inputs.evaluation_strategy != "disable":
        trainer.evaluate(metric_key_prefix=BASE)
    if inputs.apply_early_stopping:
        trainer.add_callback(
            EarlyStoppingCallback(inputs.early_stopping_patience, inputs.early_stopping_threshold)
        )
    output = trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    if not math.isfinite(output.training_loss):
        raise SystemFailure("The training loss is no longer a number; try a smaller learning_rate")
    print(f"trained {trainer.state.global_step} steps{progress.best(trainer.state)}", flush=True)
    return trainer.model


def training_arguments(inputs: Inputs, folder: Path, rows: int) -> TrainingArguments:
    """What the component tells the Trainer; checkpoints are saved with each evaluation."""
    evaluates = inputs.evaluation_strategy != "disable"
    strategy = inputs.evaluation_strategy if evaluates else "epoch"
    steps = _eval_steps(inputs, rows)
    cuda = torch.cuda.is_available()
    half = cuda and inputs.precision == "16"
    return TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=inputs.num_train_epochs,
        max_steps=inputs.max_steps,
        per_device_train_batch_size=inputs.per_device_train_batch_size,
        per_device_eval_batch_size=inputs.per_device_eval_batch_size,
        auto_find_batch_size=inputs.auto_find_batch_size,
        optim=inputs.optim,
        learning_rate=inputs.learning_rate,
        warmup_steps=inputs.warmup_steps,
        weight_decay=inputs.weight_decay,
        adam_beta1=inputs.adam_beta1,
        adam_beta2=inputs.adam_beta2,
        adam_epsilon=inputs.adam_epsilon,
        max_grad_norm=inputs.max_grad_norm,
        gradient_accumulation_steps=inputs.gradient_accumulation_steps,
        eval_accumulation_steps=_positive(inputs.eval_accumulation_steps),
        lr_scheduler_type=inputs.lr_scheduler_type,
        bf16=half and torch.cuda.is_bf16_supported(),
        fp16=half and not torch.cuda.is_bf16_supported(),
        use_cpu=not cuda,
        seed=inputs.seed,
        full_determinism=inputs.enable_full_determinism,
        dataloader_num_workers=inputs.dataloader_num_workers,
        dataloader_pin_memory=cuda,
        eval_strategy=strategy if evaluates else "no",
        eval_steps=steps,
        save_strategy=strategy,
        save_steps=steps,
        save_total_limit=_positive(inputs.save_total_limit),
        load_best_model_at_end=evaluates,
        metric_for_best_model=inputs.metric_for_best_model if evaluates else None,
        greater_is_better=inputs.metric_for_best_model != "loss" if evaluates else None,
        restore_callback_states_from_checkpoint=True,
        logging_strategy=inputs.logging_strategy,
        logging_steps=max(1, inputs.logging_steps),
        remove_unused_columns=False,
        report_to="none",
        disable_tqdm=True,
    )


def _positive(value: int) -> int | None:
    return value if value > 0 else None


def _eval_steps(inputs: Inputs, rows: int) -> int:
    """`evaluation_steps_interval`, a fraction of an epoch, comes before `eval_steps` if within 0 and 1."""
    if not 0 < inputs.evaluation_steps_interval < 1:
        return max(1, inputs.eval_steps)
    batch = inputs.per_device_train_batch_size * inputs.gradient_accumulation_steps
    return max(1, int(math.ceil(rows / batch) * inputs.evaluation_steps_interval))


def answer_scores(prediction: Any) -> dict[str, float]:
    """How well the model's own best tokens match the assistant's, each told the ones before it.

    Args:
        prediction: `predictions` and `label_ids`, int arrays of shape (rows, length).

    Returns:
        `exact`: share of rows with every token right; `f1`: mean token overlap.
    """
    exact, f1 = 0.0, 0.0
    guesses, labels = prediction.predictions[:, :-1], prediction.label_ids[:, 1:]
    for guess, label in zip(guesses, labels, strict=True):
        wanted, given = label[label != IGNORED].tolist(), guess[label != IGNORED].tolist()
        exact += wanted == given
        shared = sum(min(wanted.count(token), given.count(token)) for token in set(given))
        f1 += shared / len(wanted) if wanted else 0.0  # both sides have the same length
    return {"exact": exact / len(labels), "f1": f1 / len(labels)}


class _Padding:
    """Collates rows into tensors of shape (rows, longest)."""

    def __init__(self, pad: int, pad_to: int | None) -> None:
        self._pad = pad
        self._pad_to = pad_to

    def __call__(self, rows: Sequence[Encoded]) -> dict[str, torch.Tensor]:
        length = self._pad_to or max(len(row.input_ids) for row in rows)
        ids = torch.full((len(rows), length), self._pad)
        labels = torch.full((len(rows), length), IGNORED)
        mask = torch.zeros((len(rows), length), dtype=torch.long)
        for at, row in enumerate(rows):
            count = len(row.input_ids)
            ids[at, :count] = torch.tensor(row.input_ids)
            labels[at, :count] = torch.tensor(row.labels)
            mask[at, :count] = 1
        return {"input_ids": ids, "labels": labels, "attention_mask": mask}


class _Progress(TrainerCallback):
    """Prints a line and sends the metrics whenever the trainer logs; marks whole checkpoints."""

    def __init__(self, tracking: Tracking) -> None:
        self._tracking = tracking
        self._loss = ""

    def on_log(  # the library's signature
        self,
        args: Any,  # noqa: ARG002
        state: Any,
        control: Any,
        logs: Any = None,
        **_: Any,
    ) -> None:
        """Report one entry of the trainer's log."""
        logs = {name: value for name, value in (logs or {}).items() if _is_of_interest(name)}
        self._tracking.metrics(state.global_step, logs)
        place = f"step {state.global_step}/{state.max_steps}"
        if f"{BASE}_loss" in logs:
            print(f"before training  eval_loss {logs[f'{BASE}_loss']:.3f}", flush=True)
        elif "eval_loss" in logs:
            extra = "".join(
                f"  {name} {logs[name]:.3f}" for name in ("eval_exact", "eval_f1") if name in logs
            )
            print(f"{place}{self._loss}  eval_loss {logs['eval_loss']:.3f}{extra}", flush=True)
        elif "loss" in logs:
            self._loss = f"  loss {float(logs['loss']):.3f}"
            if not control.should_evaluate:  # else one line will tell both
                print(
                    f"{place}{self._loss}  learning_rate {logs['learning_rate']:.1e}", flush=True
                )

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        """Mark the checkpoint that has just been written."""
        mark_complete(Path(args.output_dir) / f"checkpoint-{state.global_step}")

    @staticmethod
    def best(state: Any) -> str:
        """The best evaluation, in words."""
        if state.best_metric is None:
            return ""
        return f", best {state.best_metric:.3f} at step {state.best_global_step}"


def _is_of_interest(name: str) -> bool:
    """Of the evaluation before training only the loss: it stands apart from `eval_loss`."""
    return not name.startswith(BASE) or name == f"{BASE}_loss"
