"""An array is cut into its elements as it streams by; anything else in `.json` is lines."""

from __future__ import annotations

import json
import tracemalloc

import pytest

from shared.data.reasons import Reason
from shared.errors import DataRejected
from tests.unit.data.rows_of_bytes import rows

BLOCKS = pytest.mark.parametrize("block", [1, 2, 3, 7, 1 << 16])
HARD = [
    {"messages": [{"role": "user", "content": 'a "quote", a \\ and ] } [ {, \n\\"'}]},
    {"a": [[], {}, [[1, 2], {"b": ["]"]}]], "ü": "😀\u2028"},
    {},
    [1, "]", [2]],
    "a, b",
    "\\",
    -1.5e3,
    None,
    True,
]


@BLOCKS
@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("before", [b"", b"\xef\xbb\xbf", b"\r\n \t"])
def test_every_element_comes_out_whole_and_numbered(block, indent, before):
    content = before + json.dumps(HARD, indent=indent).encode() + b"\n\n"
    found = rows(content, "data/a.json", block)
    assert [number for number, _ in found] == list(range(1, len(HARD) + 1))
    assert [json.loads(row) for _, row in found] == HARD


@BLOCKS
@pytest.mark.parametrize("content", [b"[]", b" [ \n ] ", b"\xef\xbb\xbf[]\n"])
def test_an_empty_array_has_no_rows(block, content):
    assert rows(content, "a.json", block) == []


@BLOCKS
@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b'[{"a": 1}', "cut off, at row 1"),
        (b'[{"a": 1}, {"a', "cut off, at row 2"),
        (b'[{"a": 1}, "\\', "cut off, at row 2"),
        (b"[", "cut off, at row 1"),
        (b'[{"a": 1},]', "nothing where a row should be, at row 2"),
        (b'[,{"a": 1}]', "nothing where a row should be, at row 1"),
        (b"[,]", "nothing where a row should be, at row 1"),
        (b'[{"a": 1}] {"a": 2}', "goes on after its end"),
        (b'[{"a": 1}}, {"a": 2}]', "closes what it never opened, at row 1"),
    ],
)
def test_a_damaged_array_is_rejected_with_the_row_where_it_breaks(block, content, why):
    with pytest.raises(DataRejected, match=why) as raised:
        rows(content, "data/a.json", block)
    (problem,) = raised.value.problems
    assert problem.place == "data/a.json"
    assert "one row on each line" in problem.mend


@BLOCKS
def test_what_is_wrong_inside_an_element_is_left_to_the_reader_of_rows(block):
    """Slices that are no JSON are rows all the same: one bad row does not cost the others."""
    found = rows(b'[{"a": NaN}, {"a" 1], {"b": 2} {"c": 3}, {"d": 4}]', "a.json", block)
    assert [row for _, row in found] == [
        b'{"a": NaN}',
        b'{"a" 1]',
        b'{"b": 2} {"c": 3}',
        b'{"d": 4}',
    ]


@BLOCKS
def test_an_element_over_the_limit_is_refused_and_the_next_goes_on(block):
    content = json.dumps([{"a": 1}, {"a": "x\\" * 200}, {"b": 2}]).encode()
    assert rows(content, "a.json", block, limit=100) == [
        (1, b'{"a": 1}'),
        (2, Reason.TOO_LONG),
        (3, b'{"b": 2}'),
    ]


@BLOCKS
def test_lines_are_lines(block):
    content = b'\n \n{"a": [1]}\r\n\n{"b": 2}'
    assert [each for each in rows(content, "a.json", block) if each[1].strip()] == [
        (3, b'{"a": [1]}\r'),
        (5, b'{"b": 2}'),
    ]


def test_an_object_spread_over_lines_is_told_as_that():
    """Line by line it would be hundreds of broken rows."""
    with pytest.raises(DataRejected, match="an object spread over lines, not rows"):
        rows(b'{\n  "train": [\n  ]\n}', "a.json")


@pytest.mark.parametrize("unit", [b'{"a": "\\"[{"},', b"[[[" + b" " * 997, b'"' + b"\\\\" * 500])
def test_an_array_without_end_takes_no_more_memory_than_the_limit(unit):
    class Endless:
        name = identity = "a.json"

        def size(self):
            return 1 << 40

        def span(self, start, length):
            raise AssertionError

        def blocks(self):
            yield b"[1,"
            block = unit * ((1 << 20) // len(unit))
            for _ in range(6):
                yield block

    from shared.data.formats.reading import rows_of

    tracemalloc.start()
    try:
        with pytest.raises(DataRejected, match="cut off"):
            for _ in rows_of(Endless(), limit=1 << 20, count=lambda _: None):
                pass
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 12 << 20
