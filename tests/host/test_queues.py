"""Queue triggers and outputs against real storage."""

from __future__ import annotations

import asyncio
import base64
import json
import signal
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from local.host.host_json import QueueOptions
from local.host.queues import QueueListener, poison_name
from tests.host.process import eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest
    from azure.storage.queue import QueueClient, QueueMessage

    from tests.host.conftest import Account
    from tests.host.process import HostProcess

FAST = QueueOptions(
    batch_size=4,
    new_batch_threshold=2,
    max_dequeue_count=3,
    max_polling_interval=timedelta(milliseconds=100),
)


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def made(account: Account, name: str) -> QueueClient:
    queue = account.queues.get_queue_client(name)
    queue.create_queue()
    return queue


def is_empty(queue: QueueClient) -> bool:
    return queue.get_queue_properties().approximate_message_count == 0


def poison(account: Account, queue: str) -> list[QueueMessage]:
    client = account.queues.get_queue_client(f"{queue}-poison")
    return eventually(lambda: list(_peek(client)), "a poison message")


def _peek(client: QueueClient) -> list[QueueMessage]:
    from azure.core.exceptions import ResourceNotFoundError

    try:
        return client.peek_messages(32)
    except ResourceNotFoundError:
        return []


def test_a_message_runs_its_function_and_is_gone(
    account: Account, start: Callable[..., HostProcess]
) -> None:
    queue = made(account, account.orders)
    sent = queue.send_message(encoded('{"item": "tea"}'))
    host = start()
    (seen,) = host.sees("order")
    assert seen["order"] == '{"item": "tea"}'
    assert seen["id"] == sent.id
    assert seen["tries"] == 1
    assert seen["inserted"].startswith(str(sent.inserted_on)[:19])
    assert seen["expires"]
    assert seen["receipt"]
    eventually(lambda: is_empty(queue), "an empty queue")
    assert host.says("[take_order] took")


def test_a_queue_that_does_not_exist_yet_is_waited_for(
    account: Account, start: Callable[..., HostProcess]
) -> None:
    host = start()
    made(account, account.orders).send_message(encoded("late"))
    assert host.sees("order")[0]["order"] == "late"
    assert not any("does not answer" in line for line in host.lines)


def test_a_message_that_keeps_failing_is_poison(
    account: Account, start: Callable[..., HostProcess]
) -> None:
    queue = made(account, account.orders)
    queue.send_message(encoded("fail"))
    host = start()
    assert [entry["tries"] for entry in host.sees("order", 3)] == [1, 2, 3]
    (message,) = poison(account, account.orders)
    assert message.content == encoded("fail")
    eventually(lambda: is_empty(queue), "an empty queue")
    assert "try 3 of 3): RuntimeError: cannot take fail" in host.says("try 3 of 3")
    assert "is poison after 3 tries" in host.says("[take_order] ERROR: message")
    assert len(host.seen("order")) == 3


def test_a_message_that_is_not_base64_is_poison_at_once(
    account: Account, start: Callable[..., HostProcess]
) -> None:
    made(account, account.orders).send_message("plain!")
    host = start()
    (message,) = poison(account, account.orders)
    assert message.content == "plain!"
    assert host.seen("order") == []


def test_messages_are_handled_side_by_side(
    account: Account, start: Callable[..., HostProcess]
) -> None:
    queue = made(account, account.orders)
    for number in range(4):
        queue.send_message(encoded(json.dumps({"gate": "together", "n": number})))
    host = start()
    try:
        host.sees("order", 4)
        assert host.seen("waited") == []
    finally:
        host.let_go("together")
    host.sees("waited", 4)


def test_outputs_become_messages_and_blobs(
    account: Account, start: Callable[..., HostProcess]
) -> None:
    host = start()
    body = json.dumps({"customer": "ann", "item": "tea"}).encode()
    assert host.ask("POST", "/api/orders/17", body).text == "placed"
    assert host.sees("order")[0]["order"] == body.decode()
    blob = account.blobs.get_blob_client("copies", "17-ann.txt")
    assert blob.download_blob().readall() == body


def test_an_output_that_cannot_be_written_is_a_failure(
    account: Account, start: Callable[..., HostProcess]
) -> None:
    host = start()
    assert host.ask("POST", "/api/orders/17", b'{"item": "tea"}').status == 500
    assert "no value for '{customer}'" in host.says("[place_order]")


