"""Azure Monitor's metric queries as values: parsed, then answered from counts. No HTTP, no store.

Parameters, shapes and units follow the REST reference ("Metrics - List", "Metrics Batch - Batch",
learn.microsoft.com/rest/api/monitor) and the list of supported metrics of
Microsoft.MachineLearningServices/workspaces/onlineEndpoints.

Decisions where the reference is silent: points begin at the start of the time span, cut to the
minute; an `average` of RequestsPerMinute is over the minutes that had requests; a metric without
any request in the span has no time series; a point without requests has no values.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter, ValidationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from local.azureml.request_counts import Count

NAMESPACE = "Microsoft.MachineLearningServices/workspaces/onlineEndpoints"
AGGREGATIONS = ("Average", "Count", "Maximum", "Minimum", "Total")
GRAINS = ("PT1M", "PT5M", "PT15M", "PT30M", "PT1H", "PT6H", "PT12H", "P1D", "FULL")
MOST_POINTS = 50_000
_DURATION = TypeAdapter(timedelta)
_CLAUSE = re.compile(r"^\(?\s*(?P<name>\w+)\s+eq\s+'(?P<value>[^']*)'\s*\)?$", re.IGNORECASE)


class BadQuery(Exception):
    """A query that Azure Monitor answers with 400; the message is its own."""


class NotCounted(Exception):
    """A metric or an option that exists on Azure and not here."""


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric of an online endpoint.

    Attributes:
        name, title, about, unit: As the documentation has them.
        dimensions: What a query may filter by and split by.
        percentile: Of the latency, from 0 to 1; None for a mean or a count.
    """

    name: str
    title: str
    about: str
    unit: str
    dimensions: tuple[str, ...]
    percentile: float | None = None


_COUNTED = (
    Metric(
        "RequestsPerMinute",
        "Requests Per Minute",
        "The number of requests sent to online endpoint within a minute",
        "Count",
        ("deployment", "statusCode", "statusCodeClass", "modelStatusCode"),
    ),
    Metric(
        "RequestLatency",
        "Request Latency",
        "The average complete interval of time taken for a request to be responded in milliseconds",
        "MilliSeconds",
        ("deployment",),
    ),
    *(
        Metric(
            f"RequestLatency_P{number}",
            f"Request Latency P{number}",
            f"The average P{number} request latency aggregated by all request latency values "
            "collected over the selected time period",
            "MilliSeconds",
            ("deployment",),
            number / 100,
        )
        for number in (50, 90, 95, 99)
    ),
)
METRICS = {metric.name.lower(): metric for metric in _COUNTED}
ELSEWHERE = (
    "ConnectionsActive",
    "DataCollectionErrorsPerMinute",
    "DataCollectionEventsPerMinute",
    "NetworkBytes",
    "NewConnectionsPerSecond",
)
"""Metrics that the real service has and the emulator does not count."""


@dataclass(frozen=True, slots=True)
class Query:
    """What is asked of one resource.

    Attributes:
        metrics: Which metrics.
        start, end: The time span; whole minutes.
        grain: Length of one point; None for the whole span at once.
        grain_text: The grain as asked for.
        aggregations: Names out of `AGGREGATIONS`; empty for the metric's own.
        filters: Wanted values by dimension (lower case); `*` for all, as a series each.
        top: The most time series, if bounded.
    """

    metrics: tuple[Metric, ...]
    start: datetime
    end: datetime
    grain: timedelta | None
    grain_text: str
    aggregations: tuple[str, ...]
    filters: Mapping[str, frozenset[str]]
    top: int | None


