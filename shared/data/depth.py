"""How deeply JSON may be nested: a number of ours, since the parser's own depends on who calls it.

Parsers stop at Python's recursion limit, of which their callers have used up some: what one process can read may be too
deep for another.
"""

from __future__ import annotations

import re
from typing import Final

LEVELS: Final = 500
"""Half of Python's recursion limit; rows that people write have about ten."""

_STRING: Final = rb'"[^"\\]*+(?:\\[\s\S][^"\\]*+)*+"?+'
_strings: Final = re.compile(_STRING)
#: Up to the end of a few thousand strings: were more taken out at once, what is between them would take memory.
_some_strings: Final = re.compile(rb'(?:[^"]*+%b){1,4096}+' % _STRING)
#: Both kinds of brackets as one, and nothing else.
_ALIKE: Final = bytes.maketrans(b"{}", b"[]")
_OTHERS: Final = bytes(set(range(256)) - set(b"[]{}"))


def check_depth(json: bytes) -> None:
    """Look for more than `LEVELS` levels of lists and objects. What is no JSON is taken to be as deep as it looks.

    Raises:
        RecursionError: There are more.
    """
    if json.count(b"[") + json.count(b"{") <= LEVELS:
        return
    left = _brackets(json)
    for level in range(LEVELS + 1):  # each time the innermost go
        opened = left.count(b"[")
        fewer = left.replace(b"[]", b"")
        if not opened or (fewer == left and level + opened <= LEVELS):
            return
        if fewer == left:
            break
        left = fewer
    raise RecursionError("more levels than a row may have")


def _brackets(json: bytes) -> bytes:
    """The brackets that stand outside of strings, all as square ones."""
    found, at = bytearray(), 0
    while at < len(json):
        some = _some_strings.match(json, at)
        end = some.end() if some else len(json)
        found += _strings.sub(b"", json[at:end]).translate(_ALIKE, _OTHERS)
        at = end
    return bytes(found)
