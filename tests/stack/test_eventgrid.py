"""Event Grid over real sockets, published to with the unmodified client."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from pathlib import Path

import aiohttp
import pytest
from azure.core.credentials import AzureKeyCredential
from azure.core.exceptions import ClientAuthenticationError, HttpResponseError
from azure.core.messaging import CloudEvent
from azure.eventgrid.aio import EventGridPublisherClient

from local.eventgrid.retries import Again, GiveUp, RetryPolicy, after_failure
from local.ports import free_port

from .conftest import configuration, event, running
from .webhook import webhook


async def test_a_published_event_reaches_the_webhook_as_azure_sends_it(tmp_path, hook):
    """One event per POST, in an array, with Event Grid's headers and the topic filled in."""
    async with running(tmp_path, configuration(hook.url)) as grid:
        await grid.publish("a", "b")
        await hook.until(lambda: len(hook.received) == 2)
    assert sorted(hook.ids) == ["a", "b"]
    assert hook.received[0]["topic"] == "/src"
    assert hook.received[0]["metadataVersion"] == "1"
    assert hook.headers[0]["aeg-event-type"] == "Notification"
    assert hook.headers[0]["aeg-subscription-name"] == "S"
    assert hook.headers[0]["aeg-delivery-count"] == "0"


async def test_cloud_events_arrive_in_their_own_schema(tmp_path, hook):
    """A CloudEvent is delivered as the object it is."""
    async with running(tmp_path, configuration(hook.url)) as grid:
        async with EventGridPublisherClient(
            f"{grid.url}/topics/t/api/events", AzureKeyCredential("k")
        ) as client:
            await client.send(CloudEvent(source="/shop", type="Shop.Order", data={"n": 1}))
        await hook.until(lambda: len(hook.received) == 1)
    assert hook.received[0]["specversion"] == "1.0"
    assert hook.received[0]["data"] == {"n": 1}
    assert hook.headers[0]["Content-Type"].startswith("application/cloudevents+json")


async def test_nothing_is_delivered_before_the_webhook_confirms(tmp_path, hook):
    """Events wait through the handshake, however often it must be tried, and cost no attempt."""
    hook.confirms = False
    async with running(tmp_path, configuration(hook.url)) as grid:
        await grid.publish("a")
        await hook.until(lambda: hook.handshakes >= 2)
        assert not hook.received
        hook.confirms = True
        await hook.until(lambda: bool(hook.received))
    assert hook.headers[0]["aeg-delivery-count"] == "0"


async def test_a_confirmed_webhook_is_not_asked_again(tmp_path, hook):
    """The handshake happens when a subscription is made, not at each start."""
    for identity in ("a", "b"):
        async with running(tmp_path, configuration(hook.url)) as grid:
            await grid.publish(identity)
            await hook.until(lambda wanted=identity: wanted in hook.ids)
    assert hook.handshakes == 1


async def test_a_host_that_starts_later_is_waited_for(tmp_path):
    """Refused connections are no failure of the handshake, only a reason to ask again."""
    port = free_port()
    async with running(tmp_path, configuration(f"http://127.0.0.1:{port}/hook")) as grid:
        await grid.publish("a")
        async with webhook(port) as late:
            await late.until(lambda: late.ids == ["a"])


async def test_a_wrong_key_is_refused(tmp_path, hook):
    """Publishing takes the topic's key."""
    async with (
        running(tmp_path, configuration(hook.url)) as grid,
        EventGridPublisherClient(
            f"{grid.url}/topics/t/api/events", AzureKeyCredential("wrong")
        ) as client,
    ):
        with pytest.raises(ClientAuthenticationError, match="aeg-sas-key"):
            await client.send(event("a"))
        assert (await grid.subscription())["counts"] == {}


async def test_incomplete_events_are_refused_with_every_reason(tmp_path, hook):
    """A bad request names each event and field, and takes none of the events."""
    async with running(tmp_path, configuration(hook.url)) as grid:
        async with grid.session.post(
            f"{grid.url}/topics/t/api/events",
            json=[{"id": "", "subject": "s", "eventType": "e"}, 7],
            headers={"aeg-sas-key": "k"},
        ) as answer:
            assert answer.status == 400
            message = (await answer.json())["error"]["message"]
        assert "Event 0: id" in message
        assert "Event 0: eventTime" in message
        assert "Event 1 is not an object" in message
        assert (await grid.subscription())["waiting"] == 0


async def test_an_unknown_topic_is_not_found(tmp_path, hook):
    """The unmodified client sees Azure's kind of error."""
    async with running(tmp_path, configuration(hook.url)) as grid:
        with pytest.raises(HttpResponseError, match="Resource not found"):
            await grid.publish("a", topic="x")


