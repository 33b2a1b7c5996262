"""Time spans as people write them: `45s`, `30m`, `2h`, `1d`."""

from __future__ import annotations

import re
from datetime import timedelta

_FORM = re.compile(r"^\s*(\d+)\s*([smhd])\s*$")
_SECONDS = {"d": 86400, "h": 3600, "m": 60, "s": 1}


def parse(text: str) -> timedelta:
    """The time span that `text` says.

    Raises:
        ValueError: It says none; the message is for its author.

    >>> parse("90m")
    datetime.timedelta(seconds=5400)
    """
    matched = _FORM.match(text)
    if matched is None:
        raise ValueError("must be a number with a unit: '45s', '30m', '2h' or '1d'")
    return timedelta(seconds=int(matched[1]) * _SECONDS[matched[2]])


def spell(span: timedelta) -> str:
    """A time span in the largest unit that says it exactly.

    >>> spell(timedelta(minutes=120))
    '2h'
    """
    seconds = int(span.total_seconds())
    unit = next(unit for unit, size in _SECONDS.items() if seconds % size == 0)
    return f"{seconds // _SECONDS[unit]}{unit}"
