"""Sizes as people write them: `500 MB`, `2 GB`, `1.5 TB`."""

from __future__ import annotations

import re
from decimal import Decimal

_FORM = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*(B|KB|MB|GB|TB|KiB|MiB|GiB|TiB)\s*$", re.IGNORECASE)
_BYTES = {
    "tb": 10**12,
    "gb": 10**9,
    "mb": 10**6,
    "kb": 10**3,
    "b": 1,
    "tib": 1 << 40,
    "gib": 1 << 30,
    "mib": 1 << 20,
    "kib": 1 << 10,
}
_SPELLED = ("TB", "GB", "MB", "KB")


def parse(text: str) -> int:
    """The number of bytes that `text` says.

    Raises:
        ValueError: It says none; the message is for its author.

    >>> parse("1.5 GB")
    1500000000
    """
    matched = _FORM.match(text)
    if matched is None:
        raise ValueError("must be a number with a unit: '500 MB', '2 GB' or '1 TB'")
    return int(Decimal(matched[1]) * _BYTES[matched[2].lower()])


def spell(size: int) -> str:
    """A size to a tenth of the largest unit that it fills.

    >>> spell(2_340_000_000)
    '2.3 GB'
    """
    unit = next((unit for unit in _SPELLED if size >= _BYTES[unit.lower()]), None)
    if unit is None:
        return f"{size} B"
    return f"{size / _BYTES[unit.lower()]:.1f} {unit}".replace(".0 ", " ")