async def test_only_what_the_filter_wants_is_delivered(tmp_path, hook):
    """The rest is counted as published and forgotten."""
    wants = {"advancedFilters": [{"operatorType": "StringIn", "key": "data.runStatus",
                                  "values": ["Failed"]}]}  # fmt: skip
    async with running(tmp_path, configuration(hook.url, filter=wants)) as grid:
        await grid.publish("a")
        await grid.publish("b", data={"runStatus": "Failed"})
        await grid.until(lambda one: one["counts"].get("delivered") == 1)
    assert hook.ids == ["b"]


async def test_a_failed_delivery_is_tried_again(tmp_path, hook):
    """500 twice, then yes: three deliveries, counted up in the header."""
    hook.answer = lambda number: 500 if number < 3 else 202
    async with running(tmp_path, configuration(hook.url)) as grid:
        await grid.publish("a")
        await grid.until(lambda one: one["counts"].get("delivered") == 1)
        found = await grid.subscription()
    assert hook.ids == ["a", "a", "a"]
    assert [one["aeg-delivery-count"] for one in hook.headers] == ["0", "1", "2"]
    assert found["waiting"] == 0
    assert found["counts"]["failed"] == 2


@pytest.mark.parametrize(
    ("status", "reason", "attempts"),
    [(500, "MaxDeliveryAttemptsExceeded", 4), (400, "UndeliverableDueToHttpBadRequest", 1)],
)
async def test_what_cannot_be_delivered_becomes_a_dead_letter(
    tmp_path, hook, status, reason, attempts
):
    """Its line holds the event, the reason, the attempts and the last answer."""
    hook.answer = lambda _: status
    policy = {"maxDeliveryAttempts": 4}
    async with running(tmp_path, configuration(hook.url, retryPolicy=policy)) as grid:
        await grid.publish("a")
        await grid.until(lambda one: one["counts"].get("deadLettered") == 1)
        assert (await grid.subscription())["waiting"] == 0
    [letter] = (tmp_path / "dead-letters/t/s.jsonl").read_text().splitlines()
    letter = json.loads(letter)
    assert (letter["id"], letter["deadLetterReason"]) == ("a", reason)
    assert (letter["deliveryAttempts"], letter["lastHttpStatusCode"]) == (attempts, status)
    assert len(hook.received) == attempts


@pytest.mark.parametrize(
    ("status", "attempts", "age", "expected"),
    [
        (500, 1, 0, Again(10)),
        (500, 2, 0, Again(30)),
        (500, 3, 0, Again(60)),
        (500, 4, 0, Again(300)),
        (None, 7, 0, Again(3600)),
        (500, 29, 0, Again(12 * 3600)),
        (404, 1, 0, Again(300)),
        (408, 1, 0, Again(120)),
        (503, 1, 0, Again(30)),
        (500, 30, 0, GiveUp("MaxDeliveryAttemptsExceeded")),
        (500, 1, 24 * 3600 - 5, GiveUp("TimeToLiveExceeded")),
        (401, 1, 0, GiveUp("UndeliverableDueToHttpUnauthorized")),
        (413, 1, 0, GiveUp("UndeliverableDueToHttpRequestEntityTooLarge")),
    ],
)
def test_the_retry_schedule_is_azures(status, attempts, age, expected):
    """Steps, least delays, the bounds of attempts and age, and answers that end it at once."""
    found = after_failure(status, attempts=attempts, age=age, policy=RetryPolicy(), pace=1.0)
    assert found == expected


def test_the_pace_scales_the_schedule_and_not_the_time_to_live():
    """On a laptop minutes become seconds, and a day stays a day."""
    ask = {"attempts": 5, "policy": RetryPolicy(), "pace": 0.05}
    assert after_failure(500, age=0, **ask) == Again(30.0)
    assert after_failure(500, age=24 * 3600, **ask) == GiveUp("TimeToLiveExceeded")


async def test_repeated_events_arrive_as_often_as_asked(tmp_path, hook):
    """`repeat` adds deliveries of the same event."""
    async with running(tmp_path, configuration(hook.url)) as grid:
        assert await grid.set_faults(repeat=2) == 200
        await grid.publish("a")
        await hook.until(lambda: hook.ids == ["a", "a", "a"])


