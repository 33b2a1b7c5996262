"""However many nodes share a dataset: the files are byte for byte those of one node alone."""

from __future__ import annotations

import json
from unittest import mock

from hypothesis import given
from hypothesis import strategies as st

from shared.data import selection, sharding
from shared.data.prepare import Options, fingerprint, prepare
from shared.data.sharding import ShardedPreparation
from shared.data.shares import cut, in_order
from shared.errors import DataRejected
from tests.memory import MemorySink, MemorySource
from tests.properties.test_data import DATA_FILES, datasets, options, untimed

FOLDER = "parts/job"

small = st.builds(
    lambda numbers: b"".join(
        json.dumps(
            {
                "messages": [
                    {"role": "user", "content": f"q{n}"},
                    {"role": "assistant", "content": "a"},
                ]
            }
        ).encode()
        + b"\n"
        for n in numbers
    ),
    st.lists(st.integers(0, 40), max_size=6),
)
"""Files of few rows, which repeat each other: carving settles late, and rows are found again in later shares."""

many = st.fixed_dictionaries(
    {"train": st.lists(small, min_size=1, max_size=8)},
    optional={
        "validation": st.lists(small, min_size=1, max_size=3),
        "test": st.lists(small, min_size=1, max_size=3),
    },
)


def sources_of(dataset, block=64):
    return {
        split: [
            MemorySource(content, f"{split}/f{number}", block)
            for number, content in enumerate(contents)
        ]
        for split, contents in dataset.items()
    }


def sharded(sources, options, nodes, sink=None):
    """The preparation cut into shares for so many nodes, nothing read yet."""
    order = in_order(sources)
    ranges = cut([len(source.content) for _, source in order], nodes)
    return ShardedPreparation(
        sources,
        [tuple(order[number] for number in each) for each in ranges],
        MemorySink() if sink is None else sink,
        options,
        key=fingerprint(sources, options),
        folder=FOLDER,
        on_progress=lambda _: None,
    )


def by_nodes(sources, options, nodes, sink=None):
    """What so many nodes write, one pass after the other."""
    work = sharded(sources, options, nodes, sink)
    for step in (work.read, work.write):
        for rank in reversed(range(work.nodes)):
            step(rank)
    work.join()
    return work._sink


def by_one(sources, options):
    sink = MemorySink()
    try:
        prepare(sources, sink, options)
    except DataRejected as error:
        assert error.problems  # noqa: PT017 - a rejection is an answer too
    return sink


def told(sink):
    """The report without how long it took."""
    return {**json.loads(sink.read("report.json")), "seconds": 0}


@untimed
@given(datasets | many, options, st.integers(1, 9))
def test_any_number_of_nodes_writes_what_one_writes(dataset, chosen, nodes):
    """All files and the report are the same, and nothing else is left."""
    sources = sources_of(dataset)
    one, several = by_one(sources, chosen), by_nodes(sources, chosen, nodes)
    for name in DATA_FILES:
        assert several.read(name) == one.read(name), name
    assert told(several) == told(one)
    assert set(several.files) == set(one.files)


@untimed
@given(many, st.integers(2, 6), st.data())
def test_a_node_that_dies_and_begins_anew_changes_nothing(dataset, nodes, data):
    """Passes that were begun, ended or done twice end with the same bytes."""
    sources, chosen = sources_of(dataset), Options(min_train_rows=1)
    sink = MemorySink()
    for step in ("read", "write"):
        for rank in range(sharded(sources, chosen, nodes, sink).nodes):
            if data.draw(st.booleans()):  # it dies within the pass
                dying = sharded(sources, chosen, nodes, sink)
                with mock.patch.object(MemorySource, "blocks", _torn):
                    try:
                        getattr(dying, step)(rank)
                    except OSError:
                        assert not sink.exists("report.json")
            for _ in range(data.draw(st.integers(1, 2))):
                getattr(sharded(sources, chosen, nodes, sink), step)(rank)
    work = sharded(sources, chosen, nodes, sink)
    work.join()
    work.join()
    one = by_one(sources, chosen)
    assert {name: sink.read(name) for name in DATA_FILES} == {
        name: one.read(name) for name in DATA_FILES
    }


def _torn(source):
    yield source.content[: len(source.content) // 2]
    raise OSError("the node is gone")


@untimed
@given(datasets, st.sampled_from([0.05, 0.6, 1.0]), st.integers(1, 30), st.integers(2, 5))
def test_data_that_one_node_gives_up_several_give_up(dataset, most, patience, nodes):
    """Giving up early comes out the same, wherever the refused rows stand."""
    sources = sources_of(dataset, block=20)
    chosen = Options(max_dropped_fraction=most, min_train_rows=1, max_row_bytes=1024)
    with (
        mock.patch.object(selection, "PATIENCE", patience),
        mock.patch.object(sharding, "PATIENCE", patience),
        mock.patch.object(selection, "_REFUSALS_A_LOOK", 2),
    ):
        one, several = by_one(sources, chosen), by_nodes(sources, chosen, nodes)
    assert told(several) == told(one)
    for name in DATA_FILES:
        assert several.read(name) == one.read(name), name


@given(st.lists(st.integers(0, 100), min_size=1, max_size=12), st.integers(1, 8))
def test_shares_are_contiguous_complete_and_as_even_as_can_be(sizes, nodes):
    """Every file is in one share, in order, and no cut into as many shares has a smaller largest one."""
    shares = cut(sizes, nodes)
    assert [number for share in shares for number in share] == list(range(len(sizes)))
    assert 1 <= len(shares) <= nodes
    largest = max(sum(sizes[number] for number in share) for share in shares)
    assert largest == _best(tuple(sizes), nodes)


def _best(sizes, nodes):
    """The smallest largest share, by trying every first cut."""
    if nodes == 1 or len(sizes) <= 1:
        return sum(sizes)
    return min(
        max(sum(sizes[:end]), _best(sizes[end:], nodes - 1)) for end in range(1, len(sizes) + 1)
    )