def test_a_killed_hosts_message_stays_hidden_and_a_stopped_ones_comes_back(
    account: Account, start: Callable[..., HostProcess]
) -> None:
    queue = made(account, account.orders)
    queue.send_message(encoded('{"wait": 60}'))
    host = start()
    host.sees("order")
    assert host.end(signal.SIGKILL) == -signal.SIGKILL
    assert queue.get_queue_properties().approximate_message_count == 1
    assert queue.receive_message() is None  # hidden for ten minutes

    queue.send_message(encoded('{"wait": 61}'))
    host = start("--drain", "0.2")
    host.sees("order", 2)
    assert host.end() == 0
    assert "1 invocations did not end in 0.2 s" in host.output
    given_back = eventually(queue.receive_message, "the message, given back")
    assert given_back.content == encoded('{"wait": 61}')


def test_sigterm_lets_a_running_function_end(
    account: Account, start: Callable[..., HostProcess]
) -> None:
    queue = made(account, account.orders)
    queue.send_message(encoded('{"wait": 1}'))
    host = start("--drain", "20")
    host.sees("order")
    assert host.end() == 0
    assert host.seen("waited")
    assert is_empty(queue)


async def test_a_message_in_hand_is_kept_hidden_until_it_is_done(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would be handed out again after four seconds, were its invisibility not renewed every two."""
    calls: list[int] = []
    renewals: asyncio.Queue[Any] = asyncio.Queue()
    ended = asyncio.Event()

    async def handle(message: QueueMessage, text: str) -> bool:
        calls.append(message.dequeue_count)
        for _ in range(3):
            await renewals.get()
        ended.set()
        return True

    async with account.async_queues() as service:
        queue = service.get_queue_client(account.orders)
        await queue.create_queue()
        await queue.send_message(encoded("x"))
        renew = queue.update_message

        async def renewed(*given: Any, **named: Any) -> QueueMessage:
            message = await renew(*given, **named)
            renewals.put_nowait(message)
            return message

        monkeypatch.setattr(queue, "update_message", renewed)
        listener = QueueListener(
            queue, None, FAST, handle, owner="test", invisibility=timedelta(seconds=4)
        )
        running = asyncio.create_task(listener.run())
        await asyncio.wait_for(ended.wait(), 60)
        listener.stop()
        await running
        await listener.drained()
        assert calls == [1]
        properties = await queue.get_queue_properties()
        assert properties.approximate_message_count == 0


async def test_what_a_killed_listener_had_in_hand_comes_back_after_its_time(
    account: Account,
) -> None:
    async with account.async_queues() as service:
        queue = service.get_queue_client(account.orders)
        await queue.create_queue()
        await queue.send_message(encoded("x"))
        # Fetched and never settled, as by a process that was killed.
        pages = queue.receive_messages(messages_per_page=1, visibility_timeout=2).by_page()
        assert [m.dequeue_count async for m in await anext(pages)] == [1]
        counts: asyncio.Queue[int] = asyncio.Queue()

        async def handle(message: QueueMessage, text: str) -> bool:
            counts.put_nowait(message.dequeue_count)
            return True

        listener = QueueListener(queue, None, FAST, handle, owner="test")
        running = asyncio.create_task(listener.run())
        assert await asyncio.wait_for(counts.get(), 30) == 2
        listener.stop()
        await running
        await listener.drained()


async def test_a_poison_queues_own_failures_stay_hidden(account: Account) -> None:
    """They have no poison queue, and showing them again at once would be an endless loop."""
    assert poison_name("a") == "a-poison"
    assert poison_name("a-poison") is None
    failed = asyncio.Event()

    async def handle(message: QueueMessage, text: str) -> bool:
        failed.set()
        return False

    async with account.async_queues() as service:
        queue = service.get_queue_client(f"{account.orders}-poison")
        await queue.create_queue()
        await queue.send_message(encoded("x"))
        listener = QueueListener(queue, None, FAST, handle, owner="test")
        running = asyncio.create_task(listener.run())
        await asyncio.wait_for(failed.wait(), 30)
        listener.stop()
        await running
        await listener.drained()
        assert await queue.peek_messages() == []
        properties = await queue.get_queue_properties()
        assert properties.approximate_message_count == 1
