"""What a job logged, and when an endpoint was last asked: the two places where Azure keeps numbers."""

from __future__ import annotations

import functools
import logging
import os
import threading
import warnings
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from shared.cloud.arm import PROVIDER
from shared.cloud.failures import failing
from shared.errors import DroptuneError, Missing, Refused
from shared.runs.measures import Measured, Seen

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from shared.cloud.arm import Arm, Place

BATCH: Final = 50
"""Most resources in one call (https://learn.microsoft.com/azure/azure-monitor/metrics/migrate-to-batch-api)."""

MOST_CURVES: Final = 50
"""Metrics whose points are read; Azure ML takes 50 names per run."""

TOKENS: Final = {
    "training": "__azureml_ft_training_tokens",
    "assistant": "__azureml_ft_assistant_tokens",
}
"""What the fine-tuning component counts, and the label of the root run that holds it."""

METRIC: Final = "RequestsPerMinute"
LATENCY: Final = "RequestLatency_P90"
NAMESPACE: Final = f"{PROVIDER}/workspaces/onlineEndpoints"
VERSION: Final = "2023-10-01"
_SCOPE: Final = "https://metrics.monitor.azure.com/.default"
FAULTS: Final = frozenset({"408", "424", "429"})
"""Statuses below 500 that are the deployment's fault: too slow, failed in the model, too small. 424 stands for
whatever else than 200 the model's server said."""

_AGGREGATIONS: Final = ("average", "total", "maximum", "count")
_GRAINS: Final = (
    (timedelta(hours=24), timedelta(minutes=1), "PT1M"),
    (timedelta(days=7), timedelta(minutes=15), "PT15M"),
    (timedelta.max, timedelta(hours=1), "PT1H"),
)
"""The longest span, and the length of a point for it, so that an answer stays of a bearable size."""

_making = threading.Lock()


def measured(tracking_uri: str, job: str) -> Measured:
    """What the job logged, through the workspace's own tracking address.

    Args:
        tracking_uri: `azureml://…`, as the workspace gives it.
        job: The job's name, which is its run's id.

    Raises:
        Missing: There is no such run.
    """
    with failing(f"reading the metrics of the job {job}"):
        with _making:
            client = _client(tracking_uri)
        data = client.get_run(job).data
        last = dict(data.metrics)
        curves = {
            name: sorted(
                (point.step, point.value) for point in client.get_metric_history(job, name)
            )
            for name in sorted(last)[:MOST_CURVES]
        }
    return Measured(last, curves, tokens_in(data.tags))


def tokens_in(labels: Mapping[str, str]) -> dict[str, int]:
    """The counts of tokens among a run's tags or properties, where the fine-tuning component writes them.

    >>> tokens_in({"__azureml_ft_training_tokens": "120", "mlflow.user": "me"})
    {'training': 120}
    """
    return {
        name: int(labels[label])
        for name, label in TOKENS.items()
        if str(labels.get(label) or "").isdecimal()
    }


@functools.lru_cache(maxsize=4)
def _client(tracking_uri: str) -> Any:
    # MLflow takes its patience from the environment alone, and its own would keep a step for minutes.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import azureml.mlflow  # noqa: F401 - registers the scheme `azureml://`
        from mlflow import MlflowClient
    # It tells of every look at the tracking address.
    logging.getLogger("azureml.mlflow").setLevel(logging.WARNING)
    return MlflowClient(tracking_uri=tracking_uri, registry_uri=tracking_uri)


