"""Clients for the storage accounts that bindings name, one set per connection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from azure.storage.blob.aio import BlobServiceClient
from azure.storage.queue.aio import QueueServiceClient

from local.host.settings import find_connection

if TYPE_CHECKING:
    from collections.abc import Mapping

    from azure.storage.queue.aio import QueueClient

    from local.host.settings import Connection

# The SDK's own pauses of 15 s and more are for data centres; whoever calls us tries again as well.
_OPTIONS: Final[dict[str, Any]] = {
    "initial_backoff": 1,
    "increment_base": 2,
    "retry_total": 2,
    "connection_timeout": 5,
    "read_timeout": 60,
}


class Storage:
    """Makes clients and closes them."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self._blobs: dict[str, BlobServiceClient] = {}
        self._queues: dict[str, QueueServiceClient] = {}
        self._credentials: list[Any] = []

    def blobs(self, connection: str = "") -> BlobServiceClient:
        """The blob service of a connection; AzureWebJobsStorage when empty.

        Raises:
            LookupError: The connection is not set.
        """
        if connection not in self._blobs:
            found = find_connection(connection, "blob", self._environment)
            self._blobs[connection] = (
                BlobServiceClient.from_connection_string(found.connection_string, **_OPTIONS)
                if found.connection_string
                else BlobServiceClient(
                    found.blob_uri, credential=self._credential(found), **_OPTIONS
                )
            )
        return self._blobs[connection]

    def queue(self, name: str, connection: str = "") -> QueueClient:
        """A queue of a connection; AzureWebJobsStorage when empty.

        Raises:
            LookupError: The connection is not set.
        """
        if connection not in self._queues:
            found = find_connection(connection, "queue", self._environment)
            self._queues[connection] = (
                QueueServiceClient.from_connection_string(found.connection_string, **_OPTIONS)
                if found.connection_string
                else QueueServiceClient(
                    found.queue_uri, credential=self._credential(found), **_OPTIONS
                )
            )
        return self._queues[connection].get_queue_client(name)

    def _credential(self, connection: Connection) -> Any:
        from azure.identity.aio import DefaultAzureCredential, ManagedIdentityCredential

        made: Any = (
            ManagedIdentityCredential(client_id=connection.client_id)
            if connection.client_id
            else DefaultAzureCredential()
        )
        self._credentials.append(made)
        return made

    async def close(self) -> None:
        """Close every connection."""
        for client in (*self._blobs.values(), *self._queues.values(), *self._credentials):
            await client.close()
