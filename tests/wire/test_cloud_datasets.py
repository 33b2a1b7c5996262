"""Rows from real storage into real storage, in every format."""

from __future__ import annotations

import csv
import gzip
import io
import json
import threading

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from shared.cloud import staging, storage
from shared.cloud.blob_files import BlobFile
from shared.cloud.data_files import DataFiles
from shared.cloud.datasets import BlobSink, CloudPreparation
from shared.cloud.web import Web
from shared.data.formats.endings import KNOWN
from shared.data.formats.reading import rows_of
from shared.data.rows import Reader
from shared.errors import DataRejected, Missing, StaleRecord
from shared.runs.manifest import Dataset

ROWS = [
    {
        "messages": [
            {"role": "user", "content": f"What is {number} plus {number}? ä\n"},
            {"role": "assistant", "content": f"It is {2 * number}."},
        ]
    }
    for number in range(60)
]


def put(connection, path, body):
    connection.container(storage.DATA).get_blob_client(path).upload_blob(body, overwrite=True)


def as_lines(rows):
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def as_csv(rows):
    text = io.StringIO()
    writer = csv.DictWriter(text, ["messages", "note"])
    writer.writeheader()
    writer.writerows({"messages": json.dumps(row["messages"]), "note": "a, b"} for row in rows)
    return text.getvalue().encode("utf-8-sig")


def as_parquet(rows):
    body = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), body, row_group_size=7)
    return body.getvalue()


def as_tsv(rows):
    text = io.StringIO()
    writer = csv.writer(text, delimiter="\t", lineterminator="\n")
    writer.writerow(["note", "messages"])
    writer.writerows(["a, b", json.dumps(row["messages"])] for row in rows)
    return text.getvalue().encode()


def zstd(body):
    packed = pa.BufferOutputStream()
    with pa.CompressedOutputStream(packed, "zstd") as stream:
        stream.write(body)
    return packed.getvalue().to_pybytes()


def read(source):
    return [
        json.loads(line)
        for some in rows_of(source, limit=1 << 20, count=lambda _: None)
        for line in some.lines
        if line
    ]


@pytest.fixture
def preparation(connection):
    return CloudPreparation(connection, "droptune_datasets")


def a_dataset(*train, **more):
    return Dataset.model_validate({"files": {"train": list(train), **more}})


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("a.jsonl", as_lines(ROWS)),
        ("a.JSONL", as_lines(ROWS)),
        ("lines.json", as_lines(ROWS)),
        ("array.json", json.dumps(ROWS, indent=2).encode()),
        ("marked.json", b"\xef\xbb\xbf \n" + json.dumps(ROWS).encode()),
        ("a.csv", as_csv(ROWS)),
        ("a.tsv", as_tsv(ROWS)),
        ("a.parquet", as_parquet(ROWS)),
        ("a.jsonl.gz", gzip.compress(as_lines(ROWS))),
        ("a.json.zst", zstd(json.dumps(ROWS).encode())),
        ("a.CSV.ZST", zstd(as_csv(ROWS))),
        ("a.tsv.gz", gzip.compress(as_tsv(ROWS))),
    ],
)
def test_every_format_gives_the_same_rows(connection, path, body):
    """The ending says the format; the rows come out the same."""
    put(connection, path, body)
    found = rows_of(BlobFile(connection, path), limit=1 << 20, count=lambda _: None)
    examples = (Reader().read(line) for some in found for line in some.lines)
    lines = [example.line for example in examples if example]
    assert [json.loads(line)["messages"] for line in lines] == [row["messages"] for row in ROWS]


@pytest.mark.parametrize(
    ("path", "body", "why"),
    [
        ("a.json", b'[{"messages": 1}, ', "cut off"),
        ("a.parquet", b"nonsense" * 20, "not Parquet"),
        ("a.csv", b"\xff\xfem\0e\0\n\0", "no text"),
        ("a.jsonl.gz", gzip.compress(as_lines(ROWS))[:-9], "cut off"),
    ],
)
def test_a_file_that_is_not_what_its_ending_says_is_rejected(connection, path, body, why):
    """The author is told which file, and what is wrong with it."""
    put(connection, path, body)
    with pytest.raises(DataRejected, match=why) as raised:
        read(BlobFile(connection, path))
    assert raised.value.problems[0].place == f"data/{path}"


def test_large_files_come_in_bounded_blocks(connection):
    """A file of many blocks is never in memory as a whole."""
    body = as_lines(ROWS) * 1200
    put(connection, "large.jsonl", body)
    blocks = list(BlobFile(connection, "large.jsonl").blocks())
    assert b"".join(blocks) == body
    assert len(blocks) > 1
    assert max(map(len, blocks)) <= 4 << 20


def test_a_file_that_is_replaced_while_it_is_read_is_not_mixed(connection):
    """Identity and content belong together."""
    put(connection, "a.jsonl", as_lines(ROWS))
    source = BlobFile(connection, "a.jsonl")
    first = source.identity
    put(connection, "a.jsonl", as_lines(ROWS[:20]))
    with pytest.raises(StaleRecord):
        read(source)
    assert BlobFile(connection, "a.jsonl").identity != first


