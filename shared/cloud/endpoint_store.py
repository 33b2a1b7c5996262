"""Endpoint records in blob storage, each fenced by its blob's lease.

A record is `endpoints/SLUG.json` in the container `runs`; the slug is the one that Azure's name of the
endpoint is made of, so that whoever shares an endpoint shares its fence. A lease is short and renewed by
`confirm`; that of a holder that was killed runs out by itself. Before the first save the blob is empty: a
lease needs a blob.
"""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import msgspec

from shared.cloud.failures import failing
from shared.cloud.storage import RUNS, bare, write_once
from shared.errors import DroptuneError, Missing, Refused, StaleRecord
from shared.runs import naming
from shared.runs.endpoints import EndpointRecord

if TYPE_CHECKING:
    from collections.abc import Iterator

    from azure.storage.blob import BlobClient, BlobLeaseClient, ContainerClient

    from shared.cloud.storage import StorageConnection

LEASE_SECONDS: Final = 60
"""How long a killed holder keeps others out; blob storage allows 15 to 60. Longer than a look and a change
in Azure may take together (see `arm`), so that the fence stands until the change is asked for."""

_FOLDER: Final = "endpoints/"

logger = logging.getLogger(__name__)


def key_of(name: str) -> str:
    """The record's file name without ending, for an endpoint's name in people's words.

    The part of it that Azure's name keeps (see `naming.endpoint_name`).
    """
    return naming.endpoint_slug(name)


class BlobHeldEndpoint:
    """`shared.runs.ports.HeldEndpoint`: a record while we hold its lease."""

    def __init__(
        self, blob: BlobClient, lease: BlobLeaseClient, record: EndpointRecord | None, etag: str
    ) -> None:
        self._blob = blob
        self._lease = lease
        self._record = record
        self._etag = etag

    @property
    def record(self) -> EndpointRecord | None:
        """The record as it stands; `None` before the first save."""
        return self._record

    def confirm(self) -> None:
        """Renew the lease: called just before anything is changed in Azure.

        Raises:
            StaleRecord: The lease ran out and may be somebody else's.
        """
        try:
            with failing(f"renewing the lease of {self._blob.blob_name}"):
                self._lease.renew()
        except Missing as error:
            raise StaleRecord(f"{self._blob.blob_name} was deleted while it was held") from error

    def save(self, record: EndpointRecord) -> None:
        """Replace the record.

        Raises:
            StaleRecord: The lease ran out and may be somebody else's.
        """
        try:
            self._etag = write_once(
                self._blob,
                msgspec.json.encode(record),
                replacing=self._etag,
                content_type="application/json",
                lease=self._lease,
            )
        except Missing as error:
            raise StaleRecord(f"{self._blob.blob_name} was deleted while it was held") from error
        self._record = record


class BlobEndpointStore:
    """`shared.runs.ports.EndpointStore` on the container `runs`.

    Args:
        connection: The storage account.
        lease_seconds: How long a lease holds unless it is renewed, from 15 to 60.
    """

    def __init__(self, connection: StorageConnection, lease_seconds: int = LEASE_SECONDS) -> None:
        self._connection = connection
        self._lease_seconds = lease_seconds

    @property
    def _container(self) -> ContainerClient:
        return self._connection.container(RUNS)

    def _blob(self, name: str) -> BlobClient:
        return self._container.get_blob_client(f"{_FOLDER}{key_of(name)}.json")

    def load(self, name: str) -> EndpointRecord | None:
        """The record of the endpoint of this name, in people's words."""
        try:
            return _read(self._blob(name))[0]
        except Missing:
            return None

    @contextmanager
    def hold(self, name: str) -> Iterator[BlobHeldEndpoint]:
        """Take the lease of the endpoint's record for the length of the block.

        Raises:
            Busy: Somebody else holds it.
        """
        blob = self._blob(name)
        lease = self._leased(blob)
        try:
            record, etag = _read(blob)
            yield BlobHeldEndpoint(blob, lease, record, etag)
        finally:
            _release(blob, lease)

    def _leased(self, blob: BlobClient) -> BlobLeaseClient:
        doing = f"holding {blob.blob_name}"
        try:
            with failing(doing):
                return blob.acquire_lease(lease_duration=self._lease_seconds)
        except Missing:
            pass
        try:
            write_once(blob, b"", replacing=None, content_type="application/json")
        except StaleRecord:
            logger.debug("%s: somebody else has just made it", blob.blob_name)
        with failing(doing):
            return blob.acquire_lease(lease_duration=self._lease_seconds)

    def all(self) -> Iterator[EndpointRecord]:
        """Every endpoint's record: one listing, and one read for each."""
        with failing("listing the endpoints' records"):
            for name in self._container.list_blob_names(name_starts_with=_FOLDER):
                try:
                    record, _ = _read(self._container.get_blob_client(name))
                except Missing:
                    continue
                except Refused:
                    logger.exception("the endpoints' other records go on")
                    continue
                if record is not None:
                    yield record


def _read(blob: BlobClient) -> tuple[EndpointRecord | None, str]:
    with failing(f"reading {blob.blob_name}"):
        download = blob.download_blob()
        body, etag = download.readall(), bare(download.properties.etag)
    if not body:
        return None, etag
    try:
        return msgspec.json.decode(body, type=EndpointRecord), etag
    except msgspec.DecodeError as error:
        raise Refused(f"the record {blob.blob_name} cannot be read: {error}") from error


def _release(blob: BlobClient, lease: BlobLeaseClient) -> None:
    """Give the lease back; if that fails it runs out by itself, and what the block did stands."""
    try:
        with failing(f"releasing {blob.blob_name}"):
            lease.release()
    except StaleRecord:
        logger.debug("%s: the lease had run out", blob.blob_name)
    except DroptuneError as error:
        logger.warning("the lease runs out by itself: %s", error)
