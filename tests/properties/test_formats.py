"""Whatever rows people write, in whatever format and however the bytes arrive, the same rows come out."""

from __future__ import annotations

import csv
import gzip
import io
import json
import re

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from shared.cloud.globs import matcher, prefix_of
from shared.data.formats.parquet.footer import footer_of
from shared.data.formats.parquet.longest import is_worth_a_look, longest_text
from shared.data.formats.parquet.pages import PageWatch
from shared.data.formats.parquet.room import Page, Room
from shared.data.reasons import Reason
from shared.errors import DataRejected
from tests.unit.data.rows_of_bytes import MemoryFile, rows
from tests.unit.data.test_packing import zstd

untimed = settings(deadline=None)  # other work on the machine is no failure
blocks = st.integers(1, 40) | st.just(1 << 16)
letters = st.characters(exclude_categories=["Cs"])
texts = st.text(letters, max_size=12) | st.sampled_from(
    ['"', '\\"', "[", '{"a": [', "],", "\n", "\r\n", "\\", "'"]
)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=12,
)
tokens = st.sampled_from(
    [
        b"[",
        b"]",
        b"{",
        b"}",
        b'"',
        b"\\",
        b",",
        b":",
        b" ",
        b"1",
        b"n",
        b'"a"',
        b'{"a":1}',
        b"]",
        b",",
    ]
)
names = st.text(st.sampled_from("abcäß _-"), min_size=1, max_size=4).map(str.strip).filter(bool)
# A lone carriage return is written without quotes by Python's writer, and refused by its reader.
cells = texts.filter(lambda text: "\0" not in text and "\r" not in text.replace("\r\n", ""))


@untimed
@given(st.lists(values, max_size=8), st.sampled_from([None, 0, 3]), blocks, st.booleans())
def test_an_array_is_its_elements(elements, indent, block, escaped):
    content = json.dumps(elements, indent=indent, ensure_ascii=escaped).encode()
    assert [json.loads(row) for _, row in rows(content, "a.json", block)] == elements


@untimed
@given(st.lists(tokens, max_size=14).map(lambda tail: b"[" + b"".join(tail)), blocks)
@example(b'["\\', 1)
@example(b"[1]\n", 1)
def test_an_array_is_taken_exactly_when_it_is_json_all_through(content, block):
    """Cutting an array by its brackets is sound: rows that are all JSON make an array that is."""
    try:
        cut = [json.loads(row) for _, row in rows(content, "a.json", block)]
    except (DataRejected, ValueError):
        cut = None
    try:
        whole = json.loads(content)
    except ValueError:
        whole = None
    assert repr(cut) == repr(whole)


@untimed
@given(st.data(), st.sampled_from([",", "\t"]), st.sampled_from(["\n", "\r\n"]), blocks)
def test_a_table_is_what_pythons_writer_wrote(data, delimiter, end, block):
    columns = data.draw(st.lists(names, min_size=1, max_size=4, unique=True))
    row = st.lists(cells, min_size=len(columns), max_size=len(columns))
    table = data.draw(st.lists(row.filter(any), max_size=6))
    text = io.StringIO()
    writer = csv.writer(
        text,
        delimiter=delimiter,
        lineterminator=end,
        quoting=data.draw(st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL])),
    )
    writer.writerows([columns, *table])
    found = rows(text.getvalue().encode(), "a.csv" if delimiter == "," else "a.tsv", block)
    assert [json.loads(line) for _, line in found] == [
        dict(zip(columns, cells, strict=True)) for cells in table
    ]
    lines = text.getvalue().split("\n")
    for number, _ in found:
        before = io.StringIO("\n".join(lines[: number - 1]) + "\n", newline="")
        assert len(list(csv.reader(before, delimiter=delimiter))) == 1 + [
            n for n, _ in found
        ].index(number)


