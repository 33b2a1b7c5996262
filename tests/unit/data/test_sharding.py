"""Several nodes prepare one dataset: the cases that random data seldom shows."""

from __future__ import annotations

import tracemalloc

import msgspec

from shared.data.digests import DigestFile, DigestTaker, digests_in, settles
from shared.data.judging.judges import Judges
from shared.data.options import Options
from shared.data.outputs import SPLITS
from shared.data.prompts import MOST_PROMPTS
from shared.data.reasons import Reason
from shared.data.seen import DigestSet
from shared.data.selection import PATIENCE, Selection
from shared.data.sharding import Part, may_be_hopeless
from shared.data.shares import cut
from shared.data.splitting import Carving
from tests.memory import MemorySink, MemorySource, conversations, jsonl
from tests.properties.test_sharding import by_nodes, by_one, told
from tests.unit.data.rows_of_bytes import MemoryFile


def sources(**files):
    return {
        split: [
            MemorySource(content, f"{split}/f{number}") for number, content in enumerate(contents)
        ]
        for split, contents in files.items()
    }


def test_a_row_that_leaks_into_test_settles_no_carved_split():
    """Validation is carved; in the first share every row that would go there is a row of test."""
    held = jsonl(*conversations(200))
    given = sources(train=[held, *(jsonl(*conversations(4, n)) for n in (200, 204))], test=[held])
    chosen = Options(min_train_rows=1, max_dropped_fraction=1, validation_fraction=0.5)
    one, several = by_one(given, chosen), by_nodes(given, chosen, 4)
    assert told(one)["dropped"] == {Reason.LEAK: 200}
    assert several.read("train.jsonl") == one.read("train.jsonl")
    assert told(several) == told(one)


def test_prompts_are_those_of_the_first_shares():
    """No more than one node keeps."""
    given = sources(
        train=[jsonl(*conversations(20))],
        test=[jsonl(*conversations(MOST_PROMPTS - 1, n)) for n in (1000, 2000)],
    )
    one, several = by_one(given, Options()), by_nodes(given, Options(), 3)
    assert len(one.rows("prompts.jsonl")) == MOST_PROMPTS
    assert several.read("prompts.jsonl") == one.read("prompts.jsonl")


def test_a_finished_preparation_is_not_joined_again():
    """Rank 0 that begins anew after the report was written reads the report, and no source."""
    given = sources(train=[jsonl(*conversations(20, n)) for n in (0, 20)])
    sink = MemorySink()
    by_nodes(given, Options(), 2, sink)
    assert not [name for name in sink.files if name.startswith("parts/")]
    log = list(sink.log)
    by_nodes(given, Options(), 2, sink)
    assert sink.log[len(log) :].count("report.json") == 0


def part(*course):
    """A node's part in which nothing but the counts matters."""
    return msgspec.convert(
        {
            "receipts": {},
            "prompts": "",
            "inputs": {},
            "splits": {},
            "refused": {},
            "shown": [],
            "course": course,
        },
        Part,
    )


def test_giving_up_is_judged_from_the_beginning_of_a_block():
    """One node might have looked after the block's refused rows and before its good ones."""
    few, rows = PATIENCE, 2 * PATIENCE
    assert may_be_hopeless([part((few, few + 1))], Options())
    assert may_be_hopeless([part((0, few - 1)), part((few, rows + 2))], Options())
    assert not may_be_hopeless([part((0, rows)), part((few, 2 * rows))], Options())
    assert not may_be_hopeless([part((few - 1, few - 1))], Options())


def test_digests_come_in_blocks_of_any_length():
    """What was written is what is read."""
    written: list[bytes] = []
    file = DigestFile(written.append)
    digests = [bytes([number] * 16) for number in range(100)]
    for digest in digests:
        file.add(digest)
    file.flush()
    whole = b"".join(written)
    pieces = [whole[start : start + 7] for start in range(0, len(whole), 7)]
    assert list(digests_in(pieces)) == digests


def test_one_giant_file_is_one_share():
    """A file is never cut: more nodes would have nothing to read."""
    assert cut([10**12], 8) == [range(1)]
    assert cut([10**12, 1, 1], 8) == [range(1), range(1, 3)]


def test_the_course_of_a_file_whose_rows_come_singly_is_noted_now_and_then():
    """A share may have a thousand million rows."""
    content = b"question,answer\n" + b"".join(b"q%d,a\n" % n for n in range(50_000))
    taker = DigestTaker({split: DigestFile(lambda _: None) for split in SPLITS})
    with DigestSet() as seen, Judges(Options()) as judges:
        selection = Selection(taker, Options(), judges, seen, lambda _: None, gives_up=False)
        selection.read("train", MemoryFile(content, "a.csv"))
    assert len(selection.course) < 20
    assert selection.course[-1] == (0, 50_000)


def test_carved_splits_are_settled_in_bounded_memory():
    """Though nearly everything that would go there is held out elsewhere."""

    def rows(count):
        return (number.to_bytes(16) for number in range(count))

    carving = Carving({"validation": 0.9})
    tracemalloc.start()
    try:
        found = settles(rows(100_000), lambda: rows(99_999), ["validation"], carving)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found == {"validation"}
    assert settles(rows(20_000), lambda: rows(20_000), ["validation"], carving) == set()
    assert peak < 8 << 20
