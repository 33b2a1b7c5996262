"""docs/OPERATIONS.md and the sample settings name every setting, and no other."""

from __future__ import annotations

import json
import re
from pathlib import Path

from shared.settings import SETTINGS

ROOT = Path(__file__).parents[2]


def test_every_setting_has_its_row():
    """Default and purpose stand in the page as in the code."""
    page = (ROOT / "docs" / "OPERATIONS.md").read_text()
    rows = dict(re.findall(r"^\| `(\w+)` \| .* \| (.*) \|$", page, re.MULTILINE))
    assert rows == {name: setting.purpose for name, setting in SETTINGS.items()}
    for name, setting in SETTINGS.items():
        told = "required" if setting.default is None else setting.default
        assert f"| `{name}` | `{told}`".replace("`required`", "required") in page or not told


def test_the_sample_names_every_setting():
    """Who copies the sample sees all there is to set."""
    sample = json.loads((ROOT / "local.settings.sample.json").read_text())["Values"]
    assert set(SETTINGS) <= set(sample)
    for name, setting in SETTINGS.items():
        if setting.default:
            assert sample[name] == setting.default
