"""An app's functions as the host sees them: typed triggers, outputs and policies."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from local.host.ncrontab import Schedule
    from local.host.paths import BlobPattern
    from local.host.routes import RouteTemplate


class AuthLevel(enum.Enum):
    """Which keys a route asks for."""

    ANONYMOUS = "anonymous"
    FUNCTION = "function"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class HttpTrigger:
    """A route, with the prefix; `methods` is empty for all of them."""

    argument: str
    route: RouteTemplate
    methods: frozenset[str]
    level: AuthLevel


@dataclass(frozen=True, slots=True)
class QueueTrigger:
    """Messages of one queue."""

    argument: str
    queue: str
    connection: str


@dataclass(frozen=True, slots=True)
class BlobTrigger:
    """Blobs whose path matches, told by Event Grid."""

    argument: str
    pattern: BlobPattern
    connection: str


@dataclass(frozen=True, slots=True)
class EventGridTrigger:
    """Events posted to the webhook."""

    argument: str


@dataclass(frozen=True, slots=True)
class TimerTrigger:
    """A schedule; `use_monitor` has a status kept, so that a missed run is caught up."""

    argument: str
    expression: str
    schedule: Schedule
    run_on_startup: bool
    use_monitor: bool


@dataclass(frozen=True, slots=True)
class QueueOutput:
    """What the function sets becomes a message."""

    name: str
    queue: str
    connection: str


@dataclass(frozen=True, slots=True)
class BlobOutput:
    """What the function sets becomes a blob at `path` (with placeholders)."""

    name: str
    path: str
    connection: str


@dataclass(frozen=True, slots=True)
class Retry:
    """A retry policy.

    Attributes:
        limit: Further tries after the first; -1 without bound.
        shortest: Seconds before the first further try.
        longest: Seconds that no wait exceeds; equal to `shortest` when the delay is fixed.
    """

    limit: int
    shortest: float
    longest: float

    def delay(self, tries: int) -> float:
        """Seconds to wait after `tries` failed tries (from 1)."""
        return min(self.shortest * 2.0 ** min(tries - 1, 60), self.longest)


Trigger = HttpTrigger | QueueTrigger | BlobTrigger | EventGridTrigger | TimerTrigger
Output = QueueOutput | BlobOutput


@dataclass(frozen=True, slots=True)
class Function:
    """One function of the app.

    Attributes:
        name: Its name, as in the portal.
        id: What the runtime calls it.
        trigger: What starts it.
        outputs: Where its output values go; HTTP's `$return` is not among them.
        disabled: Whether an app setting turned it off.
        retry: For timers.
        bindings: As they were declared, for the admin routes.
    """

    name: str
    id: str
    trigger: Trigger
    outputs: tuple[Output, ...]
    disabled: bool
    retry: Retry | None
    bindings: tuple[Mapping[str, Any], ...]
