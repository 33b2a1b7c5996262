"""Run one training job: `python -m local.compute.finetune JOB_DIR`.

It does what the registry's pipeline `chat_completion_pipeline` does, step by step (validation, model
import, preprocess, finetune, model conversion), in one process. The folder is the contract (`job.py`):
`job.json` in, `steps.jsonl` and `result.json` out. SIGTERM ends the process at once and without a result,
by the system's default; a later start goes on from the newest checkpoint.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from local.compute.failures import JobFailed, SystemFailure
from local.compute.inputs import Inputs, check
from local.compute.job import Job, open_job

if TYPE_CHECKING:
    from local.compute.dataset import Dataset
    from local.compute.encoding import Encoded
    from local.compute.foundation import Foundation
    from local.compute.tracking import Tracking


@dataclasses.dataclass(frozen=True, slots=True)
class Prepared:
    """What the preprocess step hands to the fine-tune step."""

    train: list[Encoded]
    validation: list[Encoded]
    length: int


def main(arguments: list[str] | None = None) -> int:
    """Run the job in a folder.

    Returns:
        0 if the job completed, 1 if it failed (`result.json` says why).
    """
    parser = argparse.ArgumentParser(prog="python -m local.compute.finetune", description=__doc__)
    parser.add_argument("folder", type=Path, metavar="JOB_DIR", help="holds job.json")
    folder = parser.parse_args(arguments).folder
    os.environ["HF_HUB_OFFLINE"] = "1"  # nothing is downloaded
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # Threads that spin while they wait slow a busy machine down twentyfold (measured); sleeping ones do not.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    try:
        job = open_job(folder)
    except JobFailed as error:
        print(f"{error.code}: {error}", file=sys.stderr, flush=True)
        return 1
    try:
        run(job)
    except JobFailed as error:
        print(f"{error.code}: {error}", flush=True)
        job.finish(error)
        return 1
    except Exception as error:  # noqa: BLE001 - the log keeps the traceback, the result the sentence
        traceback.print_exc()
        job.finish(SystemFailure(f"{type(error).__name__}: {error}"))
        return 1
    print("completed", flush=True)
    job.finish()
    return 0


def run(job: Job) -> None:
    """Run the pipeline's steps.

    Raises:
        JobFailed: The job cannot be done as asked.
    """
    from local.compute.dataset import read_dataset
    from local.compute.foundation import find_foundation

    print(f"job {job.name}", flush=True)
    with job.step("validation"):
        inputs = check(job.inputs)
        _tell_deviations(inputs)
    with job.step("model_import"):
        foundation = find_foundation(inputs)
        _ = foundation.chat_markers  # fails here when the model cannot be trained
    with job.step("preprocess"):
        dataset = read_dataset(inputs)
        from local.compute.tracking import Tracking

        tracking = Tracking(job.tracking_uri, job.tracking_run_id)
        tracking.params({name: value for name, value in job.inputs.items() if value is not None})
        tokenizer, prepared = _preprocess(job, inputs, foundation, dataset)
    with job.step("finetune"):
        model = _finetune(
            job,
            inputs,
            foundation=foundation,
            prepared=prepared,
            tokenizer=tokenizer,
            tracking=tracking,
        )
        tracking.flush()
    with job.step("model_converter"):
        from local.compute.outputs import merged, write_mlflow_folder

        about = {"base_model": foundation.model.name, "job": job.name}
        folder = job.outputs["mlflow_model_folder"]
        write_mlflow_folder(merged(model), tokenizer, foundation.finetune_config, folder, about)


def _tell_deviations(inputs: Inputs) -> None:
    """Say what this machine does otherwise than the component on its GPUs."""
    if inputs.apply_deepspeed or inputs.deepspeed is not None:
        print("DeepSpeed needs CUDA and several processes: this job runs without it", flush=True)
    if inputs.precision == "16":
        print("precision 16 needs a GPU: on a CPU this job computes in 32 bits", flush=True)
    if inputs.num_nodes_finetune * inputs.number_of_gpu_to_use_finetuning > 1:
        print(
            "this machine is one node with one process, whatever number is asked for", flush=True
        )
    if inputs.apply_ort:
        print("ONNX Runtime training is off, as it is in the component", flush=True)


def _preprocess(
    job: Job, inputs: Inputs, foundation: Foundation, dataset: Dataset
) -> tuple[Any, Prepared]:
    from transformers import PreTrainedTokenizerFast

    from local.compute.encoding import ChatEncoder

    tokenizer = PreTrainedTokenizerFast.from_pretrained(foundation.tokenizer)
    encoder = ChatEncoder(tokenizer, foundation, inputs.max_seq_length)
    train, validation = encoder.encode(dataset.train.rows), encoder.encode(dataset.validation.rows)
    print(
        f"{len(train)} train rows ({dataset.train.dropped} dropped), {len(validation)} validation rows"
        f" ({dataset.validation.dropped} dropped), {dataset.test_rows} test rows",
        flush=True,
    )
    rows = [*train, *validation]
    # The component counts each epoch's tokens of both splits.
    tokens = inputs.num_train_epochs * sum(len(row.input_ids) for row in rows)
    assistant = inputs.num_train_epochs * sum(row.assistant_tokens for row in rows)
    job.tell_properties(
        {
            "PipelineType": "Finetune",
            "__azureml_ft_training_tokens": tokens,
            "__azureml_ft_assistant_tokens": assistant,
        }
    )
    print(f"{tokens} tokens to train on, {assistant} of them the assistant's", flush=True)
    return tokenizer, Prepared(train, validation, encoder.length)


def _finetune(
    job: Job,
    inputs: Inputs,
    *,
    foundation: Foundation,
    prepared: Prepared,
    tokenizer: Any,
    tracking: Tracking,
) -> Any:
    from local.compute.outputs import merged, write_pytorch_folder
    from local.compute.trainer import finetune, load_model, prepare_torch

    prepare_torch()
    folder = job.outputs["pytorch_model_folder"]
    folder.mkdir(parents=True, exist_ok=True)
    model = finetune(
        load_model(foundation, inputs),
        prepared.train,
        prepared.validation,
        inputs=inputs,
        folder=folder,
        tracking=tracking,
        pad=tokenizer.pad_token_id,
        pad_to=prepared.length if inputs.pad_to_max_length else None,
    )
    if inputs.merge_lora_weights:
        model = merged(model)
    write_pytorch_folder(model, tokenizer, foundation.finetune_config, folder)
    return model


if __name__ == "__main__":
    sys.exit(main())
