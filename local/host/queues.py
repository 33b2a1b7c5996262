"""Listening to storage queues as the host does: batches, invisibility, tries, poison queue.

A message in hand is invisible for ten minutes, renewed at half of it; when this process is killed,
it comes back after that time. A message that failed too often goes to `<queue>-poison`. Source:
https://learn.microsoft.com/azure/azure-functions/functions-bindings-storage-queue-trigger and the
listener of https://github.com/Azure/azure-webjobs-sdk.
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import random
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from azure.core.exceptions import AzureError, ResourceExistsError, ResourceNotFoundError

from local.host.logs import HOST

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import datetime

    from azure.storage.queue import QueueMessage
    from azure.storage.queue.aio import QueueClient

    from local.host.functions import Function
    from local.host.host_json import QueueOptions
    from local.host.invocations import Invocations

    Handle = Callable[[QueueMessage, str], Awaitable[bool]]

INVISIBILITY: Final = timedelta(minutes=10)
_SHORTEST_PAUSE: Final = 0.1
_POISON: Final = "-poison"

log = logging.getLogger(HOST)


class QueueListener:
    """Fetches messages of one queue and has them handled, several at once.

    Args:
        queue: The queue; it need not exist yet.
        poison: Where hopeless messages go; None leaves them invisible, as for queues that end in
            -poison.
        options: Sizes and times from host.json.
        handle: Gets a message and its decoded text; returns whether it is done with.
        owner: The function or part of the host that this is for, named in the log.
        invisibility: How long a message in hand is hidden from others.
    """

    def __init__(
        self,
        queue: QueueClient,
        poison: QueueClient | None,
        options: QueueOptions,
        handle: Handle,
        *,
        owner: str,
        invisibility: timedelta = INVISIBILITY,
    ) -> None:
        self._queue = queue
        self._poison = poison
        self._options = options
        self._handle = handle
        self._extra = {"function": owner}
        self._invisibility = int(invisibility.total_seconds())
        self._in_hand: dict[asyncio.Task[None], QueueMessage] = {}
        self._looked_for = asyncio.Event()
        self._stopping = False
        self._down = False

    @property
    def queue_name(self) -> str:
        """The queue's name."""
        return self._queue.queue_name

    def wake(self) -> None:
        """Look at the queue now."""
        self._looked_for.set()

    async def run(self) -> None:
        """Listen until `stop`."""
        empty = 0
        while not self._stopping:
            if len(self._in_hand) > self._options.new_batch_threshold:
                await asyncio.wait(self._in_hand, return_when=asyncio.FIRST_COMPLETED)
                continue
            self._looked_for.clear()
            messages = await self._fetch()
            for message in messages:
                task = asyncio.create_task(self._process(message))
                self._in_hand[task] = message
                task.add_done_callback(self._in_hand.pop)
            empty = 0 if messages else empty + 1
            if empty:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._looked_for.wait(), self._pause(empty))

    def stop(self) -> None:
        """Fetch no more; what is in hand goes on."""
        self._stopping = True
        self.wake()

    async def drained(self) -> None:
        """Wait until nothing is in hand."""
        while self._in_hand:
            await asyncio.wait(self._in_hand)

    async def give_back(self) -> None:
        """Show what is still in hand to others, since this process ends."""
        for message in tuple(self._in_hand.values()):
            with suppress(AzureError):
                await self._queue.update_message(
                    message.id, message.pop_receipt, visibility_timeout=0
                )

    def _pause(self, empty: int) -> float:
        """Random exponential: 100 ms and up, to host.json's maxPollingInterval."""
        jitter = random.uniform(0.8, 1.2)  # noqa: S311 - spreads load, guards nothing
        longest = self._options.max_polling_interval.total_seconds()
        pause = _SHORTEST_PAUSE * (1 + (2.0 ** min(empty - 1, 30) - 1) * jitter)
        return min(pause, longest)

    async def _fetch(self) -> list[QueueMessage]:
        pages = self._queue.receive_messages(
            messages_per_page=self._options.batch_size, visibility_timeout=self._invisibility
        ).by_page()
        try:
            page = await anext(pages, None)
            found = [] if page is None else [message async for message in page]
        except ResourceNotFoundError:
            found = []
        except AzureError as error:
            if not self._down:
                log.warning("queue %s does not answer: %s", self.queue_name, brief(error))
            self._down = True
            return []
        if self._down:
            log.info("queue %s answers again", self.queue_name)
        self._down = False
        return found

    async def _process(self, message: QueueMessage) -> None:
        renewing = asyncio.create_task(self._renew(message))
        try:
            done = await self._try(message)
        except asyncio.CancelledError:
            raise
        except Exception:
            # The host must outlive a fault of its own; the message comes back.
            log.exception("handling message %s failed", message.id, extra=self._extra)
            done = False
        finally:
            renewing.cancel()
        try:
            await self._settle(message, done=done)
        except AzureError as error:
            text = "message %s could not be settled, it will come again: %s"
            log.warning(text, message.id, brief(error), extra=self._extra)

    async def _try(self, message: QueueMessage) -> bool:
        if self._tries(message) > self._options.max_dequeue_count:
            return False
        try:
            text = self._decode(message.content)
        except ValueError:
            wanted = "base64" if self._options.base64 else "text"
            reason = "message %s is not %s (messageEncoding in host.json)"
            log.warning(reason, message.id, wanted, extra=self._extra)
            message.dequeue_count = self._options.max_dequeue_count  # trying again cannot help
            return False
        return await self._handle(message, text)

    def _decode(self, content: str) -> str:
        if not self._options.base64:
            return content
        return base64.b64decode(content, validate=True).decode()

    async def _settle(self, message: QueueMessage, *, done: bool) -> None:
        if done:
            await self._queue.delete_message(message.id, message.pop_receipt)
        elif self._poison is None:
            return
        elif self._tries(message) >= self._options.max_dequeue_count:
            await send(self._poison, message.content)
            await self._queue.delete_message(message.id, message.pop_receipt)
            log.error(
                "message %s is poison after %d tries: moved to %s",
                *(message.id, self._tries(message), self._poison.queue_name),
                extra=self._extra,
            )
        else:
            pause = int(self._options.visibility_timeout.total_seconds())
            await self._queue.update_message(
                message.id, message.pop_receipt, visibility_timeout=pause
            )
            if pause == 0:
                self.wake()

    @staticmethod
    def _tries(message: QueueMessage) -> int:
        return message.dequeue_count or 1

    async def _renew(self, message: QueueMessage) -> None:
        while True:
            await asyncio.sleep(self._invisibility / 2)
            try:
                renewed = await self._queue.update_message(
                    message.id, message.pop_receipt, visibility_timeout=self._invisibility
                )
            except AzureError as error:
                text = "message %s could not be kept invisible: %s"
                log.warning(text, message.id, brief(error), extra=self._extra)
            else:
                message.pop_receipt = renewed.pop_receipt


