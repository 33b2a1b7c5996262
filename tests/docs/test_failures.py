"""docs/OPERATIONS.md has the table of failures that the code has."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from shared.runs import failures

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "OPERATIONS.md").read_text()


def test_the_table_of_failures_is_the_codes_own():
    """Kind, what happened, what Droptune does and what the person should do, word for word."""
    rows = re.findall(
        r"^\| `([a-z]+(?:-[a-z]+)+)` \| (.*) \| (.*) \| (.*) \|$", PAGE, re.MULTILINE
    )
    told = {kind: (what, does, mend) for kind, what, does, mend in rows}
    kinds = {kind: (f.what, f.does, f.mend) for kind, f in failures.FAILURES.items()}
    assert {kind: told.get(kind) for kind in kinds} == kinds
    assert len(rows) == len(told), "a kind has one row"


@pytest.mark.parametrize("kind", sorted(failures.FAILURES))
def test_every_kind_happens(kind):
    """A kind that no code gives would be a promise that nothing keeps."""
    core = "".join(path.read_text() for path in (ROOT / "shared" / "runs").glob("*.py"))
    assert len(re.findall(rf'"{kind}"', core)) >= 2


def test_the_longest_training_is_what_the_table_says():
    """The one number of the table that is no setting."""
    from shared.durations import spell
    from shared.runs.limits import Pace

    days = spell(Pace().training).removesuffix("d")
    assert f"for longer than {days} days" in failures.FAILURES["job-too-long"].what
