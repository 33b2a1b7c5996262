"""How deeply JSON may be nested: a number of ours, since the parser's own depends on who calls it.

Parsers stop at Python's recursion limit, of which their callers have used up some: what one process can read may be too
deep for another.
"""

from __future__ import annotations

import re
from array import array
from itertools import accumulate
from typing import Final

from shared.data.json_strings import STRING

LEVELS: Final = 500
"""Half of Python's recursion limit; rows that people write have about ten."""

_strings: Final = re.compile(STRING)
#: Up to the end of a few thousand strings: were more taken out at once, what is between them would take memory.
_some_strings: Final = re.compile(rb'(?:[^"]*+%b){1,4096}+' % STRING)
#: What a bracket adds to the depth, as a signed byte; and all that is none.
_STEPS: Final = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")
_OTHERS: Final = bytes(set(range(256)) - set(b"[]{}"))


def check_depth(json: bytes) -> None:
    """Look for more than `LEVELS` levels of lists and objects. What is no JSON is taken to be as deep as it looks.

    Raises:
        RecursionError: There are more.
    """
    if json.count(b"[") + json.count(b"{") <= LEVELS:
        return
    if max(accumulate(_steps(json)), default=0) > LEVELS:
        raise RecursionError("more levels than a row may have")


def _steps(json: bytes) -> array[int]:
    """What each bracket outside of strings adds to the depth."""
    found, at = array("b"), 0
    while at < len(json):
        some = _some_strings.match(json, at)
        end = some.end() if some else len(json)
        found.frombytes(_strings.sub(b"", json[at:end]).translate(_STEPS, _OTHERS))
        at = end
    return found
