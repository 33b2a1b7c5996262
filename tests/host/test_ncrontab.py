"""NCRONTAB: its own rules by example, and croniter as an oracle where both agree."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from croniter import croniter
from hypothesis import given, settings
from hypothesis import strategies as st

from local.host.ncrontab import Schedule

START = datetime(2026, 2, 27, 22, 14, 30, tzinfo=UTC)


def following(expression: str, moment: datetime = START) -> datetime | None:
    return Schedule.parse(expression).following(moment)


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("*/5 * * * * *", "2026-02-27 22:14:35"),
        ("30 14 22 * * *", "2026-02-28 22:14:30"),
        ("31 14 22 * * *", "2026-02-27 22:14:31"),
        ("*/15 * * * *", "2026-02-27 22:15:00"),
        ("0 0 0 29 2 *", "2028-02-29 00:00:00"),
        ("0 0 9 * * mon-fri", "2026-03-02 09:00:00"),
        ("0 0 9 * * SUNDAY", "2026-03-01 09:00:00"),
        ("0 0 9 1 june,dec *", "2026-06-01 09:00:00"),
        ("0 0 0 1 * 1", "2026-06-01 00:00:00"),
        ("0 50-10/20 22 * * *", "2026-02-27 22:30:00"),
        ("0 20/15 * * * *", "2026-02-27 22:20:00"),
        ("0 0 0 13 2 fri", "2032-02-13 00:00:00"),
    ],
)
def test_the_next_time_is_strictly_after_and_by_ncrontabs_rules(
    expression: str, expected: str
) -> None:
    assert following(expression) == datetime.fromisoformat(expected).replace(tzinfo=UTC)


def test_a_day_that_never_comes_has_no_next_time() -> None:
    assert following("0 0 0 30 2 *") is None


@pytest.mark.parametrize(
    "expression",
    [
        *("every day", "", "* * * *", "* * * * * * *", "@daily", "0 0 0 ? * *", "0 0 0 L * *"),
        *("0 0 0 * * 7", "60 * * * * *", "0 60 * * * *", "0 0 24 * * *", "0 0 0 0 * *"),
        *("0 0 0 32 * *", "0 0 0 * 13 *", "*/0 * * * * *", "1--2 * * * * *", "1,,2 * * * * *"),
        *("0 0 0 * * 1#2", "0 0 0 15W * *", "-1 * * * * *", "0 0 0 * foo *", "*-3 * * * * *"),
        *("00:05:00", "² * * * * *"),
    ],
)
def test_what_ncrontab_does_not_know_is_refused(expression: str) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        Schedule.parse(expression)


def test_more_than_once_a_minute_is_frequent() -> None:
    assert Schedule.parse("*/30 * * * * *").is_frequent
    assert not Schedule.parse("30 * * * * *").is_frequent


@st.composite
def field(draw: st.DrawFn, low: int, high: int) -> str:
    """A field that croniter reads as NCrontab does: no N-N, no reversed range."""

    def item() -> str:
        kind = draw(st.sampled_from(["*", "*/s", "n", "a-b", "a-b/s"]))
        step = draw(st.integers(1, high))
        first = draw(st.integers(low, high - 1))
        last = draw(st.integers(first + 1, high))
        return {
            "*": "*",
            "*/s": f"*/{step}",
            "n": str(first),
            "a-b": f"{first}-{last}",
            "a-b/s": f"{first}-{last}/{step}",
        }[kind]

    return ",".join(item() for _ in range(draw(st.integers(1, 2))))


@given(
    fields=st.tuples(
        *(field(low, high) for low, high in [(0, 59), (0, 59), (0, 23), (1, 31), (1, 12), (0, 6)])
    ),
    start=st.integers(0, 20 * 365 * 86400),
)
@settings(max_examples=300, deadline=None)
def test_croniter_agrees_where_the_rules_are_the_same(fields: tuple[str, ...], start: int) -> None:
    expression = " ".join(fields)
    moment = datetime(2020, 1, 1, tzinfo=UTC) + timedelta(seconds=start)
    ours = following(expression, moment)
    # croniter looks ahead a bounded time; where it finds nothing, so should we within that time.
    try:
        theirs = croniter(
            expression,
            moment,
            second_at_beginning=True,
            day_or=False,
            max_years_between_matches=45,
        ).get_next(datetime)
    except ValueError:
        assert ours is None or ours > moment + timedelta(days=365)
    else:
        assert ours == theirs