@untimed
@given(st.binary(max_size=80), blocks, st.sampled_from(["a.csv", "a.tsv", "a.json", "a.jsonl"]))
def test_any_bytes_end_in_rows_or_a_rejection_whatever_the_blocks(content, block, name):
    def outcome(block):
        try:
            return [
                (number, str(row) if isinstance(row, Reason) else row)
                for number, row in rows(content, name, block, limit=1024)
            ]
        except DataRejected as error:
            return str(error)

    assert outcome(block) == outcome(1 << 16)


@untimed
@given(
    st.binary(max_size=300),
    blocks,
    st.sampled_from([(".gz", gzip.compress), (".zst", zstd)]),
    st.integers(0, 400),
)
def test_packing_changes_nothing_and_no_cut_goes_unseen(content, block, packing, cut):
    ending, pack = packing
    packed = pack(content)
    assert rows(packed, f"a.jsonl{ending}", block) == rows(content, "a.jsonl")
    assume(cut < len(packed))
    try:
        rows(packed[:cut], f"a.jsonl{ending}", block)
    except DataRejected as error:
        assert "cut off" in str(error)  # noqa: PT017
    else:
        raise AssertionError("a cut file passed")


messages = st.none() | st.lists(
    st.none() | st.fixed_dictionaries({"role": st.none() | texts, "content": st.none() | texts}),
    max_size=4,
)
table_rows = st.fixed_dictionaries(
    {"id": st.none() | st.integers(-9, 9), "messages": messages, "note": st.none() | texts}
)
schema = pa.schema(
    {
        "id": pa.int64(),
        "messages": pa.list_(pa.struct({"role": pa.string(), "content": pa.string()})),
        "note": pa.string(),
    }
)


@untimed
@given(
    st.lists(table_rows, max_size=12),
    st.integers(1, 5),
    st.booleans(),
    st.sampled_from(["none", "zstd", "snappy"]),
)
def test_parquet_is_what_arrow_says_it_is(table, group, dictionary, compression):
    body = io.BytesIO()
    pq.write_table(
        pa.Table.from_pylist(table, schema),
        body,
        row_group_size=group,
        use_dictionary=dictionary,
        compression=compression,
    )
    found = rows(body.getvalue(), "a.parquet")
    assert [json.loads(row) for _, row in found] == pq.read_table(body).to_pylist() == table
    assert [number for number, _ in found] == list(range(1, len(table) + 1))


parts = st.text(st.sampled_from("ab."), min_size=1, max_size=3)


@untimed
@given(st.lists(parts, min_size=1, max_size=4), st.data())
def test_a_pattern_matches_what_it_was_made_from(folders, data):
    path = "/".join(folders)
    wild = [
        data.draw(st.sampled_from([part, "*", part[0] + "*", "*" + part[-1], "?" * len(part)]))
        for part in folders
    ]
    pattern = "/".join(wild)
    assert matcher(pattern)(path)
    assert path.startswith(prefix_of(pattern))
    assert matcher("**/" + wild[-1])(path)
    assert matcher("**")(path)
    assert not matcher(pattern)(path + "/a")
    assert not matcher(pattern)("a/" + path)