def parse(given: Mapping[str, str], now: datetime) -> Query:
    """The query of lower-cased parameters.

    Args:
        given: `starttime` and `endtime` or `timespan`, `interval`, `metricnames`,
            `metricnamespace`, `aggregation`, `filter`, `top`.
        now: The end of a span that has none.

    Raises:
        BadQuery, NotCounted: As the names say.
    """
    for option in ("orderby", "rollupby"):
        if given.get(option):
            raise NotCounted(f"the metrics option {option}")
    namespace = given.get("metricnamespace", NAMESPACE)
    if namespace.lower() != NAMESPACE.lower():
        raise NotCounted(f"metrics of the namespace {namespace!r}")
    metrics = tuple(_metric(name) for name in given.get("metricnames", "").split(",") if name)
    if not metrics:
        raise BadQuery("The metricnames parameter is missing.")
    start, end = _span(given, now)
    text, grain = _grain(given.get("interval", "PT1M"), end - start)
    top = given.get("top")
    if top is not None and not (top.isdigit() and int(top) > 0):
        raise BadQuery(f"Invalid top: {top}.")
    return Query(
        metrics=metrics,
        start=start,
        end=end,
        grain=grain,
        grain_text=text,
        aggregations=_aggregations(given.get("aggregation", "")),
        filters=_filters(given.get("filter", ""), metrics),
        top=int(top) if top else None,
    )


def _metric(name: str) -> Metric:
    found = METRICS.get(name.strip().lower())
    if found is not None:
        return found
    if name.strip().lower() in {each.lower() for each in ELSEWHERE}:
        raise NotCounted(f"the metric {name}")
    valid = sorted([*(each.name for each in _COUNTED), *ELSEWHERE])
    raise BadQuery(
        "Failed to find metric configuration for provider: Microsoft.MachineLearningServices, "
        f"resource Type: workspaces/onlineEndpoints, metric: {name}, Valid metrics: "
        f"{','.join(valid)}"
    )


def _grain(text: str, span: timedelta) -> tuple[str, timedelta | None]:
    """The interval in its own spelling, and its length; None for all of the span."""
    text = text.upper()
    if text not in GRAINS:
        raise BadQuery(
            f"Invalid time grain input: {text}. Supported time grains are: {', '.join(GRAINS)}"
        )
    if text == "FULL":
        return text, None
    grain = _DURATION.validate_python(text)
    if span / grain > MOST_POINTS:
        raise BadQuery("The query asks for too many data points; take a longer interval.")
    return text, grain


def _span(given: Mapping[str, str], now: datetime) -> tuple[datetime, datetime]:
    first, _, last = given.get("timespan", "").partition("/")
    first, last = first or given.get("starttime", ""), last or given.get("endtime", "")
    if last and not first:
        raise BadQuery("The starttime parameter is required when endtime is given.")
    end = _moment(last) if last else now
    if first.upper().startswith("P"):
        start = end - _length(first)
    else:
        start = _moment(first) if first else end - timedelta(hours=1)
    start = start.replace(second=0, microsecond=0)
    if end <= start:
        raise BadQuery(f"The end of the time span must be after its start: {start} / {end}.")
    return start, end


def _length(text: str) -> timedelta:
    try:
        return _DURATION.validate_python(text)
    except ValidationError:
        raise BadQuery(f"Invalid duration: {text}.") from None


def _moment(text: str) -> datetime:
    try:
        # A plus sign that nobody escaped arrives as a space.
        found = datetime.fromisoformat(text.strip().replace(" ", "+"))
    except ValueError:
        raise BadQuery(f"Invalid time: {text}. It must be ISO 8601.") from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _aggregations(text: str) -> tuple[str, ...]:
    named = {each.lower(): each for each in AGGREGATIONS}
    wanted = [each.strip().lower() for each in text.split(",") if each.strip()]
    if unknown := [each for each in wanted if each not in named]:
        raise BadQuery(
            f"Invalid aggregation: {', '.join(unknown)}. Supported are {', '.join(AGGREGATIONS)}."
        )
    return tuple(named[each] for each in wanted)


def _filters(text: str, metrics: Iterable[Metric]) -> dict[str, frozenset[str]]:
    """`deployment eq 'blue' and statusCodeClass eq '*'` as values by dimension."""
    found: dict[str, set[str]] = defaultdict(set)
    for clause in re.split(r"\s+(?:and|or)\s+", text.strip(), flags=re.IGNORECASE) if text else ():
        matched = _CLAUSE.match(clause)
        if matched is None:
            raise NotCounted(f"the metrics filter {clause!r} (only NAME eq 'VALUE', and, or)")
        name = matched["name"].lower()
        for metric in metrics:
            if name not in {each.lower() for each in metric.dimensions}:
                raise BadQuery(
                    f"Metric: {metric.name} does not support requested dimension combination: "
                    f"{name}, supported ones are: {','.join(metric.dimensions)}"
                )
        found[name].add(matched["value"].lower())
    return {name: frozenset(values) for name, values in found.items()}


