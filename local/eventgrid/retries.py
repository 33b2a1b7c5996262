"""What happens after a delivery failed: Event Grid's documented schedule, pure.

https://learn.microsoft.com/azure/event-grid/delivery-and-retry
"""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus

MINUTE, HOUR = 60.0, 3600.0
SCHEDULE = (
    *(10.0, 30.0, MINUTE, 5 * MINUTE, 10 * MINUTE, 30 * MINUTE),
    *(HOUR, 3 * HOUR, 6 * HOUR, 12 * HOUR),
)
"""Seconds between an attempt and the next; the last one repeats."""

AT_LEAST = {404: 5 * MINUTE, 408: 2 * MINUTE, 503: 30.0}
"""Seconds that some answers make Event Grid wait at least."""

ACCEPTED = frozenset({200, 201, 202, 203, 204})
HOPELESS = frozenset({400, 401, 403, 413})
"""Answers of a webhook that no further attempt will change."""

PACES = {"instant": 0.0, "seconds": 0.05, "minutes": 1.0}
"""Names for how fast the schedule runs: seconds here for each second of Azure's."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How long a subscription's deliveries are tried.

    Attributes:
        attempts: Deliveries of one event at most; Azure allows 1 to 30.
        time_to_live: Seconds after which an event is given up; not scaled by the pace.
    """

    attempts: int = 30
    time_to_live: float = 24 * HOUR


@dataclass(frozen=True, slots=True)
class Again:
    """Try again in `delay` seconds."""

    delay: float


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Put it to the dead letters, for `reason`, in Event Grid's words."""

    reason: str


def after_failure(
    status: int | None, *, attempts: int, age: float, policy: RetryPolicy, pace: float
) -> Again | GiveUp:
    """What to do after attempt number `attempts` was not accepted.

    Args:
        status: The webhook's HTTP status; None when there was no answer.
        attempts: Attempts so far, this one included.
        age: Seconds since the event was published.
        policy: The subscription's.
        pace: Seconds here for each second of Azure's schedule.
    """
    if status in HOPELESS:
        name = HTTPStatus(status).phrase.title().replace(" ", "")
        return GiveUp(f"UndeliverableDueToHttp{name}")
    if attempts >= policy.attempts:
        return GiveUp("MaxDeliveryAttemptsExceeded")
    delay = SCHEDULE[min(attempts, len(SCHEDULE)) - 1]
    delay = pace * max(delay, AT_LEAST.get(status or 0, 0.0))
    if age + delay > policy.time_to_live:
        return GiveUp("TimeToLiveExceeded")
    return Again(delay)
