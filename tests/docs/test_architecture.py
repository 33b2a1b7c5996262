"""docs/ARCHITECTURE.md says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

from shared.runs.phases import NEXT, Phase

PAGE = (Path(__file__).parents[2] / "docs" / "ARCHITECTURE.md").read_text()


def test_the_table_of_phases_is_the_law():
    """Each phase has a row, and its last column names exactly what may follow."""
    rows = re.findall(r"^\| (\w+) \| .* \| ([\w, \u2013]+) \|$", PAGE, re.MULTILINE)
    told = {
        phase: {name.strip() for name in following.split(",")} - {"\u2013"}
        for phase, following in rows
        if phase in set(Phase)
    }
    assert told == {phase.value: {p.value for p in following} for phase, following in NEXT.items()}
