"""The Event Grid webhook and the admin routes over real sockets."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING, Any

import pytest
from azure.core.credentials import AzureKeyCredential
from azure.eventgrid import EventGridEvent, EventGridPublisherClient

if TYPE_CHECKING:
    from tests.host.process import HostProcess, Reply


def event(identity: str, **data: Any) -> dict[str, Any]:
    return {
        "id": identity,
        "topic": "/subscriptions/0/x",
        "subject": "experiments/e/runs/r",
        "eventType": "Microsoft.MachineLearningServices.RunCompleted",
        "eventTime": "2026-01-02T03:04:05.1234567Z",
        "data": data,
        "dataVersion": "",
        "metadataVersion": "1",
    }


def post(
    host: HostProcess,
    body: Any,
    kind: str = "Notification",
    function: str = "event_came",
    key: str | None = None,
) -> Reply:
    code = host.keys["system"]["eventgrid_extension"] if key is None else key
    return host.ask(
        "POST",
        f"/runtime/webhooks/EventGrid?functionName={function}&code={code}",
        json.dumps(body).encode() if not isinstance(body, bytes) else body,
        {"aeg-event-type": kind} if kind else {},
    )


def test_the_handshake_returns_the_code_in_both_schemas(host: HostProcess) -> None:
    plain = [event("v", validationCode="abc", validationUrl="https://x")]
    encoded = event("v") | {"data": json.dumps({"validationCode": "def"})}
    for body, code in ((plain, "abc"), (encoded, "def")):
        reply = post(host, body, "SubscriptionValidation")
        assert (reply.status, reply.json()) == (200, {"validationResponse": code})


def test_the_cloudevents_handshake_allows_the_origin(host: HostProcess) -> None:
    code = host.keys["system"]["eventgrid_extension"]
    reply = host.ask(
        "OPTIONS",
        f"/runtime/webhooks/EventGrid?functionName=cloud_event_came&code={code}",
        headers={"WebHook-Request-Origin": "eventgrid.azure.net"},
    )
    assert reply.status == 200
    assert reply.headers["webhook-allowed-origin"] == "eventgrid.azure.net"


def test_each_event_of_an_array_is_an_invocation(host: HostProcess) -> None:
    reply = post(host, [event("one", n=1), event("two", n=2)])
    assert reply.status == 202
    seen = {entry["event"]: entry for entry in host.seen("event")}
    assert seen["one"]["data"] == {"n": 1}
    assert seen["two"]["subject"] == "experiments/e/runs/r"
    assert seen["two"]["type"] == "Microsoft.MachineLearningServices.RunCompleted"


def test_one_failing_event_has_the_whole_array_sent_again(host: HostProcess) -> None:
    reply = post(host, [event("good"), event("bad", fail=True)])
    assert reply.status == 500
    assert "good" in {entry["event"] for entry in host.seen("event")}
    assert "RuntimeError: cannot take the event" in host.says("[event_came] ERROR: failed")


def test_a_single_cloud_event_reaches_an_async_function(host: HostProcess) -> None:
    body = {"specversion": "1.0", "id": "c", "source": "s", "type": "t", "data": {"x": 1}}
    assert post(host, body, function="cloud_event_came").status == 202
    assert host.seen("cloud") == [{"cloud": "c", "data": {"x": 1}}]


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"kind": "Unsubscribe"}, 202),
        ({"kind": "Other"}, 400),
        ({"kind": ""}, 400),
        ({"body": b"{"}, 400),
        ({"body": b"[1]"}, 400),
        ({"kind": "SubscriptionValidation", "body": b"[]"}, 400),
        ({"function": "nobody"}, 404),
        ({"function": "hello"}, 404),
        ({"key": "wrong"}, 401),
        ({"key": ""}, 401),
    ],
)
def test_other_posts_are_answered_as_the_extension_does(
    host: HostProcess, changes: dict[str, Any], status: int
) -> None:
    arguments: dict[str, Any] = {"body": [event("x")], **changes}
    assert post(host, **arguments).status == status


def test_the_keys_of_other_extensions_open_nothing(host: HostProcess) -> None:
    assert post(host, [event("x")], key=host.keys["system"]["blobs_extension"]).status == 401
    assert post(host, [event("x")], key=host.keys["host"]).status == 401
    assert post(host, [event("x")], key=host.keys["master"]).status == 202


def test_the_body_of_the_official_publisher_is_taken(host: HostProcess) -> None:
    """The client posts to a relay that adds what Event Grid adds on delivery."""
    bodies: list[bytes] = []

    class Relay(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Relay) as relay:
        thread = threading.Thread(target=relay.handle_request)
        thread.start()
        client = EventGridPublisherClient(
            f"http://127.0.0.1:{relay.server_port}/api/events", AzureKeyCredential("key")
        )
        with client:
            client.send(EventGridEvent("subject", "Own.Type", {"from": "sdk"}, "1.0", id="sdk"))
        thread.join()
    assert post(host, bodies[0]).status == 202
    found = next(entry for entry in host.seen("event") if entry["event"] == "sdk")
    assert found["data"] == {"from": "sdk"}


def test_any_function_is_started_by_hand_with_the_master_key(host: HostProcess) -> None:
    assert host.start("event_came", json.dumps(event("by hand"))).status == 202
    host.sees("event", len(host.seen("event")))
    wanted = {"by hand"}
    assert wanted <= {e["event"] for e in _until(host, "event", "by hand")}
    assert host.start("echo", "text").status == 202
    assert host.start("nobody").status == 404
    assert host.start("event_came", "no event").status == 400
    assert host.ask("POST", "/admin/functions/event_came", b"{}").status == 401
    with_host_key = {"x-functions-key": host.keys["host"]}
    assert host.ask("POST", "/admin/functions/event_came", b"{}", with_host_key).status == 401


def _until(host: HostProcess, name: str, value: str) -> list[dict[str, Any]]:
    from tests.host.process import eventually

    def look() -> list[dict[str, Any]]:
        found = host.seen(name)
        return found if any(entry[name] == value for entry in found) else []

    return eventually(look, f"{name} {value}")


def test_the_host_tells_what_it_runs(host: HostProcess) -> None:
    master = {"x-functions-key": host.keys["master"]}
    listed = {f["name"]: f for f in host.get("/admin/functions", **master).json()}
    assert listed["hello"]["invoke_url_template"] == host.url + "/api/hello"
    assert listed["take_order"]["isDisabled"] is True
    bindings = listed["event_came"]["config"]["bindings"]
    assert bindings[0]["type"] == "eventGridTrigger"
    assert host.get("/admin/functions/hello", **master).json()["name"] == "hello"
    assert host.get("/admin/host/status", **master).json()["state"] == "Running"
    assert host.get("/admin/host/status").status == 401
    assert host.get("/healthz").json() == {"status": "ready"}
