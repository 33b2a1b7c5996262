"""Counts of parts add up to the counts of the whole, and every dataset has a page that a browser can read."""

from __future__ import annotations

from collections import Counter

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.data import tallies
from shared.data.reasons import Reason
from shared.data.report import Report, bin_of
from shared.data.rows import Reader
from shared.data.tallies import InputTally, SplitTally
from tests.memory import conversation
from tests.properties.test_data import datasets, options, prepared
from tests.unit.data.test_page import Read

untimed = settings(deadline=None)
examples = st.builds(
    lambda length, turns, system: conversation(*["w" * length] * turns, system=system),
    st.integers(1, 5000),
    st.sampled_from([2, 3, 4, 20]),
    st.none() | st.just("s"),
).map(lambda row: Reader().read(msgspec.json.encode(row)))


def split_of(examples, limit, at_once=1):
    tally = SplitTally(limit)
    for start in range(0, len(examples), at_once):
        tally.add(examples[start : start + at_once])
    return tally.report()


@untimed
@given(st.lists(examples, max_size=12), st.integers(0, 12), st.none() | st.integers(1, 2000))
def test_two_parts_of_a_split_add_up_to_it(rows, cut, limit):
    whole = split_of(rows, limit)
    one, other = split_of(rows[:cut], limit), split_of(rows[cut:], limit)
    for both in (one + other, other + one):
        assert msgspec.json.encode(both) == msgspec.json.encode(whole)
    for histogram in (whole.histogram, whole.turns_histogram, whole.characters_histogram):
        assert sum(histogram.values()) == len(rows)
    cut_lengths = [min(example.tokens, limit or example.tokens) for example in rows]
    assert whole.trained_tokens == sum(cut_lengths)


@untimed
@given(
    st.lists(examples, max_size=12),
    st.none() | st.integers(1, 2000),
    st.integers(1, 5),
    st.integers(1, 5),
)
def test_figures_are_the_same_however_often_they_are_made_on_the_way(rows, limit, most, at_once):
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(tallies, "_MOST", most)
        often = split_of(rows, limit, at_once)
    assert msgspec.json.encode(often) == msgspec.json.encode(split_of(rows, limit))


input_tallies = st.builds(
    InputTally,
    sources=st.lists(st.text(max_size=3), max_size=3),
    bytes=st.integers(0, 99),
    rows=st.integers(0, 99),
    blank=st.integers(0, 99),
    not_selected=st.integers(0, 99),
    dropped=st.dictionaries(st.sampled_from(Reason), st.integers(1, 9)).map(Counter),
)


@untimed
@given(input_tallies, input_tallies)
def test_two_parts_of_what_was_read_add_up_to_it(left, right):
    both = left.report() + right.report()
    assert both.sources == [*left.sources, *right.sources]
    assert both.rows == left.rows + right.rows
    assert both.dropped == dict(left.dropped + right.dropped)
    assert list(both.dropped.values()) == sorted(both.dropped.values(), reverse=True)


@given(st.integers(1, 1 << 40))
def test_a_bin_is_at_most_a_quarter_wide(value):
    assert value <= bin_of(value) < value * 1.25
    assert bin_of(bin_of(value)) == bin_of(value)


@untimed
@given(datasets, options)
def test_any_dataset_has_a_page(dataset, options):
    sink = prepared(dataset, options)
    report = msgspec.json.decode(sink.read("report.json"), type=Report)
    read = Read(sink.read("report.html").decode())
    assert ("Rejected" in read.text) == bool(report.problems)
