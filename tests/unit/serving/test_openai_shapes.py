"""OpenAI's request and answer shapes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from shared.serving.answers import Answer
from shared.serving.openai import ChatRequest, Usage, completion, read_request
from shared.serving.scoring import Reply, scoring_body

HELLO = [{"role": "user", "content": "Hello"}]


def read(**fields: Any) -> ChatRequest:
    request = read_request(json.dumps({"model": "chat", "messages": HELLO, **fields}).encode())
    assert isinstance(request, ChatRequest)
    return request


def refused(body: bytes) -> dict[str, Any]:
    answer = read_request(body)
    assert isinstance(answer, Answer)
    assert answer.status == 400
    error = json.loads(answer.body)["error"]
    assert error["type"] == "invalid_request_error"
    return error


def forwarded(**fields: Any) -> dict[str, Any]:
    return json.loads(scoring_body(read(**fields)))["input_data"]


def completed(reply: Reply, **fields: Any) -> dict[str, Any]:
    return json.loads(completion(read(**fields), reply))


def test_every_problem_of_a_request_is_told_at_once() -> None:
    body = {
        "messages": [{"role": "robot", "content": 1}, {"role": "user"}, "words"],
        "temperature": "hot",
        "max_tokens": 0,
        "stop": ["a", "b", "c", "d", "e"],
        "n": 2,
        "stream": True,
        "tools": [{}],
        "logprobs": True,
        "response_format": {"type": "json_object"},
    }
    error = refused(json.dumps(body).encode())
    for place in (
        "model: is required",
        "messages[0].role: invalid enum value 'robot'",
        "messages[0].content: expected `str | array`, got `int`",
        "messages[1].content: is required",
        "messages[2]: must be an object",
        "temperature: expected `float | null`, got `str`",
        "max_tokens: expected `int` >= 1",
        "stop: expected `array` of length <= 4",
        "n: only one choice",
        "stream: streaming is not supported yet",
        "tools: tools are not supported",
        "logprobs: log probabilities are not supported",
        "response_format: only the type 'text'",
    ):
        assert place in error["message"]
    assert (error["param"], error["code"]) == ("model", "invalid_value")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "invalid_json"),
        (b"{", "invalid_json"),
        (b"[]", "invalid_type"),
        (b"\xff", "invalid_json"),
        (b"[" * 100000, "invalid_json"),
        (b"1" * 5000, "invalid_json"),
    ],
)
def test_what_is_no_json_object_is_refused(body: bytes, code: str) -> None:
    assert refused(body)["code"] == code


def test_a_flood_of_problems_is_told_in_bounds() -> None:
    error = refused(json.dumps({"model": "chat", "messages": [1] * 10_000}).encode())
    assert len(error["message"]) < 2000
    assert "more" in error["message"]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"stream": True}, "stream"),
        ({"n": 3}, "n"),
        ({"tools": [{"type": "function"}]}, "tools"),
        ({"functions": [{"name": "f"}]}, "functions"),
        ({"response_format": {"type": "json_schema"}}, "response_format"),
    ],
)
def test_what_would_change_the_answers_meaning_is_refused(
    fields: dict[str, Any], param: str
) -> None:
    error = refused(json.dumps({"model": "chat", "messages": HELLO, **fields}).encode())
    assert (error["param"], error["code"]) == (param, "unsupported_value")


def test_fields_that_ask_for_nothing_special_or_are_unknown_are_accepted() -> None:
    request = read(
        stream=False,
        n=1,
        tools=[],
        logprobs=False,
        response_format={"type": "text"},
        temperature=None,
        user="me",
        store=True,
        metadata={"a": "b"},
        made_up=[[1]],
    )
    assert request.temperature is None


def test_pictures_are_refused_by_place() -> None:
    content = [{"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": {}}]
    body = {"model": "chat", "messages": [{"role": "user", "content": content}]}
    assert refused(json.dumps(body).encode())["param"] == "messages[0].content[1].type"


def test_the_conversation_goes_out_flat_with_texts_for_parts_and_system_for_developer() -> None:
    messages = [
        {"role": "developer", "content": "Be brief."},
        {
            "role": "user",
            "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}],
        },
    ]
    assert forwarded(messages=messages)["input_string"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "a\nb"},
    ]


@pytest.mark.parametrize(
    ("fields", "parameters"),
    [
        ({}, {}),
        ({"temperature": 0}, {"temperature": 0.0, "do_sample": False}),
        ({"temperature": 0.7}, {"temperature": 0.7, "do_sample": True}),
        ({"top_p": 0.9}, {"top_p": 0.9, "do_sample": True}),
        ({"max_tokens": 5}, {"max_new_tokens": 5}),
        ({"max_tokens": 5, "max_completion_tokens": 7}, {"max_new_tokens": 7}),
        ({"stop": "END"}, {"stop": ["END"]}),
        ({"stop": ["a", ""]}, {"stop": ["a"]}),
        ({"seed": 1, "presence_penalty": 0.5}, {"seed": 1, "presence_penalty": 0.5}),
    ],
)
def test_parameters_go_out_in_azure_mls_words_and_only_those_given(
    fields: dict[str, Any], parameters: dict[str, Any]
) -> None:
    assert forwarded(**fields)["parameters"] == parameters


def test_a_completion_carries_what_the_server_said_and_invents_no_usage() -> None:
    usage = Usage(1, 2, 3)
    full = completed(Reply("Hi.", "length", usage, "cmpl-1", "Hm."))
    assert full["id"] == "cmpl-1"
    assert full["object"] == "chat.completion"
    assert full["usage"] == {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
    [choice] = full["choices"]
    assert choice["finish_reason"] == "length"
    assert choice["message"]["reasoning_content"] == "Hm."
    bare = completed(Reply("Hi."))
    assert bare["id"].startswith("chatcmpl-")
    assert "usage" not in bare
    assert bare["choices"][0]["message"] == {
        "role": "assistant",
        "content": "Hi.",
        "refusal": None,
    }


def test_a_stop_text_that_the_server_ignored_ends_the_answer() -> None:
    [choice] = completed(Reply("one two three", "length"), stop=["three", "two"])["choices"]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("one ", "stop")