# Answering ----------------------------------------------------------------------------------

_READ: dict[str, Callable[[Count], str]] = {
    "deployment": lambda count: count.deployment,
    "statuscode": lambda count: str(count.status),
    "statuscodeclass": lambda count: f"{count.status // 100}xx",
    "modelstatuscode": lambda count: count.model_status,
}


def series(query: Query, metric: Metric, counts: Iterable[Count]) -> list[dict[str, Any]]:
    """The time series of one metric, as the wire shows them.

    Args:
        query: What is asked.
        metric: Which metric.
        counts: The rows of the resource within the span.
    """
    split: dict[tuple[str, ...], list[Count]] = defaultdict(list)
    for count in counts:
        values = {name: _READ[name](count) for name in query.filters}
        if all(
            "*" in wanted or values[name].lower() in wanted
            for name, wanted in query.filters.items()
        ):
            split[tuple(values.values())].append(count)
    shown = [
        {
            "metadatavalues": [
                {"name": {"value": name, "localizedValue": name}, "value": value}
                for name, value in zip(query.filters, values, strict=True)
            ],
            "data": _points(query, metric, rows),
        }
        for values, rows in sorted(split.items())
    ]
    return shown[: query.top]


def _points(query: Query, metric: Metric, rows: list[Count]) -> list[dict[str, Any]]:
    grain = query.grain or (query.end - query.start)
    buckets: dict[int, list[Count]] = defaultdict(list)
    for row in rows:
        buckets[(row.minute - query.start) // grain].append(row)
    number = -((query.start - query.end) // grain)
    wanted = query.aggregations or ("Average",)
    points = []
    for index in range(number):
        at = (query.start + index * grain).strftime("%Y-%m-%dT%H:%M:%SZ")
        values = _values(metric, buckets[index]) if index in buckets else {}
        chosen = {name.lower(): values[name] for name in wanted if name in values}
        points.append({"timeStamp": at, **chosen})
    return points


def _values(metric: Metric, rows: list[Count]) -> dict[str, float]:
    """All aggregations of one point."""
    by_minute: dict[datetime, list[Count]] = defaultdict(list)
    for row in rows:
        by_minute[row.minute].append(row)
    if metric.unit == "Count":
        samples = [float(sum(row.requests for row in each)) for each in by_minute.values()]
    elif metric.percentile is not None:
        samples = [percentile(each, metric.percentile) for each in by_minute.values()]
    else:
        samples = [
            sum(row.milliseconds for row in each) / sum(row.requests for row in each)
            for each in by_minute.values()
        ]
    total = sum(samples)
    return {
        "Average": total / len(samples),
        "Count": float(len(samples)),
        "Maximum": max(samples),
        "Minimum": min(samples),
        "Total": total,
    }


def percentile(rows: Iterable[Count], part: float) -> float:
    """The latency in milliseconds that `part` of the requests stayed within."""
    ordered = sorted(rows, key=lambda row: row.at_most)
    left = part * sum(row.requests for row in ordered)
    for row in ordered:
        left -= row.requests
        if left <= 0:
            return row.at_most
    return ordered[-1].at_most


def shown_metric(resource: str, metric: Metric, found: list[dict[str, Any]]) -> dict[str, Any]:
    """A metric of a resource around its time series, as the wire shows it."""
    return {
        "id": f"{resource}/providers/Microsoft.Insights/metrics/{metric.name}",
        "type": "Microsoft.Insights/metrics",
        "name": {"value": metric.name, "localizedValue": metric.title},
        "displayDescription": metric.about,
        "unit": metric.unit,
        "timeseries": found,
        "errorCode": "Success",
    }
