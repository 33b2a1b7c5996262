"""Valid rows that something has gone wrong with: each is an example still, or refused with a reason; never a crash."""

from __future__ import annotations

import json

from hypothesis import example, given, settings
from hypothesis import strategies as st

from shared.data.prepare import Options
from shared.data.reasons import Reason
from tests.memory import MemorySink
from tests.properties.test_data import SPLITS, prepared, trainable

untimed = settings(deadline=None)

TEXTS = ["What is this?", 'é \U0001f600 "\\ \n\t\x7f', "\\u0041", "x" * 300, "  a  ", "{}", "null"]
ROWS = [
    {"messages": [{"role": "user", "content": a}, {"role": "assistant", "content": b}]}
    for a in TEXTS
    for b in TEXTS[:3]
] + [
    {
        "prompt": "q",
        "messages": [
            {"content": "s", "role": "system"},
            {"content": "q", "role": "user"},
            {"content": "call", "role": "assistant"},
            {"content": "answer", "role": "tool", "name": "f"},
            {"content": "a", "role": "assistant", "tool_calls": None},
            {"content": "thanks", "role": "user"},
        ],
        "tools": [
            {"type": "function", "function": {"name": "f", "parameters": {"a": [1, 2.5e3]}}}
        ],
    },
    {
        "messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}],
        "n": [[]],
    },
]
encoded = st.sampled_from(ROWS).flatmap(
    lambda row: st.sampled_from(
        [
            json.dumps(row).encode(),
            json.dumps(row, ensure_ascii=False).encode(),
            json.dumps(row, separators=(",", ":"), sort_keys=True).encode(),
        ]
    )
)
TOKENS = [
    *(
        b'"',
        b"\\",
        b"{",
        b"}",
        b"[",
        b"]",
        b",",
        b":",
        b"null",
        b"true",
        b"NaN",
        b"-Infinity",
        b"1e999",
    ),
    *(b"-0", b"0123", b"9" * 400, b"\xff", b"\xed\xa0\x80", b"\xc0\x80", b"\xf5", b"\xef\xbb\xbf"),
    *(b"\x00", b"\r", b"\x1f", b"\x85", b"\xe2\x80\xa8", rb"\ud800", rb"\udfff", rb"\ud83d\ude00"),
    *(rb"\u0000", rb"\x41", rb"\u12", b'"messages":', b'"messages":null,', b'"role":"tool",'),
    *(b'"content":1,', b'"tools":[{}],', b'"tools":"[",', b'{"a":' * 50, b"[" * 2000),
]
mutations = st.lists(
    st.tuples(
        st.sampled_from(["insert", "replace", "delete", "repeat", "cut"]),
        st.integers(0, 2000),
        st.integers(1, 60),
        st.sampled_from(TOKENS) | st.binary(min_size=1, max_size=4),
    ),
    min_size=1,
    max_size=4,
)


def mutated(row: bytes, changes) -> bytes:
    for kind, place, length, token in changes:
        at = place % (len(row) + 1)
        before, middle, after = row[:at], row[at : at + length], row[at + length :]
        row = {
            "insert": before + token + middle + after,
            "replace": before + token + after,
            "delete": before + after,
            "repeat": before + middle * 2 + after,
            "cut": before,
        }[kind]
    return row.replace(b"\n", b" ")


@untimed
@given(
    st.lists(st.builds(mutated, encoded, mutations), min_size=1, max_size=20),
    st.integers(1, 200),
)
@example([b'{"messages":1e999999999}', b'{"messages":' + b"9" * 5000 + b"}"], 64)
def test_each_row_becomes_an_example_or_is_refused_with_a_reason(rows, block):
    content = b"\n".join(rows)
    options = Options(max_dropped_fraction=1, min_train_rows=1, max_row_bytes=4096)
    sink: MemorySink = prepared({"train": [content]}, options, block)
    written = [
        line for split in SPLITS for line in sink.read(f"{split}.jsonl").split(b"\n") if line
    ]
    dropped = sink.rows("dropped.jsonl")
    given_rows = [row for row in content.removeprefix(b"\xef\xbb\xbf").split(b"\n") if row.strip()]
    assert len(written) + len(dropped) == len(given_rows)
    for line in written:
        trainable(line, options)
    for row in dropped:
        assert row["reason"] in set(Reason)
        assert len(row["detail"]) < 300