async def test_lost_events_never_arrive_and_are_counted(tmp_path, hook):
    """`lose` drops a share that the seed decides; the rest arrives."""
    names = [f"{number}" for number in range(40)]
    arrived = []
    for folder in ("one", "two"):
        hook.received.clear()
        async with running(tmp_path / folder, configuration(hook.url)) as grid:
            await grid.set_faults(lose=0.5, seed=7)
            await grid.publish(*names)
            await grid.until(lambda one: one["waiting"] == 0)
            counts = (await grid.subscription())["counts"]
        assert counts["lost"] + counts["delivered"] == 40
        arrived.append(sorted(hook.ids))
    assert arrived[0] == arrived[1]
    assert 0 < len(arrived[0]) < 40


async def test_reordered_events_all_arrive_in_another_order(tmp_path, hook):
    """`reorder` shuffles and loses nothing."""
    names = [f"{number}" for number in range(20)]
    async with running(tmp_path, configuration(hook.url)) as grid:
        await grid.set_faults(reorder=True, seed=3)
        await grid.publish(*names)
        await hook.until(lambda: len(hook.received) == 20)
    assert sorted(hook.ids) == sorted(names)
    assert hook.ids != names


async def test_delayed_events_are_late(tmp_path, hook):
    """`delay` holds each event back by that many seconds."""
    async with running(tmp_path, configuration(hook.url)) as grid:
        await grid.set_faults(delay=0.4)
        begun = time.time()  # the clock that a delivery's time is kept in
        await grid.publish("a")
        await hook.until(lambda: hook.ids == ["a"])
        assert time.time() - begun >= 0.4


async def test_faults_survive_a_restart_and_bad_ones_are_refused(tmp_path, hook):
    """Every problem of a request is named; what was set before stays."""
    async with running(tmp_path, configuration(hook.url)) as grid:
        await grid.set_faults(repeat=1, seed=5)
        async with grid.session.put(
            f"{grid.url}/topics/t/faults", json={"lose": 2, "loose": 1, "repeat": True}
        ) as answer:
            assert answer.status == 400
            message = (await answer.json())["error"]["message"]
    assert all(f"{name}: " in message for name in ("lose", "loose", "repeat"))
    async with (
        running(tmp_path, configuration(hook.url)) as grid,
        grid.session.get(f"{grid.url}/topics/t/faults") as answer,
    ):
        assert (await answer.json())["repeat"] == 1


async def test_inspection_shows_no_secret(tmp_path, hook):
    """Neither the topic's key nor the webhook's code is ever shown."""
    async with (
        running(tmp_path, configuration(hook.url)) as grid,
        grid.session.get(f"{grid.url}/topics") as answer,
    ):
        text = await answer.text()
    assert "secret" not in text
    assert json.loads(text)["topics"][0]["subscriptions"][0]["name"] == "s"


async def test_a_killed_server_delivers_what_it_had_taken(tmp_path):
    """SIGKILL between publishing and delivery loses nothing; the next start delivers."""
    hook_port, port = free_port(), free_port()
    config = tmp_path / "config.json"
    config.write_text(json.dumps(configuration(f"http://127.0.0.1:{hook_port}/hook")))
    url = f"http://127.0.0.1:{port}"
    names = [f"{number}" for number in range(25)]

    async with aiohttp.ClientSession() as session:
        first = await _start(session, url, port, tmp_path)
        async with EventGridPublisherClient(
            f"{url}/topics/t/api/events", AzureKeyCredential("k")
        ) as client:
            await client.send([event(name) for name in names])
        first.kill()
        await first.wait()

        second = await _start(session, url, port, tmp_path)
        async with webhook(hook_port) as hook:
            await hook.until(lambda: sorted(hook.ids) == sorted(names))
        second.send_signal(signal.SIGTERM)
        async with asyncio.timeout(60):
            assert await second.wait() == 0


async def _start(session, url, port, state):
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "local.eventgrid", "--port", str(port), "--state", str(state),
        "--config", str(state / "config.json"), "--pace", "instant",
        cwd=Path(__file__).parents[2], env=os.environ,
        stdout=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    async with asyncio.timeout(60):
        while True:
            try:
                async with session.get(f"{url}/healthz") as answer:
                    assert answer.status == 200
                    return process
            except aiohttp.ClientConnectionError:
                assert process.returncode is None
                await asyncio.sleep(0.05)


async def test_a_wrong_configuration_ends_the_program_with_every_problem(tmp_path, capfd):
    """Exit code 2, one problem a line, no traceback."""
    from local.eventgrid.__main__ import main

    (tmp_path / "bad.json").write_text('{"topics": [{"name": 1}]}')
    code = main(["--port", "1", "--state", str(tmp_path), "--config", str(tmp_path / "bad.json")])
    printed = capfd.readouterr().err
    assert code == 2
    assert "topics[0].name: must be of type str" in printed
    assert "topics[0].key: is missing" in printed
