"""Promises of a training job, kept by real processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest

from .outage import Outage
from .processes import EXAMPLE, SHORT_FINETUNE, TRAIN_PYTHON, until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from .processes import JobFolder, Mlflow

STEPS = ("validation", "model_import", "preprocess", "finetune", "model_converter")


def test_a_finetune_lowers_the_eval_loss(trained: JobFolder, mlflow_server: Mlflow) -> None:
    [(_, before)] = mlflow_server.metric(trained.run_id, "base_eval_loss")
    losses = mlflow_server.metric(trained.run_id, "eval_loss")
    assert [step for step, _ in losses] == [12, 24, 36, 48, 60]
    assert losses[-1][1] < 0.2
    assert before > 2


def test_a_job_tells_each_step_and_completes(trained: JobFolder) -> None:
    expected = [(step, status) for step in STEPS for status in ("Running", "Completed")]
    assert trained.steps == expected
    assert trained.result == {"status": "Completed"}


def test_a_run_takes_loss_curve_parameters_and_token_counts(
    trained: JobFolder, mlflow_server: Mlflow
) -> None:
    steps = [step for step, _ in mlflow_server.metric(trained.run_id, "loss")]
    assert steps == list(range(4, 61, 4))
    rates = [value for _, value in mlflow_server.metric(trained.run_id, "learning_rate")]
    assert 0.002 >= rates[0] > rates[-1] > 0
    run = mlflow_server.run(trained.run_id)
    assert run["params"]["learning_rate"] == "0.002"
    assert trained.properties["PipelineType"] == "Finetune"
    counted = int(trained.properties["__azureml_ft_training_tokens"])
    assert counted > int(trained.properties["__azureml_ft_assistant_tokens"]) > 0
    assert not trained.properties.keys() & run["tags"].keys(), (
        "the component makes no tags of them"
    )


def test_a_log_shows_progress_line_by_line(trained: JobFolder) -> None:
    lines = trained.log.read_text().splitlines()
    assert any(line.startswith("before training  eval_loss ") for line in lines)
    assert any(line.startswith("step 12/60  loss ") and "eval_loss" in line for line in lines)
    assert lines[-1] == "completed"
    assert not any("Warning" in line or "%|" in line for line in lines)


def test_mlflow_itself_loads_the_model_and_it_answers(trained: JobFolder) -> None:
    question = json.loads((EXAMPLE / "test.jsonl").read_text().splitlines()[2])["messages"]
    script = f"""
import mlflow.pyfunc, mlflow.transformers
model = mlflow.pyfunc.load_model({str(trained.mlflow_model)!r})
print(model.predict({{"messages": {question[:1]!r}}})[0]["choices"][0]["message"]["content"])
print(type(mlflow.transformers.load_model({str(trained.mlflow_model)!r}, return_type="components")["model"]))
"""
    done = subprocess.run(
        [TRAIN_PYTHON, "-c", script], capture_output=True, text=True, timeout=240, check=True
    )
    answer, loaded = done.stdout.strip().splitlines()
    assert answer.strip() == question[1]["content"]
    assert "Phi3ForCausalLM" in loaded


def test_the_pytorch_folder_holds_the_model_and_its_checkpoints(trained: JobFolder) -> None:
    names = {path.name for path in trained.pytorch_model.iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "checkpoint-60"} <= names
    assert len([name for name in names if name.startswith("checkpoint-")]) <= 2


def test_a_killed_job_resumes_to_the_same_result_and_logs_nothing_twice(
    trained: JobFolder, new_job: Callable[..., JobFolder], mlflow_server: Mlflow
) -> None:
    job = new_job(**SHORT_FINETUNE)
    with job.start() as process:
        saved = job.pytorch_model / "checkpoint-24/complete"
        until(saved.exists, within=240, process=process)
        os.kill(process.pid, signal.SIGKILL)
    torn = job.pytorch_model / "checkpoint-99"
    torn.mkdir()
    (torn / "trainer_state.json").write_text("{")
    assert job.run() == 0, job.log.read_text()
    assert job.says("resuming from step ")
    for name in ("eval_loss", "loss"):
        resumed = dict(mlflow_server.metric(job.run_id, name))
        assert len(resumed) == len(mlflow_server.metric(job.run_id, name))
        straight = dict(mlflow_server.metric(trained.run_id, name))
        assert resumed.keys() == straight.keys()
        assert resumed[60] == pytest.approx(straight[60], rel=1e-3, abs=1e-5)
    assert job.steps == trained.steps


def test_cancel_stops_the_process_itself_and_leaves_no_result(
    new_job: Callable[..., JobFolder],
) -> None:
    """The signal's own status: nothing was caught, finished or waited for."""
    job = new_job(**SHORT_FINETUNE)
    with job.start() as process:
        until(lambda: job.says("step 4/60"), within=240, process=process)
        process.terminate()
        assert process.wait(60) == -signal.SIGTERM
    assert not (job.folder / "result.json").exists()


