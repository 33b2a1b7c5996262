"""Each raw row becomes an example in one form, or is refused with a reason that says where."""

from __future__ import annotations

import json

import pytest

from shared.data.options import Options
from shared.data.reasons import Reason, Refusal
from shared.data.rows import Example, Reader
from tests.memory import conversation

USER = {"role": "user", "content": "question"}
ASSISTANT = {"role": "assistant", "content": "answer"}
SYSTEM = {"role": "system", "content": "be kind"}
TOOL = {"role": "tool", "content": "42"}
TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {}}}]


def read(row):
    return Reader().read(row if isinstance(row, bytes) else json.dumps(row).encode())


def messages(*given, **columns):
    return {"messages": list(given), **columns}


REFUSED = {
    "binary": (b"\x00\x01\xff", Reason.NOT_UTF8, "byte 2"),
    "latin-1": ('{"messages": "é"}'.encode("latin-1"), Reason.NOT_UTF8, "byte 14"),
    "a surrogate in UTF-8": (b'{"messages": "\xed\xa0\x80"}', Reason.NOT_UTF8, "byte 14"),
    "cut off": (b'{"messages": [', Reason.NOT_JSON, "truncated"),
    "two values": (b"{} {}", Reason.NOT_JSON, "trailing"),
    "NaN": (b'{"messages": [], "score": NaN}', Reason.NOT_JSON, "byte 26"),
    "UTF-16": ('{"messages": []}'.encode("utf-16"), Reason.NOT_UTF8, "byte 0"),
    "half a pair": (
        rb'{"messages": [{"role": "user", "content": "\ud83d x"}]}',
        Reason.LONE_SURROGATE,
        "ud83d",
    ),
    "the other half": (rb'{"id": "\uDE00"}', Reason.LONE_SURROGATE, "uDE00"),
    "half a pair at the end": (rb'"\ud83d"', Reason.LONE_SURROGATE, "ud83d"),
    "100,000 levels": (b'{"messages":' + b"[" * 100_000, Reason.TOO_DEEP, ""),
    "100,000 levels aside": (
        b'{"messages":[],"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        Reason.TOO_DEEP,
        "",
    ),
    "40,000 levels of tools": (
        json.dumps(messages(USER, ASSISTANT, tools="[" * 40_000)).encode(),
        Reason.TOO_DEEP,
        "more than 500 levels",
    ),
    "a list": ([USER, ASSISTANT], Reason.WRONG_TYPES, "object"),
    "a number": (b"7", Reason.WRONG_TYPES, "object"),
    "no shape's columns": ({"text": "a", "label": 1}, Reason.UNKNOWN_SHAPE, "text, label"),
    "null messages": ({"messages": None}, Reason.WRONG_TYPES, "messages is missing or null"),
    "an empty object": (b"{}", Reason.UNKNOWN_SHAPE, "none"),
    "messages as text that is no list": (
        {"messages": "{}"},
        Reason.WRONG_TYPES,
        "messages is an object",
    ),
    "messages as text that is no JSON": ({"messages": "hi"}, Reason.WRONG_TYPES, "not JSON"),
    "100,000 levels of messages as text": (
        {"messages": "[" * 100_000},
        Reason.TOO_DEEP,
        "",
    ),
    "a message as text": (messages(USER, "hi"), Reason.WRONG_TYPES, "messages[1] is text"),
    "a role of a wrong type": (
        messages({"role": 1, "content": "a"}, ASSISTANT),
        Reason.WRONG_TYPES,
        "messages[0].role",
    ),
    "a missing role": (
        messages({"content": "a"}, ASSISTANT),
        Reason.WRONG_TYPES,
        "messages[0].role",
    ),
    "parts of content": (
        messages({"role": "user", "content": [{"type": "text", "text": "a"}]}, ASSISTANT),
        Reason.WRONG_TYPES,
        "messages[0].content is a list",
    ),
    "one message": (messages(USER), Reason.TOO_FEW_MESSAGES, "1"),
    "no message": (messages(), Reason.TOO_FEW_MESSAGES, "0"),
    "a stranger's role": (
        messages({"role": "human", "content": "a"}, ASSISTANT),
        Reason.UNKNOWN_ROLE,
        "'human'",
    ),
    "a capital role": (
        messages({"role": "User", "content": "a"}, ASSISTANT),
        Reason.UNKNOWN_ROLE,
        "'User'",
    ),
    "a tool without tools": (
        messages(USER, ASSISTANT, TOOL, ASSISTANT),
        Reason.UNKNOWN_ROLE,
        "messages[2]",
    ),
    "empty content": (
        messages(USER, {"role": "assistant", "content": ""}),
        Reason.EMPTY_CONTENT,
        "messages[1]",
    ),
    "blank content": (
        messages(USER, {"role": "assistant", "content": " \n"}),
        Reason.EMPTY_CONTENT,
        "messages[1]",
    ),
    "null content": (
        messages(USER, {"role": "assistant", "content": None}),
        Reason.EMPTY_CONTENT,
        "messages[1]",
    ),
    "no content": (messages({"role": "user"}, ASSISTANT), Reason.EMPTY_CONTENT, "messages[0]"),
    "calls beside content": (
        messages(USER, {**ASSISTANT, "tool_calls": [{"id": "1"}]}),
        Reason.TOOL_CALLS,
        "messages[1]",
    ),
    "calls without content": (
        messages(USER, {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}),
        Reason.TOOL_CALLS,
        "messages[1].tool_calls",
    ),
    "a late system message": (
        messages(USER, SYSTEM, ASSISTANT),
        Reason.SYSTEM_NOT_FIRST,
        "messages[1]",
    ),
    "a system message at the end": (
        messages(USER, ASSISTANT, SYSTEM),
        Reason.SYSTEM_NOT_FIRST,
        "messages[2]",
    ),
    "two system messages": (
        messages(SYSTEM, SYSTEM, USER, ASSISTANT),
        Reason.SYSTEM_NOT_FIRST,
        "messages[1]",
    ),
    "no assistant": (messages(USER, USER), Reason.NO_ASSISTANT, "user, user"),
    "only a system and a user": (messages(SYSTEM, USER), Reason.NO_ASSISTANT, "system, user"),
    "the assistant first": (
        messages(ASSISTANT, USER, ASSISTANT),
        Reason.TURN_ORDER,
        "messages[0]",
    ),
    "the assistant after system": (messages(SYSTEM, ASSISTANT), Reason.TURN_ORDER, "messages[1]"),
    "two questions": (messages(USER, USER, ASSISTANT), Reason.TURN_ORDER, "messages[1]"),
    "two answers": (messages(USER, ASSISTANT, ASSISTANT), Reason.TURN_ORDER, "messages[2]"),
    "a tool after the user": (
        messages(USER, TOOL, ASSISTANT, tools=TOOLS),
        Reason.TURN_ORDER,
        "messages[1]",
    ),
    "tools of a wrong type": (
        messages(USER, ASSISTANT, tools=7),
        Reason.WRONG_TYPES,
        "tools is a number",
    ),
    "tools as text that is no list": (
        messages(USER, ASSISTANT, tools="f()"),
        Reason.WRONG_TYPES,
        "tools",
    ),
    "a number in tools beyond any type": (
        b'{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"}],"tools":[{"n":1e999}]}',
        Reason.WRONG_TYPES,
        "range",
    ),
}