def brief(error: AzureError) -> str:
    """The first line of a storage error."""
    return str(error).partition("\n")[0]


async def send(queue: QueueClient, content: str) -> None:
    """Send a message, making the queue if it is missing."""
    try:
        await queue.send_message(content)
    except ResourceNotFoundError:
        with suppress(ResourceExistsError):
            await queue.create_queue()
        await queue.send_message(content)


def poison_name(queue: str) -> str | None:
    """The poison queue of a queue; poison queues have none of their own."""
    return None if queue.endswith(_POISON) else queue + _POISON


class QueueFunction:
    """Turns messages into invocations of one function."""

    def __init__(self, function: Function, invocations: Invocations, most_tries: int) -> None:
        self._function = function
        self._invocations = invocations
        self._most_tries = most_tries

    async def __call__(self, message: QueueMessage, text: str) -> bool:
        """Invoke the function; true if it returned."""
        datum = self._invocations.runtime.datum
        metadata = {
            "Id": datum(message.id, "string"),
            "PopReceipt": datum(message.pop_receipt, "string"),
            "DequeueCount": datum(json.dumps(message.dequeue_count), "json"),
            "QueueTrigger": datum(text, "string"),
            "InsertionTime": datum(_iso(message.inserted_on), "json"),
            "ExpirationTime": datum(_iso(message.expires_on), "json"),
            "NextVisibleTime": datum(_iso(message.next_visible_on), "json"),
        }
        result = await self._invocations.run(
            self._function,
            datum(text, "string"),
            metadata,
            lambda: {"queueTrigger": text, "Id": message.id, **_fields(text)},
            attempt=f"try {message.dequeue_count} of {self._most_tries}",
        )
        return result.ok

    async def invoke(self, text: str) -> bool:
        """Invoke it with a text that is in no queue, as the admin route does."""
        datum = self._invocations.runtime.datum
        result = await self._invocations.run(
            self._function,
            datum(text, "string"),
            {"QueueTrigger": datum(text, "string")},
            lambda: {"queueTrigger": text, **_fields(text)},
        )
        return result.ok


def _iso(moment: datetime | None) -> str:
    return json.dumps(None if moment is None else moment.isoformat())


def _fields(text: str) -> dict[str, Any]:
    """The fields of a JSON object, which output paths may name."""
    try:
        content = json.loads(text)
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}
