"""NCRONTAB schedules, by the rules of the NCrontab library that the Functions host uses.

Six fields (second minute hour day month weekday) or five (no seconds, at second 0). They differ
from cron's in ways that matter: day of month AND day of week must both match, Sunday is 0 and 7 is
refused, a reversed range is swapped (`12-2` is `2-12`), `N/step` runs from N to the field's end,
and `?`, `L`, `W`, `#`, `@daily` do not exist. Times are UTC, as on plans without
WEBSITE_TIME_ZONE.

Source: https://github.com/atifaziz/NCrontab and
https://learn.microsoft.com/azure/azure-functions/functions-bindings-timer#ncrontab-expressions
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Final

_MONTHS: Final = (
    *("January", "February", "March", "April", "May", "June", "July"),
    *("August", "September", "October", "November", "December"),
)
_DAYS: Final = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
_ITEM: Final = re.compile(r"(?P<first>\*|\w+)(?:-(?P<last>\w+))?(?:/(?P<step>\d+))?")
_HORIZON: Final = 40 * 366
"""Days looked ahead: the 29th of February falls on a given weekday at least once in 40 years."""


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()

    def value(self, text: str) -> int:
        if text.isdecimal() and text.isascii():
            number = int(text)
            if not self.low <= number <= self.high:
                raise ValueError(f"{self.name} is {text}; it must be {self.low} to {self.high}")
            return number
        for position, name in enumerate(self.names):
            if name.lower().startswith(text.lower()):
                return self.low + position
        raise ValueError(f"'{text}' is not a {self.name}")

    def values(self, text: str) -> tuple[int, ...]:
        chosen: set[int] = set()
        for item in text.split(","):
            found = _ITEM.fullmatch(item)
            if found is None or (found["first"] == "*" and found["last"]):
                raise ValueError(f"'{item}' cannot be read as a {self.name}")
            step = int(found["step"] or 1)
            if step == 0:
                raise ValueError(f"'{item}': the step of a {self.name} cannot be 0")
            if found["first"] == "*":
                first, last = self.low, self.high
            else:
                first = self.value(found["first"])
                last = self.high if found["step"] else first
                if found["last"]:
                    last = self.value(found["last"])
            chosen.update(range(min(first, last), max(first, last) + 1, step))
        return tuple(sorted(chosen))


_FIELDS: Final = (
    _Field("second", 0, 59),
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day", 1, 31),
    _Field("month", 1, 12, _MONTHS),
    _Field("weekday", 0, 6, _DAYS),
)


@dataclass(frozen=True, slots=True)
class Schedule:
    """When a timer fires; each attribute holds what matches, ascending. Weekday 0 is Sunday."""

    seconds: tuple[int, ...]
    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: tuple[int, ...]
    months: tuple[int, ...]
    weekdays: tuple[int, ...]

    @classmethod
    def parse(cls, expression: str) -> Schedule:
        """Read an expression of five or six fields.

        Raises:
            ValueError: The expression is not NCRONTAB; the message names the field.
        """
        fields = expression.split()
        if len(fields) == len(_FIELDS) - 1:
            fields.insert(0, "0")
        if len(fields) != len(_FIELDS):
            raise ValueError(
                f"'{expression}' has {len(fields)} fields; NCRONTAB has six: "
                "second minute hour day month weekday"
            )
        return cls(*(field.values(text) for field, text in zip(_FIELDS, fields, strict=True)))

    @property
    def is_frequent(self) -> bool:
        """Whether it fires more than once a minute; the host keeps no status of such timers."""
        return len(self.seconds) > 1

    def following(self, moment: datetime) -> datetime | None:
        """The first time strictly after `moment` (aware), in UTC; None if there is none."""
        start = moment.astimezone(UTC).replace(microsecond=0) + timedelta(seconds=1)
        earliest = start.time()
        for ahead in range(_HORIZON):
            day = start.date() + timedelta(days=ahead)
            if self._matches(day):
                found = self._first_time(earliest)
                if found is not None:
                    return datetime.combine(day, found, UTC)
            earliest = time.min
        return None

    def _matches(self, day: date) -> bool:
        return (
            day.month in self.months
            and day.day in self.days
            and day.isoweekday() % 7 in self.weekdays
        )

    def _first_time(self, earliest: time) -> time | None:
        for hour in self.hours:
            for minute in self.minutes:
                if (hour, minute) < (earliest.hour, earliest.minute):
                    continue
                for second in self.seconds:
                    if (hour, minute, second) >= (earliest.hour, earliest.minute, earliest.second):
                        return time(hour, minute, second)
        return None