def test_a_file_that_is_not_there_is_missing(connection):
    """The source names itself."""
    with pytest.raises(Missing, match=r"data/none\.jsonl"):
        assert BlobFile(connection, "none.jsonl").identity


def test_rows_are_prepared_once_and_found_again(connection, preparation):
    """The same rows have the same fingerprint, and are not written twice."""
    put(connection, "a.jsonl", as_lines(ROWS) + b"nonsense\n")
    beats = []
    dataset = a_dataset("a.jsonl")
    prepared = preparation.prepare(dataset, None, lambda: beats.append(1))
    assert beats
    assert prepared.dropped == 1
    assert sum(prepared.rows.values()) == len(ROWS)
    assert prepared.splits == {
        split: f"azureml://datastores/droptune_datasets/paths/{prepared.fingerprint}/{split}.jsonl"
        for split in ("train", "validation", "test")
    }
    train = connection.container(storage.DATASETS).get_blob_client(
        f"{prepared.fingerprint}/train.jsonl"
    )
    written = train.get_blob_properties().etag
    assert len(train.download_blob().readall().splitlines()) == prepared.rows["train"]
    assert preparation.prepare(dataset, None, lambda: None) == prepared
    assert train.get_blob_properties().etag == written
    assert preparation.prepare(dataset, 512, lambda: None).fingerprint != prepared.fingerprint

    prompts = preparation.prompts(prepared.fingerprint, 3)
    assert len(prompts) == 3
    assert all(messages[-1]["role"] == "user" for messages in prompts)


def test_rows_of_another_shape_are_prepared_as_the_manifest_says(connection, preparation):
    """A table of instructions becomes conversations, its first rows only, with a column kept."""
    text = io.StringIO()
    writer = csv.DictWriter(text, ["number", "instruction", "context", "output"])
    writer.writeheader()
    for number in range(60):
        writer.writerow(
            {
                "number": number,
                "instruction": f"Add {number}",
                "context": "to 1",
                "output": "It is…",
            }
        )
    put(connection, "a.csv", text.getvalue().encode())
    dataset = Dataset.model_validate(
        {
            "files": "a.csv",
            "columns": {"input": "context"},
            "system": "Be kind.",
            "keep_columns": "number",
            "percent": 50,
            "sampling": "first",
        }
    )
    prepared = preparation.prepare(dataset, None, lambda: None)
    rows = [
        json.loads(line)
        for split in ("train", "validation", "test")
        for line in connection.container(storage.DATASETS)
        .get_blob_client(f"{prepared.fingerprint}/{split}.jsonl")
        .download_blob()
        .readall()
        .splitlines()
    ]
    assert {row["number"] for row in rows} == {str(number) for number in range(30)}
    assert all(
        row["messages"]
        == [
            {"role": "system", "content": "Be kind."},
            {"role": "user", "content": f"Add {row['number']}\n\nto 1"},
            {"role": "assistant", "content": "It is…"},
        ]
        for row in rows
    )


def test_what_cannot_be_found_is_told_at_once_with_the_nearest_name(connection, preparation):
    """Every file of every split is looked at; a slip of the pen is recognised."""
    put(connection, "chats/train.jsonl", as_lines(ROWS))
    problems = preparation.problems(
        a_dataset(
            "chats/train.jsonl",
            "chats/trian.jsonl",
            validation=["x.txt"],
            test=["https://example.org/t.jsonl", "zzz.csv"],
        )
    )
    assert [(each.place, each.mend) for each in problems] == [
        ("dataset.files.train", "Did you mean 'chats/train.jsonl'?"),
        ("dataset.files.validation", f"Endings are {KNOWN}"),
        (
            "dataset.files.test",
            "Upload the file to the container 'data', or have the host added to DROPTUNE_DATA_HOSTS",
        ),
        ("dataset.files.test", "Upload it there first"),
    ]
    assert preparation.problems(a_dataset("chats/train.jsonl")) == []


def test_patterns_stand_for_files_in_the_order_of_their_names(connection, preparation):
    """`*` stays in a folder, `**` goes through them; each file counts once, what tools leave behind not at all."""
    for number, path in enumerate(
        ("v/b.jsonl", "v/a.jsonl", "v/deep/er/c.jsonl", "v/_SUCCESS", "v/.x.jsonl", "w/d.jsonl")
    ):
        put(connection, path, as_lines(ROWS[10 * number : 10 * number + 10]))

    def found(*paths):
        files = DataFiles(connection, Web(frozenset()))
        names = [file.name for file in files.of(a_dataset(*paths))["train"]]
        assert files.problems == []
        return names

    assert found("v/*.jsonl") == ["data/v/a.jsonl", "data/v/b.jsonl"]
    assert found("**/*.jsonl") == [
        "data/v/a.jsonl",
        "data/v/b.jsonl",
        "data/v/deep/er/c.jsonl",
        "data/w/d.jsonl",
    ]
    assert found("v/**", "w/?.jsonl", "v/a.jsonl")[-1] == "data/w/d.jsonl"
    assert len(found("v/**", "w/?.jsonl", "v/a.jsonl")) == 4
    prepared = preparation.prepare(a_dataset("v/**/*.jsonl"), None, lambda: None)
    assert sum(prepared.rows.values()) == 30


