"""Takes events, decides who gets them, and remembers both before saying yes."""

from __future__ import annotations

import hashlib
import time
from typing import TYPE_CHECKING, Any

from local.eventgrid.faults import Dice, Faults

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from local.eventgrid.configuration import Subscription, Topic
    from local.eventgrid.store import Store


class Broker:
    """The topics and what is on its way in them.

    Args:
        topics: What there is.
        store: The memory.
        clock: Unix time; tests bring their own.
    """

    def __init__(
        self, topics: Sequence[Topic], store: Store, *, clock: Callable[[], float] = time.time
    ) -> None:
        self.topics = {topic.name: topic for topic in topics}
        self.store = store
        self.clock = clock
        self._dice = {name: Dice(Faults.parse(store.faults(name) or {})) for name in self.topics}
        store.forget_strangers({(t.name, s.name) for t in topics for s in t.subscriptions})
        self._wake: dict[tuple[str, str], Callable[[], None]] = {}

    def on_arrival(
        self, topic: Topic, subscription: Subscription, wake: Callable[[], None]
    ) -> None:
        """Call `wake` whenever something new waits for `subscription`."""
        self._wake[topic.name, subscription.name] = wake

    def publish(
        self,
        topic: Topic,
        events: Iterable[dict[str, Any]],
        *,
        seen: Iterable[tuple[str, str, str | None]] = (),
    ) -> None:
        """Take events; they are on disk when this returns.

        Args:
            topic: Where they are published.
            events: Complete events, of either schema.
            seen: Blobs (container, name, ETag or None) to remember in the same transaction.
        """
        now = self.clock()
        with self.store.transaction():
            for container, name, etag in seen:
                self.store.see_blob(topic.name, container, name, etag)
            for event in events:
                self._take(topic, event, now)
        for subscription in topic.subscriptions:
            if wake := self._wake.get((topic.name, subscription.name)):
                wake()

    def _take(self, topic: Topic, event: dict[str, Any], now: float) -> None:
        store = self.store
        number = store.add_event(event, published=now)
        store.count(topic.name, "", "published")
        for subscription in topic.subscriptions:
            if not subscription.wants.matches(event):
                continue
            store.count(topic.name, subscription.name, "matched")
            late = self._dice[topic.name].deliveries()
            if not late:
                store.count(topic.name, subscription.name, "lost")
            for delay in late:
                store.add_delivery(topic.name, subscription.name, number, due=now + delay)
        store.drop_event_if_done(number)

    def faults(self, topic: Topic) -> Faults:
        """What is to go wrong in a topic."""
        return self._dice[topic.name].faults

    def set_faults(self, topic: Topic, faults: Faults) -> None:
        """From now on this is to go wrong in a topic; the dice start anew."""
        self.store.set_faults(topic.name, faults.as_json())
        self._dice[topic.name] = Dice(faults)

    def is_confirmed(self, topic: Topic, subscription: Subscription) -> bool:
        """Whether the subscription's webhook has passed the validation handshake."""
        return self.store.is_confirmed(topic.name, subscription.name, _digest(subscription))

    def confirm(self, topic: Topic, subscription: Subscription) -> None:
        """The subscription's webhook has passed the validation handshake."""
        self.store.confirm(topic.name, subscription.name, _digest(subscription))

    def describe(self, topic: Topic) -> dict[str, Any]:
        """A topic for inspection: counts, faults, subscriptions; no key, no webhook address."""
        return {
            "name": topic.name,
            "source": topic.source,
            "storageContainers": list(topic.storage_containers),
            "faults": self.faults(topic).as_json(),
            "counts": self.store.counts(topic.name, ""),
            "subscriptions": [
                {
                    "name": subscription.name,
                    "confirmed": self.is_confirmed(topic, subscription),
                    "waiting": self.store.waiting(topic.name, subscription.name),
                    "counts": self.store.counts(topic.name, subscription.name),
                }
                for subscription in topic.subscriptions
            ],
        }


def _digest(subscription: Subscription) -> str:
    """Stands for a webhook's address, which holds a key."""
    return hashlib.sha256(subscription.endpoint_url.encode()).hexdigest()
