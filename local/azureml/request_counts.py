"""Requests that endpoints served, counted by the minute in a table that survives.

One row holds one combination of endpoint, deployment, minute, status codes and latency class. The
classes grow by a tenth each, so a percentile read off them is at most a tenth too high.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from local.azureml.state import Store

_SCHEMA = """
create table if not exists request_counts (
    endpoint     text not null,
    minute       integer not null,
    deployment   text not null,
    status       integer not null,
    model_status text not null,
    class        integer not null,
    requests     integer not null,
    milliseconds real not null,
    primary key (endpoint, minute, deployment, status, model_status, class)
) without rowid;
"""
_ADD = """
insert into request_counts values (?, ?, ?, ?, ?, ?, 1, ?)
on conflict do update set requests = requests + 1, milliseconds = milliseconds + excluded.milliseconds
"""
_READ = """
select minute, deployment, status, model_status, class, requests, milliseconds
from request_counts where endpoint = ? and minute >= ? and minute < ? order by minute
"""
_GROWTH = math.log(1.1)


@dataclass(frozen=True, slots=True)
class Count:
    """One row.

    Attributes:
        minute: Its start.
        deployment: Which answered; empty when none did.
        status: What the caller got.
        model_status: What the container answered; empty when it was not asked or did not answer.
        requests: How many.
        milliseconds: Their latencies' sum.
        at_most: The upper bound of their latency class, in milliseconds.
    """

    minute: datetime
    deployment: str
    status: int
    model_status: str
    requests: int
    milliseconds: float
    at_most: float


class RequestCounts:
    """The table, in the control plane's own database."""

    def __init__(self, store: Store) -> None:
        self._connection = store.connection
        self._connection.executescript(_SCHEMA)

    def add(
        self,
        endpoint: str,
        *,
        now: datetime,
        deployment: str,
        status: int,
        model_status: str,
        milliseconds: float,
    ) -> None:
        """Count one request of the endpoint with that ARM id."""
        minute = int(now.timestamp()) // 60
        values = (endpoint.lower(), minute, deployment, status, model_status)
        self._connection.execute(_ADD, (*values, latency_class(milliseconds), milliseconds))

    def read(self, endpoint: str, start: datetime, end: datetime) -> Iterator[Count]:
        """The rows of an endpoint from the minute of `start` to before `end`, in order."""
        first, last = int(start.timestamp()) // 60, math.ceil(end.timestamp() / 60)
        for row in self._connection.execute(_READ, (endpoint.lower(), first, last)):
            yield Count(
                minute=datetime.fromtimestamp(row[0] * 60, UTC),
                deployment=row[1],
                status=row[2],
                model_status=row[3],
                at_most=1.1 ** row[4],
                requests=row[5],
                milliseconds=row[6],
            )


def latency_class(milliseconds: float) -> int:
    """The class of a latency: the least `n` with `milliseconds <= 1.1 ** n`."""
    return math.ceil(math.log(max(milliseconds, 1e-3)) / _GROWTH)
