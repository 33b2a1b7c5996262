"""The commands and the snippet of the README, run as a reader would."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from local.stack import Stack
from tests.loop.droptune import SMALL, Droptune

pytestmark = pytest.mark.timeout(1800)

ROOT = Path(__file__).parents[2]


def local(stack: Stack, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "local", *arguments, "--state", str(stack.state)],
        check=False,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_reader_drops_looks_and_asks(stack: Stack, droptune: Droptune, tmp_path: Path):
    """`drop` uploads data and manifest, `status` tells, `chat` asks, the snippet answers."""
    manifest = tmp_path / "velora-chat.json"
    manifest.write_text(json.dumps({**SMALL, "name": "velora-chat"}))
    (tmp_path / "velora").symlink_to(ROOT / "examples" / "velora")
    assert "velora-chat" in local(stack, "drop", str(manifest))
    droptune.wait("velora-chat.json", "serving")
    assert "serving" in local(stack, "status")
    assert local(stack, "chat", "velora-chat", "Are you open on Sunday?").strip()

    exported = dict(re.findall(r"^export (\w+)='?(.*?)'?$", local(stack, "env"), re.MULTILINE))
    assert exported["DROPTUNE_API_KEY"]
    (snippet,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-c", snippet + "\nprint(answer.choices[0].message.content)"],
        check=False,
        env={**os.environ, **exported},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