def test_metrics_survive_an_outage_of_the_server(
    new_job: Callable[..., JobFolder], mlflow_server: Mlflow
) -> None:
    with Outage(mlflow_server.uri) as outage:
        job = new_job(
            tracking_uri=outage.uri,
            max_steps=24,
            learning_rate=1e-3,
            per_device_train_batch_size=16,
            per_device_eval_batch_size=40,
            logging_steps=1,
            apply_lora="true",
            evaluation_strategy="disable",
        )
        with job.start() as process:
            until(lambda: job.says("step 2/24"), within=240, process=process)
            outage.begin()
            until(lambda: job.says("metrics wait"), within=240, process=process)
            outage.end()
            assert process.wait(240) == 0, job.log.read_text()
    steps = [step for step, _ in mlflow_server.metric(job.run_id, "loss")]
    assert steps == list(range(1, 25))
    assert job.says("all waiting metrics are sent")
    # The adapters are merged: what is registered needs no peft.
    assert (job.mlflow_model / "model/model.safetensors").is_file()
    assert not list(job.mlflow_model.rglob("adapter*"))


def test_options_of_training_and_evaluation_are_followed(
    new_job: Callable[..., JobFolder], mlflow_server: Mlflow, trained: JobFolder
) -> None:
    """LoRA left unmerged, Adafactor, accumulation, evaluation by fraction, F1, early stopping, a
    second fine-tune on top of a first: together, since each alone would cost a process.
    """
    job = new_job(
        mlflow_model_path=str(trained.mlflow_model),
        num_train_epochs=9,
        per_device_train_batch_size=8,
        per_device_eval_batch_size=40,
        gradient_accumulation_steps=2,
        learning_rate=1e-4,
        optim="adafactor",
        apply_lora="true",
        merge_lora_weights="false",
        metric_for_best_model="f1",
        evaluation_strategy="steps",
        evaluation_steps_interval=0.5,
        apply_early_stopping="true",
        early_stopping_threshold=0.5,
        max_seq_length=64,
        pad_to_max_length="true",
        apply_deepspeed="true",
        precision="16",
    )
    assert job.run() == 0, job.log.read_text()
    scores = mlflow_server.metric(job.run_id, "eval_f1")
    # 180 rows in batches of 2 x 8 are 12 steps an epoch; the second evaluation is no better by 0.5.
    assert [step for step, _ in scores] == [6, 12]
    assert all(0.8 < score <= 1 for _, score in scores)
    assert (job.pytorch_model / "adapter_model.safetensors").is_file()
    assert (job.mlflow_model / "model/model.safetensors").is_file()
    assert job.says("DeepSpeed needs CUDA")
    assert job.says("precision 16 needs a GPU")
    assert not job.says("Warning")


def test_fewer_than_ten_training_rows_fail_the_job_as_the_component_does(
    new_job: Callable[..., JobFolder], tmp_path: Path
) -> None:
    few = tmp_path / "train.jsonl"
    few.write_text("\n".join((EXAMPLE / "train.jsonl").read_text().splitlines()[:9]))
    job = new_job(train_file_path=str(few))
    assert job.run() == 1
    error = job.result["error"]
    assert error["code"] == "UserError"
    assert error["message"].startswith(
        "Training dataset has 9 non-null samples, which is fewer than 10"
    )
    assert job.steps[-2:] == [("preprocess", "Running"), ("preprocess", "Failed")]


def test_all_bad_inputs_are_told_at_once_and_nothing_starts(
    new_job: Callable[..., JobFolder], mlflow_server: Mlflow
) -> None:
    job = new_job(learning_rate_min=5e-7, num_train_epochs=0)
    assert job.run() == 1
    message = job.result["error"]["message"]
    assert "learning_rate_min: the component has no such input" in message
    assert "num_train_epochs: must be at least 1, not 0" in message
    assert job.steps[-1] == ("validation", "Failed")
    assert mlflow_server.run(job.run_id)["params"] == {}


@pytest.mark.parametrize(
    ("message", "inputs", "says"),
    [
        ({"role": "user"}, {}, "Failure while applying chat template to dataset: "),
        ({"role": "user", "content": "x"}, {"max_seq_length": 2}, "No assistant tokens found"),
    ],
    ids=["template", "truncated"],
)
def test_rows_that_cannot_be_encoded_fail_the_job(
    new_job: Callable[..., JobFolder], tmp_path: Path, message: object, inputs: dict, says: str
) -> None:
    rows = (EXAMPLE / "train.jsonl").read_text().splitlines()
    data = tmp_path / "train.jsonl"
    row = json.dumps({"messages": [message, {"role": "assistant", "content": "y"}]})
    data.write_text("\n".join([*rows, row]))
    job = new_job(train_file_path=str(data), **inputs)
    assert job.run() == 1
    assert job.result["error"]["code"] == "UserError"
    assert says in job.result["error"]["message"]


def test_a_run_that_mlflow_does_not_know_is_the_systems_fault(
    new_job: Callable[..., JobFolder],
) -> None:
    job = new_job(max_steps=1, evaluation_strategy="disable")
    about = json.loads((job.folder / "job.json").read_text())
    (job.folder / "job.json").write_text(json.dumps(about | {"tracking_run_id": "0" * 32}))
    assert job.run() == 1
    assert job.result["error"]["code"] == "SystemError"
    assert "MLflow did not take" in job.result["error"]["message"]