@pytest.mark.parametrize(("row", "reason", "detail"), REFUSED.values(), ids=REFUSED)
def test_a_row_that_would_fail_is_refused_with_reason_and_place(row, reason, detail):
    refusal = read(row)
    assert isinstance(refusal, Refusal)
    assert refusal.reason is reason
    assert detail in refusal.detail


def test_every_reason_found_in_a_row_alone_is_shown_above():
    found_elsewhere = {
        Reason.TOO_LONG,
        Reason.TOO_MANY_CELLS,
        Reason.DUPLICATE,
        Reason.LEAK,
        Reason.AMBIGUOUS_SHAPE,
    }
    assert {reason for _, reason, _ in REFUSED.values()} | found_elsewhere == set(Reason)


def test_every_reason_has_words_and_a_mend():
    assert all(reason.meaning and reason.mend for reason in Reason)


@pytest.mark.parametrize("line", [b"", b" ", b"\r", b"\t \r"])
def test_a_blank_line_is_no_row(line):
    assert read(line) is None


ACCEPTED = {
    "two turns": messages(USER, ASSISTANT),
    "a system message": messages(SYSTEM, USER, ASSISTANT),
    "four turns": messages(USER, ASSISTANT, USER, ASSISTANT),
    "tools": messages(USER, ASSISTANT, tools=TOOLS),
    "a tool's answers": messages(
        USER, ASSISTANT, TOOL, TOOL, ASSISTANT, USER, ASSISTANT, tools=TOOLS
    ),
    "a character beyond the basic plane": conversation("😀", "é\u2028\x00"),
}


