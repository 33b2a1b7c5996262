"""Which events a subscription gets."""

from __future__ import annotations

import pytest

from local.eventgrid.configuration import BadConfiguration, parse
from local.eventgrid.filters import OPERATORS, AdvancedFilter, Filter

EVENT = {
    "id": "1",
    "subject": "/blobServices/default/containers/manifests/blobs/Chat.JSON",
    "eventType": "Microsoft.Storage.BlobCreated",
    "data": {"contentLength": 300, "flag": True, "none": None, "runTags": {"team": "Blue"}},
}


@pytest.mark.parametrize(
    ("operator", "key", "wanted", "expected"),
    [
        ("StringIn", "data.runTags.team", ["red", "BLUE"], True),
        ("StringIn", "data.runTags.team", ["red"], False),
        ("StringIn", "data.runTags.missing", ["red"], False),
        ("StringIn", "data.contentLength", ["300"], False),
        ("StringNotIn", "data.runTags.missing", ["red"], True),
        ("StringNotIn", "data.runTags.team", ["blue"], False),
        ("StringBeginsWith", "subject", ["/blobservices/"], True),
        ("StringEndsWith", "subject", [".yaml", ".json"], True),
        ("StringEndsWith", "Subject", [".yml"], False),
        ("StringContains", "eventType", ["storage"], True),
        ("StringNotContains", "eventType", ["storage"], False),
        ("StringNotBeginsWith", "subject", ["/other"], True),
        ("StringNotEndsWith", "subject", [".json"], False),
        ("NumberLessThan", "data.contentLength", 300, False),
        ("NumberLessThanOrEquals", "data.contentLength", 300, True),
        ("NumberGreaterThan", "data.contentLength", 300, False),
        ("NumberGreaterThanOrEquals", "data.contentLength", 300, True),
        ("NumberLessThan", "data.missing", 300, False),
        ("NumberLessThan", "data.flag", 300, False),
        ("NumberIn", "data.contentLength", [1, 300], True),
        ("NumberNotIn", "data.contentLength", [1, 300], False),
        ("NumberInRange", "data.contentLength", [[0, 10], [300, 400]], True),
        ("NumberNotInRange", "data.contentLength", [[0, 10]], True),
        ("BoolEquals", "data.flag", True, True),
        ("BoolEquals", "data.contentLength", True, False),
        ("IsNullOrUndefined", "data.none", None, True),
        ("IsNullOrUndefined", "data.missing", None, True),
        ("IsNotNull", "data.none", None, False),
        ("IsNotNull", "data.flag", None, True),
    ],
)
def test_advanced_operators_decide_as_documented(operator, key, wanted, expected):
    """Every documented operator, on present and on missing keys."""
    assert AdvancedFilter(operator, key, wanted).matches(EVENT) is expected


def test_every_operator_is_covered():
    """The table above leaves no operator out."""
    table = test_advanced_operators_decide_as_documented.pytestmark[0].args[1]
    assert {row[0] for row in table} == OPERATORS


@pytest.mark.parametrize(
    ("wants", "expected"),
    [
        (Filter(), True),
        (Filter(event_types=frozenset({"microsoft.storage.blobcreated"})), True),
        (Filter(event_types=frozenset({"Microsoft.Storage.BlobDeleted"})), False),
        (Filter(event_types=frozenset()), False),
        (Filter(subject_begins_with="/blobServices/default/containers/manifests/"), True),
        (Filter(subject_begins_with="/blobServices/default/containers/data/"), False),
        (Filter(subject_ends_with=".json"), True),
        (Filter(subject_ends_with=".json", case_sensitive=True), False),
        (Filter(subject_ends_with=".JSON", case_sensitive=True), True),
        (Filter(advanced=(AdvancedFilter("BoolEquals", "data.flag", False),)), False),
    ],
)
def test_a_filter_holds_when_every_part_holds(wants, expected):
    """Types, subject and conditions are joined by and."""
    assert wants.matches(EVENT) is expected


def test_cloud_events_are_filtered_by_the_same_keys():
    """`eventType` means the type of a CloudEvent, `topic` its source."""
    event = {"type": "Shop.Order", "source": "/shop", "specversion": "1.0", "id": "1"}
    assert Filter(event_types=frozenset({"shop.order"})).matches(event)
    assert AdvancedFilter("StringIn", "topic", ["/shop"]).matches(event)


def test_a_wrong_configuration_lists_every_problem_with_its_place():
    """Nobody mends a file one error at a time."""
    bad = {
        "name": "s",
        "endpointUrl": "ftp://x",
        "filtre": {},
        "filter": {
            "advancedFilters": [
                {"operatorType": "StringLike", "key": "subject"},
                {"operatorType": "StringIn", "key": "subject"},
                {"operatorType": "NumberLessThan", "key": "data.x", "value": "9"},
            ]
        },
        "retryPolicy": {"maxDeliveryAttempts": 31},
    }
    with pytest.raises(BadConfiguration) as caught:
        parse({"topics": [{"name": "t", "key": "k", "subscriptions": [bad]}]})
    text = "\n".join(caught.value.problems)
    for place in (
        "topics[0].source: is missing",
        "topics[0].subscriptions[0].endpointUrl: must begin",
        "topics[0].subscriptions[0].filtre: unknown",
        "advancedFilters[0].operatorType: 'StringLike' is unknown",
        "advancedFilters[1].values: is missing",
        "advancedFilters[2].value: NumberLessThan compares with numbers",
        "retryPolicy.maxDeliveryAttempts: must be 1 to 30",
    ):
        assert place in text
