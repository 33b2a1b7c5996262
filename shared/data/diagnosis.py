"""What exactly is wrong with a row that could not be read as an example.

This is the slow second look: it runs for refused rows only, so it is written to be precise, not
fast.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from shared.data.reasons import Reason, Refusal

_ROLES = ("system", "user", "assistant", "tool")
_SHOWN = 60


class _Loose(msgspec.Struct):
    """The two columns that count, of any type; the others are skipped, as in reading."""

    messages: Any = None
    tools: Any = None


def diagnose(line: bytes) -> Refusal:
    """Name the first fault of a row that is not blank; `WRONG_TYPES` where no better code fits."""
    try:
        line.decode()
    except UnicodeDecodeError as error:
        return Refusal(Reason.NOT_UTF8, f"byte {error.start}: {error.reason}")
    try:
        row = msgspec.json.decode(line, type=_Loose)
    except RecursionError:
        return Refusal(Reason.TOO_DEEP, "more levels than a parser takes")
    except msgspec.ValidationError as error:  # not an object, or a number that fits no type
        return Refusal(Reason.WRONG_TYPES, str(error))
    except msgspec.DecodeError as error:
        return _malformed(line, str(error))
    messages = row.messages
    if messages is None:
        return Refusal(Reason.NO_MESSAGES, "the columns are: " + _columns(line))
    if not isinstance(messages, list):
        return Refusal(Reason.WRONG_TYPES, f"messages is {_kind(messages)}, not a list")
    for place, message in enumerate(messages):
        if refusal := _message(message, f"messages[{place}]"):
            return refusal
    return Refusal(Reason.WRONG_TYPES, f"tools is {_kind(row.tools)}, not a list of objects")


def _columns(line: bytes) -> str:
    columns = msgspec.json.decode(line, type=dict[str, msgspec.Raw])
    return _shown(", ".join(columns)) or "none"


def _message(message: Any, place: str) -> Refusal | None:
    if not isinstance(message, dict):
        return Refusal(Reason.WRONG_TYPES, f"{place} is {_kind(message)}, not an object")
    for key in ("tool_calls", "function_call"):
        if message.get(key) is not None:
            return Refusal(Reason.TOOL_CALLS, f"{place}.{key}")
    role, content = message.get("role"), message.get("content")
    if not isinstance(role, str):
        return Refusal(Reason.WRONG_TYPES, f"{place}.role is {_kind(role)}, not text")
    if role not in _ROLES:
        return Refusal(Reason.UNKNOWN_ROLE, f"{place}.role is {_shown(role)!r}")
    if content is None:
        return Refusal(Reason.EMPTY_CONTENT, f"{place}.content is missing or null")
    if not isinstance(content, str):
        return Refusal(Reason.WRONG_TYPES, f"{place}.content is {_kind(content)}, not text")
    if not content or content.isspace():
        return Refusal(Reason.EMPTY_CONTENT, f"{place}.content is blank")
    return None


def _malformed(line: bytes, message: str) -> Refusal:
    # The parser gives up at half a surrogate pair as at any broken escape; tell the two apart.
    pairs = rb"(?i)\\u(d[89ab][0-9a-f]{2})\\u(d[c-f][0-9a-f]{2})"
    halves = re.sub(pairs, b"", line.replace(rb"\\", b""))
    if half := re.search(rb"(?i)\\u(d[89a-f][0-9a-f]{2})", halves):
        return Refusal(Reason.LONE_SURROGATE, f"the escape \\u{half[1].decode()}")
    return Refusal(Reason.NOT_JSON, message.removeprefix("JSON is malformed: "))


def _kind(value: Any) -> str:
    match value:
        case None:
            return "missing or null"
        case bool():
            return "true or false"
        case str():
            return "text"
        case int() | float():
            return "a number"
        case list():
            return "a list"
    return "an object"


def _shown(text: str) -> str:
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
