"""Files that nobody should have to read: each in a process of its own, so that a crash or a greed for memory shows."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from tests.memory import conversation, conversations, jsonl
from tests.preparing import Outcome, watched

MOST_MEMORY = 128 << 20
DEEP = 100_000

GOOD = jsonl(*conversations(400))
LINE = jsonl(conversation("q", "a")).strip()


def prepared(
    tmp_path: Path, content: bytes, name: str = "train.jsonl"
) -> tuple[Outcome, list[dict]]:
    """What a process makes of a file, and the rows it refused."""
    source, folder = tmp_path / name, tmp_path / "out"
    source.write_bytes(content)
    outcome = watched(source, folder, most=MOST_MEMORY)
    assert (outcome.fingerprint is None) == bool(outcome.problems)
    dropped = [json.loads(line) for line in (folder / "dropped.jsonl").read_bytes().splitlines()]
    assert all(len(json.dumps(row)) < 4096 for row in dropped), "a refused row is told briefly"
    assert all(row["reason"] for row in dropped)
    return outcome, dropped


def nested(before: bytes, opening: bytes, closing: bytes, after: bytes) -> bytes:
    return before + opening * DEEP + closing * DEEP + after


#: Whether the parser gives up first or the row's form is told first: either is true.
NO_ROW = "too_deep, wrong_types"
WITH_MORE = LINE[:-1] + b', "x": '
ONE_BAD_ROW = {
    "cut off in a string": (b'{"messages": [{"role": "user", "content": "wh', "not_json"),
    "cut off in an escape": (rb'{"messages": [{"role": "user", "content": "\u00', "not_json"),
    "cut off in a character": (b'{"messages": [{"role": "user", "content": "\xc3', "not_utf8"),
    "binary": (random.Random(0).randbytes(5000).replace(b"\n", b""), "not_utf8"),
    "a zip archive": (b"PK\x03\x04" + bytes(2000), "not_json"),
    "UTF-16": (LINE.decode().encode("utf-16"), "not_utf8"),
    "NUL": (LINE + b"\x00", "not_json"),
    "50 MB": (b'{"messages": "' + b"x" * 50_000_000 + b'"}', "too_long"),
    "50 MB of spaces": (b" " * 50_000_000, "too_long"),
    "as long as may be, of escapes": (
        b'{"messages": "' + rb"\n" * 2_000_000 + b'"}',
        "wrong_types",
    ),
    "deep lists": (nested(b"", b"[", b"]", b""), NO_ROW),
    "deep objects": (nested(b"", b'{"a":', b"}", b"").replace(b":}", b":1}"), NO_ROW),
    "deep messages": (nested(b'{"messages": ', b"[", b"]", b"}"), NO_ROW),
    "deep content": (
        nested(b'{"messages": [{"role": "user", "content": ', b"[", b"]", b"}]}"),
        NO_ROW,
    ),
    "deep tools": (nested(LINE[:-1] + b', "tools": [{"a": ', b"[", b"]", b"}]}"), "too_deep"),
    "a deep column that nobody asked for": (nested(WITH_MORE, b"[", b"]", b"}"), "too_deep"),
    "deep and never closed": (b"[" * DEEP, NO_ROW),
    "NaN": (WITH_MORE + b"NaN}", "not_json"),
    "Infinity": (b'{"messages": -Infinity}', "not_json"),
    "a number without end": (b'{"messages": ' + b"9" * 1_000_000 + b"}", "wrong_types"),
    "an exponent without end": (WITH_MORE[:-5] + b'"messages": 1e999999999}', "wrong_types"),
    "lone surrogate": (LINE.replace(b'"q"', rb'"\ud83d"'), "lone_surrogate"),
    "lone surrogate in a key": (LINE[:-1] + rb', "\udc00": 1}', "lone_surrogate"),
    "raw surrogate": (LINE.replace(b'"q"', b'"\xed\xa0\x80"'), "not_utf8"),
    "a megabyte of a role": (
        LINE.replace(b'"user"', b'"%s"' % (b"r" * 1_000_000)),
        "unknown_role",
    ),
    "100,000 columns": (
        b"{" + b",".join(b'"column %d": 1' % number for number in range(100_000)) + b"}",
        "unknown_shape",
    ),
    "two objects": (LINE + LINE, "not_json"),
    "an array of rows": (b"[" + LINE + b"]", "wrong_types"),
}


@pytest.mark.parametrize("case", ONE_BAD_ROW)
def test_a_bad_row_is_refused_with_its_reason_and_the_others_go_on(tmp_path, case):
    row, reason = ONE_BAD_ROW[case]
    outcome, dropped = prepared(tmp_path, GOOD + row + b"\n" + jsonl(*conversations(20, 1000)))
    assert outcome.fingerprint
    (refused,) = dropped
    assert refused["line"] == 401
    assert refused["reason"] in reason.split(", ")


LONGEST = 4 << 20


def full(before: bytes, unit: bytes, after: bytes) -> bytes:
    """As many of something as a row has room for."""
    times = (LONGEST - len(before) - len(after)) // (len(unit) + 1)
    return before + b",".join([unit] * times) + after


WITH_TOOLS = LINE[:-1] + b', "tools": '
#: A million values each, which as objects of Python would take more than all else.
ROWS_OF_VERY_MANY_VALUES = {
    "tools": (full(WITH_TOOLS + b"[", b"{}", b"]}"), "too_long"),
    "tools that branch": (full(WITH_TOOLS + b"[", b'{"a":{"a":{}}}', b"]}"), "too_long"),
    "tools in a tool": (full(WITH_TOOLS + b'[{"a":[', b"[]", b"]}]}"), "too_long"),
    "tools as a text": (full(WITH_TOOLS + b'"[', b"{}", b']"}'), "too_long"),
    "tools given twice": (
        full(WITH_TOOLS + b"[", b'{"a":[]}', b'], "tools": [{"a": 1}], "messages": 1}'),
        "wrong_types",
    ),
    "tools of a row that is not JSON": (
        full(WITH_TOOLS + b"[", b'{"a":{"a":{}}}', b"], }"),
        "not_json",
    ),
    "tools of ShareGPT": (
        full(
            b'{"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}],'
            b' "tools": [',
            b'{"a":{}}',
            b"]}",
        ),
        "too_long",
    ),
    "messages": (full(b'{"messages": [', b'{"a":1}', b"]}"), "too_long"),
    "messages as a text": (full(b'{"messages": "[', b"{}", b']"}'), "too_long"),
    "turns as a text": (full(b'{"conversations": "[', b"{}", b']"}'), "too_long"),
    "a system message": (full(LINE[:-1] + b', "system": [', b"{}", b"]}"), "wrong_types"),
    "a prompt": (full(b'{"completion": "a", "prompt": [', b"{}", b"]}"), "wrong_types"),
}


@pytest.mark.parametrize("case", ROWS_OF_VERY_MANY_VALUES)
def test_a_row_of_very_many_values_is_refused_before_they_are_made(tmp_path, case):
    row, reason = ROWS_OF_VERY_MANY_VALUES[case]
    outcome, (refused,) = prepared(tmp_path, GOOD + row + b"\n" + jsonl(*conversations(20, 1000)))
    assert outcome.fingerprint
    assert (refused["line"], refused["reason"]) == (401, reason)


def test_columns_that_are_not_read_may_hold_as_many_values_as_they_like(tmp_path):
    row = full(WITH_MORE + b"[", b"{}", b"]}")
    outcome, dropped = prepared(tmp_path, GOOD + row + b"\n")
    assert outcome.fingerprint
    assert not dropped


TABLE = b"prompt,completion\n" + b"".join(b"q %d,a %d\n" % (n, n) for n in range(400))
RECORDS = {
    "lines": (b'"' + b"a\n" * 4_000_000 + b'",a\n', "too_long"),
    "wide characters": (b'"\xf0\x9f\x98\x80' + b"a\n" * 4_000_000 + b'",a\n', "too_long"),
    "what JSON writes six times as long": (b'"' + b"\x01" * 8_000_000 + b'",a\n', "too_long"),
    "cells": (b",".join(b"%d" % n for n in range(260_000)) + b"\n", "too_many_cells"),
}


@pytest.mark.parametrize("case", RECORDS)
def test_a_record_that_is_as_long_as_one_may_be_is_refused_alone(tmp_path, case):
    record, reason = RECORDS[case]
    outcome, (refused,) = prepared(tmp_path, TABLE + record, "train.csv")
    assert outcome.fingerprint
    assert (refused["line"], refused["reason"]) == (402, reason)


GOOD_ROWS = {
    "byte order mark": b"\xef\xbb\xbf" + GOOD,
    "CRLF": GOOD.replace(b"\n", b"\r\n"),
    "both, and blank lines": b"\xef\xbb\xbf" + GOOD.replace(b"\n", b"\r\n\r\n \t\n"),
    "no last line break": GOOD.rstrip(),
    "duplicate keys, of which the last counts": GOOD.replace(
        b'{"messages"', b'{"messages": [], "messages"'
    ),
    "millions of blank lines": GOOD + b"\n" * 3_000_000,
    "spaces": GOOD.replace(b'{"messages"', b' \t{ "messages"'),
}


@pytest.mark.parametrize("case", GOOD_ROWS)
def test_what_is_only_unusual_is_read(tmp_path, case):
    outcome, dropped = prepared(tmp_path, GOOD_ROWS[case])
    assert outcome.fingerprint
    assert not dropped
    report = json.loads((tmp_path / "out" / "report.json").read_bytes())
    assert sum(split["rows"] for split in report["splits"].values()) == 400


NO_DATASET = {
    "20 MB of noise": random.Random(1).randbytes(20_000_000),
    "50 MB without a line break": b"x" * 50_000_000,
    "50 MB of opening brackets": b"[" * 50_000_000,
    "a row a byte": b"x\n" * 2_000_000,
    "deep rows": (b"[" * DEEP + b"\n") * 50,
    "long rows that are not JSON": (b'{"messages": "' + b"x" * 4_000_000 + b"\n") * 12,
    "long rows, all different, of one column": b"".join(
        b'{"%d%s": 1}\n' % (number, b"c" * 3_000_000) for number in range(12)
    ),
}


@pytest.mark.parametrize("case", NO_DATASET)
def test_what_is_no_dataset_is_rejected_clearly(tmp_path, case):
    outcome, dropped = prepared(tmp_path, NO_DATASET[case])
    assert dropped
    assert any("were refused" in problem for problem in outcome.problems)
    assert all(len(problem) < 2000 for problem in outcome.problems)
