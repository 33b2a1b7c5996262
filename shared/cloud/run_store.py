"""Run records in blob storage: one JSON blob each, guarded by its ETag.

In the container `runs`:

- `runs/ID.json` is the record;
- `active/ID`, empty, marks a run that has to be looked at, so that finding those costs in proportion to them;
- `by-time/TIME-ID`, empty, makes the newest first: ids say nothing of time, and a blob listing is sorted by
  name. It is written before the record, so that no record is without one; one without a record is passed
  over.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import msgspec

from shared.cloud.failures import failing
from shared.cloud.storage import RUNS, bare, write_once
from shared.errors import Missing, Refused
from shared.runs.ports import Mark
from shared.runs.record import Run

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from azure.storage.blob import BlobClient, ContainerClient

    from shared.cloud.storage import StorageConnection

logger = logging.getLogger(__name__)

_RECORDS: Final = "runs/"
_ACTIVE: Final = "active/"
_BY_TIME: Final = "by-time/"
_END_OF_TIME: Final = 10**13
"""Milliseconds since 1970, in the year 2286: times count down from here."""

MOST_ON_A_PAGE: Final = 500


@dataclass(frozen=True, slots=True)
class Page:
    """Some runs, newest first.

    Attributes:
        ids: Their ids.
        runs: Their records, each read when its turn comes; those that are gone are passed over.
        after: What to give `page` for those that follow; `None` when there are none.
    """

    ids: Sequence[str]
    runs: Iterator[Run]
    after: str | None


class BlobRunStore:
    """`shared.runs.ports.RunStore` on the container `runs`."""

    def __init__(self, connection: StorageConnection) -> None:
        self._connection = connection

    @property
    def _container(self) -> ContainerClient:
        return self._connection.container(RUNS)

    def _record(self, run_id: str) -> BlobClient:
        return self._container.get_blob_client(f"{_RECORDS}{run_id}.json")

    def load(self, run_id: str) -> tuple[Run, str]:
        """The record and its ETag.

        Raises:
            Missing: There is no such run.
            Refused: The record cannot be read.
        """
        with failing(f"reading the run {run_id}"):
            download = self._record(run_id).download_blob()
            body, etag = download.readall(), bare(download.properties.etag)
        try:
            return msgspec.json.decode(body, type=Run), etag
        except msgspec.DecodeError as error:
            raise Refused(f"the record of {run_id} cannot be read: {error}") from error

    def create(self, run: Run) -> str:
        """Save a new record; returns its ETag.

        Raises:
            StaleRecord: It exists already.
        """
        with failing(f"noting when the run {run.id} came"):
            self._container.get_blob_client(_BY_TIME + _place(run)).upload_blob(
                b"", overwrite=True
            )
        return self._write(run, None)

    def save(self, run: Run, etag: str) -> str:
        """Replace the record if its ETag still is `etag`; returns the new one.

        Raises:
            StaleRecord: Somebody else replaced it.
        """
        return self._write(run, etag)

    def _write(self, run: Run, etag: str | None) -> str:
        return write_once(
            self._record(run.id),
            msgspec.json.encode(run),
            replacing=etag,
            content_type="application/json",
        )

    def mark_active(self, run_id: str) -> None:
        """Note that the run has to be looked at. Doing it again renews the mark's time."""
        with failing(f"marking the run {run_id} as active"):
            self._container.get_blob_client(_ACTIVE + run_id).upload_blob(b"", overwrite=True)

    def mark_inactive(self, run_id: str) -> None:
        """Take the note back. Doing it twice changes nothing."""
        try:
            with failing(f"taking the mark from the run {run_id}"):
                self._container.get_blob_client(_ACTIVE + run_id).delete_blob()
        except Missing:
            return

    def active(self) -> Iterator[Mark]:
        """The marks, a page of the listing at a time."""
        with failing("listing the active runs"):
            for blob in self._container.list_blobs(name_starts_with=_ACTIVE):
                yield Mark(blob.name.removeprefix(_ACTIVE), blob.last_modified)

    def page(self, after: str | None = None, limit: int = 50) -> Page:
        """Runs, newest first: one listing, and one read for each record that is asked for.

        Args:
            after: `Page.after` of the page before; `None` for the newest.
            limit: Most runs on the page, from 1 to 500.

        Raises:
            Refused: `after` is nothing that a page gave.
        """
        limit = min(max(limit, 1), MOST_ON_A_PAGE)
        with failing("listing the runs"):
            pages = self._container.list_blob_names(
                name_starts_with=_BY_TIME, results_per_page=limit
            ).by_page(after)
            names = [name.removeprefix(_BY_TIME) for name in next(pages, iter(()))]
            # The pager is the SDK's own iterator; its type does not say that it has the token.
            following = getattr(pages, "continuation_token", None) or None
        return Page([_id_at(name) for name in names], self._at(names), following)

    def _at(self, places: Sequence[str]) -> Iterator[Run]:
        for place in places:
            try:
                run, _ = self.load(_id_at(place))
            except Missing:
                continue
            except Refused:
                logger.exception("the other runs go on")
                continue
            if _place(run) == place:  # of two that made a run at once, one left a wrong time
                yield run


def _place(run: Run) -> str:
    """Where the run stands in the listing: later ones sort first."""
    elapsed = run.received_at.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)
    milliseconds = (
        elapsed.days * 86_400_000 + elapsed.seconds * 1000 + elapsed.microseconds // 1000
    )
    return f"{_END_OF_TIME - milliseconds:013d}-{run.id}"


def _id_at(place: str) -> str:
    return place.partition("-")[2]
