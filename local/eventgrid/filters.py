"""Which events a subscription wants: Event Grid's filters, pure.

Operators, keys and the treatment of missing keys follow
https://learn.microsoft.com/azure/event-grid/event-filtering
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Event = Mapping[str, Any]

MISSING: Any = object()

# What the filter calls a field, and where the two schemas keep it.
_ENVELOPE = {
    "id": ("id",),
    "topic": ("topic", "source"),
    "source": ("source", "topic"),
    "subject": ("subject",),
    "eventtype": ("eventType", "type"),
    "type": ("type", "eventType"),
    "dataversion": ("dataVersion",),
    "specversion": ("specversion",),
}


def _text(value: Any) -> str:
    return value.casefold() if isinstance(value, str) else ""


def _number(test: Callable[[float, Any], bool]) -> Callable[[Any, Any], bool]:
    """Numbers only; a boolean is none here, though Python says so."""

    def check(value: Any, wanted: Any) -> bool:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        return test(value, wanted)

    return check


def _strings(test: Callable[[str, str], bool]) -> Callable[[Any, Any], bool]:
    """Strings only, any of the wanted ones, whatever their case."""

    def check(value: Any, wanted: Any) -> bool:
        return isinstance(value, str) and any(test(_text(value), _text(one)) for one in wanted)

    return check


_TESTS: dict[str, Callable[[Any, Any], bool]] = {
    "NumberIn": _number(lambda value, wanted: value in wanted),
    "NumberInRange": _number(lambda value, ranges: any(a <= value <= b for a, b in ranges)),
    "NumberLessThan": _number(lambda value, limit: bool(value < limit)),
    "NumberLessThanOrEquals": _number(lambda value, limit: bool(value <= limit)),
    "NumberGreaterThan": _number(lambda value, limit: bool(value > limit)),
    "NumberGreaterThanOrEquals": _number(lambda value, limit: bool(value >= limit)),
    "BoolEquals": lambda value, wanted: isinstance(value, bool) and value is wanted,
    "StringIn": _strings(str.__eq__),
    "StringBeginsWith": _strings(str.startswith),
    "StringEndsWith": _strings(str.endswith),
    "StringContains": _strings(str.__contains__),
    "IsNullOrUndefined": lambda value, _: value is MISSING or value is None,
}

# Each of these says no where its opposite says yes, and so holds for a missing key.
_OPPOSITES = {
    "NumberNotIn": "NumberIn",
    "NumberNotInRange": "NumberInRange",
    "StringNotIn": "StringIn",
    "StringNotBeginsWith": "StringBeginsWith",
    "StringNotEndsWith": "StringEndsWith",
    "StringNotContains": "StringContains",
    "IsNotNull": "IsNullOrUndefined",
}

ONE_VALUE = {name for name in _TESTS if name.startswith(("NumberLess", "NumberGreater", "Bool"))}
NO_VALUE = {"IsNullOrUndefined", "IsNotNull"}
OPERATORS = {*_TESTS, *_OPPOSITES}


@dataclass(frozen=True, slots=True)
class AdvancedFilter:
    """One condition on one field.

    Attributes:
        operator: One of `OPERATORS`.
        key: `subject`, `eventType`, …, or a dotted path into the data: `data.runTags.team`.
        wanted: A list of values, one value, or None, as the operator asks.
    """

    operator: str
    key: str
    wanted: Any = None

    def matches(self, event: Event) -> bool:
        """Whether `event` meets the condition."""
        value = look_up(event, self.key)
        if (opposite := _OPPOSITES.get(self.operator)) is not None:
            return not _TESTS[opposite](value, self.wanted)
        return _TESTS[self.operator](value, self.wanted)


@dataclass(frozen=True, slots=True)
class Filter:
    """What a subscription wants; every part that is set must hold.

    Attributes:
        event_types: Any of these types, whatever their case; None for all.
        subject_begins_with: Start of the subject; empty for all.
        subject_ends_with: End of the subject; empty for all.
        case_sensitive: Whether the case of subjects counts.
        advanced: Conditions that must all hold.
    """

    event_types: frozenset[str] | None = None
    subject_begins_with: str = ""
    subject_ends_with: str = ""
    case_sensitive: bool = False
    advanced: tuple[AdvancedFilter, ...] = ()

    def matches(self, event: Event) -> bool:
        """Whether the subscription wants `event`."""
        if self.event_types is not None:
            wanted = {name.casefold() for name in self.event_types}
            if _text(look_up(event, "eventType")) not in wanted:
                return False
        fold: Callable[[str], str] = str if self.case_sensitive else str.casefold
        subject = look_up(event, "subject")
        subject = fold(subject) if isinstance(subject, str) else ""
        return (
            subject.startswith(fold(self.subject_begins_with))
            and subject.endswith(fold(self.subject_ends_with))
            and all(condition.matches(event) for condition in self.advanced)
        )


def look_up(event: Event, key: str) -> Any:
    """The value that a filter key names in an event of either schema, or `MISSING`."""
    head, _, rest = key.partition(".")
    if head.casefold() != "data":
        names = _ENVELOPE.get(head.casefold(), (head,)) if not rest else ()
        return next((event[name] for name in names if name in event), MISSING)
    value: Any = event.get("data", MISSING)
    for part in rest.split(".") if rest else ():
        if not isinstance(value, dict) or part not in value:
            return MISSING
        value = value[part]
    return value
