"""`host.json`: what an app asks of its host; defaults, bounds and overrides as the real one has.

Source: https://learn.microsoft.com/azure/azure-functions/functions-host-json and the pages of each
    binding.
Any value can be overridden by an app setting `AzureFunctionsJobHost__section__name`.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from local.host.problems import AppRejected, Problem

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_TIME_SPAN: Final = re.compile(
    r"(?:(?P<days>\d+)\.)?(?P<hours>\d{1,2}):(?P<minutes>\d{2})(?::(?P<seconds>\d{2}(?:\.\d+)?))?"
)
_OVERRIDE: Final = "AzureFunctionsJobHost__"
LARGEST_BATCH: Final = 32
"""Azure Storage hands out no more messages at once."""


def parse_time_span(text: str) -> timedelta:
    """Read .NET's `[d.]hh:mm:ss[.fff]`.

    Raises:
        ValueError: It is something else.
    """
    found = _TIME_SPAN.fullmatch(text)
    if found is None:
        raise ValueError(f"'{text}' is not a time span such as 00:00:30")
    return timedelta(**{unit: float(part or 0) for unit, part in found.groupdict().items()})


@dataclass(frozen=True, slots=True)
class QueueOptions:
    """How queues are listened to; the names are host.json's.

    Attributes:
        batch_size: Messages fetched at once.
        new_batch_threshold: The next batch is fetched when no more than this are in hand.
        max_dequeue_count: Tries before a message is poison.
        visibility_timeout: How long a failed message stays hidden.
        max_polling_interval: The longest wait between looks at an empty queue.
        base64: Whether message texts are base64.
    """

    batch_size: int = 16
    new_batch_threshold: int = 8 * (os.cpu_count() or 1)
    max_dequeue_count: int = 5
    visibility_timeout: timedelta = timedelta()
    max_polling_interval: timedelta = timedelta(minutes=1)
    base64: bool = True


@dataclass(frozen=True, slots=True)
class HostJson:
    """What host.json says, defaults filled in.

    Attributes:
        route_prefix: First part of every route, without slashes; may be empty.
        function_timeout: How long an invocation may run; None for ever.
        queues: For queue triggers.
        blob_parallelism: Blob invocations at once.
        blob_tries: Tries before a blob is poison.
        max_outstanding_requests: HTTP requests in hand before 429; None for no bound.
        log_levels: Category to .NET level name, `default` for the rest.
    """

    route_prefix: str = "api"
    function_timeout: timedelta | None = timedelta(minutes=30)
    queues: QueueOptions = field(default_factory=QueueOptions)
    blob_parallelism: int = 8 * (os.cpu_count() or 1)
    blob_tries: int = 5
    max_outstanding_requests: int | None = None
    log_levels: Mapping[str, str] = field(default_factory=dict)


def read_host_json(file: Path, environment: Mapping[str, str]) -> HostJson:
    """Read `file` and lay the overrides in `environment` over it.

    Raises:
        AppRejected: The file is missing or says what the host does not accept.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise AppRejected(
            [Problem("host.json", "the file is missing", f"Is {file.parent} a Functions app?")]
        ) from None
    except (OSError, ValueError) as error:
        raise AppRejected([Problem("host.json", f"it cannot be read: {error}")]) from error
    if not isinstance(content, dict) or content.get("version") != "2.0":
        raise AppRejected(
            [Problem("host.json", "its version is missing", 'It must say "version": "2.0".')]
        )
    for name, value in environment.items():
        if name.startswith(_OVERRIDE):
            _lay_over(content, name.removeprefix(_OVERRIDE).split("__"), value)
    reader = _Reader(content)
    made = reader.host_json()
    if reader.problems:
        raise AppRejected(reader.problems)
    return made


def _lay_over(content: dict[str, Any], path: list[str], value: str) -> None:
    """Set the value at `path`; parts match without regard to case, as .NET configuration does."""
    *sections, last = path
    for name in sections:
        known = next((key for key in content if key.lower() == name.lower()), name)
        inner = content.setdefault(known, {})
        if not isinstance(inner, dict):
            return
        content = inner
    known = next((key for key in content if key.lower() == last.lower()), last)
    content[known] = value


class _Reader:
    """Collects every problem instead of stopping at the first."""

    def __init__(self, content: dict[str, Any]) -> None:
        self.content = content
        self.problems: list[Problem] = []

    def host_json(self) -> HostJson:
        defaults = HostJson()
        queues = defaults.queues
        prefix = self.value("extensions.http.routePrefix", defaults.route_prefix)
        encoding = str(self.value("extensions.queues.messageEncoding", "base64")).lower()
        if encoding not in ("base64", "none"):
            self.refuse("extensions.queues.messageEncoding", f"'{encoding}' is not base64 or none")
        http = "extensions.http.maxOutstandingRequests"
        levels = self.value("logging.logLevel", {})
        return HostJson(
            route_prefix=str(prefix).strip("/"),
            function_timeout=self.timeout(),
            queues=QueueOptions(
                batch_size=self.number("queues.batchSize", queues.batch_size, 1, LARGEST_BATCH),
                new_batch_threshold=self.number(
                    "queues.newBatchThreshold", queues.new_batch_threshold, 0
                ),
                max_dequeue_count=self.number(
                    "queues.maxDequeueCount", queues.max_dequeue_count, 1
                ),
                visibility_timeout=self.span("queues.visibilityTimeout", timedelta()),
                max_polling_interval=max(
                    self.span("queues.maxPollingInterval", queues.max_polling_interval),
                    timedelta(milliseconds=100),
                ),
                base64=encoding == "base64",
            ),
            blob_parallelism=self.number(
                "blobs.maxDegreeOfParallelism", 8 * (os.cpu_count() or 1), 1
            ),
            blob_tries=self.number("blobs.poisonBlobThreshold", 5, 1),
            max_outstanding_requests=None
            if self.value(http, -1) in (-1, "-1")
            else self.number("http.maxOutstandingRequests", 1, 1),
            log_levels={str(k): str(v) for k, v in levels.items()}
            if isinstance(levels, dict)
            else {},
        )

    def refuse(self, place: str, reason: str) -> None:
        self.problems.append(Problem(f"host.json {place}", reason))

    def value(self, path: str, default: Any) -> Any:
        found: Any = self.content
        for name in path.split("."):
            lowered = {k.lower(): v for k, v in found.items()} if isinstance(found, dict) else {}
            found = lowered.get(name.lower())
        return default if found is None else found

    def number(self, path: str, default: int, low: int, high: int | None = None) -> int:
        path = f"extensions.{path}"
        found = self.value(path, default)
        try:
            number = int(found)
        except (TypeError, ValueError):
            self.refuse(path, f"'{found}' is not a whole number")
            return default
        if number < low or (high is not None and number > high):
            bounds = f"at least {low}" if high is None else f"{low} to {high}"
            self.refuse(path, f"{number} is out of bounds: it must be {bounds}")
        return number

    def span(self, path: str, default: timedelta) -> timedelta:
        path = f"extensions.{path}"
        found = self.value(path, None)
        if found is None:
            return default
        try:
            return parse_time_span(str(found))
        except ValueError as error:
            self.refuse(path, str(error))
            return default

    def timeout(self) -> timedelta | None:
        found = self.value("functionTimeout", None)
        if found is None:
            return HostJson().function_timeout
        if str(found) == "-1":
            return None
        try:
            span = parse_time_span(str(found))
        except ValueError as error:
            self.refuse("functionTimeout", str(error))
            return None
        if not span:
            self.refuse("functionTimeout", "it must be longer than nothing; -1 is without bound")
        return span
