"""What `func` and `azd` send to Azure is the app, whole and alone."""

from __future__ import annotations

import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_only_the_app_is_deployed():
    """.funcignore leaves the functions, what they share, and the files that Azure reads."""
    git = ["git", "-C", str(ROOT), "ls-files", "--cached"]
    tracked = subprocess.run(git, check=True, capture_output=True, text=True).stdout.split()
    ignoring = [*git, "--ignored", "--exclude-from=.funcignore"]
    ignored = subprocess.run(ignoring, check=True, capture_output=True, text=True).stdout.split()
    left = {name.partition("/")[0] for name in set(tracked) - set(ignored)}
    app = {"function_app.py", "functions", "shared", "host.json", "requirements.txt"}
    assert left - {".funcignore", "LICENSE"} == app
    code = [name for name in tracked if name.startswith(("functions/", "shared/"))]
    assert not set(code) & set(ignored)
