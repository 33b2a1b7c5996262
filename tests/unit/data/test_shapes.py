"""Rows of every shape become the component's conversations, or are refused with a place of their own."""

from __future__ import annotations

import json
from typing import get_args, get_type_hints

import pytest

from shared.data.options import Options
from shared.data.reasons import Reason, Refusal
from shared.data.rows import Example, Reader
from shared.data.shapes import REQUIRED, SPEAKERS, Shape, Turn
from shared.runs.manifest import Dataset
from tests.memory import conversation

TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {}}}]
QA = {"question": "q", "answer": "a"}
ALPACA = {"instruction": "do", "output": "done"}
PROMPT = {"prompt": "p", "completion": " c"}


def turns(*given, **columns):
    named = ({"from": speaker, "value": value} for speaker, value in given)
    return {"conversations": list(named), **columns}


def read(row, **options):
    """What becomes of a row: the same whether it comes as JSON or as values."""
    line = row if isinstance(row, bytes) else json.dumps(row).encode()
    found = Reader(Options(**options)).read(line)
    if isinstance(row, dict):
        assert Reader(Options(**options)).read(row) == found
    return found


def written(row, **options):
    example = read(row, **options)
    assert isinstance(example, Example), example
    return json.loads(example.line)


BECOMES = {
    "sharegpt": (turns(("human", "q"), ("gpt", "a")), conversation("q", "a")),
    "sharegpt with a system turn": (
        turns(("system", "s"), ("user", "q"), ("chatgpt", "a")),
        conversation("q", "a", system="s"),
    ),
    "sharegpt with a system column": (
        turns(("human", "q"), ("bing", "a"), system="s"),
        conversation("q", "a", system="s"),
    ),
    "sharegpt as text": (
        {"conversations": json.dumps(turns(("human", "q"), ("gpt", "a"))["conversations"])},
        conversation("q", "a"),
    ),
    "alpaca": (ALPACA, conversation("do", "done")),
    "alpaca with an input": (ALPACA | {"input": "this"}, conversation("do\n\nthis", "done")),
    "alpaca with a blank input": (ALPACA | {"input": " \n"}, conversation("do", "done")),
    "alpaca with a null input": (ALPACA | {"input": None}, conversation("do", "done")),
    "alpaca with a system column": (
        ALPACA | {"system": "s"},
        conversation("do", "done", system="s"),
    ),
    "prompt and completion, word for word": (PROMPT, conversation("p", " c")),
    "question and answer": (QA, conversation("q", "a")),
    "messages as text": (
        {"messages": json.dumps(conversation("q", "a")["messages"])},
        conversation("q", "a"),
    ),
    "messages with a system column": (
        conversation("q", "a") | {"system": "s"},
        conversation("q", "a", system="s"),
    ),
    "the same system message twice": (
        conversation("q", "a", system="s") | {"system": "s"},
        conversation("q", "a", system="s"),
    ),
    "a blank system column": (QA | {"system": " "}, conversation("q", "a")),
    "tools of another shape": (
        QA | {"tools": json.dumps(TOOLS)},
        conversation("q", "a", tools=TOOLS),
    ),
    "another shape's columns, but null": (
        QA | {"messages": None, "conversations": None, "output": None, "completion": None},
        conversation("q", "a"),
    ),
    "messages beside a prompt": (conversation("q", "a", prompt="q"), conversation("q", "a")),
    "messages beside an answer": (conversation("q", "a", answer="a"), conversation("q", "a")),
    "messages beside half of another shape": (
        conversation("q", "a", completion=[1], output={}, question=7),
        conversation("q", "a"),
    ),
    "unanswered last turns": (
        turns(("human", "q"), ("gpt", "a"), ("human", "and?")),
        conversation("q", "a"),
    ),
}


@pytest.mark.parametrize(("row", "becomes"), BECOMES.values(), ids=BECOMES)
def test_a_row_of_any_shape_becomes_a_conversation(row, becomes):
    assert written(row) == becomes


@pytest.mark.parametrize(("row", "becomes"), BECOMES.values(), ids=BECOMES)
def test_the_same_conversation_is_the_same_bytes_whatever_its_shape(row, becomes):
    assert read(row).line == read(becomes).line


