"""Patterns of paths: `*` and `?` within a folder, `**` for any number of folders.

Whoever writes a manifest writes the pattern, and may choose the names it is held against. So all that a pattern could
mean so far is followed at once, letter by letter: an expression of `re` goes back and tries again, and there are
patterns of twenty letters for which that takes years.
"""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

_WILD: Final = re.compile(r"[*?]")
# Folders and their end count as one only where a folder begins: `x**/y` is `x*/y`, with folders in between.
_PARTS: Final = re.compile(r"(?<![^/])\*\*/|\*\*|.", re.DOTALL)
_FOLDERS: Final = "**/"
_IN_FOLDER: Final = "the rest of a folder's name, and its end"
_NOTHING: Final[Mapping[str, int]] = {_FOLDERS: 2, "**": 1, "*": 1}
"""What may stand for nothing at all, and how far the part behind it is."""
_REMEMBERED: Final = 4096
"""Steps that are not thought through again: names have much in common."""


def is_glob(path: str) -> bool:
    """Whether the path stands for any number of files."""
    return _WILD.search(path) is not None


def prefix_of(pattern: str) -> str:
    """What every path that matches begins with.

    >>> prefix_of("velora/2026-*/*.jsonl")
    'velora/2026-'
    """
    return _WILD.split(pattern, maxsplit=1)[0]


def matcher(pattern: str) -> Callable[[str], bool]:
    """Tells whether the pattern stands for a path; in time that grows with their lengths alone.

    >>> [matcher("a/**/b*.csv")(path) for path in ("a/b1.csv", "a/x/y/b.csv", "a/b/c.csv")]
    [True, True, False]
    """
    parts: list[str] = []
    for part in _PARTS.findall(pattern):
        parts += [_FOLDERS, _IN_FOLDER] if part == _FOLDERS else [part]
    begun = _opened(parts, [0])

    @functools.lru_cache(maxsize=_REMEMBERED)
    def after(places: frozenset[int], letter: str) -> frozenset[int]:
        known = (_next(parts[at], at, letter) for at in places if at < len(parts))
        return _opened(parts, (at for at in known if at is not None))

    def matches(path: str) -> bool:
        places = begun
        for letter in path:
            if not (places := after(places, letter)):
                return False
        return len(parts) in places

    return matches


def _opened(parts: Sequence[str], reached: Iterable[int]) -> frozenset[int]:
    """The places in a pattern to go on from: those that are reached, and those behind what may stand for nothing."""
    found: set[int] = set()
    for place in reached:
        at = place
        while at not in found:
            found.add(at)
            if at < len(parts):
                at += _NOTHING.get(parts[at], 0)
    return frozenset(found)


def _next(part: str, at: int, letter: str) -> int | None:
    """Where in the pattern a letter leads to from one of its parts; None if it does not belong there."""
    in_folder = letter != "/"
    match part:
        case "**":
            return at
        case "*":
            return at if in_folder else None
        case _ if part == _FOLDERS:
            return at + 1 if in_folder else None
        case _ if part == _IN_FOLDER:
            return at if in_folder else at - 1
        case "?":
            return at + 1 if in_folder else None
    return at + 1 if letter == part else None