@pytest.mark.parametrize("row", ACCEPTED.values(), ids=ACCEPTED)
def test_a_valid_row_comes_out_as_it_is(row):
    assert json.loads(read(row).line) == row


def test_a_row_already_in_the_form_of_the_output_passes_byte_for_byte():
    first = r'{"role":"user","content":"naïve\n\"é\""}'
    line = f'{{"messages":[{first},{{"role":"assistant","content":"😀"}}]}}'.encode()
    assert read(line).line == line


def test_other_columns_and_keys_are_left_out_and_key_order_and_spacing_do_not_matter():
    odd = b'{ "id": 1, "messages": [{"content": "\\u0061", "name": "x", "role": "user"}, '
    odd += b'{"weight": 0, "content": "b",\r"role": "assistant", "tool_calls": null}], '
    odd += b'"tools": null, "score": 1e999 } \r'
    assert read(odd).line == read(conversation("a", "b")).line


@pytest.mark.parametrize("empty", [None, [], "", " ", "[]", "null", [{}]])
def test_empty_tools_are_no_tools_since_the_component_drops_such_rows(empty):
    example = read(messages(USER, ASSISTANT, tools=empty))
    assert "tools" not in json.loads(example.line)
    assert not example.turns.tools


def test_tools_written_as_text_become_a_list():
    example = read(messages(USER, ASSISTANT, tools=json.dumps(TOOLS)))
    assert json.loads(example.line)["tools"] == TOOLS
    assert example.turns.tools


def test_of_a_key_given_twice_the_last_counts_and_only_it_is_written():
    first, second = '"role":"user","content":"x","content":"a"', '"role":"assistant","content":"b"'
    line = f'{{"messages":[],"messages":[{{{first}}},{{{second}}}]}}'.encode()
    assert read(line).line == read(conversation("a", "b")).line


@pytest.mark.parametrize("extra", [[USER], [USER, USER]])
def test_unanswered_last_turns_are_trimmed_and_told(extra):
    example = read(messages(USER, ASSISTANT, *extra))
    assert isinstance(example, Example)
    assert json.loads(example.line) == messages(USER, ASSISTANT)
    assert example.turns.trimmed
    assert example.turns.kept == 2
    assert example.characters == len("question" + "answer")


def test_unanswered_last_turns_are_trimmed_behind_a_system_message_that_is_put_first():
    row = json.dumps(messages(USER, ASSISTANT, USER)).encode()
    example = Reader(Options(system="be kind")).read(row)
    assert json.loads(example.line)["messages"][1:] == messages(USER, ASSISTANT)["messages"]
    assert (example.turns.trimmed, example.turns.kept, example.turns.system) == (True, 3, 1)
    assert example.characters == len("be kind" + "question" + "answer")


def test_the_token_estimate_is_a_quarter_of_the_bytes_and_four_for_each_message():
    assert read(conversation("a" * 400, "b" * 40)).tokens == 100 + 10 + 8
    assert read(conversation("字" * 400, "b" * 40)).tokens == 300 + 10 + 8


def test_a_pattern_of_turns_is_judged_alike_the_second_time_and_with_tools():
    reader = Reader()
    plain = json.dumps(messages(USER, ASSISTANT, TOOL, ASSISTANT)).encode()
    with_tools = json.dumps(messages(USER, ASSISTANT, TOOL, ASSISTANT, tools=TOOLS)).encode()
    assert [type(reader.read(row)) for row in (with_tools, plain, with_tools, plain)] == [
        Example,
        Refusal,
        Example,
        Refusal,
    ]
