"""Every command that the README gives exists; CI runs the first two, tests/loop the others."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
COMMANDS = [
    line.partition("#")[0].strip()
    for block in re.findall(r"```console\n(.*?)```", README, re.DOTALL)
    for line in block.splitlines()
]


def test_every_make_target_exists():
    """`make demo`, `make test` and whatever else the page names."""
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"`?make ([a-z]+)", README)) <= targets


@pytest.mark.parametrize("command", [c for c in COMMANDS if "python -m local" in c])
def test_every_subcommand_explains_itself(command):
    """What stands in the page is a subcommand with a help text."""
    inner = re.search(r"python -m local (\w+)", command)
    assert inner is not None
    done = subprocess.run(
        [sys.executable, "-m", "local", inner[1], "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "usage:" in done.stdout
    assert shlex.split(command)


def test_ci_runs_the_two_commands():
    """A green CI means that the README's two commands work in a clean clone."""
    script = (ROOT / ".ci" / "run").read_text()
    for target in ("demo", "test", "check"):
        assert f"make {target}" in script


def test_every_page_that_is_linked_exists():
    """No link leads nowhere."""
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for link in re.findall(r"\]\(([\w./-]+)\)", page.read_text()):
            assert (page.parent / link).exists(), f"{page.name}: {link}"


def test_no_placeholder_is_left():
    """The output that the page shows is real."""
    assert "@@" not in README
