"""Which endpoints nobody uses, and which belong to nobody. Pure: the caller lists, measures and acts.

Two signs tell of use: Azure Monitor's count of requests, which knows every caller but lags by minutes, and
the scoring proxy's own notes, which are fresh but know the proxy's callers alone. Without the first nobody
can say that an endpoint is idle: nothing is ever put to sleep because a metric is missing. Times are aware.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from typing import TYPE_CHECKING, Final

from shared.errors import DroptuneError
from shared.runs.endpoints import Rest

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from shared.runs.endpoints import EndpointRecord
    from shared.runs.ports import Standing

BATCH: Final = 50
"""Most resources that one call of Azure Monitor's batch API measures
(https://learn.microsoft.com/azure/azure-monitor/metrics/migrate-to-batch-api)."""


@dataclass(frozen=True, slots=True)
class Idle:
    """Nobody uses it: it may be put to sleep. `why` is for a person."""

    why: str


@dataclass(frozen=True, slots=True)
class InUse:
    """Somebody uses it, or it has not had the time to be found."""

    why: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """Nobody can tell; it is left alone."""

    why: str


Decision = Idle | InUse | Unknown


class Measured(Enum):
    """What stands for the time of the last request when there is none."""

    NOT = "it could not be measured"


def decide(
    now: datetime,
    record: EndpointRecord,
    *,
    idle_after: timedelta,
    since_serving: datetime,
    last_request: datetime | Measured | None,
    last_used: datetime | None,
    grace: timedelta = timedelta(0),
) -> Decision:
    """Whether the endpoint is idle at `now`.

    Args:
        now: The time of the decision.
        record: The endpoint's record.
        idle_after: Unused for this long, it is idle.
        since_serving: When it began to serve, or woke.
        last_request: The last request that Azure Monitor counted; `None`: none in the last `idle_after`.
        last_used: When the proxy last noted a use, if ever.
        grace: How long it is left alone after it began to serve, if longer than `idle_after`.
    """
    if record.rest is not Rest.SERVING:
        return Unknown(f"it does not serve: it is {record.rest}")
    awake = now - since_serving
    if awake < max(grace, idle_after):
        return InUse(f"it began to serve {_said(awake)} ago")
    if last_used is not None and now - last_used < idle_after:
        return InUse(f"the proxy last used it {_said(now - last_used)} ago")
    if isinstance(last_request, Measured):
        return Unknown(f"nobody knows when it was last asked: {last_request.value}")
    if last_request is not None and now - last_request < idle_after:
        return InUse(f"it was last asked {_said(now - last_request)} ago")
    signs = [at for at in (last_request, last_used) if at is not None and at >= since_serving]
    unused = now - max(signs, default=since_serving)
    return Idle(f"unused for {_said(unused)}; {_said(idle_after)} is allowed")


@dataclass(frozen=True, slots=True)
class Candidate:
    """An endpoint that may be idle: its record, its manifest's `idle.after`, and the proxy's signs."""

    record: EndpointRecord
    idle_after: timedelta
    since_serving: datetime
    last_used: datetime | None = None

    @classmethod
    def of(cls, record: EndpointRecord, last_used: datetime | None) -> Candidate:
        """The endpoint as its record tells it, with the proxy's last note of its use."""
        return cls(record, timedelta(seconds=record.idle_after), record.since, last_used)


def sweep(
    now: datetime,
    candidates: Iterable[Candidate],
    measure: Callable[[Sequence[str], datetime], Mapping[str, datetime | None]],
    *,
    grace: timedelta = timedelta(0),
    batch: int = BATCH,
) -> Iterator[tuple[Candidate, Decision]]:
    """Decide over many endpoints in as few measurements as can be, holding one batch at a time.

    Only those that no fresher sign shows in use are measured. Decisions come as they fall, in no order.

    Args:
        now: The time of the decisions.
        candidates: The endpoints; may be a stream.
        measure: As `Workspace.last_requests` of `shared.runs.ports`: takes Azure's names of endpoints and a
            time, gives when each was last asked since then; what is missing could not be measured.
        grace: See `decide`.
        batch: Most endpoints for one call of `measure`.
    """
    waiting: list[Candidate] = []
    for candidate in candidates:
        at_sight = _decided(now, candidate, None, grace)
        if not isinstance(at_sight, Idle):
            yield candidate, at_sight
            continue
        waiting.append(candidate)
        if len(waiting) == batch:
            yield from _measured(now, waiting, measure, grace)
            waiting = []
    if waiting:
        yield from _measured(now, waiting, measure, grace)


def _measured(
    now: datetime,
    candidates: Sequence[Candidate],
    measure: Callable[[Sequence[str], datetime], Mapping[str, datetime | None]],
    grace: timedelta,
) -> Iterator[tuple[Candidate, Decision]]:
    since = now - max(candidate.idle_after for candidate in candidates)
    try:
        last = measure([candidate.record.azure_name for candidate in candidates], since)
    except DroptuneError as error:
        for candidate in candidates:
            yield candidate, Unknown(f"nobody knows when it was last asked: {error}")
        return
    for candidate in candidates:
        last_request = last.get(candidate.record.azure_name, Measured.NOT)
        yield candidate, _decided(now, candidate, last_request, grace)


def _decided(
    now: datetime,
    candidate: Candidate,
    last_request: datetime | Measured | None,
    grace: timedelta,
) -> Decision:
    return decide(
        now,
        candidate.record,
        idle_after=candidate.idle_after,
        since_serving=candidate.since_serving,
        last_request=last_request,
        last_used=candidate.last_used,
        grace=grace,
    )


@dataclass(frozen=True, slots=True)
class Orphan:
    """An endpoint of ours that no run owns. `why` is for a person."""

    name: str
    why: str


def orphans(
    now: datetime,
    standing: Iterable[Standing],
    records: Mapping[str, EndpointRecord],
    active: Container[str],
    *,
    grace: timedelta = timedelta(hours=1),
) -> Iterator[Orphan]:
    """Those of `standing` that are ours by their tag, yet nobody's by our records.

    Owned is what an active run made or claims, and what a record says serves, sleeps or wakes. What is
    younger than `grace` may belong to a run whose record was read too early; what has no known age is left
    alone.

    Args:
        now: The time of the decision.
        standing: Endpoints in Azure; may be a stream.
        records: Endpoint records by Azure's name.
        active: Ids of the runs that have not ended and do not rest.
        grace: Least age of an orphan.
    """
    for endpoint in standing:
        if endpoint.run is None or endpoint.deleting or endpoint.created_at is None:
            continue
        age = now - endpoint.created_at
        if age < grace or endpoint.run in active:
            continue
        record = records.get(endpoint.name)
        if record is None:
            yield Orphan(
                endpoint.name, f"made {_said(age)} ago by {endpoint.run}; no record names it"
            )
        elif record.rest is Rest.RETIRED or (
            record.rest is Rest.NEVER_SERVED and record.claimed_by not in active
        ):
            yield Orphan(
                endpoint.name,
                f"made {_said(age)} ago by {endpoint.run}; its record: {record.rest}",
            )


_UNITS: Final = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))


def _said(span: timedelta) -> str:
    """A span in its two largest units: `2 h 5 min`."""
    left = max(0, round(span.total_seconds()))
    parts = []
    for seconds, unit in _UNITS:
        amount, left = divmod(left, seconds)
        if amount:
            parts.append(f"{amount} {unit}")
    return " ".join(parts[:2]) or "0 s"
