"""Brings the events of one subscription to its webhook: handshake first, then one POST per event.

https://learn.microsoft.com/azure/event-grid/end-point-validation-event-grid-events-schema
"""

from __future__ import annotations

import asyncio
import json
import os
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import aiohttp

from local.eventgrid.events import is_cloud_event
from local.eventgrid.retries import ACCEPTED, Again, after_failure

if TYPE_CHECKING:
    from pathlib import Path

    from local.eventgrid.broker import Broker
    from local.eventgrid.configuration import Subscription, Topic
    from local.eventgrid.store import Delivery

TIMEOUT = aiohttp.ClientTimeout(total=30)
AT_ONCE = 16
"""Deliveries of one subscription that may be under way together."""

FIRST_HANDSHAKE_PAUSE, LONGEST_HANDSHAKE_PAUSE = 0.1, 2.0


class Courier:
    """Delivers one subscription's events until cancelled.

    Args:
        broker: Where the events wait.
        topic: The topic.
        subscription: Whose events.
        session: The HTTP client to use.
        address: Where this Event Grid answers, for the validation URL.
        pace: Seconds here for each second of Azure's retry schedule.
        dead_letters: File that gets what could not be delivered, one JSON object a line.
    """

    def __init__(
        self,
        broker: Broker,
        topic: Topic,
        subscription: Subscription,
        *,
        session: aiohttp.ClientSession,
        address: str,
        pace: float,
        dead_letters: Path,
    ) -> None:
        self._broker = broker
        self._topic = topic
        self._subscription = subscription
        self._session = session
        self._address = address
        self._pace = pace
        self._dead_letters = dead_letters
        self._wake = asyncio.Event()
        self._under_way: set[int] = set()
        self._validation_code = str(uuid.uuid4())
        self._where = f"{topic.name}/{subscription.name}"
        broker.on_arrival(topic, subscription, self._wake.set)

    async def run(self) -> None:
        """Deliver for ever."""
        await self._shake_hands()
        async with asyncio.TaskGroup() as tasks:
            while True:
                self._wake.clear()
                for delivery in self._due():
                    self._under_way.add(delivery.id)
                    tasks.create_task(self._deliver(delivery))
                await self._until_something_is_due()

    # The handshake.

    async def _shake_hands(self) -> None:
        """Ask the webhook whether it wants the events, until it says yes."""
        pause = FIRST_HANDSHAKE_PAUSE
        told: str | None = None
        while not self._broker.is_confirmed(self._topic, self._subscription):
            answer = await self._ask_webhook()
            if answer is None:
                self._broker.confirm(self._topic, self._subscription)
                print(f"{self._where}: the webhook confirmed", flush=True)
                return
            if answer != told:
                print(f"{self._where}: the webhook has not confirmed yet: {answer}", flush=True)
                told = answer
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_HANDSHAKE_PAUSE)

    async def _ask_webhook(self) -> str | None:
        """Send one validation event: None when it was confirmed, else what was wrong."""
        code = self._validation_code
        event = {
            "id": str(uuid.uuid4()),
            "topic": self._topic.source,
            "subject": "",
            "data": {
                "validationCode": code,
                "validationUrl": f"{self._address}/topics/{self._topic.name}/subscriptions/"
                f"{self._subscription.name}/validate?code={code}",
            },
            "eventType": "Microsoft.EventGrid.SubscriptionValidationEvent",
            "eventTime": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
            "metadataVersion": "1",
            "dataVersion": "2",
        }
        status, body = await self._post([event], "SubscriptionValidation", attempts=0)
        if status is None:
            return body
        if status != 200:  # noqa: PLR2004
            return f"it answered {status}"
        try:
            given = json.loads(body or "null")
        except ValueError:
            given = None
        answer = given.get("validationResponse") if isinstance(given, dict) else None
        return None if answer == code else "its answer lacks the validation code"

    def confirms(self, code: str) -> bool:
        """Take the code that somebody brought to the validation URL; whether it is right."""
        if code != self._validation_code:
            return False
        self._broker.confirm(self._topic, self._subscription)
        return True

    # Deliveries.

    def _due(self) -> list[Delivery]:
        return self._broker.store.due(
            self._topic.name,
            self._subscription.name,
            now=self._broker.clock(),
            limit=AT_ONCE - len(self._under_way),
            without=self._under_way,
        )

    async def _until_something_is_due(self) -> None:
        due = None
        if len(self._under_way) < AT_ONCE:
            due = self._broker.store.next_due(
                self._topic.name, self._subscription.name, without=self._under_way
            )
        pause = None if due is None else max(0.0, due - self._broker.clock())
        try:
            async with asyncio.timeout(pause):
                await self._wake.wait()
        except TimeoutError:
            return

    async def _deliver(self, delivery: Delivery) -> None:
        event = delivery.event
        body: Any = event if is_cloud_event(event) else [event]
        status, problem = await self._post(body, "Notification", attempts=delivery.attempts)
        store, names = self._broker.store, (self._topic.name, self._subscription.name)
        with store.transaction():
            if status in ACCEPTED:
                store.count(*names, "delivered")
                store.finish(delivery)
            else:
                store.count(*names, "failed")
                self._after_failure(delivery, status, problem)
        self._under_way.discard(delivery.id)
        self._wake.set()

    def _after_failure(self, delivery: Delivery, status: int | None, problem: str) -> None:
        now = self._broker.clock()
        answer = f"it answered {status}" if status is not None else problem
        name = f"{self._where}: event {delivery.event['id']}: attempt {delivery.attempts + 1}"
        verdict = after_failure(
            status,
            attempts=delivery.attempts + 1,
            age=now - delivery.published,
            policy=self._subscription.retry_policy,
            pace=self._pace,
        )
        if isinstance(verdict, Again):
            self._broker.store.postpone(delivery, due=now + verdict.delay)
            print(f"{name} failed, {answer}; again in {verdict.delay:.1f} s", flush=True)
            return
        self._bury(delivery, verdict.reason, status, problem)
        self._broker.store.count(self._topic.name, self._subscription.name, "deadLettered")
        self._broker.store.finish(delivery)
        print(f"{name} failed, {answer}; dead letter: {verdict.reason}", flush=True)

    def _bury(self, delivery: Delivery, reason: str, status: int | None, problem: str) -> None:
        """Append the event to the dead letters, with what Event Grid adds to it there."""
        letter = {
            **delivery.event,
            "deadLetterReason": reason,
            "deliveryAttempts": delivery.attempts + 1,
            "lastDeliveryOutcome": problem if status is None else f"HTTP {status}",
            "lastHttpStatusCode": status,
            "publishTime": _stamp(delivery.published),
            "lastDeliveryAttemptTime": _stamp(self._broker.clock()),
        }
        self._dead_letters.parent.mkdir(parents=True, exist_ok=True)
        with self._dead_letters.open("a") as file:
            file.write(json.dumps(letter) + "\n")
            file.flush()
            os.fsync(file.fileno())

    async def _post(self, body: Any, kind: str, *, attempts: int) -> tuple[int | None, str]:
        """POST to the webhook: its status and body, or None and why there was no answer."""
        cloud = "cloudevents+" if isinstance(body, dict) else ""
        headers = {
            "Content-Type": f"application/{cloud}json; charset=utf-8",
            "aeg-event-type": kind,
            "aeg-subscription-name": self._subscription.name.upper(),  # as Azure sends it
            "aeg-delivery-count": str(attempts),
            "aeg-data-version": "" if cloud else body[0]["dataVersion"],
            "aeg-metadata-version": "1",
        }
        try:
            async with self._session.post(
                self._subscription.endpoint_url,
                data=json.dumps(body).encode(),
                headers=headers,
                timeout=TIMEOUT,
                allow_redirects=False,
            ) as answer:
                return answer.status, await answer.text(errors="replace")
        except TimeoutError:
            return None, f"no answer within {TIMEOUT.total:g} s"
        except aiohttp.ClientConnectorError as error:
            return None, f"no connection: {error.os_error.strerror}"  # the full text has the key
        except aiohttp.ClientError as error:
            return None, f"no whole answer: {type(error).__name__}"


def _stamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