@pytest.mark.parametrize(("speaker", "role"), SPEAKERS.items())
def test_each_of_sharegpts_speakers_has_a_role(speaker, role):
    rows = {
        "system": turns((speaker, "x"), ("human", "q"), ("gpt", "a")),
        "user": turns((speaker, "x"), ("gpt", "a")),
        "assistant": turns(("human", "q"), (speaker, "x")),
        "tool": turns(("human", "q"), ("gpt", "f()"), (speaker, "x"), ("gpt", "a"), tools=TOOLS),
    }
    assert {"role": role, "content": "x"} in written(rows[role])["messages"]


def test_speakers_that_are_decoded_are_those_that_have_a_role():
    assert set(get_args(get_type_hints(Turn)["speaker"])) == set(SPEAKERS)


REFUSED = {
    "two shapes": (QA | ALPACA, Reason.AMBIGUOUS_SHAPE, "alpaca and question-answer"),
    "messages and another shape": (
        conversation("q", "a", **QA),
        Reason.AMBIGUOUS_SHAPE,
        "messages and question-answer",
    ),
    "half of a shape": ({"question": "q"}, Reason.UNKNOWN_SHAPE, "question"),
    "a stranger's columns": ({"text": "q", "label": 1}, Reason.UNKNOWN_SHAPE, "text, label"),
    "many columns": ({f"column {n}": 1 for n in range(99)}, Reason.UNKNOWN_SHAPE, "column 1,"),
    "all null": (dict.fromkeys(QA), Reason.EMPTY_CONTENT, "question is missing or null"),
    "a blank answer": (QA | {"answer": "\n"}, Reason.EMPTY_CONTENT, "answer is blank"),
    "a null answer": (QA | {"answer": None}, Reason.EMPTY_CONTENT, "answer is missing or null"),
    "a number for an answer": (QA | {"answer": 42}, Reason.WRONG_TYPES, "answer is a number"),
    "a blank instruction with an input": (
        ALPACA | {"instruction": " ", "input": "x"},
        Reason.EMPTY_CONTENT,
        "instruction is blank",
    ),
    "an input of a wrong type": (ALPACA | {"input": [1]}, Reason.WRONG_TYPES, "input is a list"),
    "a blank output": (ALPACA | {"output": ""}, Reason.EMPTY_CONTENT, "output is blank"),
    "a completion as an object": (PROMPT | {"completion": {}}, Reason.WRONG_TYPES, "completion"),
    "a prompt as messages": (PROMPT | {"prompt": [{}]}, Reason.WRONG_TYPES, "prompt is a list"),
    "a system column of a wrong type": (
        QA | {"system": 1},
        Reason.WRONG_TYPES,
        "system is a number",
    ),
    "two system messages": (
        conversation("q", "a", system="s") | {"system": "t"},
        Reason.SYSTEM_NOT_FIRST,
        "system gives another",
    ),
    "a speaker nobody knows": (
        turns(("human", "q"), ("narrator", "a")),
        Reason.UNKNOWN_ROLE,
        "conversations[1].from is 'narrator'",
    ),
    "a call as a turn": (
        turns(("human", "q"), ("function_call", "{}"), ("gpt", "a")),
        Reason.TOOL_CALLS,
        "conversations[1].from",
    ),
    "a blank turn": (
        turns(("human", "q"), ("gpt", "")),
        Reason.EMPTY_CONTENT,
        "conversations[1].value is blank",
    ),
    "turns out of order": (
        turns(("human", "q"), ("human", "q"), ("gpt", "a")),
        Reason.TURN_ORDER,
        "conversations[1] is user after user",
    ),
    "one turn": (turns(("human", "q")), Reason.TOO_FEW_MESSAGES, "1"),
    "one turn and a system column": (
        turns(("gpt", "a"), system="s"),
        Reason.TOO_FEW_MESSAGES,
        "1",
    ),
    "a tool's turn without tools": (
        turns(("human", "q"), ("gpt", "f()"), ("tool", "x"), ("gpt", "a")),
        Reason.UNKNOWN_ROLE,
        "conversations[2]",
    ),
    "messages called conversations": (
        {"conversations": conversation("q", "a")["messages"]},
        Reason.WRONG_TYPES,
        '{"messages": "conversations"} in dataset.columns',
    ),
    "conversations called messages": (
        {"messages": turns(("human", "q"), ("gpt", "a"))["conversations"]},
        Reason.WRONG_TYPES,
        '{"conversations": "messages"} in dataset.columns',
    ),
    "tools of a wrong type": (QA | {"tools": 1}, Reason.WRONG_TYPES, "tools is a number"),
    "text that cannot be": (
        rb'{"question": "q", "answer": "\udc00"}',
        Reason.LONE_SURROGATE,
        "udc00",
    ),
    "no shape in Latin-1": ('{"text": "é"}'.encode("latin-1"), Reason.NOT_UTF8, "byte"),
    "a key given twice, once wrongly": (
        b'{"question": 1, "question": "q", "answer": "a"}',
        Reason.WRONG_TYPES,
        "given twice",
    ),
    "an answer in Latin-1": (
        '{"question": "é", "answer": "a"}'.encode("latin-1"),
        Reason.NOT_UTF8,
        "byte",
    ),
}


