"""Commands that one command tells a person to type next."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from local.stack import DEFAULT_STATE

if TYPE_CHECKING:
    from pathlib import Path


def command(state: Path, *words: str) -> str:
    """`python -m local …` on this state folder, as a shell takes it.

    >>> command(DEFAULT_STATE, "env")
    'python -m local env'
    """
    elsewhere = [] if state == DEFAULT_STATE else ["--state", str(state)]
    return shlex.join(["python", "-m", "local", *words, *elsewhere])
