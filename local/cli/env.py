"""`env`: shell exports that point any SDK at the stack that runs."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from local.stack import running_environment

if TYPE_CHECKING:
    from pathlib import Path


def show(state: Path) -> int:
    """Print one `export` for each variable, fit for `eval`.

    Raises:
        NotRunning: No stack runs; nothing was printed to stdout.
    """
    for name, value in running_environment(state).items():
        print(f"export {name}={shlex.quote(value)}")
    return 0
