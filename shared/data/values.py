"""How many values a piece of JSON holds, told before any of them is made: a value of two bytes may take a hundred.

Four megabytes of `{},{},…` are a million objects of Python, more memory than all the rest of a preparation. So what is
to be decoded into objects of any kind, whatever its types, is counted first by what stands between its values.
"""

from __future__ import annotations

import re
from itertools import islice
from typing import Final

from shared.data.json_strings import STRING

MOST_TOOL_VALUES: Final = 50_000
"""Most values in a row's tools, keys aside: lists of tools that people write have a few thousand at most."""
MOST_LISTED_VALUES: Final = 200_000
"""Most values in a faulty list of messages that is to be looked through for its fault."""

_QUOTE: Final = 0x22
_BEGINS: Final = (b",", b"[", b"{")
#: What stands before a value, or a string, which may hold the like.
_STEP: Final = re.compile(rb"[,\[{]|%b" % STRING)


def more_values_than(most: int, json: bytes) -> bool:
    """Whether JSON holds more values than so many; keys are none, an empty list or object may count as two.

    It need not be valid: then what looks like values counts.

    >>> more_values_than(3, b'{"a": [1, "2, [3"]}'), more_values_than(2, b'{"a": [1, 2]}')
    (False, True)
    """
    if len(json) <= most or sum(map(json.count, _BEGINS)) <= most:
        return False
    steps = (step for step in _STEP.finditer(json) if json[step.start()] != _QUOTE)
    return next(islice(steps, most, None), None) is not None
