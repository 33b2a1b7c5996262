"""What stands in a string of JSON, as an expression: brackets and commas in it are none."""

from __future__ import annotations

from typing import Final

INSIDE: Final = rb'[^"\\]*+(?:\\[\s\S][^"\\]*+)*+'
"""Up to the closing quote, or to a backslash whose escaped byte has not come. All repetitions are possessive: nothing
is remembered to come back to, however long the string."""
STRING: Final = rb'"%b"?+' % INSIDE
"""All of it; one that is cut off ends with the text, so that nothing is looked at twice."""