class Requests:
    """Azure Monitor's counts of requests.

    Args:
        arm: For tokens and the talking.
        place: The workspace.
        address: Azure Monitor's metrics endpoint; empty for that of the region.
        region: The workspace's region.
        now: The time.
    """

    def __init__(
        self,
        arm: Arm,
        place: Place,
        address: str,
        region: Callable[[], str],
        now: Callable[[], datetime],
    ) -> None:
        self._arm = arm
        self._place = place
        self._address = address.rstrip("/")
        self._region = region
        self._now = now

    def last(self, endpoints: Sequence[str], since: datetime) -> Mapping[str, datetime | None]:
        """When each endpoint was last asked; `None`: not since `since`.

        An endpoint that could not be measured is missing from the answer: not measured is not unused.

        Args:
            endpoints: Azure's names.
            since: Earlier requests do not count.

        Raises:
            DroptuneError: Nothing at all could be measured; why.
        """
        now = self._now()
        measured: dict[str, datetime | None] = {}
        failure: DroptuneError | None = None
        for start in range(0, len(endpoints), BATCH):
            some = endpoints[start : start + BATCH]
            try:
                measured |= self._measured(some, since, now)
            except DroptuneError as error:
                failure = error
        if failure is not None and not measured:
            raise failure
        return measured

    def _measured(
        self, endpoints: Sequence[str], since: datetime, now: datetime
    ) -> Mapping[str, datetime | None]:
        """As `_batch`; if that is refused, in halves, so that one endpoint that is gone spoils no others."""
        try:
            return self._batch(endpoints, since, now)
        except (Missing, Refused):
            if len(endpoints) == 1:
                return {}
        half = len(endpoints) // 2
        return {
            **self._measured(endpoints[:half], since, now),
            **self._measured(endpoints[half:], since, now),
        }

    def _batch(
        self, endpoints: Sequence[str], since: datetime, now: datetime
    ) -> Mapping[str, datetime | None]:
        length, grain = grain_for(now - since)
        ids = {f"{self._place.path}/onlineEndpoints/{name}".lower(): name for name in endpoints}
        body = self._query(endpoints, METRIC, grain, since, now)
        return {
            ids[resource]: last
            for resource, last in read_batch(body, length, now)
            if resource in ids
        }

    def _query(
        self,
        endpoints: Sequence[str],
        metric: str,
        grain: str,
        since: datetime,
        now: datetime,
        **more: str,
    ) -> Any:
        """The answer of `metrics:getBatch` about one metric of some endpoints."""
        address = self._address or f"https://{self._region()}.metrics.monitor.azure.com"
        return self._arm.ask(
            "POST",
            f"{address}/subscriptions/{self._place.subscription}/metrics:getBatch",
            "measuring the use of endpoints",
            body={
                "resourceids": [f"{self._place.path}/onlineEndpoints/{name}" for name in endpoints]
            },
            version=VERSION,
            query={
                "metricnamespace": NAMESPACE,
                "metricnames": metric,
                "aggregation": "average",
                "interval": grain,
                "starttime": _spelled(since),
                "endtime": _spelled(now),
                **more,
            },
            scope=_SCOPE,
        ).body

    def seen(self, endpoint: str, since: datetime) -> Mapping[str, Seen]:
        """How each deployment of an endpoint answered since `since`; one that nobody asked is missing.

        Args:
            endpoint: Azure's name.
            since: Earlier requests do not count; the minute it lies in does.
        """
        now = max(self._now(), since + timedelta(minutes=1))
        asked = self._query(
            [endpoint],
            METRIC,
            "PT1M",
            since,
            now,
            filter="deployment eq '*' and statusCode eq '*'",
        )
        slow = self._query([endpoint], LATENCY, "PT1M", since, now, filter="deployment eq '*'")
        return read_seen(asked, slow)


def grain_for(span: timedelta) -> tuple[timedelta, str]:
    """The length of one point for a span of time, as a span and as Azure Monitor spells it."""
    return next((length, name) for longest, length, name in _GRAINS if span <= longest)


def read_seen(asked: Mapping[str, Any], slow: Mapping[str, Any]) -> Mapping[str, Seen]:
    """How each deployment of the one endpoint that was measured answered.

    Args:
        asked: Requests per minute, split by `deployment` and `statusCode`.
        slow: A percentile of the latency, split by `deployment`.
    """
    requests: Counter[str] = Counter()
    failed: Counter[str] = Counter()
    for labels, values in _series(asked, METRIC):
        number, status = round(sum(values)), labels.get("statuscode", "")
        requests[labels.get("deployment", "")] += number
        if status in FAULTS or status.startswith("5"):
            failed[labels.get("deployment", "")] += number
    latency = {
        labels.get("deployment", ""): sum(values) / len(values)
        for labels, values in _series(slow, LATENCY)
        if values
    }
    return {
        name: Seen(number, failed[name], latency.get(name))
        for name, number in requests.items()
        if name
    }


def _series(body: Mapping[str, Any], metric: str) -> Iterator[tuple[dict[str, str], list[float]]]:
    """Each time series of a metric: its dimensions, and its averages by the minute."""
    for row in body.get("values") or []:
        for found in row.get("value") or []:
            if _name_of(found) != metric.lower():
                continue
            for series in found.get("timeseries") or []:
                labels = {
                    str((each.get("name") or {}).get("value") or "").lower(): str(
                        each.get("value") or ""
                    )
                    for each in series.get("metadatavalues") or []
                }
                points = series.get("data") or []
                yield labels, [float(p["average"]) for p in points if p.get("average") is not None]


def read_batch(
    body: Mapping[str, Any], length: timedelta, now: datetime
) -> Iterator[tuple[str, datetime | None]]:
    """Each resource that was measured (its id in lower case), and when it was last asked.

    Args:
        body: The answer of `metrics:getBatch`.
        length: Of one point.
        now: A point may last longer than now; no request is later.
    """
    for row in body.get("values") or []:
        metric = next(
            (each for each in row.get("value") or [] if _name_of(each) == METRIC.lower()), None
        )
        if metric is None or (metric.get("errorCode") or "Success") != "Success":
            continue
        ends = [
            min(_moment(point["timeStamp"]) + length, now)
            for series in metric.get("timeseries") or []
            for point in series.get("data") or []
            if any((point.get(name) or 0) > 0 for name in _AGGREGATIONS)
        ]
        yield str(row.get("resourceid") or "").lower(), max(ends, default=None)


def _name_of(metric: Mapping[str, Any]) -> str:
    return str((metric.get("name") or {}).get("value") or "").lower()


def _moment(text: str) -> datetime:
    found = datetime.fromisoformat(text)
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _spelled(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
