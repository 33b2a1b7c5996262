"""From sources to the files of a training job, and to a rejection that its author can act on."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import tracemalloc
from functools import partial

import pytest

from shared.data import prepare as preparation
from shared.data import selection
from shared.data.prepare import Options, fingerprint, prepare
from shared.data.seen import DigestSet
from shared.errors import DataRejected
from tests.memory import (
    MemorySink,
    MemorySource,
    MissingSource,
    conversation,
    conversations,
    jsonl,
)
from tests.unit.data.rows_of_bytes import MemoryFile

FILES = {
    "train.jsonl",
    "validation.jsonl",
    "test.jsonl",
    "dropped.jsonl",
    "prompts.jsonl",
    "report.html",
    "report.json",
}
#: These say how long it took, too.
REPORTS = {"report.html", "report.json"}
LENIENT = Options(max_dropped_fraction=1, min_train_rows=1)


def train_of(*rows, name="data/train.jsonl"):
    return {"train": [MemorySource(jsonl(*rows), name)]}


def rejected(sources, options=None, sink=None):
    with pytest.raises(DataRejected) as caught:
        prepare(sources, sink or MemorySink(), options or Options())
    return caught.value.problems


def test_all_files_are_written_and_the_report_is_the_last():
    sink = MemorySink()
    prepared = prepare(train_of(*conversations(100)), sink, Options())
    assert set(sink.files) == FILES
    assert sink.log[-1] == "report.json"
    assert prepared.files == {
        split: f"memory://{split}.jsonl" for split in ("train", "validation", "test")
    }
    rows = [row for split in prepared.files for row in sink.rows(f"{split}.jsonl")]
    assert sorted(map(json.dumps, rows)) == sorted(map(json.dumps, conversations(100)))


def test_preparing_the_same_again_reads_nothing_and_gives_the_same():
    sources, sink = train_of(*conversations(50)), MemorySink()
    first = prepare(sources, sink, Options())
    written = list(sink.log)
    assert prepare(sources, sink, Options()) == first
    assert sources["train"][0].readings == 1
    assert sink.log == written


@pytest.mark.parametrize("found", [b"", b"{}", b'{"fingerprint": 1', b"\xff"])
def test_a_broken_report_is_not_a_finished_preparation(found):
    sink = MemorySink()
    sink.files["report.json"] = found
    prepare(train_of(*conversations(50)), sink, Options())
    assert set(sink.files) == FILES


def test_a_report_of_other_data_is_not_a_finished_preparation():
    sink = MemorySink()
    prepare(train_of(*conversations(50)), sink, Options())
    other = prepare(train_of(*conversations(60)), sink, Options())
    assert other.report.rows_read == 60


def test_given_splits_are_kept_and_nothing_is_carved():
    sink = MemorySink()
    sources = {
        "train": [MemorySource(jsonl(*conversations(20)), "train")],
        "validation": [MemorySource(jsonl(*conversations(3, 100)), "validation")],
        "test": [MemorySource(jsonl(*conversations(2, 200)), "test")],
    }
    prepare(sources, sink, Options())
    assert sink.rows("train.jsonl") == conversations(20)
    assert sink.rows("validation.jsonl") == conversations(3, 100)
    assert sink.rows("test.jsonl") == conversations(2, 200)


def test_a_carved_split_gets_about_its_fraction():
    report = prepare(
        train_of(*conversations(3000)), MemorySink(), Options(validation_fraction=0.2)
    ).report
    assert 520 < report.splits["validation"].rows < 680
    assert 240 < report.splits["test"].rows < 360


@pytest.mark.parametrize("count", range(3, 25))
def test_a_carved_split_is_never_empty_however_few_rows_there_are(count):
    sink = MemorySink()
    prepare(train_of(*conversations(count)), sink, LENIENT)
    rows = [sink.rows(f"{split}.jsonl") for split in ("train", "validation", "test")]
    assert all(rows)
    assert sum(map(len, rows)) == count


def test_held_out_rows_stay_where_they_are_when_rows_are_added():
    few, many = MemorySink(), MemorySink()
    prepare(train_of(*conversations(200)), few, Options())
    prepare(train_of(*conversations(400)), many, Options())
    for name in ("validation.jsonl", "test.jsonl", "train.jsonl"):
        assert all(row in many.rows(name) for row in few.rows(name))


def test_percent_takes_the_same_rows_every_time_and_more_with_more():
    taken = {}
    for percent in (10, 40):
        sink = MemorySink()
        report = prepare(train_of(*conversations(1000)), sink, Options(percent=percent)).report
        taken[percent] = {
            json.dumps(row) for split in report.splits for row in sink.rows(f"{split}.jsonl")
        }
        assert report.inputs["train"].not_selected == 1000 - len(taken[percent])
    assert 60 < len(taken[10]) < 140
    assert 340 < len(taken[40]) < 460
    assert taken[10] <= taken[40]


def test_percent_samples_rows_that_would_be_refused_as_well():
    rows = [*conversations(500), *[b"broken %d" % n for n in range(500)]]
    report = prepare(
        train_of(*rows), MemorySink(), Options(percent=20, max_dropped_fraction=1)
    ).report
    assert 60 < report.dropped["not_json"] < 140
    assert report.inputs["train"].not_selected + report.rows_sampled == 1000


def test_the_order_in_which_files_are_named_changes_no_byte():
    files = [
        MemorySource(jsonl(*conversations(20, at), b"x"), f"data/{at}.jsonl") for at in (0, 10, 50)
    ]
    sinks = [MemorySink(), MemorySink()]
    for sink, given in zip(sinks, (files, files[::-1]), strict=True):
        prepare({"train": given}, sink, LENIENT)
    for name in FILES - REPORTS:
        assert sinks[0].files[name] == sinks[1].files[name]


def test_another_seed_splits_differently():
    sinks = [MemorySink(), MemorySink()]
    for seed, sink in enumerate(sinks):
        prepare(train_of(*conversations(200)), sink, Options(seed=seed))
    assert sinks[0].files["test.jsonl"] != sinks[1].files["test.jsonl"]


def test_duplicates_and_leaks_are_dropped_held_out_rows_win():
    shared_row, twice = conversation("shared", "row"), conversation("twice", "told")
    in_both = conversation("in", "both")
    sources = {
        "train": [MemorySource(jsonl(*conversations(20), shared_row, twice, twice), "train")],
        "validation": [MemorySource(jsonl(conversation("v", "v"), in_both), "validation")],
        "test": [MemorySource(jsonl(shared_row, in_both), "test")],
    }
    sink = MemorySink()
    prepare(sources, sink, LENIENT)
    assert sink.rows("train.jsonl") == [*conversations(20), twice]
    assert sink.rows("validation.jsonl") == [conversation("v", "v")]
    assert sink.rows("test.jsonl") == [shared_row, in_both]
    assert [
        (row["source"], row["line"], row["reason"], row["detail"])
        for row in sink.rows("dropped.jsonl")
    ] == [
        ("validation", 2, "leak", "also in test"),
        ("train", 21, "leak", "also in test"),
        ("train", 23, "duplicate", "the same conversation as a row before"),
    ]


def test_a_dropped_row_is_listed_with_where_and_why_and_its_beginning():
    sink = MemorySink()
    prepare(
        train_of(*conversations(12), b"", b"not json \xc3", name="data/x.jsonl"), sink, LENIENT
    )
    assert sink.rows("dropped.jsonl") == [
        {
            "source": "data/x.jsonl",
            "split": "train",
            "line": 14,
            "reason": "not_utf8",
            "detail": "byte 9: unexpected end of data",
            "row": "not json ",
        }
    ]


def test_the_report_counts_what_was_read_written_and_refused():
    rows = [*conversations(30), conversation("q" * 4000, "a" * 4000, "and?", system="s")]
    content = jsonl(*rows, b"\r", b"[]", conversation("q"), b"")
    report = prepare(
        {"train": [MemorySource(content)]},
        MemorySink(),
        Options(max_seq_length=1024, max_dropped_fraction=0.5),
    ).report
    read = report.inputs["train"]
    assert (read.rows, read.blank, read.bytes) == (33, 2, len(content))
    assert report.dropped == {"too_few_messages": 1, "wrong_types": 1} == read.dropped
    splits = report.splits.values()
    assert sum(split.rows for split in splits) == 31
    assert sum(split.turns for split in splits) == 63
    assert sum(split.roles.get("system", 0) for split in splits) == 1
    assert sum(split.trimmed for split in splits) == 1
    assert sum(split.truncated or 0 for split in splits) == 1
    texts = sum(len(f"question {n}answer {n}") for n in range(30))
    assert sum(split.characters for split in splits) == texts + 8001
    assert all(sum(split.histogram.values()) == split.rows for split in splits)
    assert max(split.longest for split in splits) == 8001 // 4 + 12
    assert sum(split.cut_tokens for split in splits) == 8001 // 4 + 12 - 1024
    assert sum(split.turns_histogram.get("2", 0) for split in splits) == 30
    assert sum(split.characters_histogram.get("8192", 0) for split in splits) == 1
    assert {"2048": 1}.items() <= {k: v for s in splits for k, v in s.histogram.items()}.items()


def test_the_report_shows_a_few_examples_cut_short():
    rows = [conversation("q" * 10_000, f"a{n}", *["more"] * 38) for n in range(20)]
    report = prepare(train_of(*rows), MemorySink(), Options()).report
    assert len(report.examples) == 3
    for example in report.examples:
        assert example.messages[0].content == "q" * 500 + "…"
        assert (len(example.messages), example.more) == (12, 28)


def test_the_report_shows_no_more_examples_where_no_row_has_to_be_dealt_out():
    sources = {
        split: [MemorySource(jsonl(*conversations(20, start)), f"data/{split}.jsonl")]
        for split, start in (("train", 0), ("validation", 20), ("test", 40))
    }
    report = prepare(sources, MemorySink(), Options()).report
    shown = [example.messages[0].content for example in report.examples]
    assert shown == ["question 0", "question 1", "question 2"]


def test_bytes_behind_the_last_row_are_counted_as_read():
    content = json.dumps(conversations(20)).encode() + b"\n" * 50
    report = prepare({"train": [MemoryFile(content, "a.json", 7)]}, MemorySink(), Options()).report
    assert report.inputs["train"].bytes == len(content)


def test_the_report_keeps_the_first_refused_rows_of_each_reason():
    rows = [*conversations(100), *[b"x"] * 4, conversation("q")]
    report = prepare(train_of(*rows, name="data/x.jsonl"), MemorySink(), Options()).report
    assert not report.problems
    assert [row.place for row in report.refused["not_json"]] == [
        "data/x.jsonl row 101",
        "data/x.jsonl row 102",
        "data/x.jsonl row 103",
    ]
    assert [row.detail for row in report.refused["too_few_messages"]] == ["1 message(s)"]


def test_too_many_refused_rows_reject_with_counts_and_the_first_of_each_reason():
    rows = [*conversations(94), *[b"x"] * 4, b"[]", conversation("q")]
    summary, *reasons = rejected(train_of(*rows, name="data/x.jsonl"))
    assert summary.reason == "6 of 100 rows (6%) were refused, more than the 5% allowed"
    assert [problem.place for problem in reasons] == [
        "data/x.jsonl row 95",
        "data/x.jsonl row 99",
        "data/x.jsonl row 100",
    ]
    assert reasons[0].reason == (
        "not_json, 4 rows (not JSON): invalid character (byte 0);"
        " also data/x.jsonl row 96, data/x.jsonl row 97 and more"
    )
    assert all(problem.mend for problem in (summary, *reasons))


def test_as_many_refused_rows_as_allowed_pass():
    prepare(train_of(*conversations(95), *[b"x"] * 5), MemorySink(), Options())


def test_fewer_than_ten_rows_to_train_on_reject():
    (problem,) = rejected(train_of(*conversations(11)))
    assert problem.place == "dataset.train"
    assert problem.reason == (
        "9 rows are left to train on after all checks, fewer than 10;"
        " 1 went to validation and 1 went to test"
    )
    prepare(train_of(*conversations(12)), MemorySink(), Options())


def test_three_rows_reject():
    (problem,) = rejected(train_of(*conversations(3)))
    assert "fewer than 10" in problem.reason


@pytest.mark.parametrize("content", [b"", b"\n\r\n", b"\xef\xbb\xbf"])
def test_no_row_at_all_rejects(content):
    (problem,) = rejected({"train": [MemorySource(content, "data/empty.jsonl")]})
    assert "not one row" in problem.reason
    assert "data/empty.jsonl" in problem.reason


def test_a_given_split_that_comes_out_empty_rejects():
    sources = train_of(*conversations(20)) | {"validation": [MemorySource(b"", "v")]}
    (problem,) = rejected(sources)
    assert problem.place == "dataset.validation"


def test_tools_in_some_rows_only_reject_since_the_component_would_drop_the_others():
    tools = [{"type": "function", "function": {"name": "f"}}]
    rows = [conversation(f"q{n}", "a", **({"tools": tools} if n % 2 else {})) for n in range(100)]
    assert {problem.place for problem in rejected(train_of(*rows))} == {
        "dataset.train",
        "dataset.validation",
        "dataset.test",
    }
    prepare(train_of(*[row | {"tools": tools} for row in rows]), MemorySink(), Options())


def test_a_rejected_preparation_is_complete_readable_and_rejected_again_at_once():
    sources, sink = train_of(*conversations(3)), MemorySink()
    first = rejected(sources, sink=sink)
    assert set(sink.files) == FILES
    assert rejected(sources, sink=sink) == first
    assert sources["train"][0].readings == 1


def test_what_is_wrong_with_the_splits_is_told_all_at_once():
    sources = {
        "train": [MissingSource(b"", "data/a.jsonl"), MissingSource(b"", "data/b.jsonl")],
        "dev": [MemorySource(b"", "c")],
        "test": [],
    }
    assert {problem.place for problem in rejected(sources)} == {
        "data/a.jsonl",
        "data/b.jsonl",
        "dataset.splits.dev",
        "dataset.splits.test",
    }
    assert [problem.place for problem in rejected({})] == ["dataset.splits"]


@pytest.mark.parametrize("failing", sorted(FILES))
def test_a_sink_that_fails_leaves_nothing_that_looks_finished(failing):
    sink, sources = MemorySink(), train_of(*conversations(50))
    sink.failing = failing
    with pytest.raises(OSError, match="disk is full"):
        prepare(sources, sink, Options())
    assert "report.json" not in sink.files
    sink.failing = None
    again = prepare(sources, sink, Options())
    fresh = MemorySink()
    assert prepare(sources, fresh, Options()).fingerprint == again.fingerprint
    assert {name: sink.files[name] for name in FILES - REPORTS} == {
        name: fresh.files[name] for name in FILES - REPORTS
    }


def test_progress_is_told_at_each_source_and_may_end_the_preparation():
    told = []
    sources = train_of(*conversations(50), b"x") | {
        "test": [MemorySource(jsonl(conversation("t", "t")), "test")]
    }
    prepare(sources, MemorySink(), Options(), on_progress=told.append)
    assert (told[0].split, told[0].rows) == ("test", 0)
    last = told[-1]
    assert (last.split, last.source, last.rows, last.dropped) == (
        "train",
        "data/train.jsonl",
        52,
        1,
    )
    assert last.bytes == sum(len(source.content) for given in sources.values() for source in given)

    def abort(_):
        raise KeyboardInterrupt

    sink = MemorySink()
    with pytest.raises(KeyboardInterrupt):
        prepare(sources, sink, Options(), on_progress=abort)
    assert not sink.files


@pytest.mark.parametrize(
    ("content", "block"),
    [(jsonl(*conversations(2000)), 1 << 14), (b"x\n" * 20_000, 1 << 20)],
    ids=["block by block", "within a block of refused rows"],
)
def test_progress_is_told_while_one_source_is_read(monkeypatch, content, block):
    monkeypatch.setattr(selection, "_PACE", 0)
    told = []
    sources = {"train": [MemorySource(content, block=block)]}
    with contextlib.suppress(DataRejected):
        prepare(sources, MemorySink(), LENIENT, on_progress=told.append)
    assert len(told) > 8
    assert [progress.rows for progress in told] == sorted(progress.rows for progress in told)


def test_a_line_of_fifty_megabytes_is_dropped_within_bounded_memory():
    def content():
        yield jsonl(*conversations(30)) + b'{"messages": "'
        for _ in range(50):
            yield b"x" * (1 << 20)
        yield b'"}\n' + jsonl(*conversations(5, 100))

    source, sink = MemorySource(b"stand-in"), MemorySink()
    source.blocks = content
    tracemalloc.start()
    try:
        report = prepare({"train": [source]}, sink, Options()).report
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert report.dropped == {"too_long": 1}
    assert report.rows_read == 36
    (dropped,) = sink.rows("dropped.jsonl")
    assert dropped["line"] == 31
    assert dropped["row"].startswith('{"messages": "xxx')
    assert peak < 20 << 20


def test_data_that_is_nearly_all_refused_is_not_read_to_its_end(monkeypatch):
    monkeypatch.setattr(selection, "PATIENCE", 2048)
    source = MemorySource(jsonl(*conversations(20), *[b"x"] * 100_000))
    sink = MemorySink()
    summary, *_ = rejected({"train": [source]}, sink=sink)
    report = json.loads(sink.read("report.json"))
    assert not report["complete"]
    assert "before giving up" in summary.reason
    assert report["inputs"]["train"]["rows"] == 20 + 2048 == 20 + report["dropped"]["not_json"]


def test_the_fingerprint_is_of_content_and_options_not_of_the_order_of_files():
    a, b = MemorySource(b"a", "a"), MemorySource(b"b", "b")
    key = fingerprint({"train": [a, b]}, Options())
    assert key == fingerprint({"train": [b, a]}, Options())
    others = [
        fingerprint({"train": [a]}, Options()),
        fingerprint({"train": [a], "test": [b]}, Options()),
        fingerprint({"train": [a, MemorySource(b"c", "b")]}, Options()),
    ]
    assert len({key, *others}) == 4
    assert len(key) == 32


OTHERS = {
    "shape": "messages",
    "columns": {"messages": "dialog"},
    "system": "be kind",
    "keep_columns": ["id"],
    "percent": 99,
    "sampling": "first",
    "max_seq_length": 100,
    "max_dropped_fraction": 0.1,
    "min_train_rows": 11,
    "validation_fraction": 0.2,
    "test_fraction": 0.2,
    "seed": 1,
    "max_row_bytes": 1 << 20,
}


def test_the_fingerprint_is_of_every_option():
    assert set(OTHERS) == {field.name for field in dataclasses.fields(Options)}
    sources = {"train": [MemorySource(b"a")]}
    keys = {fingerprint(sources, Options(**{name: value})) for name, value in OTHERS.items()}
    assert len(keys | {fingerprint(sources, Options())}) == len(OTHERS) + 1


def test_rows_that_differ_in_kept_columns_alone_are_duplicates():
    rows = [*conversations(20), conversation("q", "a", id=1), conversation("q", "a", id=2)]
    sink = MemorySink()
    prepare(train_of(*rows), sink, Options(keep_columns=["id"]))
    plain = MemorySink()
    prepare(train_of(*rows), plain, Options())
    for split in ("train", "validation", "test"):
        kept = sink.rows(f"{split}.jsonl")
        assert [row.pop("id") is not None for row in kept] == [True] * len(kept)
        assert kept == plain.rows(f"{split}.jsonl")
    (dropped,) = sink.rows("dropped.jsonl")
    assert dropped["reason"] == "duplicate"


def test_a_kept_column_may_have_any_name():
    names = ["more", "role", "content", "tool_calls", "system"]
    rows = [row | dict.fromkeys(names, "x") for row in conversations(20)]
    sink = MemorySink()
    report = prepare(train_of(*rows), sink, Options(keep_columns=names)).report
    assert all(row["more"] == row["system"] == "x" for row in sink.rows("train.jsonl"))
    assert report.examples[0].more == 0
    assert len(sink.rows("prompts.jsonl")) == report.splits["test"].rows


def test_what_is_remembered_on_disk_is_remembered_as_well(monkeypatch):
    rows = [*conversations(500), *conversations(400)]
    sources = train_of(*rows) | {"test": [MemorySource(jsonl(*conversations(50, 200)), "t")]}
    sinks = MemorySink(), MemorySink()
    prepare(sources, sinks[0], LENIENT)
    monkeypatch.setattr(preparation, "DigestSet", partial(DigestSet, 1024))
    prepare(sources, sinks[1], LENIENT)
    for name in FILES - REPORTS:
        assert sinks[0].files[name] == sinks[1].files[name]


def test_options_tell_every_value_that_is_out_of_range():
    with pytest.raises(ValueError, match="percent must") as caught:
        Options(percent=0, max_seq_length=0, validation_fraction=0.6, test_fraction=0.5, seed=-1)
    for word in ("max_seq_length", "leave something for train", "seed"):
        assert word in str(caught.value)


@pytest.mark.parametrize("value", [float("nan"), 101, -1])
def test_a_percentage_that_is_none_is_refused(value):
    with pytest.raises(ValueError, match="percent"):
        Options(percent=value)


def test_no_limit_on_length_may_be_said_as_the_component_does():
    assert Options(max_seq_length=-1).token_limit is None
    assert Options().token_limit is None
    assert Options(max_seq_length=512).token_limit == 512
