"""Patterns of paths: `*` and `?` within a folder, `**` for any number of folders."""

from __future__ import annotations

import re
from typing import Final

_WILD: Final = re.compile(r"[*?]")
_WORDS: Final = {"**/": "(?:[^/]+/)*", "**": ".*", "*": "[^/]*", "?": "[^/]"}


def is_glob(path: str) -> bool:
    """Whether the path stands for any number of files."""
    return _WILD.search(path) is not None


def prefix_of(pattern: str) -> str:
    """What every path that matches begins with.

    >>> prefix_of("velora/2026-*/*.jsonl")
    'velora/2026-'
    """
    return _WILD.split(pattern, maxsplit=1)[0]


def matcher(pattern: str) -> re.Pattern[str]:
    """An expression that matches, as a whole, the paths that the pattern stands for.

    >>> [bool(matcher("a/**/b*.csv").fullmatch(path)) for path in ("a/b1.csv", "a/x/y/b.csv", "a/b/c.csv")]
    [True, True, False]
    """
    parts = re.split(r"((?<![^/])\*\*/|\*\*|\*|\?)", pattern)
    # Folders and their end count as one only where a folder begins: `x**/y` is `x*/y`, with folders in between.
    return re.compile(
        "".join(
            _WORDS[part] if place % 2 else re.escape(part) for place, part in enumerate(parts)
        ),
        re.DOTALL,
    )
