"""docs/OPERATIONS.md has the table of deployment failures that the code has."""

from __future__ import annotations

import re
from pathlib import Path

from shared.runs.deployment_failures import KINDS, UNKNOWN

PAGE = (Path(__file__).parents[2] / "docs" / "OPERATIONS.md").read_text()


def test_the_table_of_deployment_failures_is_the_codes_own():
    """Kind, what happened, what Droptune does and what the person should do, word for word and in order."""
    rows = re.findall(
        r"^\| `(deployment-[a-z-]+)` \| (.*) \| (.*) \| (.*) \|$", PAGE, re.MULTILINE
    )
    assert rows == [(kind.name, kind.what, kind.does, kind.mend) for kind in [*KINDS, UNKNOWN]]
