"""Azure Monitor's queries, answered from counts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local.azureml.metric_query import METRICS, BadQuery, NotCounted, parse, percentile, series
from local.azureml.request_counts import Count, RequestCounts, latency_class
from local.azureml.state import Store

NOW = datetime(2026, 3, 1, 12, 30, 20, tzinfo=UTC)
START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
REQUESTS = METRICS["requestsperminute"]


def count(minute: int, requests: int = 1, **changed) -> Count:
    usual = {
        "minute": START + timedelta(minutes=minute),
        "deployment": "blue",
        "status": 200,
        "model_status": "200",
        "requests": requests,
        "milliseconds": 10.0 * requests,
        "at_most": 11.0,
    }
    return Count(**{**usual, **changed})


def query(**changed):
    usual = {
        "metricnames": "RequestsPerMinute",
        "timespan": "2026-03-01T12:00:00Z/2026-03-01T12:30:00Z",
        "aggregation": "Total,Average,Count,Maximum,Minimum",
    }
    return parse({**usual, **changed}, NOW)


def test_without_times_the_last_hour_is_asked_for():
    """The span ends now and begins at a whole minute."""
    asked = parse({"metricnames": "RequestLatency"}, NOW)
    assert (asked.start, asked.end) == (datetime(2026, 3, 1, 11, 30, tzinfo=UTC), NOW)
    assert (asked.grain, asked.aggregations) == (timedelta(minutes=1), ())


def test_an_end_needs_a_start():
    """As the reference says."""
    with pytest.raises(BadQuery, match="starttime"):
        parse({"metricnames": "RequestLatency", "endtime": "2026-03-01T12:00:00Z"}, NOW)


def test_a_span_may_be_a_duration_and_an_end():
    """`P1D/…` counts back from the end; an unescaped plus sign is understood."""
    asked = query(timespan="P1D/2026-03-01T14:00:00 02:00")
    assert asked.end - asked.start == timedelta(days=1)
    assert asked.end == START


def test_points_cover_the_span_and_hold_values_where_there_are_requests():
    """Each point has its time; one without requests has nothing else."""
    [found] = series(query(interval="PT15M"), REQUESTS, [count(0, 3), count(1, 5), count(29, 2)])
    first, second = found["data"]
    assert first == {
        "timeStamp": "2026-03-01T12:00:00Z",
        "total": 8,
        "average": 4,
        "count": 2,
        "maximum": 5,
        "minimum": 3,
    }
    assert (second["timeStamp"], second["total"]) == ("2026-03-01T12:15:00Z", 2)
    [sparse] = series(query(interval="PT1M"), REQUESTS, [count(7)])
    assert len(sparse["data"]) == 30
    assert [set(point) for point in sparse["data"]].count({"timeStamp"}) == 29


def test_no_requests_give_no_series():
    """An endpoint without traffic is not an error and not a zero."""
    assert series(query(), REQUESTS, []) == []


def test_full_is_one_point():
    """The interval FULL sums the whole span up."""
    [found] = series(query(interval="FULL"), REQUESTS, [count(0), count(29)])
    assert [point["total"] for point in found["data"]] == [2]


def test_a_minute_is_one_sample_whatever_it_is_made_of():
    """Requests of two deployments in one minute add up before they are averaged."""
    rows = [count(0, 2), count(0, 4, deployment="green")]
    [found] = series(query(interval="FULL"), REQUESTS, rows)
    assert (found["data"][0]["average"], found["data"][0]["count"]) == (6, 1)


def test_filters_choose_and_split():
    """Values of one dimension are alternatives, dimensions are all to hold, `*` splits."""
    rows = [count(0), count(0, deployment="green", status=424), count(0, deployment="red")]
    chosen = "deployment eq 'BLUE' or deployment eq 'green' and statusCodeClass eq '*'"
    found = series(query(filter=chosen, interval="FULL"), REQUESTS, rows)
    named = [tuple(value["value"] for value in each["metadatavalues"]) for each in found]
    assert named == [("blue", "2xx"), ("green", "4xx")]
    assert (
        series(query(filter=chosen, top="1"), REQUESTS, rows)[0]["metadatavalues"][0]["value"]
        == "blue"
    )


@pytest.mark.parametrize(
    "changed",
    [
        {"metricnames": ""},
        {"interval": "PT2M"},
        {"timespan": "x/y"},
        {"top": "0"},
        {"timespan": "P1X/"},
    ],
)
def test_bad_queries_are_told(changed):
    """What Azure Monitor would answer with 400."""
    with pytest.raises(BadQuery):
        query(**changed)


@pytest.mark.parametrize(
    "changed", [{"filter": "deployment ne 'x'"}, {"metricnamespace": "Microsoft.Compute/x"}]
)
def test_what_is_not_answered_is_told(changed):
    """Options that exist on Azure and not here."""
    with pytest.raises(NotCounted):
        query(**changed)


@given(
    st.lists(st.floats(0.01, 200_000), min_size=1, max_size=40), st.sampled_from([0.5, 0.9, 0.99])
)
def test_a_percentile_is_at_most_a_tenth_too_high(latencies, part):
    """Latency classes lose little: never below the true value, never above it by more than 10 %."""
    rows = [count(0, at_most=1.1 ** latency_class(each)) for each in latencies]
    ordered = sorted(latencies)
    needed = next(
        value for place, value in enumerate(ordered, 1) if place >= part * len(ordered) - 1e-9
    )
    assert needed * 0.999999 <= percentile(rows, part) <= needed * 1.100001


def test_counts_add_up_and_are_there_after_a_restart(tmp_path):
    """Rows of one kind are one row; a span takes its start and leaves its end out."""
    for _ in range(2):
        store = Store(tmp_path / "db.sqlite")
        counts = RequestCounts(store)
        for minute in (0, 0, 1):
            counts.add(
                "/E",
                now=START + timedelta(minutes=minute, seconds=30),
                deployment="blue",
                status=200,
                model_status="200",
                milliseconds=5,
            )
        store.close()
    store = Store(tmp_path / "db.sqlite")
    counts = RequestCounts(store)
    read = list(counts.read("/e", START, START + timedelta(minutes=1)))
    assert [(each.minute, each.requests, each.milliseconds) for each in read] == [(START, 4, 20)]
    assert sum(each.requests for each in counts.read("/e", START, NOW)) == 6
    store.close()
