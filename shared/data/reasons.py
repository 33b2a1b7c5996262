"""Why a row is refused: a closed set of codes, each with words and a mend for its author.

The codes are written to `dropped.jsonl` and `report.json`; people filter on them, so they do not
change.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class Reason(StrEnum):
    """A code per kind of refused row."""

    NOT_UTF8 = "not_utf8"
    NOT_JSON = "not_json"
    LONE_SURROGATE = "lone_surrogate"
    TOO_DEEP = "too_deep"
    TOO_LONG = "too_long"
    TOO_MANY_CELLS = "too_many_cells"
    WRONG_TYPES = "wrong_types"
    UNKNOWN_SHAPE = "unknown_shape"
    AMBIGUOUS_SHAPE = "ambiguous_shape"
    TOO_FEW_MESSAGES = "too_few_messages"
    UNKNOWN_ROLE = "unknown_role"
    EMPTY_CONTENT = "empty_content"
    TOOL_CALLS = "tool_calls"
    SYSTEM_NOT_FIRST = "system_not_first"
    NO_ASSISTANT = "no_assistant"
    TURN_ORDER = "turn_order"
    DUPLICATE = "duplicate"
    LEAK = "leak"

    @property
    def meaning(self) -> str:
        """What is wrong with such a row, in a few words."""
        return _WORDS[self][0]

    @property
    def mend(self) -> str:
        """What the dataset's author can do about it."""
        return _WORDS[self][1]


class Refusal(NamedTuple):
    """One row's verdict: the kind of fault, and where exactly it lies."""

    reason: Reason
    detail: str


_WORDS: dict[Reason, tuple[str, str]] = {
    Reason.NOT_UTF8: ("not UTF-8 text", "Save the file as UTF-8"),
    Reason.NOT_JSON: (
        "not JSON",
        "Write one JSON object on each line; NaN and Infinity are not JSON",
    ),
    Reason.LONE_SURROGATE: (
        "an escape for half of a surrogate pair, which is no character",
        "Remove or replace the broken escapes from \\uD800 to \\uDFFF",
    ),
    Reason.TOO_DEEP: (
        "nested more than 500 levels deep",
        "A row is an object with a list of messages",
    ),
    Reason.TOO_LONG: (
        "longer than a row may be",
        "Split the conversation; a model reads no more than the beginning of so long a row",
    ),
    Reason.TOO_MANY_CELLS: (
        "more cells than the header has names",
        "Quote cells that hold the delimiter",
    ),
    Reason.WRONG_TYPES: (
        "a value of the wrong type",
        (
            'Write {"messages": [{"role": "user", "content": "…"}, …]}, or text in the columns of'
            " another shape; `tools` is a list of objects"
        ),
    ),
    Reason.UNKNOWN_SHAPE: (
        "its columns are those of no shape",
        (
            "Give `messages`, `conversations`, `instruction` and `output`, `prompt` and `completion`,"
            " or `question` and `answer`; or say in dataset.columns which column stands for which"
        ),
    ),
    Reason.AMBIGUOUS_SHAPE: (
        "its columns are those of more than one shape",
        "Say in dataset.shape which one is meant",
    ),
    Reason.TOO_FEW_MESSAGES: (
        "fewer than two messages",
        "Give at least one question and one answer",
    ),
    Reason.UNKNOWN_ROLE: (
        "a role that chat templates do not know",
        "Roles are system, user, assistant, and tool in rows that give `tools`; for ShareGPT their names there",
    ),
    Reason.EMPTY_CONTENT: (
        "a message without text",
        "Every message needs a text that is not blank",
    ),
    Reason.TOOL_CALLS: (
        "`tool_calls` or `function_call`, which role and content cannot carry",
        "Write the call into the assistant's `content` as the model's chat template expects it",
    ),
    Reason.SYSTEM_NOT_FIRST: (
        "a system message that is not the first",
        "Put the one system message first, or into the column `system`",
    ),
    Reason.NO_ASSISTANT: (
        "no assistant turn to learn from",
        "Give at least one message of role assistant",
    ),
    Reason.TURN_ORDER: (
        "user and assistant do not take turns",
        "After an optional system message, user and assistant take turns, the user first",
    ),
    Reason.DUPLICATE: ("repeats an earlier row of the same split", "Remove the repetitions"),
    Reason.LEAK: (
        "also stands in a split held out for evaluation",
        "Keep rows of validation and test out of train, and rows of test out of validation",
    ),
}
