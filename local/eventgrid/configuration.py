"""Topics and subscriptions, read from a JSON file in Azure Resource Manager's words.

    {"topics": [{
       "name": "azureml", "key": "…", "source": "/subscriptions/…/workspaces/…",
       "subscriptions": [{
         "name": "job-event",
         "endpointUrl": "http://127.0.0.1:7071/runtime/webhooks/EventGrid?functionName=…&code=…",
         "filter": {"includedEventTypes": ["…"], "subjectBeginsWith": "", "subjectEndsWith": "",
                    "isSubjectCaseSensitive": false,
                    "advancedFilters": [{"operatorType": "StringIn", "key": "data.runStatus",
                                         "values": ["Failed"]}]},
         "retryPolicy": {"maxDeliveryAttempts": 30, "eventTimeToLiveInMinutes": 1440}}]},
      {"name": "storage", "key": "…", "source": "/subscriptions/…/storageAccounts/…",
       "storageContainers": ["manifests"], "subscriptions": []}]}

A topic with `storageContainers` is a storage account's system topic: it watches these containers.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from local.eventgrid.filters import NO_VALUE, ONE_VALUE, OPERATORS, AdvancedFilter, Filter
from local.eventgrid.retries import RetryPolicy

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


class BadConfiguration(ValueError):
    """The file is wrong; `problems` has all that is."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))


@dataclass(frozen=True, slots=True)
class Subscription:
    """Who wants which events of a topic.

    Attributes:
        name: Unique within the topic.
        endpoint_url: The webhook; holds a key, so it is never printed.
        wants: The filter.
        retry_policy: How long to try.
    """

    name: str
    endpoint_url: str = field(repr=False)
    wants: Filter = field(default_factory=Filter)
    retry_policy: RetryPolicy = field(default_factory=RetryPolicy)


@dataclass(frozen=True, slots=True)
class Topic:
    """Where events are published.

    Attributes:
        name: Its place in the publish address.
        key: What publishers send as `aeg-sas-key`.
        source: The resource that the events are about; fills `topic` of events that name none.
        subscriptions: Who gets them.
        storage_containers: Blob containers to watch, for a storage account's system topic.
    """

    name: str
    key: str = field(repr=False)
    source: str
    subscriptions: tuple[Subscription, ...] = ()
    storage_containers: tuple[str, ...] = ()


def read(file: Path) -> tuple[Topic, ...]:
    """Read the topics out of a file.

    Raises:
        BadConfiguration: With every problem, each with its place.
    """
    try:
        body = json.loads(file.read_text())
    except OSError as error:
        raise BadConfiguration([f"{file}: cannot be read: {error.strerror}"]) from error
    except ValueError as error:
        raise BadConfiguration([f"{file}: is not JSON: {error}"]) from error
    return parse(body)


def parse(body: Any) -> tuple[Topic, ...]:
    """Read the topics out of the file's content.

    Raises:
        BadConfiguration: With every problem, each with its place.
    """
    reader = _Reader()
    entry = reader.object(body, "", {"topics": list})
    topics = tuple(
        reader.topic(topic, f"topics[{index}]")
        for index, topic in enumerate(entry.get("topics", []))
    )
    names = [topic.name for topic in topics]
    reader.problems += [f"topics: two are called {n!r}" for n in set(names) if names.count(n) > 1]
    if reader.problems:
        raise BadConfiguration(reader.problems)
    return topics


