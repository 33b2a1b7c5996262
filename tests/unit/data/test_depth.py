"""A row may be 500 levels deep, whoever reads it and wherever the levels are."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.data.depth import LEVELS, check_depth
from shared.data.options import Options
from shared.data.reasons import Reason, Refusal
from shared.data.rows import Example, Reader
from tests.memory import conversation

texts = st.text(st.sampled_from('a[{]}\\"é'), max_size=6)
values = st.recursive(
    st.none() | st.integers(-9, 99) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=20,
)


def depth(value):
    if not isinstance(value, list | dict):
        return 0
    return 1 + max(map(depth, value.values() if isinstance(value, dict) else value), default=0)


def is_too_deep(text: bytes) -> bool:
    try:
        check_depth(text)
    except RecursionError:
        return True
    return False


@given(values, st.integers(LEVELS - 8, LEVELS + 2), st.lists(values, max_size=3), st.booleans())
def test_levels_are_counted_as_they_are_whatever_strings_hold(value, more, beside, listed):
    text = json.dumps(value).encode()
    for _ in range(more):
        text = b"[" + text + b"]" if listed else b'{"]": ' + text + b"}"
    found = max(depth(value) + more + 1, depth(beside) + 1)
    whole = b"[" + text + b", " + json.dumps(beside).encode() + b"]"
    assert is_too_deep(whole) == (found > LEVELS)


@pytest.mark.parametrize("wide", [b"[]", b"{}", b'{"a":[]}', b'[{"a":{}}]'])
def test_many_values_beside_each_other_are_not_deep(wide):
    assert not is_too_deep(b"[" + b",".join([wide] * 5000) + b"]")


@pytest.mark.parametrize(
    "broken",
    [b"[" * 501, b"{" * 501 + b"]" * 9, b"[" * 300 + b"[" * 250 + b"]" * 250, b'{"' * 501],
)
def test_what_is_no_json_is_as_deep_as_it_looks(broken):
    assert is_too_deep(broken) == (b'"' not in broken)


def levels(count):
    """So many levels, without digging them."""
    return "[" * count + "]" * count


def whole(row, inner):
    """A row as JSON in which the text DEEP is replaced by JSON."""
    return json.dumps(row).replace('"DEEP"', inner).encode()


def as_text(value, inner):
    """JSON of a text of JSON in which DEEP is replaced; brackets are escaped, so that none stands there as one."""
    text = json.dumps(json.dumps(value).replace('"DEEP"', inner))
    return text.replace("[", "\\u005b").replace("{", "\\u007b")


MESSAGES = conversation("q", "a")["messages"]
DEEPER = [MESSAGES[0], MESSAGES[1] | {"more": "DEEP"}]
WRONG = conversation("q")["messages"]
PLACES = {
    "a column": (1, lambda inner: whole({"messages": MESSAGES, "more": "DEEP"}, inner), {}),
    "a column before": (1, lambda inner: whole({"more": "DEEP", "messages": MESSAGES}, inner), {}),
    "a column that is kept": (
        1,
        lambda inner: whole({"messages": MESSAGES, "more": "DEEP"}, inner),
        {"keep_columns": ["more"]},
    ),
    "a column beside a system message": (
        1,
        lambda inner: whole({"messages": MESSAGES, "more": "DEEP"}, inner),
        {"system": "s" * 3000},
    ),
    "a column beside long texts": (
        1,
        lambda inner: whole(conversation("[" * 9000, "\n" * 99 + "a", more="DEEP"), inner),
        {},
    ),
    "a message": (3, lambda inner: whole({"messages": DEEPER}, inner), {}),
    "messages as text": (
        2,
        lambda inner: b'{"messages": ' + as_text(DEEPER, inner).encode() + b"}",
        {},
    ),
    "turns as text": (
        2,
        lambda inner: (
            b'{"conversations": '
            + as_text(
                [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a", "more": "DEEP"}],
                inner,
            ).encode()
            + b"}"
        ),
        {},
    ),
    "tools": (3, lambda inner: whole({"messages": MESSAGES, "tools": [{"f": "DEEP"}]}, inner), {}),
    "tools as text": (
        2,
        lambda inner: (
            json.dumps({"messages": MESSAGES}).encode()[:-1]
            + b', "tools": '
            + as_text([{"f": "DEEP"}], inner).encode()
            + b"}"
        ),
        {},
    ),
    "a named shape's": (
        1,
        lambda inner: whole({"q": "q", "answer": "a", "more": "DEEP"}, inner),
        {"columns": {"question": "q"}},
    ),
}


def under(callers, call):
    return under(callers - 1, call) if callers else call()


@pytest.mark.parametrize("callers", [0, 300])
@pytest.mark.parametrize(("outer", "row", "options"), PLACES.values(), ids=PLACES)
def test_500_levels_are_read_and_501_are_not(outer, row, options, callers):
    reader = Reader(Options(**options))
    deepest, too_deep = row(levels(LEVELS - outer)), row(levels(LEVELS - outer + 1))
    for _ in range(2):  # the second time the shape is known
        assert isinstance(under(callers, lambda: reader.read(deepest)), Example)
        refusal = under(callers, lambda: reader.read(too_deep))
        assert isinstance(refusal, Refusal)
        assert refusal.reason is Reason.TOO_DEEP


@pytest.mark.parametrize("options", [{}, {"system": "s"}, {"shape": "messages"}])
def test_a_row_that_is_too_deep_is_told_as_that_whatever_else_is_wrong(options):
    reader = Reader(Options(**options))
    for row in (
        {"messages": WRONG, "more": "DEEP"},
        {"messages": [*MESSAGES, *MESSAGES[1:]], "more": "DEEP"},
        {
            "messages": [{"role": "system", "content": "t"}, *MESSAGES],
            "system": "u",
            "more": "DEEP",
        },
        {"messages": [], "more": "DEEP"},
        {"text": "t", "more": "DEEP"},
        ["DEEP"],
    ):
        assert isinstance(reader.read(whole({"messages": MESSAGES}, "")), Example)
        assert reader.read(whole(row, levels(LEVELS))).reason is Reason.TOO_DEEP
        assert reader.read(whole(row, levels(LEVELS - 1))).reason is not Reason.TOO_DEEP
