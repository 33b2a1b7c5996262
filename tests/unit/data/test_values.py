"""Values of JSON are counted without being made."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.data.reasons import Reason
from shared.data.rows import Example, Reader
from shared.data.values import MOST_TOOL_VALUES, more_values_than
from tests.memory import conversation

texts = st.text(st.sampled_from('a,[{"\\é'), max_size=6)
values = st.recursive(
    st.none() | st.integers(-9, 99) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=20,
)


def count(value) -> tuple[int, int]:
    """How many values there are, the outermost aside; and how many of all are empty lists or objects."""
    if not isinstance(value, list | dict):
        return 0, 0
    inner = list(value.values()) if isinstance(value, dict) else value
    found = [count(each) for each in inner]
    return len(inner) + sum(many for many, _ in found), (not inner) + sum(
        none for _, none in found
    )


@given(values, st.integers(0, 30), st.booleans())
def test_there_are_more_than_so_many_just_when_there_are(value, most, ascii_only):
    encoded = json.dumps(value, ensure_ascii=ascii_only).encode()
    many, empty = count(value)
    assert more_values_than(most, encoded) == (many + empty > most)


@pytest.mark.parametrize("piece", [b'"', b'\\"', b"\\", b",", b"[", b'"",', b'\\",[', b'"\\'])
def test_what_is_no_json_is_counted_in_one_pass(piece):
    """Were something looked at again and again, this would take hours."""
    more_values_than(1 << 22, piece * (1 << 21))
    more_values_than(1 << 10, b'"' + piece * (1 << 20))


def tools(values: int) -> list[dict]:
    return [{"a": list(range(values))}]


FORMS = {
    "JSON": lambda row: json.dumps(row).encode(),
    "values": lambda row: row,
    "JSON with a text": lambda row: json.dumps(row | {"tools": json.dumps(row["tools"])}).encode(),
    "values with a text": lambda row: row | {"tools": json.dumps(row["tools"])},
}


@pytest.mark.parametrize("form", FORMS)
def test_tools_have_as_many_values_as_they_may_in_whatever_form_they_come(form):
    reader = Reader()
    row = conversation("q", "a", tools=tools(MOST_TOOL_VALUES - 100))
    read = reader.read(FORMS[form](row))
    assert isinstance(read, Example)
    assert json.loads(read.line) == row
    refused = reader.read(FORMS[form](row | {"tools": tools(MOST_TOOL_VALUES + 100)}))
    assert refused == (Reason.TOO_LONG, "tools holds more than 50,000 values")
