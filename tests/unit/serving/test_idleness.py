"""When an endpoint is idle, and when it is nobody's."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from shared.errors import Throttled
from shared.runs.endpoints import EndpointRecord, Rest
from shared.runs.ports import Standing
from shared.serving.idle import (
    Candidate,
    Decision,
    Idle,
    InUse,
    Measured,
    Unknown,
    decide,
    orphans,
    sweep,
)

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)
H = timedelta(hours=1)
MIN = timedelta(minutes=1)


def record(
    name: str = "chat", rest: Rest = Rest.SERVING, claimed_by: str = "run-1"
) -> EndpointRecord:
    return EndpointRecord(
        name=name,
        azure_name=f"az-{name}",
        manifest="m.json",
        claimed_by=claimed_by,
        rest=rest,
        since=NOW - 24 * H,
        idle_after=7200,
    )


def decision(
    *,
    rest: Rest = Rest.SERVING,
    idle_after: timedelta = 2 * H,
    serving: timedelta = 24 * H,
    request: timedelta | Measured | None = None,
    used: timedelta | None = None,
    grace: timedelta = timedelta(0),
) -> Decision:
    """The decision, with all times given as how long ago they were."""
    return decide(
        NOW,
        record(rest=rest),
        idle_after=idle_after,
        since_serving=NOW - serving,
        last_request=NOW - request if isinstance(request, timedelta) else request,
        last_used=None if used is None else NOW - used,
        grace=grace,
    )


def test_unused_for_long_enough_is_idle_and_says_for_how_long() -> None:
    assert decision(request=3 * H, used=2 * H + 5 * MIN) == Idle(
        "unused for 2 h 5 min; 2 h is allowed"
    )
    assert decision() == Idle("unused for 1 d; 2 h is allowed")


@pytest.mark.parametrize(
    ("decided", "why"),
    [
        (decision(request=H), "it was last asked 1 h ago"),
        (decision(used=H), "the proxy last used it 1 h ago"),
        (decision(used=-MIN), "the proxy last used it 0 s ago"),
        (decision(used=H, request=Measured.NOT), "the proxy last used it 1 h ago"),
        (decision(serving=90 * MIN), "it began to serve 1 h 30 min ago"),
        (decision(serving=3 * H, grace=4 * H), "it began to serve 3 h ago"),
        (decision(serving=H, request=Measured.NOT), "it began to serve 1 h ago"),
    ],
)
def test_any_fresh_sign_is_use(decided: Decision, why: str) -> None:
    assert decided == InUse(why)


def test_the_bound_itself_is_idle_and_a_moment_before_is_not() -> None:
    assert isinstance(decision(request=2 * H), Idle)
    assert isinstance(decision(request=2 * H - timedelta(seconds=1)), InUse)


def test_a_metric_that_is_missing_is_never_taken_for_silence() -> None:
    assert isinstance(decision(request=Measured.NOT), Unknown)
    assert isinstance(decision(request=Measured.NOT, used=20 * H), Unknown)


@pytest.mark.parametrize("rest", [rest for rest in Rest if rest is not Rest.SERVING])
def test_what_does_not_serve_is_not_decided_on(rest: Rest) -> None:
    assert isinstance(decision(rest=rest), Unknown)


def candidates(count: int, *, used: bool = False) -> list[Candidate]:
    return [Candidate.of(record(str(n)), NOW if used else None) for n in range(count)]


def test_a_sweep_over_a_thousand_takes_twenty_measurements() -> None:
    asked: list[Sequence[str]] = []

    def measure(names: Sequence[str], since: datetime) -> dict[str, datetime | None]:
        assert since == NOW - 2 * H
        asked.append(names)
        return dict.fromkeys(names)

    decided = list(sweep(NOW, iter(candidates(1000)), measure))
    assert [len(names) for names in asked] == [50] * 20
    assert len(decided) == 1000
    assert all(isinstance(d, Idle) for _, d in decided)


def test_only_doubtful_endpoints_are_measured() -> None:
    def measure(names: Sequence[str], since: datetime) -> dict[str, datetime | None]:
        assert list(names) == ["az-0", "az-1"]
        return {"az-0": NOW - H}

    mixed = [*candidates(2), *candidates(60, used=True)]
    decided = {c.record.name: d for c, d in sweep(NOW, mixed[:2], measure)}
    assert isinstance(decided["0"], InUse)
    assert isinstance(decided["1"], Unknown)
    assert all(isinstance(d, InUse) for _, d in sweep(NOW, mixed[2:], measure))


def test_the_longest_patience_of_a_batch_is_measured() -> None:
    def measure(names: Sequence[str], since: datetime) -> dict[str, datetime | None]:
        assert since == NOW - 10 * H
        return {"az-slow": NOW - 5 * H, "az-fast": NOW - 5 * H}

    pair = [Candidate(record(n), i, NOW - 24 * H) for n, i in (("fast", H), ("slow", 10 * H))]
    assert [type(d) for _, d in sweep(NOW, pair, measure)] == [Idle, InUse]


def test_metrics_that_cannot_be_asked_leave_the_batch_alone() -> None:
    def measure(names: Sequence[str], since: datetime) -> dict[str, datetime | None]:
        raise Throttled("slow down")

    [(_, decided)] = sweep(NOW, candidates(1), measure)
    assert decided == Unknown("nobody knows when it was last asked: slow down")


def found(name: str = "az-chat", **fields: object) -> Standing:
    return Standing(**{"name": name, "run": "run-1", "created_at": NOW - 5 * H, **fields})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("standing", "records", "active", "orphaned"),
    [
        (found(), [], [], True),
        (found(), [record(rest=Rest.RETIRED)], [], True),
        (found(), [record(rest=Rest.NEVER_SERVED)], [], True),
        (found(), [record(rest=Rest.NEVER_SERVED, claimed_by="run-2")], ["run-2"], False),
        (found(), [record(rest=Rest.SERVING)], [], False),
        (found(), [record(rest=Rest.ASLEEP)], [], False),
        (found(), [record(rest=Rest.WAKING)], [], False),
        (found(), [], ["run-1"], False),
        (found(run=None), [], [], False),
        (found(deleting=True), [], [], False),
        (found(created_at=None), [], [], False),
        (found(created_at=NOW - 59 * MIN), [], [], False),
        (found("az-other"), [record()], [], True),
    ],
)
def test_an_orphan_is_ours_by_tag_old_enough_and_owned_by_none(
    standing: Standing, records: list[EndpointRecord], active: list[str], *, orphaned: bool
) -> None:
    by_name = {r.azure_name: r for r in records}
    found_orphans = list(orphans(NOW, [standing], by_name, active))
    assert [orphan.name for orphan in found_orphans] == [standing.name] * orphaned
    assert all("made 5 h ago by run-1" in orphan.why for orphan in found_orphans)
