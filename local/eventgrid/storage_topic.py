"""A storage account's system topic for Azurite, which sends no events of its own.

It lists containers and compares ETags with those it saw last, so that any client's upload counts.
Several overwrites between two looks make one event, as Event Grid's readers must expect anyway.
Event shape: https://learn.microsoft.com/azure/event-grid/event-schema-blob-storage
"""

from __future__ import annotations

import asyncio
import os
import time
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from azure.storage.blob import BlobProperties
    from azure.storage.blob.aio import ContainerClient

    from local.eventgrid.broker import Broker
    from local.eventgrid.configuration import Topic

SHORTEST_PAUSE, LONGEST_PAUSE = 0.5, 10.0
PATIENCE = 10
"""A look that took n seconds is followed by a pause of PATIENCE x n seconds, within the bounds."""


class ContainerWatcher:
    """Publishes what happens to the blobs of one container until cancelled.

    Args:
        broker: Takes the events and remembers the ETags.
        topic: The storage account's system topic.
        container: Name of the container.
        connection_string: Of the storage account.
    """

    def __init__(
        self, broker: Broker, topic: Topic, container: str, connection_string: str
    ) -> None:
        self._broker = broker
        self._topic = topic
        self._container = container
        self._connection_string = connection_string
        self._seen = broker.store.blobs(topic.name, container)

    async def run(self) -> None:
        """Look again and again; a storage that cannot be reached is told once and waited for."""
        from azure.core.exceptions import AzureError
        from azure.storage.blob.aio import ContainerClient

        trouble: str | None = None
        pause = SHORTEST_PAUSE
        async with ContainerClient.from_connection_string(
            self._connection_string,
            self._container,
            retry_total=0,
            connection_timeout=5,
            # aiohttp reads SSL_CERT_FILE when it is imported; here it counts whenever set.
            connection_verify=os.environ.get("SSL_CERT_FILE") or True,
        ) as client:
            while True:
                begun = time.monotonic()
                try:
                    self._compare(await _list(client))
                except AzureError as error:
                    reason = str(error).partition("\n")[0]
                    if reason != trouble:
                        print(f"{self._name}: cannot be listed: {reason}", flush=True)
                    trouble, pause = reason, min(2 * pause, LONGEST_PAUSE)
                else:
                    if trouble is not None:
                        print(f"{self._name}: can be listed again", flush=True)
                    took = time.monotonic() - begun
                    trouble = None
                    pause = min(max(SHORTEST_PAUSE, PATIENCE * took), LONGEST_PAUSE)
                await asyncio.sleep(pause)

    @property
    def _name(self) -> str:
        return f"{self._topic.name}: container {self._container}"

    def _compare(self, blobs: dict[str, BlobProperties]) -> None:
        """Publish what is new, changed or gone, and remember it together with the events."""
        written = [blob for name, blob in blobs.items() if _etag(blob) != self._seen.get(name)]
        gone = self._seen.keys() - blobs.keys()
        if not written and not gone:
            return
        changes: dict[str, str | None] = {str(blob.name): _etag(blob) for blob in written}
        changes |= dict.fromkeys(gone)
        events = [self._created(blob) for blob in written]
        events += [
            self._event(name, "BlobDeleted", {"api": "DeleteBlob"}) for name in sorted(gone)
        ]
        self._broker.publish(
            self._topic,
            events,
            seen=[(self._container, name, etag) for name, etag in changes.items()],
        )
        self._seen = {name: _etag(blob) for name, blob in blobs.items()}
        for name, etag in changes.items():
            print(f"{self._name}: {name} {'written' if etag else 'deleted'}", flush=True)

    def _created(self, blob: BlobProperties) -> dict[str, Any]:
        data = {
            "api": "PutBlob",
            "requestId": str(uuid.uuid4()),
            "eTag": _etag(blob),
            "contentType": blob.content_settings.content_type or "application/octet-stream",
            "contentLength": blob.size,
            "blobType": str(getattr(blob.blob_type, "value", blob.blob_type)),
        }
        return self._event(str(blob.name), "BlobCreated", data)

    def _event(self, name: str, kind: str, data: dict[str, Any]) -> dict[str, Any]:
        fields = dict(
            part.split("=", 1) for part in self._connection_string.split(";") if "=" in part
        )
        now = time.time_ns()
        return {
            "topic": self._topic.source,
            "subject": f"/blobServices/default/containers/{self._container}/blobs/{name}",
            "eventType": f"Microsoft.Storage.{kind}",
            "id": str(uuid.uuid4()),
            "data": {
                **data,
                "url": f"{fields['BlobEndpoint'].rstrip('/')}/{self._container}/{name}",
                "sequencer": f"{now:048x}",
                "storageDiagnostics": {"batchId": str(uuid.uuid4())},
            },
            "dataVersion": "",
            "metadataVersion": "1",
            "eventTime": datetime.fromtimestamp(now / 1e9, UTC).isoformat().replace("+00:00", "Z"),
        }


async def _list(client: ContainerClient) -> dict[str, BlobProperties]:
    """Every blob of the container, page by page."""
    return {str(blob.name): blob async for blob in client.list_blobs(results_per_page=1000)}


def _etag(blob: BlobProperties) -> str:
    return str(blob.etag).strip('"')
