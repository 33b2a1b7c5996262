"""Prompts for a smoke test: test rows that wait for the assistant."""

from __future__ import annotations

import pytest

from shared.data.prepare import Options, prepare
from shared.data.prompts import sample_prompts
from shared.errors import Missing
from tests.memory import MemorySink, MemorySource, conversation, conversations, jsonl


def prepared(*test_rows):
    sink = MemorySink()
    sources = {
        "train": [MemorySource(jsonl(*conversations(20)), "train")],
        "test": [MemorySource(jsonl(*test_rows), "test")],
    }
    prepare(sources, sink, Options())
    return sink


def test_prompts_are_the_first_test_rows_without_the_last_answer():
    sink = prepared(
        conversation("one?", "1", "two?", "2", system="count"), conversation("a?", "b")
    )
    expected = [
        [
            {"role": "system", "content": "count"},
            {"role": "user", "content": "one?"},
            {"role": "assistant", "content": "1"},
            {"role": "user", "content": "two?"},
        ],
        [{"role": "user", "content": "a?"}],
    ]
    assert sample_prompts(sink, 5) == expected
    assert sample_prompts(sink, 1) == expected[:1]
    assert sample_prompts([sink.read("test.jsonl")], 5) == expected


def test_a_tools_answer_is_cut_off_with_what_led_to_it():
    row = {
        "messages": [
            {"role": "user", "content": "6*7?"},
            {"role": "assistant", "content": "mul(6, 7)"},
            {"role": "tool", "content": "42"},
            {"role": "assistant", "content": "42"},
        ],
        "tools": [{"type": "function", "function": {"name": "mul"}}],
    }
    assert sample_prompts(prepared(row), 1) == [[{"role": "user", "content": "6*7?"}]]


def test_a_sink_gives_few_prompts_of_modest_length_however_large_the_test_split():
    sink = prepared(conversation("x" * 100_000, "y"), *conversations(100, 1000))
    prompts = sample_prompts(sink, 1000)
    assert len(prompts) == 32
    assert max(len(prompt[0]["content"]) for prompt in prompts) < 100


def test_a_sink_where_nothing_was_prepared_says_so():
    with pytest.raises(Missing):
        sample_prompts(MemorySink(), 1)
