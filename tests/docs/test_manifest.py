"""docs/MANIFEST.md and the published schema say what the code accepts."""

from __future__ import annotations

import json
import re
from pathlib import Path

from shared.data.reasons import Reason
from shared.data.shapes import REQUIRED, Shape
from shared.runs import manifest

DOCS = Path(__file__).parents[2] / "docs"


def keys(schema: dict, definitions: dict, prefix: str = "") -> set[str]:
    found = set()
    for name, entry in schema["properties"].items():
        reference = entry.get("$ref") or next(
            (option["$ref"] for option in entry.get("anyOf", []) if "$ref" in option), None
        )
        if reference:
            part = definitions[reference.rpartition("/")[2]]
            found |= keys(part, definitions, f"{prefix}{name}.")
        else:
            found.add(f"{prefix}{name}")
    return found


def test_the_published_schema_is_the_codes_own():
    """`make docs` writes it anew."""
    published = json.loads((DOCS / "manifest.schema.json").read_text())
    assert published == manifest.Manifest.model_json_schema()


def test_every_key_has_a_row():
    """The page names all keys and no other."""
    schema = manifest.Manifest.model_json_schema()
    page = (DOCS / "MANIFEST.md").read_text()
    rows = set(re.findall(r"^\| `([\w.<>]+)` \|", page, re.MULTILINE))
    rows -= {"gate.<metric>.min", "gate.<metric>.max"}
    assert rows == keys(schema, schema["$defs"])


def test_the_pages_example_is_a_manifest():
    """What people copy first is right."""
    page = (DOCS / "MANIFEST.md").read_text()
    (example,) = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    assert manifest.read("example.json", example.encode()).name == "velora-chat"


def test_every_reason_to_refuse_a_row_is_listed():
    """With the same words as in the code, and no other."""
    page = (DOCS / "MANIFEST.md").read_text()
    listed = re.findall(r"^- `(\w+)`: (.*)$", page.partition("### Refused rows")[2], re.MULTILINE)
    assert listed == [(reason.value, reason.meaning) for reason in Reason]


def test_every_shape_has_a_row():
    """The table of shapes has all of them with the columns that they need."""
    rows = (DOCS / "MANIFEST.md").read_text().partition("| a row's columns |")[2]
    for shape in Shape:
        (columns,) = re.findall(rf"^\| (.*?) \| .* \| `{shape}` \|$", rows, re.MULTILINE)
        assert all(f"`{name}`" in columns for name in REQUIRED[shape])