def expression(pattern):
    """The same rules as an expression."""
    said = {"**/": "(?:[^/]+/)*", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    parts = re.split(r"((?<![^/])\*\*/|\*\*|\*|\?)", pattern)
    return "".join(said.get(part, re.escape(part)) for part in parts)


@untimed
@given(st.text(st.sampled_from("ab/*?"), max_size=8), st.text(st.sampled_from("ab/"), max_size=8))
def test_a_pattern_matches_what_its_rules_say(pattern, path):
    assert matcher(pattern)(path) == (re.fullmatch(expression(pattern), path) is not None)


@pytest.mark.parametrize("part", ["*a", "**a", "**/a*", "*?"])
def test_no_pattern_takes_long(part):
    """An expression would not come to an end."""
    path = "/".join(["a" * 30] * 33)
    assert not matcher(part * 100 + "b")(path)


class Seeing(Room):
    """Keeps the pages that it was told of."""

    def __init__(self, content: bytes) -> None:
        super().__init__(lambda at, size: content[at : at + size])
        self.pages: list[Page] = []

    def take(self, chunk, page) -> None:
        super().take(chunk, page)
        self.pages.append(page)


@untimed
@given(
    st.lists(table_rows, min_size=1, max_size=12),
    st.sampled_from(["none", "zstd"]),
    st.sampled_from(["1.0", "2.0"]),
    st.booleans(),
    st.integers(1, 64) | st.just(1 << 20),
)
def test_every_page_is_seen_whatever_the_blocks(table, compression, version, dictionary, block):
    """The watch arrives at the column's end: it has read every header, and every size in them."""
    body = io.BytesIO()
    pq.write_table(
        pa.Table.from_pylist(table, schema),
        body,
        compression=compression,
        data_page_version=version,
        use_dictionary=dictionary,
        data_page_size=1,
        write_batch_size=1,
        write_page_checksum=True,
    )
    content = body.getvalue()
    footer = footer_of(MemoryFile(content, "a.parquet"))
    assert footer.rows == len(table)
    assert len(footer.chunks) == 4
    for chunk in footer.chunks:
        room = Seeing(content)
        watch, at = PageWatch(chunk, room), chunk.start
        while at < chunk.end:
            before = len(room.pages)
            at += len(watch.pass_on(at, content[at : min(at + block, chunk.end)]))
            assert len(room.pages) <= before + 1, "no more than a page is given at once"
        assert watch.seen_to == chunk.end
        assert sum(page.values for page in room.pages if not page.is_dictionary) >= len(table)


@untimed
@given(
    st.lists(texts, min_size=1, max_size=30),
    st.sampled_from(["none", "snappy", "gzip", "brotli", "zstd", "lz4"]),
    st.sampled_from(["1.0", "2.0"]),
)
def test_the_longest_text_of_a_dictionary_is_told_however_it_is_packed(said, packing, version):
    body = io.BytesIO()
    table = pa.table({"text": said})
    pq.write_table(table, body, compression=packing, data_page_version=version)
    content = body.getvalue()
    (chunk,) = footer_of(MemoryFile(content, "a.parquet")).chunks
    room = Seeing(content)
    PageWatch(chunk, room).pass_on(chunk.start, content[chunk.start : chunk.end])
    (dictionary,) = room.pages
    data = content[dictionary.at : dictionary.at + dictionary.packed]
    assert is_worth_a_look(dictionary, chunk.packing)
    assert longest_text(dictionary, chunk.packing, data) == max(
        len(text.encode()) for text in said
    )
    damaged = longest_text(dictionary, chunk.packing, data[:-1] + b"\xff" * 9)
    assert 0 <= damaged <= dictionary.unpacked


said = (
    st.none()
    | st.sampled_from(["\0" * 40, "x" * 40])
    | texts
    | st.text(st.sampled_from("\0\x1fé😀"), max_size=40)
)
kinds = pa.schema(
    [
        ("said", pa.string()),
        (
            "turns",
            pa.list_(
                pa.struct([("role", pa.string()), ("what was said then " * 12, pa.large_string())])
            ),
        ),
        ("nothing", pa.list_(pa.null())),
    ]
)
rows_of_text = st.fixed_dictionaries(
    {
        "said": said,
        "turns": st.none()
        | st.lists(
            st.none() | st.fixed_dictionaries({"role": said, "what was said then " * 12: said}),
            max_size=4,
        ),
        "nothing": st.lists(st.none(), max_size=40),
    }
)


@untimed
@given(st.lists(rows_of_text, min_size=1, max_size=12), st.integers(-1, 0), st.data())
def test_text_in_parquet_is_its_json_and_too_long_by_its_json(given, less, data):
    """Without the JSON being written, where it can be told that none is too long."""
    body = io.BytesIO()
    table = pa.Table.from_pylist(given, kinds)
    pq.write_table(table, body)
    lines = [msgspec.json.encode(row) for row in table.to_pylist()]
    limit = len(data.draw(st.sampled_from(lines))) + less
    assert [row for _, row in rows(body.getvalue(), "a.parquet", limit=limit)] == [
        line if len(line) <= limit else Reason.TOO_LONG for line in lines
    ]
