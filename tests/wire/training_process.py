"""A small process that keeps the training contract, for tests of the control plane.

It is started as `python training_process.py JOB_DIR` and takes its orders from the first line of the
train file: `{"do": "complete" | "fail" | "die" | "die-once" | "hold", "until": FILE, "metrics": {NAME:
[VALUE, …]}, "tags": {…}, "properties": {…}, "serves": ORDERS}`; `serves` are the orders of
`scoring_process.py`, should the model be deployed. It needs the standard library alone.
"""

from __future__ import annotations

import json
import os
import sys
import time
import urllib.request
from datetime import UTC, datetime
from pathlib import Path


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def step(folder: Path, name: str, status: str) -> None:
    line = {"step": name, "status": status, "time": datetime.now(UTC).isoformat()}
    with (folder / "steps.jsonl").open("a") as stream:
        stream.write(json.dumps(line) + "\n")


def log_metric(job: dict, key: str, value: float | str, number: int) -> None:
    body = {"key": key, "value": value, "step": number, "timestamp": int(time.time() * 1000)}
    track(job, "log-metric", body)


def set_tag(job: dict, key: str, value: str) -> None:
    track(job, "set-tag", {"key": key, "value": value})


def track(job: dict, call: str, body: dict) -> None:
    request = urllib.request.Request(
        f"{job['tracking_uri']}/api/2.0/mlflow/runs/{call}",
        data=json.dumps({"run_id": job["tracking_run_id"], **body}).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request) as response:
        response.read()


def finish(folder: Path, result: dict) -> None:
    write(folder, "result", result)


def write(folder: Path, name: str, content: dict) -> None:
    partial = folder / f"{name}.partial"
    partial.write_text(json.dumps(content))
    partial.replace(folder / f"{name}.json")


def label(folder: Path, job: dict, orders: dict) -> None:
    for name, value in orders.get("tags", {}).items():
        set_tag(job, name, value)
    if "properties" in orders:
        write(folder, "properties", orders["properties"])


def main() -> int:
    folder = Path(sys.argv[1])
    job = json.loads((folder / "job.json").read_text())
    with Path(job["inputs"]["train_file_path"]).open() as lines:
        orders = json.loads(next(lines))
    say(f"training {job['name']} with {len(job['inputs'])} inputs")
    for name in ("validation", "model_import", "preprocess"):
        step(folder, name, "Running")
        step(folder, name, "Completed")
    step(folder, "finetune", "Running")
    first = not (folder / "started").exists()
    (folder / "started").touch()
    if orders["do"] == "die" or (orders["do"] == "die-once" and first):
        say("about to die")
        os._exit(13)
    if orders["do"] == "hold":
        while not Path(orders["until"]).exists():
            time.sleep(0.02)
    if orders["do"] == "fail":
        say("the data is bad")
        step(folder, "finetune", "Failed")
        finish(
            folder, {"status": "Failed", "error": {"code": "UserError", "message": "Bad data."}}
        )
        return 1
    for name, values in orders.get("metrics", {"train_loss": [3.0, 2.0, 1.0]}).items():
        for number, value in enumerate(values):
            log_metric(job, name, value, number)
            say(f"step {number} {name.removeprefix('train_')} {value}")
    label(folder, job, orders)
    step(folder, "finetune", "Completed")
    model = Path(job["outputs"]["mlflow_model_folder"])
    (model / "data").mkdir(parents=True, exist_ok=True)
    (model / "MLmodel").write_text("flavors: {}\n")
    (model / "data" / "weights.bin").write_bytes(b"weights")
    if "serves" in orders:
        served = {"name": job["name"], **orders["serves"]}
        (model / "orders.json").write_text(json.dumps(served))
    (Path(job["outputs"]["pytorch_model_folder"]) / "config.json").write_text("{}")
    step(folder, "model_converter", "Running")
    step(folder, "model_converter", "Completed")
    finish(folder, {"status": "Completed"})
    return 0


if __name__ == "__main__":
    sys.exit(main())
