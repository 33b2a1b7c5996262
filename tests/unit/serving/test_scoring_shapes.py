"""The shapes in which Azure ML's chat servers answer, and the failures that hide in them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from shared.errors import (
    Busy,
    Denied,
    Missing,
    Problem,
    Refused,
    Rejected,
    SettingsError,
    StaleRecord,
    Throttled,
    Unavailable,
)
from shared.serving.answers import Answer, from_endpoint, from_error, retry_after
from shared.serving.scoring import Reply, read_reply


def reply(value: Any) -> Reply | Answer:
    return read_reply(json.dumps(value).encode())


@pytest.mark.parametrize(
    "value",
    [
        {"output": "Hi."},
        {"output": ["Hi."]},
        {"output": None, "message": {"role": "assistant", "content": "Hi."}},
        {"output": "Hi.", "error": None},
        [{"0": "Hi."}],
        {"predictions": [{"0": "Hi."}]},
        ["Hi."],
        json.dumps([{"0": "Hi."}]),
    ],
)
def test_the_one_text_is_found_wherever_it_stands(value: Any) -> None:
    assert reply(value) == Reply("Hi.")


def test_an_answer_that_is_json_itself_is_the_answer() -> None:
    text = json.dumps({"error": "not one"})
    assert reply({"output": text}) == Reply(text)


def test_what_was_encoded_twice_is_decoded_twice_and_no_more() -> None:
    assert reply(json.dumps("words")) == Reply("words")


def test_an_empty_text_is_an_answer() -> None:
    assert reply({"output": ""}) == Reply("")


@pytest.mark.parametrize(
    ("reason", "read"),
    [("length", "length"), ("max_length", "length"), ("abort", "stop"), (7, "stop")],
)
def test_finish_reasons_become_openais(reason: object, read: str) -> None:
    said = reply({"output": "Hi.", "finish_reason": reason})
    assert isinstance(said, Reply)
    assert said.finish_reason == read


def test_usage_of_another_shape_is_left_out() -> None:
    said = reply({"output": "Hi.", "usage": {"prompt_tokens": "many"}, "id": 7})
    assert said == Reply("Hi.")


@pytest.mark.parametrize(
    "value",
    [
        {},
        [],
        None,
        "",
        "words",
        7,
        {"output": None},
        {"output": 7},
        [{"0": "a"}, {"0": "b"}],
        {"error": "x"},
        {"output": "Hi.", "error": {"status_code": 500}},
        json.dumps({"error": "x"}),
    ],
)
def test_anything_else_is_a_failure_of_the_endpoint(value: Any) -> None:
    answer = reply(value)
    assert isinstance(answer, Answer)
    assert answer.status == 502


def test_an_endpoints_own_words_are_passed_on_in_bounds() -> None:
    answer = reply({"error": "bad " * 1000, "exception": "worse"})
    assert isinstance(answer, Answer)
    message = json.loads(answer.body)["error"]["message"]
    assert message.startswith("The model failed: bad bad")
    assert len(message) < 600


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (Rejected([Problem("x", "is wrong")]), 400, "invalid_value"),
        (Throttled("slow"), 429, "rate_limit_exceeded"),
        (Busy("held"), 503, "busy"),
        (Unavailable("down"), 503, "unavailable"),
        (Denied("no"), 502, "denied"),
        (Missing("gone"), 404, "not_found"),
        (Refused("no"), 502, "refused"),
        (StaleRecord("moved"), 503, "busy"),
        (SettingsError([Problem("x", "is wrong")]), 500, "misconfigured"),
        (TimeoutError(), 503, "unavailable"),
        (ValueError("inside"), 500, "internal_error"),
    ],
)
def test_each_error_of_the_tree_has_its_status(error: Exception, status: int, code: str) -> None:
    answer = from_error(error)
    assert answer.status == status
    assert json.loads(answer.body)["error"]["code"] == code
    assert ("Retry-After" in answer.headers) == (status in {429, 503})
    assert b"inside" not in answer.body


def test_how_long_to_wait_is_read_as_number_and_as_date() -> None:
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=100))
    past = format_datetime(datetime.now(UTC) - timedelta(seconds=100))
    assert retry_after({"Retry-After": "7"}) == 7
    assert 90 < (retry_after({"Retry-After": soon}) or 0) <= 100
    assert retry_after({"Retry-After": past}) == 0
    for nothing in ("", "soon", "-1", "٣x"):
        assert retry_after({"Retry-After": nothing}) is None


def test_the_models_own_reason_is_told() -> None:
    headers = {"ms-azureml-model-error-reason": "roles must alternate"}
    answer = from_endpoint(424, headers, b"<html>")
    assert b"roles must alternate" in answer.body
