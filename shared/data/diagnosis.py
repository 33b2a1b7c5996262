"""What exactly is wrong with a row that could not be read as an example.

This is the slow second look: it runs for refused rows, and for the first of each shape, so it is
written to be precise, not fast.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec

from shared.data.depth import check_depth
from shared.data.reasons import Reason, Refusal
from shared.data.shapes import REQUIRED, SPEAKERS, Shape
from shared.data.values import MOST_LISTED_VALUES, more_values_than

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

_SHOWN = 60
_MOST_NAMED = 100_000
"""Most values of a row whose columns are named: there may be as many columns."""


class _Object(msgspec.Struct):
    """Any JSON object, of which nothing is kept."""


_is_object: Final = msgspec.json.Decoder(_Object).decode


def fault_of(line: bytes) -> Refusal | None:
    """Why a line that is not blank is no JSON object, if it is none.

    Raises:
        RecursionError: It is nested too deeply.
    """
    try:
        line.decode()
    except UnicodeDecodeError as error:
        return Refusal(Reason.NOT_UTF8, f"byte {error.start}: {error.reason}")
    try:
        _is_object(line)
    except msgspec.ValidationError as error:  # not an object
        return Refusal(Reason.WRONG_TYPES, str(error))
    except msgspec.DecodeError as error:
        return _malformed(line, str(error))
    return None


def without_shape(line: bytes, among: Sequence[Shape], columns: Mapping[str, str]) -> Refusal:
    """Refuse a JSON object whose columns are those of no shape.

    Args:
        line: The row.
        among: The shapes that it could have had.
        columns: By our name of a column the dataset's name of it.
    """
    wanted = ""
    if len(among) == 1:
        names = (columns.get(name, name) for name in REQUIRED[among[0]])
        wanted = f"{among[0]} needs {', '.join(names)}; "
    if more_values_than(_MOST_NAMED, line):
        return Refusal(Reason.UNKNOWN_SHAPE, f"{wanted}it holds more than {_MOST_NAMED:,} values")
    shown = ", ".join(msgspec.json.decode(line, type=dict[str, msgspec.Raw])) or "none"
    return Refusal(Reason.UNKNOWN_SHAPE, f"{wanted}the columns are: {_shown(shown)}")


def diagnose(
    given: Mapping[str, msgspec.Raw], shape: Shape, columns: Mapping[str, str]
) -> Refusal:
    """Name the first fault of a row of known shape; `WRONG_TYPES` where no better code fits.

    Args:
        given: The row's columns.
        shape: What it was read as.
        columns: By our name of a column the dataset's name of it.

    Raises:
        RecursionError: A column is nested too deeply.
    """

    def column(name: str) -> tuple[str, Any]:
        theirs = columns.get(name, name)
        return theirs, _form(given.get(theirs))

    def listed(name: str, keys: _Keys) -> Refusal | None:
        theirs = columns.get(name, name)
        return _messages(theirs, given.get(theirs), keys)

    match shape:
        case Shape.MESSAGES:
            found = listed("messages", _MESSAGE)
        case Shape.SHAREGPT:
            found = listed("conversations", _TURN)
        case Shape.ALPACA:
            found = _text(*column("instruction")) or _text(*column("output"))
            found = found or _optional_text(*column("input"))
        case Shape.PROMPT_COMPLETION:
            found = _text(*column("prompt")) or _text(*column("completion"))
        case Shape.QUESTION_ANSWER:
            found = _text(*column("question")) or _text(*column("answer"))
    found = found or _optional_text(*column("system"))
    if found:
        return found
    name = columns.get("tools", "tools")
    tools = _value(given.get(name))
    if tools is not None:
        return Refusal(Reason.WRONG_TYPES, f"{name} is {_kind(tools)}, not a list of objects")
    return Refusal(Reason.WRONG_TYPES, "a key is given twice, once with a value of a wrong type")


class _Unreadable:
    """Stands for a value that is JSON but fits into no type: a number beyond all ranges."""


def _form(raw: msgspec.Raw | None) -> Any:
    """As `_value`, but a list or an object without what is in it."""
    match bytes(memoryview(raw)[:1]) if raw else b"":
        case b"[":
            return []
        case b"{":
            return {}
    return _value(raw)


def _value(raw: msgspec.Raw | None) -> Any:
    if raw is None:
        return None
    try:
        return msgspec.json.decode(raw)
    except msgspec.DecodeError:
        return _Unreadable()


@dataclass(frozen=True, slots=True)
class _Keys:
    """How a list of messages names what it holds."""

    role: str
    content: str
    roles: Collection[str]
    other: str
    mend: str


_MESSAGE: Final = _Keys(
    "role",
    "content",
    ("system", "user", "assistant", "tool"),
    "from",
    '{"conversations": "%s"} in dataset.columns reads it as ShareGPT',
)
_TURN: Final = _Keys(
    "from",
    "value",
    SPEAKERS.keys(),
    "role",
    '{"messages": "%s"} in dataset.columns reads it as messages',
)


def _messages(column: str, raw: msgspec.Raw | None, keys: _Keys) -> Refusal | None:
    if raw and more_values_than(MOST_LISTED_VALUES, bytes(raw)):
        return _too_many(column)
    given = _value(raw)
    if isinstance(given, str):
        text = given.encode()
        if more_values_than(MOST_LISTED_VALUES, text):
            return _too_many(column)
        check_depth(text)
        try:
            given = msgspec.json.decode(given)
        except msgspec.DecodeError as error:
            return Refusal(Reason.WRONG_TYPES, f"{column} is text that is not JSON: {error}")
    if not isinstance(given, list):
        return Refusal(Reason.WRONG_TYPES, f"{column} is {_kind(given)}, not a list")
    for place, message in enumerate(given):
        if refusal := _message(message, column, f"{column}[{place}]", keys):
            return refusal
    return None


def _too_many(column: str) -> Refusal:
    detail = f"{column} holds more than {MOST_LISTED_VALUES:,} values, and is not as it should be"
    return Refusal(Reason.TOO_LONG, detail)


def _message(message: Any, column: str, place: str, keys: _Keys) -> Refusal | None:
    if not isinstance(message, dict):
        return Refusal(Reason.WRONG_TYPES, f"{place} is {_kind(message)}, not an object")
    for key in ("tool_calls", "function_call"):
        if message.get(key) is not None:
            return Refusal(Reason.TOOL_CALLS, f"{place}.{key}")
    role = message.get(keys.role)
    if role is None and isinstance(message.get(keys.other), str):
        return Refusal(
            Reason.WRONG_TYPES,
            f"{place} has {keys.other}, not {keys.role}; " + keys.mend % column,
        )
    if not isinstance(role, str):
        return Refusal(Reason.WRONG_TYPES, f"{place}.{keys.role} is {_kind(role)}, not text")
    if role == "function_call":
        return Refusal(Reason.TOOL_CALLS, f"{place}.{keys.role} is function_call")
    if role not in keys.roles:
        return Refusal(Reason.UNKNOWN_ROLE, f"{place}.{keys.role} is {_shown(role)!r}")
    return _text(f"{place}.{keys.content}", message.get(keys.content))


def _text(place: str, text: Any) -> Refusal | None:
    if text is None:
        return Refusal(Reason.EMPTY_CONTENT, f"{place} is missing or null")
    if not isinstance(text, str):
        return Refusal(Reason.WRONG_TYPES, f"{place} is {_kind(text)}, not text")
    if not text or text.isspace():
        return Refusal(Reason.EMPTY_CONTENT, f"{place} is blank")
    return None


def _optional_text(place: str, text: Any) -> Refusal | None:
    if text is None or isinstance(text, str):
        return None
    return Refusal(Reason.WRONG_TYPES, f"{place} is {_kind(text)}, not text")


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
        case dict():
            return "an object"
    return "out of range"


def _shown(text: str) -> str:
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