@pytest.mark.parametrize(("row", "reason", "detail"), REFUSED.values(), ids=REFUSED)
def test_a_row_that_would_fail_is_refused_in_its_own_terms(row, reason, detail):
    refusal = read(row)
    assert isinstance(refusal, Refusal)
    assert refusal.reason is reason
    assert detail in refusal.detail
    assert len(refusal.detail) < 200


ALL = [row for row, _ in BECOMES.values()] + [row for row, *_ in REFUSED.values()]


def test_what_becomes_of_a_row_does_not_depend_on_the_rows_before():
    lines = [row if isinstance(row, bytes) else json.dumps(row).encode() for row in ALL]
    alone = [Reader().read(line) for line in lines]
    for step in (1, 7, 11):
        reader, order = Reader(), [n * step % len(lines) for n in range(len(lines))]
        assert [reader.read(lines[n]) for n in order] == [alone[n] for n in order]


def test_only_the_first_row_of_a_shape_is_looked_at_twice(monkeypatch):
    looks = []
    real = Reader._second_look
    monkeypatch.setattr(
        Reader, "_second_look", lambda self, line: looks.append(line) or real(self, line)
    )
    reader, line = Reader(), json.dumps(QA).encode()
    for _ in range(5):
        reader.read(line)
    assert len(looks) == 1


def test_a_named_shape_decides_where_two_fit():
    row = QA | ALPACA
    assert written(row, shape="alpaca") == conversation("do", "done")
    assert written(row, shape="question-answer") == conversation("q", "a")


def test_rows_of_other_shapes_than_the_named_one_are_refused():
    refusal = read(QA, shape="alpaca")
    assert refusal.reason is Reason.UNKNOWN_SHAPE
    assert "alpaca needs instruction, output; the columns are: question, answer" in refusal.detail


MAPPED = {
    "messages": ({"messages": "dialog"}, {"dialog": conversation("q", "a")["messages"]}),
    "a column that is another's usual name": (
        {"messages": "conversations"},
        {"conversations": conversation("q", "a")["messages"]},
    ),
    "turns": (
        {"conversations": "items"},
        {"items": turns(("human", "q"), ("gpt", "a"))["conversations"]},
    ),
    "all columns": ({"prompt": "q", "completion": "a"}, {"q": "q", "a": "a"}),
    "some columns": ({"answer": "response"}, {"question": "q", "response": "a"}),
    "swapped columns": (
        {"prompt": "completion", "completion": "prompt"},
        {"prompt": "a", "completion": "q"},
    ),
    "beside what would be another shape": (
        {"prompt": "q", "completion": "a"},
        {"q": "q", "a": "a", **ALPACA},
    ),
}


@pytest.mark.parametrize(("columns", "row"), MAPPED.values(), ids=MAPPED)
def test_columns_may_have_other_names(columns, row):
    assert written(row, columns=columns) == conversation("q", "a")


def test_a_column_that_every_shape_may_have_is_mapped_without_naming_one():
    options = {"columns": {"system": "system_prompt", "tools": "functions"}}
    given = {"system_prompt": "s", "functions": TOOLS, "system": 1, "tools": 1}
    for row in (QA, conversation("q", "a"), turns(("human", "q"), ("gpt", "a"))):
        assert written(row | given, **options) == conversation("q", "a", system="s", tools=TOOLS)