class _Reader:
    """Collects problems instead of stopping at the first."""

    def __init__(self) -> None:
        self.problems: list[str] = []

    def object(
        self, body: Any, place: str, kinds: Mapping[str, type], required: tuple[str, ...] = ()
    ) -> dict[str, Any]:
        """The entries of `body` that have the kind they must have; the rest become problems."""
        if not isinstance(body, dict):
            self.problems.append(f"{place or 'the file'}: must be an object")
            return {}
        where = f"{place}." if place else ""
        good = {}
        for name, value in body.items():
            if name not in kinds:
                self.problems.append(f"{where}{name}: unknown; there are {', '.join(kinds)}")
            elif not isinstance(value, kinds[name]):
                self.problems.append(f"{where}{name}: must be of type {kinds[name].__name__}")
            else:
                good[name] = value
        self.problems += [f"{where}{name}: is missing" for name in required if name not in body]
        return good

    def strings(self, values: list[Any], place: str) -> tuple[str, ...]:
        for index, value in enumerate(values):
            if not isinstance(value, str):
                self.problems.append(f"{place}[{index}]: must be a string")
        return tuple(value for value in values if isinstance(value, str))

    def topic(self, body: Any, place: str) -> Topic:
        kinds = {"name": str, "key": str, "source": str, "subscriptions": list}
        entry = self.object(
            body, place, {**kinds, "storageContainers": list}, ("name", "key", "source")
        )
        subscriptions = tuple(
            self.subscription(one, f"{place}.subscriptions[{index}]")
            for index, one in enumerate(entry.get("subscriptions", []))
        )
        names = [one.name for one in subscriptions]
        for name in {name for name in names if names.count(name) > 1}:
            self.problems.append(f"{place}.subscriptions: two are called {name!r}")
        return Topic(
            name=entry.get("name", ""),
            key=entry.get("key", ""),
            source=entry.get("source", ""),
            subscriptions=subscriptions,
            storage_containers=self.strings(
                entry.get("storageContainers", []), f"{place}.storageContainers"
            ),
        )

    def subscription(self, body: Any, place: str) -> Subscription:
        kinds = {"name": str, "endpointUrl": str, "filter": dict, "retryPolicy": dict}
        entry = self.object(body, place, kinds, ("name", "endpointUrl"))
        url = entry.get("endpointUrl", "http://")
        if not url.startswith(("http://", "https://")):
            self.problems.append(f"{place}.endpointUrl: must begin with http:// or https://")
        return Subscription(
            name=entry.get("name", ""),
            endpoint_url=url,
            wants=self.filter(entry.get("filter", {}), f"{place}.filter"),
            retry_policy=self.policy(entry.get("retryPolicy", {}), f"{place}.retryPolicy"),
        )

    def filter(self, body: Any, place: str) -> Filter:
        kinds = {
            "includedEventTypes": list,
            "subjectBeginsWith": str,
            "subjectEndsWith": str,
            "isSubjectCaseSensitive": bool,
            "advancedFilters": list,
        }
        entry = self.object(body, place, kinds)
        types = entry.get("includedEventTypes")
        return Filter(
            event_types=None
            if types is None
            else frozenset(self.strings(types, f"{place}.includedEventTypes")),
            subject_begins_with=entry.get("subjectBeginsWith", ""),
            subject_ends_with=entry.get("subjectEndsWith", ""),
            case_sensitive=entry.get("isSubjectCaseSensitive", False),
            advanced=tuple(
                self.advanced(one, f"{place}.advancedFilters[{index}]")
                for index, one in enumerate(entry.get("advancedFilters", []))
            ),
        )

    def advanced(self, body: Any, place: str) -> AdvancedFilter:
        kinds = {"operatorType": str, "key": str, "values": list, "value": object}
        entry = self.object(body, place, kinds, ("operatorType", "key"))
        operator = entry.get("operatorType", "")
        if "operatorType" in entry and operator not in OPERATORS:
            self.problems.append(
                f"{place}.operatorType: {operator!r} is unknown; "
                f"there are {', '.join(sorted(OPERATORS))}"
            )
            return AdvancedFilter(operator, "")
        name = "value" if operator in ONE_VALUE else "values"
        if operator not in NO_VALUE and operator and name not in entry:
            self.problems.append(f"{place}.{name}: is missing: {operator} compares with it")
        wanted = entry.get(name)
        if operator.startswith("Number") and name in entry and not _is_numeric(operator, wanted):
            self.problems.append(f"{place}.{name}: {operator} compares with numbers")
        return AdvancedFilter(operator, entry.get("key", ""), wanted)

    def policy(self, body: Any, place: str) -> RetryPolicy:
        kinds = {"maxDeliveryAttempts": int, "eventTimeToLiveInMinutes": int}
        entry = self.object(body, place, kinds)
        attempts = entry.get("maxDeliveryAttempts", 30)
        minutes = entry.get("eventTimeToLiveInMinutes", 1440)
        for name, value, most in (
            ("maxDeliveryAttempts", attempts, 30),
            ("eventTimeToLiveInMinutes", minutes, 1440),
        ):
            if not 1 <= value <= most:
                self.problems.append(f"{place}.{name}: must be 1 to {most}")
        return RetryPolicy(attempts=attempts, time_to_live=minutes * 60.0)


def _is_numeric(operator: str, wanted: Any) -> bool:
    """Whether `wanted` is what a Number operator compares with: a number, numbers, or ranges."""
    values = wanted if isinstance(wanted, list) else [wanted]
    if operator.endswith("Range"):
        if not all(isinstance(pair, list) and len(pair) == 2 for pair in values):  # noqa: PLR2004
            return False
        values = [bound for pair in values for bound in pair]
    return all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
