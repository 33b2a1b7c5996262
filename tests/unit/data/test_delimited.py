"""CSV and TSV: a header, records over several lines, and what people's files really look like."""

from __future__ import annotations

import csv
import io
import json
import tracemalloc

import pytest

from shared.data.formats import delimited
from shared.data.reasons import Reason
from shared.data.rows import Reader
from shared.errors import DataRejected
from tests.unit.data.rows_of_bytes import rows

BLOCKS = pytest.mark.parametrize("block", [1, 2, 5, 1 << 16])


def decoded(content, name="data/a.csv", block=1 << 16, limit=1 << 20):
    return [
        (number, row if isinstance(row, Reason) else json.loads(row))
        for number, row in rows(content, name, block, limit)
    ]


@BLOCKS
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_rows_are_objects_by_column_numbered_by_the_line_where_they_begin(block, end, mark):
    lines = [b"question,answer", b'"a, ""b""', b'and ",c', b"", "d,ä".encode()]
    content = mark + end.join(lines)
    middle = end.decode()
    assert decoded(content, block=block) == [
        (2, {"question": f'a, "b"{middle}and ', "answer": "c"}),
        (5, {"question": "d", "answer": "ä"}),
    ]


@BLOCKS
def test_tabs_stand_between_the_cells_of_a_tsv(block):
    assert decoded(b'a\tb\n1,2\t"x\ty"\n', "a.tsv", block) == [(2, {"a": "1,2", "b": "x\ty"})]


def test_lists_of_messages_are_written_as_json_text_and_answers_that_are_json_stay_text():
    """Both are what people write; which it is, the row's shape tells."""
    turns = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "[1]"}]
    answer = '{"name": ["a"]}'
    for columns, cells, messages in (
        (["messages", "tools"], [json.dumps(turns), ""], turns),
        (
            ["question", "answer"],
            ["[it]", answer],
            [{"role": "user", "content": "[it]"}, {"role": "assistant", "content": answer}],
        ),
    ):
        text = io.StringIO()
        csv.writer(text).writerows([columns, cells])
        ((_, row),) = rows(text.getvalue().encode(), "a.csv")
        assert json.loads(Reader().read(row).line) == {"messages": messages}


def test_columns_without_a_name_are_left_out():
    """pandas writes its index so, spreadsheets their empty columns."""
    assert decoded(b",a,,\n0,x,,\n1,y\n") == [(2, {"a": "x"}), (3, {"a": "y"})]


def test_a_row_with_more_cells_than_names_is_refused_and_one_with_fewer_lacks_columns():
    assert decoded(b"a,b\n1,2,3\n4\n5,6,,\n") == [
        (2, Reason.TOO_MANY_CELLS),
        (3, {"a": "4"}),
        (4, {"a": "5", "b": "6"}),
    ]


def test_a_row_that_is_not_utf8_is_refused_alone():
    assert decoded(b"a,b\nM\xfcller,x\nok,y\n") == [
        (2, Reason.NOT_UTF8),
        (3, {"a": "ok", "b": "y"}),
    ]


def test_a_row_over_the_limit_is_refused_alone():
    assert decoded(b"a\n" + b"x" * 200 + b"\ny\n", limit=100) == [
        (2, Reason.TOO_LONG),
        (3, {"a": "y"}),
    ]


@BLOCKS
@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"a,b,a\n1,2,3\n", "names columns more than once: a"),
        (b'"[{""role"": ""user""}]"\n', "has no header: its first line is"),
        (b",,\n1,2,3\n", "has no header"),
        (b"\n1\n", "has no header"),
        (b"\xff\xfea\x00,\x00", "is no text: line 1 holds a NUL byte"),
        (b"a\n1\n2\x003\n", "is no text: line 3 holds a NUL byte"),
        (b"\xe4,b\n1,2\n", "is not UTF-8"),
        (b'a\n"x"y\n', "is not CSV at line 2"),
        (b'a\n1\n"x\n\n', "is not CSV at line 4"),
        (b"a,b\r1,2\r3,4\r", "is not CSV at line 1: a carriage return alone"),
    ],
)
def test_a_file_that_is_no_table_is_rejected_with_the_line(block, content, why):
    with pytest.raises(DataRejected, match=why) as raised:
        rows(content, "data/a.csv", block)
    (problem,) = raised.value.problems
    assert problem.place == "data/a.csv"
    assert problem.mend


def test_a_tsv_is_told_as_one():
    with pytest.raises(DataRejected, match="is not TSV at line 2"):
        rows(b'a\n"x"y\n', "a.tsv")


@pytest.mark.parametrize("content", [b"", b"a,b\n", b"\xef\xbb\xbfa"])
def test_without_records_there_are_no_rows(content):
    assert rows(content, "a.csv") == []


@pytest.mark.parametrize("filling", [b"x" * 999 + b"\n", b"x" * 1000, b'""' * 500])
def test_a_quote_that_is_never_closed_is_told_within_bounded_memory(monkeypatch, filling):
    """The rest of a file of any size would be one cell."""
    monkeypatch.setattr(delimited, "LONGEST_RECORD", 1 << 20)
    content = b'a\n1\n"' + filling * 8000
    tracemalloc.start()
    try:
        with pytest.raises(DataRejected, match="the row that begins on line 3 within 1 MiB"):
            rows(content, "a.csv")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 12 << 20


def test_a_record_of_very_many_cells_rejects_the_file():
    """Each cell takes far more memory than its two letters."""
    cells = b"ab," * ((1 << 20) + 1)
    with pytest.raises(
        DataRejected, match="more than 262,144 delimiters in the row that begins on line 2"
    ):
        rows(b"question,answer\n" + cells + b"\n", "a.csv")


def test_of_very_many_names_that_come_twice_a_few_are_told():
    header = b",".join(b"c%d,c%d" % (n, n) for n in range(1000))
    with pytest.raises(DataRejected, match="more than once: c0, c1, c2 and 997 more") as raised:
        rows(header + b"\n", "a.csv")
    assert len(str(raised.value)) < 300
