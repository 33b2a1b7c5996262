"""What the core keeps, and the queue that has it looked at: records, marks, manifests, notes of use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from datetime import datetime, timedelta

    from shared.runs.endpoints import EndpointRecord
    from shared.runs.record import Run


@dataclass(frozen=True, slots=True)
class Look:
    """A message of the queue: look at this run. Without a number it is a hint, and always heeded."""

    run: str
    number: int | None = None


@dataclass(frozen=True, slots=True)
class Mark:
    """A run is marked as active, since when."""

    run: str
    at: datetime


class RunStore(Protocol):
    """Run records, each guarded by its ETag, and the marks of those that are active."""

    def load(self, run_id: str) -> tuple[Run, str]:
        """The record and its ETag.

        Raises:
            Missing: There is no such run.
        """

    def create(self, run: Run) -> str:
        """Save a new record; returns its ETag.

        Raises:
            StaleRecord: It exists already.
        """

    def save(self, run: Run, etag: str) -> str:
        """Replace the record if its ETag still is `etag`; returns the new one.

        Raises:
            StaleRecord: Somebody else replaced it.
        """

    def mark_active(self, run_id: str) -> None:
        """Note that the run has to be looked at. Doing it twice changes nothing."""

    def mark_inactive(self, run_id: str) -> None:
        """Take the note back. Doing it twice changes nothing."""

    def active(self) -> Iterator[Mark]:
        """The marks; costs in proportion to them alone."""


class Looks(Protocol):
    """The queue `run-steps`."""

    def send(self, look: Look, delay: timedelta) -> None:
        """Have `look` delivered after `delay`, at least once."""


class HeldEndpoint(Protocol):
    """An endpoint's record while we hold its lease."""

    @property
    def record(self) -> EndpointRecord | None:
        """The record as it stands; `None` before the first save."""

    def confirm(self) -> None:
        """Renew the lease: called just before anything is changed in Azure.

        Raises:
            StaleRecord: The lease ran out and may be somebody else's.
        """

    def save(self, record: EndpointRecord) -> None:
        """Replace the record.

        Raises:
            StaleRecord: The lease ran out and may be somebody else's.
        """


class EndpointStore(Protocol):
    """Endpoint records."""

    def load(self, name: str) -> EndpointRecord | None:
        """The record of the endpoint of this name, in people's words."""

    def hold(self, name: str) -> AbstractContextManager[HeldEndpoint]:
        """Take the lease of the endpoint's record for the length of the block.

        Raises:
            Busy: Somebody else holds it.
        """

    def all(self) -> Iterator[EndpointRecord]:
        """Every endpoint's record."""


@dataclass(frozen=True, slots=True)
class Dropped:
    """A manifest as it lies in its container."""

    path: str
    etag: str


class Manifests(Protocol):
    """The containers `manifests` and `reports`."""

    def read(self, path: str) -> tuple[bytes, str]:
        """Content and ETag; of a blob over the size limit, a little more than the limit.

        Raises:
            Missing: It is gone.
        """

    def listed(self) -> Iterator[Dropped]:
        """Every manifest in the container."""

    def seen(self) -> Iterator[Dropped]:
        """Every drop that was noted with `note_seen`."""

    def note_seen(self, drop: Dropped) -> None:
        """Note that this drop has become a run."""

    def report(self, path: str, body: bytes) -> None:
        """Write `<path>.errors.json` for the manifest's author."""

    def show_data(self, path: str, page: bytes) -> None:
        """Write `<path>.data.html`, the page on the manifest's data, for its author."""


class Uses(Protocol):
    """When the proxy last used an endpoint: fresher than metrics, which lag by minutes."""

    def last(self, name: str) -> datetime | None:
        """The last noted use of the endpoint of this name, in people's words."""
