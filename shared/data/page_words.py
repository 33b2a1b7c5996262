"""Texts and figures as the report's page writes them."""

from __future__ import annotations

import re
from html import escape

#: What no HTML page may hold, and what only confuses a reader.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
_CODE = re.compile(r"`([^`]+)`")


def text(value: object) -> str:
    """Anything as text that a page may hold."""
    return escape(_CONTROL.sub("\N{REPLACEMENT CHARACTER}", str(value)))


def coded(words: str) -> str:
    """Text of which `this` is set as code."""
    return _CODE.sub(r"<code>\1</code>", text(words))


def prose(words: str) -> str:
    """Words of ours as a sentence: with a capital and a full stop."""
    ended = words if not words or words.endswith((".", "?", "!", "…")) else f"{words}."
    return coded(ended[:1].upper() + ended[1:])


def percent(part: int, whole: int) -> str:
    """A share of a whole: `5.12%`."""
    if not whole or not part:
        return "0%"
    share = part / whole
    return "under 0.01%" if share < 0.0001 else f"{share:.2%}".replace(".00%", "%")  # noqa: PLR2004


def size(count: int) -> str:
    """So many bytes: `1.5 GB`."""
    for whole, unit in ((10**12, "TB"), (10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if count >= whole:
            return f"{count / whole:,.1f} {unit}"
    return f"{count:,} bytes"


def duration(seconds: float) -> str:
    """A time span: `3 min 5 s`."""
    if seconds < 1:
        return "under a second"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