def test_a_file_that_joins_a_pattern_makes_other_data(connection, preparation):
    """The fingerprint is of the files that the pattern stands for, not of the pattern."""
    put(connection, "v/a.jsonl", as_lines(ROWS[:40]))
    first = preparation.prepare(a_dataset("v/*.jsonl"), None, lambda: None)
    put(connection, "v/b.jsonl", as_lines(ROWS[40:]))
    second = preparation.prepare(a_dataset("v/*.jsonl"), None, lambda: None)
    assert first.fingerprint != second.fingerprint
    assert sum(second.rows.values()) == len(ROWS)


def test_a_pattern_that_goes_wrong_is_told(connection, preparation):
    """Nothing matched, or more than was meant: a file of another kind, or one held out."""
    put(connection, "chats/train.jsonl", as_lines(ROWS))
    put(connection, "chats/test.jsonl", as_lines(ROWS))
    put(connection, "chats/readme.md", b"x")
    nothing, strange, both = preparation.problems(
        a_dataset("chats/tain*.jsonl", "chats/*", test=["chats/test.jsonl"])
    )
    assert "matches nothing" in nothing.reason
    assert nothing.mend == "Did you mean 'chats/train.jsonl'?"
    assert "'chats/*' matches 'chats/readme.md'" in strange.reason
    assert both.reason == "'data/chats/test.jsonl' is named for another split, too"
    with pytest.raises(DataRejected, match="matches nothing"):
        preparation.prepare(a_dataset("none/*.jsonl"), None, lambda: None)


def test_nothing_looks_finished_before_it_is(connection, monkeypatch):
    """A file appears whole when its writing ends, or not at all; what stood there stays till then."""
    monkeypatch.setattr(staging, "BLOCK", 10)
    sink = BlobSink(connection, "d", "f" * 32)
    with sink.write("a.jsonl") as write:
        write(b"first of them")
        assert not sink.exists("a.jsonl")
    assert sink.read("a.jsonl") == b"first of them"

    def broken():
        with sink.write("a.jsonl") as write:
            write(b"x" * 100)
            raise KeyError("x")

    with pytest.raises(KeyError):
        broken()
    assert sink.read("a.jsonl") == b"first of them"
    with sink.write("empty") as write:
        write(b"")
    assert sink.read("empty") == b""
    with pytest.raises(Missing):
        sink.read("none")


def test_two_writers_of_one_file_leave_one_whole(connection, monkeypatch):
    """Whoever ends last, the file is one writer's, never a mixture."""
    monkeypatch.setattr(staging, "BLOCK", 4)
    sink = BlobSink(connection, "d", "f" * 32)
    start, lost = threading.Barrier(2), []

    def write(letter):
        from shared.errors import Busy

        try:
            with sink.write("a") as give:
                start.wait()
                for _ in range(5):
                    give(letter * 4)
        except Busy as error:
            lost.append(error)

    threads = [threading.Thread(target=write, args=(letter,)) for letter in (b"a", b"b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sink.read("a") in (b"a" * 20, b"b" * 20)
    assert len(lost) <= 1


def test_a_browser_opens_the_page_on_the_data(connection, preparation):
    """It lies beside the prepared data, says what it is, and is given out for whoever asks for it."""
    put(connection, "a.jsonl", as_lines(ROWS))
    prepared = preparation.prepare(a_dataset("a.jsonl"), None, lambda: None)
    blob = connection.container(storage.DATASETS).get_blob_client(
        f"{prepared.fingerprint}/report.html"
    )
    assert blob.get_blob_properties().content_settings.content_type == "text/html; charset=utf-8"
    assert preparation.page(prepared.fingerprint) == blob.download_blob().readall()
    assert preparation.page(prepared.fingerprint).startswith(b"<!doctype html>")
    with pytest.raises(Missing):
        preparation.page("0" * 32)


def test_refused_data_says_where_its_page_lies(connection, preparation):
    """So that whoever dropped it can be shown what is wrong."""
    put(connection, "a.jsonl", as_lines(ROWS[:5]))
    with pytest.raises(DataRejected) as raised:
        preparation.prepare(a_dataset("a.jsonl"), None, lambda: None)
    assert raised.value.fingerprint is not None
    assert b"Rejected" in preparation.page(raised.value.fingerprint)


def test_the_tokens_of_train_are_counted_as_far_as_they_are_trained_on(connection, preparation):
    """What is cut at `max_seq_length` costs nothing."""
    put(connection, "a.jsonl", as_lines(ROWS))
    whole = preparation.prepare(a_dataset("a.jsonl"), None, lambda: None)
    cut = preparation.prepare(a_dataset("a.jsonl"), 8, lambda: None)
    assert cut.tokens == 8 * cut.rows["train"] < whole.tokens


def test_files_are_no_less_for_a_job_than_for_a_function(preparation, connection):
    """It reads them with an identity of its own."""
    put(connection, "a.jsonl", as_lines(ROWS))
    assert preparation.problems_in_job(a_dataset("a.jsonl")) == []
