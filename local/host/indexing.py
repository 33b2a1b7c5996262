"""The host's own checks of an indexed app, which come after the runtime's.

As on Azure, nothing loads when something is refused; here all problems are told at once. The rules
are those of the Functions host 4.x and of Flex Consumption, the plan that Droptune is meant for.
Source: https://github.com/Azure/azure-functions-host (ScriptHost, Utility) and the documentation
of each trigger.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from local.host.functions import (
    AuthLevel,
    BlobOutput,
    BlobTrigger,
    EventGridTrigger,
    Function,
    HttpTrigger,
    QueueOutput,
    QueueTrigger,
    Retry,
    TimerTrigger,
)
from local.host.ncrontab import Schedule
from local.host.paths import BlobPattern
from local.host.problems import AppRejected, Problem
from local.host.routes import compile_route
from local.host.settings import expand, find_connection, is_disabled

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from local.host.functions import Output, Trigger
    from local.host.host_json import HostJson
    from local.host.runtime import Indexed

    Binding = Mapping[str, Any]

_NAME: Final = re.compile(r"[a-z][a-z0-9_-]{0,127}", re.IGNORECASE)
_QUEUE: Final = re.compile(r"(?=.{3,63}$)[a-z0-9]+(-[a-z0-9]+)*")
_RESERVED: Final = ("admin", "runtime")
_OFFERED: Final = "httpTrigger, queueTrigger, blobTrigger, eventGridTrigger, timerTrigger"


def check(
    indexed: Iterable[Indexed], host_json: HostJson, environment: Mapping[str, str]
) -> tuple[Function, ...]:
    """Turn what the runtime found into typed functions.

    Args:
        indexed: The runtime's index.
        host_json: For the route prefix.
        environment: App settings, for `%NAME%`, connections and disabled functions.

    Raises:
        AppRejected: The real host would not load the app; every problem is in it.
    """
    reader = _Reader(host_json, environment)
    found = [reader.function(function) for function in indexed]
    functions = tuple(function for function in found if function is not None)
    reader.problems += _clashes(functions)
    if reader.problems:
        raise AppRejected(reader.problems)
    return functions


def _clashes(functions: tuple[Function, ...]) -> list[Problem]:
    """Routes that two functions claim for the same method, names that differ only in case."""
    problems = [
        Problem(name, f"{count} functions have this name (case does not count)")
        for name, count in Counter(function.name.lower() for function in functions).items()
        if count > 1
    ]
    web = [(f.name, f.trigger) for f in functions if isinstance(f.trigger, HttpTrigger)]
    for position, (name, trigger) in enumerate(web):
        for other, earlier in web[:position]:
            same = trigger.route.text.lower() == earlier.route.text.lower()
            if same and (
                not trigger.methods or not earlier.methods or trigger.methods & earlier.methods
            ):
                reason = f"its route '{trigger.route.text}' is also that of '{other}'"
                problems.append(Problem(name, reason, "Change the route or the methods."))
    return problems


class _Reader:
    """Reads bindings and collects problems."""

    def __init__(self, host_json: HostJson, environment: Mapping[str, str]) -> None:
        self.host_json = host_json
        self.environment = environment
        self.problems: list[Problem] = []
        self.place = ""

    def function(self, indexed: Indexed) -> Function | None:
        """The typed function; None, and problems noted, if it is refused."""
        self.place = indexed.name
        before = len(self.problems)
        if not _NAME.fullmatch(indexed.name) or indexed.name.lower() == "host":
            self.refuse(
                "this cannot be a function's name",
                "It has letters, digits, _ and -, 128 at most, a letter first; not 'host'.",
            )
        triggers = [b for b in indexed.bindings if str(b["type"]).lower().endswith("trigger")]
        if len(triggers) != 1:
            self.refuse(f"it has {len(triggers)} triggers; a function has exactly one")
            return None
        trigger = self.trigger(indexed.name, triggers[0])
        others = [b for b in indexed.bindings if b is not triggers[0]]
        outputs = [self.output(binding) for binding in others]
        retry = self.retry(indexed, trigger)
        if trigger is None or len(self.problems) > before:
            return None
        return Function(
            name=indexed.name,
            id=indexed.id,
            trigger=trigger,
            outputs=tuple(output for output in outputs if output is not None),
            disabled=is_disabled(indexed.name, self.environment),
            retry=retry,
            bindings=indexed.bindings,
        )

    def refuse(self, reason: str, mend: str = "") -> None:
        self.problems.append(Problem(self.place, reason, mend))

    def text(self, binding: Binding, name: str, default: str = "") -> str:
        """A binding's property with its `%NAME%` expanded."""
        raw = binding.get(name)
        try:
            return expand(default if raw is None else str(raw), self.environment)
        except KeyError as missing:
            setting = missing.args[0]
            self.refuse(
                f"'%{setting}%' in its {name} is not set", f"Set the app setting {setting}."
            )
            return ""

    def trigger(self, function: str, binding: Binding) -> Trigger | None:
        match str(binding["type"]).lower():
            case "httptrigger":
                return self.http(function, binding)
            case "queuetrigger":
                queue, connection = self.queue(binding)
                return QueueTrigger(binding["name"], queue, connection)
            case "blobtrigger":
                return self.blob(binding)
            case "eventgridtrigger":
                return EventGridTrigger(binding["name"])
            case "timertrigger":
                return self.timer(binding)
            case other:
                self.refuse(f"this host has no {other}", f"It offers {_OFFERED}.")
                return None

    def output(self, binding: Binding) -> Output | None:
        kind, direction = str(binding["type"]).lower(), str(binding.get("direction", "")).lower()
        if direction == "out" and kind == "http":
            return None
        if direction == "out" and kind == "queue":
            queue, connection = self.queue(binding)
            return QueueOutput(binding["name"], queue, connection)
        if direction == "out" and kind == "blob":
            connection = self.connection(binding, "blob")
            return BlobOutput(binding["name"], self.text(binding, "path").strip("/"), connection)
        self.refuse(
            f"this host has no {kind} binding of direction {direction or 'unknown'}",
            "It offers queue and blob outputs; for the rest use the service's SDK.",
        )
        return None

    def connection(self, binding: Binding, service: Any) -> str:
        name = self.text(binding, "connection")
        for wanted in {service, "queue" if service == "blob" else service}:
            try:
                find_connection(name, wanted, self.environment)
            except LookupError as error:
                self.refuse(str(error))
        return name

    def queue(self, binding: Binding) -> tuple[str, str]:
        queue = self.text(binding, "queueName").lower()
        if queue and not _QUEUE.fullmatch(queue):
            self.refuse(
                f"'{queue}' cannot be a queue's name",
                "It has 3 to 63 lower-case letters, digits and single hyphens.",
            )
        return queue, self.connection(binding, "queue")

    def http(self, function: str, binding: Binding) -> HttpTrigger | None:
        raw = binding.get("route")
        route = function if raw is None else self.text(binding, "route").strip("/")
        if route.lower().startswith(_RESERVED):
            self.refuse(
                f"its route '{route}' begins with 'admin' or 'runtime', which are the host's"
            )
        prefix = self.host_json.route_prefix
        try:
            template = compile_route(f"{prefix}/{route}" if prefix else route)
        except ValueError as error:
            self.refuse(str(error))
            return None
        level = str(binding.get("authLevel") or "function").lower()
        if level not in {known.value for known in AuthLevel}:
            self.refuse(f"'{level}' is not an authorization level")
            return None
        methods = frozenset(str(method).upper() for method in binding.get("methods") or ())
        return HttpTrigger(binding["name"], template, methods, AuthLevel(level))

    def blob(self, binding: Binding) -> BlobTrigger | None:
        if str(binding.get("source", "")).lower() != "eventgrid":
            self.refuse(
                "its blob trigger polls, which Flex Consumption refuses",
                "Set source=func.BlobSource.EVENT_GRID.",
            )
        connection = self.connection(binding, "blob")
        self.need_host_storage()
        try:
            pattern = BlobPattern.parse(self.text(binding, "path"))
        except ValueError as error:
            self.refuse(str(error))
            return None
        return BlobTrigger(binding["name"], pattern, connection)

    def timer(self, binding: Binding) -> TimerTrigger | None:
        expression = self.text(binding, "schedule")
        try:
            schedule = Schedule.parse(expression)
        except ValueError as error:
            if expression:
                self.refuse(f"its schedule cannot be used: {error}")
            return None
        monitor = bool(binding.get("useMonitor", True)) and not schedule.is_frequent
        if monitor:
            self.need_host_storage()
        return TimerTrigger(
            binding["name"],
            expression,
            schedule,
            bool(binding.get("runOnStartup", False)),
            monitor,
        )

    def need_host_storage(self) -> None:
        """Receipts and timer status are kept in AzureWebJobsStorage."""
        for service in ("blob", "queue"):
            try:
                find_connection("", service, self.environment)
            except LookupError as error:
                self.refuse(str(error))
                return

    def retry(self, indexed: Indexed, trigger: Trigger | None) -> Retry | None:
        if indexed.retry is None:
            return None
        if not isinstance(trigger, TimerTrigger):
            self.refuse(
                "its trigger has no retry policies",
                "Of the triggers offered here only timers have them; "
                "queues and blobs try again by themselves.",
            )
            return None
        policy = indexed.retry
        fixed = policy.get("delay_interval")
        shortest = fixed if fixed is not None else policy["minimum_interval"]
        longest = fixed if fixed is not None else policy["maximum_interval"]
        return Retry(
            int(policy["max_retry_count"]), shortest.total_seconds(), longest.total_seconds()
        )
