"""Settings, connections, paths, host.json: the parts that touch nothing."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from local.host.host_json import parse_time_span, read_host_json
from local.host.keys import load_keys
from local.host.outputs import message_contents
from local.host.paths import BlobPattern, fill
from local.host.problems import AppRejected
from local.host.settings import expand, find_connection, is_disabled

if TYPE_CHECKING:
    from pathlib import Path


class Datum:
    def __init__(self, value: object, kind: str) -> None:
        self.value, self.type = value, kind


def test_settings_are_filled_into_bindings() -> None:
    assert expand("a-%X%-%Y%", {"X": "1", "Y": "2"}) == "a-1-2"
    with pytest.raises(KeyError, match="NOT_SET"):
        expand("%NOT_SET%", {})


def test_a_connection_is_a_string_or_addresses_for_an_identity() -> None:
    assert find_connection("A", "queue", {"A": "text"}).connection_string == "text"
    assert find_connection("", "blob", {"AzureWebJobsStorage": "text"}).connection_string == "text"
    assert find_connection("A", "blob", {"AzureWebJobsA": "text"}).connection_string == "text"
    development = find_connection("A", "blob", {"A": "UseDevelopmentStorage=true"})
    assert "BlobEndpoint=http://127.0.0.1:10000/" in development.connection_string
    split = {
        "A__blobServiceUri": "https://b",
        "A__queueServiceUri": "https://q",
        "A__clientId": "c",
    }
    found = find_connection("A", "queue", split)
    assert (found.blob_uri, found.queue_uri, found.client_id) == ("https://b", "https://q", "c")
    by_account = find_connection("A", "queue", {"A__accountName": "acc"})
    assert by_account.queue_uri == "https://acc.queue.core.windows.net"
    with pytest.raises(LookupError, match="A__queueServiceUri"):
        find_connection("A", "queue", {"A__blobServiceUri": "https://b"})


@pytest.mark.parametrize(
    ("setting", "value", "expected"),
    [
        ("AzureWebJobs.f.Disabled", "true", True),
        ("AzureWebJobs.f.Disabled", "1", True),
        ("AzureWebJobs__f__Disabled", "True", True),
        ("AzureWebJobs.f.Disabled", "false", False),
        ("AzureWebJobs.g.Disabled", "true", False),
    ],
)
def test_a_setting_disables_one_function(setting: str, value: str, expected: bool) -> None:
    assert is_disabled("f", {setting: value}) is expected


@pytest.mark.parametrize(
    ("pattern", "container", "blob", "values"),
    [
        ("in/{name}", "in", "a/b.txt", {"name": "a/b.txt"}),
        ("in/{name}.{ext}", "in", "a.tar.gz", {"name": "a.tar", "ext": "gz"}),
        ("in/x-{name}.json", "in", "x-1.json", {"name": "1"}),
        ("in/x-{name}.json", "in", "y-1.json", None),
        ("in/{name}", "out", "a", None),
        ("in", "in", "any/thing", {}),
        ("in/fixed.txt", "in", "fixed.txt", {}),
        ("in/fixed.txt", "in", "fixedXtxt", None),
        ("{c}/{name}", "azure-webjobs-hosts", "a", None),
    ],
)
def test_a_blob_is_meant_by_a_path_or_not(
    pattern: str, container: str, blob: str, values: dict[str, str] | None
) -> None:
    assert BlobPattern.parse(pattern).match(container, blob) == values


def test_output_paths_are_filled_from_what_the_trigger_knows() -> None:
    now = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    filled = fill("out/{id}/{order.item}-{DateTime}.txt", {"id": 7, "order": {"item": "x"}}, now)
    assert filled == "out/7/x-2026-01-02T03-04-05Z.txt"
    assert fill("{rand-guid}", {}) != fill("{rand-guid}", {})
    with pytest.raises(LookupError, match="customer"):
        fill("{customer}", {})


@pytest.mark.parametrize(
    ("value", "kind", "messages"),
    [
        ("text", "string", [b"text"]),
        (b"\x00", "bytes", [b"\x00"]),
        ('["a", {"b": 1}]', "json", [b"a", b'{"b": 1}']),
        ('{"b": 1}', "json", [b'{"b": 1}']),
    ],
)
def test_a_queue_output_is_one_message_or_one_for_each_item(
    value: object, kind: str, messages: list[bytes]
) -> None:
    assert message_contents(Datum(value, kind)) == messages


def test_time_spans_are_dotnets() -> None:
    assert parse_time_span("1.02:03:04.5") == timedelta(days=1, hours=2, minutes=3, seconds=4.5)
    assert parse_time_span("00:30") == timedelta(minutes=30)
    with pytest.raises(ValueError, match="30"):
        parse_time_span("30")


def test_host_json_has_the_real_hosts_defaults_and_overrides(tmp_path: Path) -> None:
    file = tmp_path / "host.json"
    file.write_text(json.dumps({"version": "2.0", "extensions": {"queues": {"batchSize": 2}}}))
    read = read_host_json(
        file,
        {
            "AzureFunctionsJobHost__extensions__queues__MAXDEQUEUECOUNT": "2",
            "AzureFunctionsJobHost__functionTimeout": "-1",
        },
    )
    assert read.route_prefix == "api"
    assert read.queues.batch_size == 2
    assert read.queues.max_dequeue_count == 2
    assert read.queues.visibility_timeout == timedelta()
    assert read.queues.max_polling_interval == timedelta(minutes=1)
    assert read.function_timeout is None
    file.write_text('{"version": "2.0"}')
    assert read_host_json(file, {}).function_timeout == timedelta(minutes=30)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"version": "1.0"}'])
def test_a_host_json_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "host.json").write_text(text)
    with pytest.raises(AppRejected, match=r"host\.json"):
        read_host_json(tmp_path / "host.json", {})
    with pytest.raises(AppRejected, match="missing"):
        read_host_json(tmp_path / "other.json", {})


def test_keys_are_kept_and_only_new_functions_get_new_ones(tmp_path: Path) -> None:
    file = tmp_path / "new" / "keys.json"
    first = load_keys(file, ["a"])
    second = load_keys(file, ["a", "b"])
    assert (second.master, second.host, second.system) == (first.master, first.host, first.system)
    assert second.functions["a"] == first.functions["a"]
    assert second.functions["b"] not in {*first.functions.values(), ""}
    assert file.stat().st_mode & 0o077 == 0
    file.write_text("[")
    with pytest.raises(AppRejected, match="Delete it"):
        load_keys(file, [])
