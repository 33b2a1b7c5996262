"""Blocks become numbered lines, wherever the blocks are cut."""

from __future__ import annotations

import tracemalloc

import pytest

from shared.data.lines import Lines, Parsed, lines_of, portions
from shared.data.reasons import Reason, Refusal


def too_long(some) -> int:
    """The length that a refusal tells, 0 without one."""
    if some.refusal is None:
        return 0
    assert some.refusal.reason is Reason.TOO_LONG
    return int(some.refusal.detail.split()[0].replace(",", ""))


def flat(content: bytes, block: int, limit: int = 100) -> list[tuple[int, bytes, int]]:
    blocks = [content[at : at + block] for at in range(0, len(content), block)]
    return [
        (some.first + place, line, too_long(some))
        for some in lines_of(blocks, limit=limit)
        for place, line in enumerate(some.lines)
    ]


@pytest.mark.parametrize("block", [1, 2, 3, 7, 1000])
def test_lines_are_numbered_from_one_whatever_the_blocks(block):
    assert flat(b"one\n\nthree\r\nfour", block) == [
        (1, b"one", 0),
        (2, b"", 0),
        (3, b"three\r", 0),
        (4, b"four", 0),
    ]


@pytest.mark.parametrize("block", [1, 2, 1000])
@pytest.mark.parametrize("end", [b"", b"\nx"])
def test_a_byte_order_mark_is_left_out_at_the_beginning_only(block, end):
    lines = flat(b"\xef\xbb\xbfone\n\xef\xbb\xbftwo" + end, block)
    assert lines[:2] == [(1, b"one", 0), (2, b"\xef\xbb\xbftwo", 0)]


@pytest.mark.parametrize("block", [1, 3, 50, 101, 1000])
def test_a_line_over_the_limit_is_told_by_its_length_and_the_next_goes_on(block):
    lines = flat(b"a\n" + b"b" * 301 + b"\nc\n" + b"d" * 300, block, limit=280)
    assert max(len(line) for _, line, _ in lines) <= 256
    assert [(number, line[:1], size) for number, line, size in lines if line] == [
        (1, b"a", 0),
        (2, b"b", 301),
        (3, b"c", 0),
        (4, b"d", 300),
    ]


def test_a_line_of_exactly_the_limit_passes():
    assert flat(b"a" * 100 + b"\n" + b"b" * 100, 7) == [(1, b"a" * 100, 0), (2, b"b" * 100, 0)]


def test_no_bytes_are_no_lines():
    assert flat(b"", 1) == []


def test_a_line_without_end_takes_no_more_memory_than_the_limit():
    blocks = (b"x" * (1 << 20) for _ in range(64))
    tracemalloc.start()
    try:
        (only,) = lines_of(blocks, limit=1 << 20)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert too_long(only) == 64 << 20
    assert peak < 6 << 20


@pytest.mark.parametrize(
    ("sizes", "portions_of"),
    [
        ([1, 2, 3], [3]),
        ([0] * 1024, [1024]),
        ([0] * 2050, [1024, 1024, 2]),
        ([512 << 10, 0], [2]),
        ([512 << 10, 1], [1, 1]),
        ([1, 512 << 10, 1], [1, 1, 1]),
        ([256 << 10] * 5, [2, 2, 1]),
        ([5 << 20, 7, 5 << 20], [1, 1, 1]),
    ],
)
def test_many_lines_are_portioned_by_their_bytes_and_their_number(sizes, portions_of):
    lines = [bytes([number % 251]) * size for number, size in enumerate(sizes)]
    found = list(portions([Lines(7, lines)]))
    assert [len(some.lines) for some in found] == portions_of
    assert [line for some in found for line in some.lines] == lines
    assert [some.first for some in found] == [
        7 + sum(portions_of[:at]) for at in range(len(found))
    ]


def test_refused_lines_and_rows_of_values_pass_as_they_are():
    given = [
        Lines(1, [b"x" * 256], Refusal(Reason.TOO_LONG, "5 GB")),
        Parsed(2, [{"text": "x" * (1 << 20)}] * 2000),
    ]
    assert list(portions(given)) == given


def test_what_rows_will_have_more_counts():
    found = list(portions([Lines(1, [b"x" * 24] * 1000)], more=1000))
    assert [len(some.lines) for some in found] == [512, 488]
