"""Droptune's own app, indexed by Microsoft's runtime under the rules of the real host."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_function_is_indexed_as_the_real_host_wants_it(tmp_path: Path):
    """Twelve functions, no complaint; the host checks names, routes, schedules and the blob source."""
    values = json.loads((ROOT / "local.settings.sample.json").read_text())["Values"]
    done = subprocess.run(
        [sys.executable, "-m", "local.host", "--app", ".", "--state", str(tmp_path), "--check"],
        cwd=ROOT,
        check=False,
        env={**os.environ, **values},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    told = {
        line.split(": ")[0].strip().removeprefix("[host] ") for line in done.stdout.splitlines()
    }
    assert told >= {
        "manifest_uploaded",
        "job_event",
        "advance_run",
        "reconcile",
        "sweep_manifests",
        "retire_idle_endpoints",
        "chat_completions",
        "list_models",
        "score",
        "runs",
        "run",
        "cancel_run",
    }


def test_the_blob_trigger_has_event_grid_as_its_source():
    """Flex Consumption refuses a blob trigger that scans."""
    script = (
        "import json, function_app\n"
        "bindings = {f.get_function_name(): [b.get_dict_repr() for b in f.get_bindings()]"
        " for f in function_app.app.get_functions()}\n"
        "print(json.dumps(bindings['manifest_uploaded'], default=str))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    (binding,) = json.loads(done.stdout.splitlines()[-1])
    assert binding["source"] == "EventGrid"
    assert binding["path"] == "manifests/{name}"
    assert binding["connection"] == "DROPTUNE_STORAGE"
