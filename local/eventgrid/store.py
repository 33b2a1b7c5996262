"""What the topics must not forget: undelivered events, confirmed webhooks, ETags seen, counts.

SQLite in write-ahead mode: a transaction that was committed survives the process being killed.
"""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

_SCHEMA = """
CREATE TABLE IF NOT EXISTS events (
    id INTEGER PRIMARY KEY, body TEXT NOT NULL, published REAL NOT NULL);
CREATE TABLE IF NOT EXISTS deliveries (
    id INTEGER PRIMARY KEY, topic TEXT NOT NULL, subscription TEXT NOT NULL,
    event INTEGER NOT NULL REFERENCES events, attempts INTEGER NOT NULL DEFAULT 0,
    due REAL NOT NULL);
CREATE INDEX IF NOT EXISTS deliveries_due ON deliveries (topic, subscription, due, id);
CREATE INDEX IF NOT EXISTS deliveries_event ON deliveries (event);
CREATE TABLE IF NOT EXISTS confirmations (
    topic TEXT NOT NULL, subscription TEXT NOT NULL, endpoint TEXT NOT NULL,
    PRIMARY KEY (topic, subscription));
CREATE TABLE IF NOT EXISTS blobs (
    topic TEXT NOT NULL, container TEXT NOT NULL, name TEXT NOT NULL, etag TEXT NOT NULL,
    PRIMARY KEY (topic, container, name)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS counts (
    topic TEXT NOT NULL, subscription TEXT NOT NULL, what TEXT NOT NULL, number INTEGER NOT NULL,
    PRIMARY KEY (topic, subscription, what)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS faults (topic TEXT PRIMARY KEY, body TEXT NOT NULL) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class Delivery:
    """An event on its way to a subscription.

    Attributes:
        id: Of the delivery.
        event: As it was published, with the topic filled in.
        attempts: Deliveries that were tried and not accepted.
        published: Unix time at which the topic took the event.
    """

    id: int
    event: dict[str, Any]
    attempts: int
    published: float


class Store:
    """The topics' memory, in one file; for one thread."""

    def __init__(self, file: Path) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        self._connection = sqlite3.connect(file, isolation_level=None)
        self._connection.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;")
        self._connection.executescript(_SCHEMA)

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All of the block or nothing; on disk when it ends."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")

    def _rows(self, statement: str, values: Iterable[Any] = ()) -> list[Any]:
        with closing(self._connection.execute(statement, tuple(values))) as cursor:
            return cursor.fetchall()

    # Events and deliveries.

    def add_event(self, event: dict[str, Any], *, published: float) -> int:
        """Remember an event; returns its number."""
        [(number,)] = self._rows(
            "INSERT INTO events (body, published) VALUES (?, ?) RETURNING id",
            (json.dumps(event), published),
        )
        return int(number)

    def add_delivery(self, topic: str, subscription: str, event: int, *, due: float) -> None:
        """An event is to be delivered at `due` (Unix time)."""
        self._rows(
            "INSERT INTO deliveries (topic, subscription, event, due) VALUES (?, ?, ?, ?)",
            (topic, subscription, event, due),
        )

    def due(
        self, topic: str, subscription: str, *, now: float, limit: int, without: set[int]
    ) -> list[Delivery]:
        """The deliveries that are due, the longest due first, without those in `without`."""
        rows = self._rows(
            "SELECT d.id, e.body, d.attempts, e.published FROM deliveries d "
            "JOIN events e ON e.id = d.event WHERE d.topic = ? AND d.subscription = ? "
            "AND d.due <= ? ORDER BY d.due, d.id LIMIT ?",
            (topic, subscription, now, limit + len(without)),
        )
        found = [Delivery(n, json.loads(body), tries, at) for n, body, tries, at in rows]
        return [delivery for delivery in found if delivery.id not in without][:limit]

    def next_due(self, topic: str, subscription: str, *, without: set[int]) -> float | None:
        """When the next delivery is due (Unix time); None when none is left."""
        rows = self._rows(
            "SELECT id, due FROM deliveries WHERE topic = ? AND subscription = ? "
            "ORDER BY due, id LIMIT ?",
            (topic, subscription, 1 + len(without)),
        )
        return next((due for number, due in rows if number not in without), None)

    def postpone(self, delivery: Delivery, *, due: float) -> None:
        """An attempt failed; the next one is due at `due` (Unix time)."""
        self._rows(
            "UPDATE deliveries SET attempts = attempts + 1, due = ? WHERE id = ?",
            (due, delivery.id),
        )

    def finish(self, delivery: Delivery) -> None:
        """A delivery is over, one way or the other; its event goes with its last delivery."""
        [(event,)] = self._rows("SELECT event FROM deliveries WHERE id = ?", (delivery.id,))
        self._rows("DELETE FROM deliveries WHERE id = ?", (delivery.id,))
        self.drop_event_if_done(event)

    def drop_event_if_done(self, event: int) -> None:
        """Forget an event that nobody waits for."""
        self._rows(
            "DELETE FROM events WHERE id = ? "
            "AND NOT EXISTS (SELECT 1 FROM deliveries WHERE event = ?)",
            (event, event),
        )

    def forget_strangers(self, known: set[tuple[str, str]]) -> None:
        """Drop what waits for subscriptions (topic, name) that are no longer there."""
        with self.transaction():
            for topic, name in self._rows("SELECT DISTINCT topic, subscription FROM deliveries"):
                if (topic, name) not in known:
                    self._rows(
                        "DELETE FROM deliveries WHERE topic = ? AND subscription = ?",
                        (topic, name),
                    )
            self._rows("DELETE FROM events WHERE id NOT IN (SELECT event FROM deliveries)")

    def waiting(self, topic: str, subscription: str) -> int:
        """How many deliveries are not over."""
        [(number,)] = self._rows(
            "SELECT count(*) FROM deliveries WHERE topic = ? AND subscription = ?",
            (topic, subscription),
        )
        return int(number)

    # Webhooks.

    def is_confirmed(self, topic: str, subscription: str, endpoint: str) -> bool:
        """Whether the webhook at `endpoint` once said that it wants the events."""
        return bool(
            self._rows(
                "SELECT 1 FROM confirmations "
                "WHERE topic = ? AND subscription = ? AND endpoint = ?",
                (topic, subscription, endpoint),
            )
        )

    def confirm(self, topic: str, subscription: str, endpoint: str) -> None:
        """The webhook wants the events."""
        self._rows(
            "INSERT OR REPLACE INTO confirmations VALUES (?, ?, ?)",
            (topic, subscription, endpoint),
        )

    # Blobs seen.

    def blobs(self, topic: str, container: str) -> dict[str, str]:
        """The ETag of every blob seen in a container, by name."""
        return dict(
            self._rows(
                "SELECT name, etag FROM blobs WHERE topic = ? AND container = ?",
                (topic, container),
            )
        )

    def see_blob(self, topic: str, container: str, name: str, etag: str | None) -> None:
        """A blob has this ETag now; None when it is gone."""
        if etag is None:
            self._rows(
                "DELETE FROM blobs WHERE topic = ? AND container = ? AND name = ?",
                (topic, container, name),
            )
        else:
            self._rows(
                "INSERT OR REPLACE INTO blobs VALUES (?, ?, ?, ?)", (topic, container, name, etag)
            )

    # Counts and faults.

    def count(self, topic: str, subscription: str, what: str) -> None:
        """One more `what`; an empty subscription counts for the topic."""
        self._rows(
            "INSERT INTO counts VALUES (?, ?, ?, 1) "
            "ON CONFLICT (topic, subscription, what) DO UPDATE SET number = number + 1",
            (topic, subscription, what),
        )

    def counts(self, topic: str, subscription: str) -> dict[str, int]:
        """How many of each."""
        return dict(
            self._rows(
                "SELECT what, number FROM counts WHERE topic = ? AND subscription = ?",
                (topic, subscription),
            )
        )

    def faults(self, topic: str) -> dict[str, Any]:
        """The faults that were asked for."""
        rows = self._rows("SELECT body FROM faults WHERE topic = ?", (topic,))
        body: dict[str, Any] = json.loads(rows[0][0]) if rows else {}
        return body

    def set_faults(self, topic: str, body: dict[str, Any]) -> None:
        """Remember the faults that are asked for."""
        self._rows("INSERT OR REPLACE INTO faults VALUES (?, ?)", (topic, json.dumps(body)))