def test_a_mapped_column_is_called_in_a_refusal_what_the_dataset_calls_it():
    row = {"dialog": conversation("q")["messages"] * 2 + conversation("q", "a")["messages"]}
    assert "dialog[1] is user after user" in read(row, columns={"messages": "dialog"}).detail
    blank = read({"q": "q", "a": ""}, columns={"question": "q", "answer": "a"})
    assert blank.detail == "a is blank"


@pytest.mark.parametrize(
    "columns",
    [
        {"text": "body"},
        {"prompt": "q", "answer": "a"},
        {"prompt": "x", "completion": "x"},
        {"prompt": "completion"},
        {"tools": "question"},
    ],
)
def test_a_mapping_that_suits_no_shape_is_refused(columns):
    with pytest.raises(ValueError, match="columns"):
        Options(columns=columns)
    with pytest.raises(ValueError, match=r"dataset|columns"):
        Dataset.model_validate({"hub": "a/b", "columns": columns})


def test_a_system_message_is_put_where_there_is_none():
    plain, own = conversation("q", "a"), conversation("q", "a", system="own")
    default = conversation("q", "a", system="be kind")
    assert written(plain, system="be kind") == default
    assert written(own, system="be kind") == own
    assert written(QA | {"system": "own"}, system="be kind") == own
    assert written(QA | {"system": ""}, system="be kind") == default
    assert read(plain, system="be kind") == read(default)


def test_a_system_message_mends_no_row():
    assert read(conversation("q"), system="be kind").reason is Reason.TOO_FEW_MESSAGES
    assert read({"messages": []}, system="be kind").reason is Reason.TOO_FEW_MESSAGES


def test_kept_columns_are_text_in_every_row_beside_the_conversation():
    row = QA | {"id": 7, "tags": ["a", {"b": 1.5}], "note": "é\n", "none": None, "other": 1}
    names = ["id", "note", "tags", "none", "absent", "question"]
    example = read(row, keep_columns=names)
    kept = {"id": "7", "note": "é\n", "tags": '["a",{"b":1.5}]', "none": "", "absent": ""}
    assert json.loads(example.line) == conversation("q", "a") | kept | {"question": "q"}
    assert list(json.loads(example.line)) == ["messages", *names]
    assert example.digest == read(QA).digest
    assert example.tokens == read(QA).tokens


def test_kept_columns_come_after_tools():
    row = conversation("q", "a", tools=TOOLS, id="x")
    assert list(written(row, keep_columns=["id"])) == ["messages", "tools", "id"]


@pytest.mark.parametrize(
    ("value", "kept"),
    [(b"1e999", "1e999"), (b'"\\u00e9"', "é"), (b"[ 1,\t2 ]", "[1,2]"), (b"true", "true")],
)
def test_a_kept_value_is_its_json_if_it_is_no_text(value, kept):
    row = b'{"question":"q","answer":"a","x": ' + value + b" }"
    assert written(row, keep_columns=["x"])["x"] == kept


def test_bytes_that_are_left_out_may_be_anything_whichever_shape_is_expected():
    left_out = b',"x\xff":"\xff"}'
    reader = Reader()
    for line in [json.dumps(row).encode() for row in (conversation("q", "a"), QA)] * 2:
        assert reader.read(line[:-1] + left_out) == Reader().read(line)


def test_a_kept_column_that_is_not_utf8_is_refused_and_one_left_out_is_not():
    row = b'{"question":"q","answer":"a","x":"\xff"}'
    assert read(row, keep_columns=["x"]).reason is Reason.NOT_UTF8
    assert isinstance(read(row), Example)


@pytest.mark.parametrize(
    "names", [["messages"], ["id", "tools"], ["id", "id"], [" messages"], [""]]
)
def test_columns_that_cannot_be_kept_are_refused(names):
    with pytest.raises(ValueError, match="keep_columns"):
        Options(keep_columns=names)
    with pytest.raises(ValueError, match="keep_columns"):
        Dataset.model_validate({"hub": "a/b", "keep_columns": names})


def test_the_manifest_names_the_shapes_that_there_are():
    for shape in Shape:
        assert Dataset.model_validate({"hub": "a/b", "shape": shape.value}).shape == shape
    with pytest.raises(ValueError, match="shape"):
        Options(shape="chatml")


def test_no_shape_is_part_of_another():
    for shape in Shape:
        others = [other for other in Shape if other is not shape]
        assert not any(set(REQUIRED[shape]) <= set(REQUIRED[other]) for other in others)
