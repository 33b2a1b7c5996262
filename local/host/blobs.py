"""Blob triggers whose source is Event Grid.

The webhook notes each new version of a blob once (a receipt per function, path and ETag) and puts
a message into the host's own queue; from there the function is run, five times at most, before the
message goes to `webjobs-blobtrigger-poison`. A blob that is gone by then is dropped; one that was
overwritten is noted anew, so that rapid overwrites become one run with the last content. Nothing
here promises exactly once. Source:
https://learn.microsoft.com/azure/azure-functions/functions-bindings-storage-blob-trigger and
https://github.com/Azure/azure-webjobs-sdk (BlobTriggerExecutor, BlobReceiptManager,
BlobQueueTriggerExecutor).
"""

from __future__ import annotations

import base64
import json
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from azure.core import MatchConditions
from azure.core.exceptions import (
    AzureError,
    ResourceExistsError,
    ResourceModifiedError,
    ResourceNotFoundError,
)

from local.host.eventgrid import Answer, receive
from local.host.functions import BlobTrigger
from local.host.logs import HOST
from local.host.queues import brief, send

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from azure.storage.blob import BlobProperties
    from azure.storage.blob.aio import BlobClient
    from azure.storage.queue import QueueMessage

    from local.host.functions import Function
    from local.host.invocations import Invocations
    from local.host.storage import Storage

HOSTS: Final = "azure-webjobs-hosts"
POISON: Final = "webjobs-blobtrigger-poison"
_PREFIX: Final = "Host.Functions."
_CREATED: Final = "Microsoft.Storage.BlobCreated"
_LEASE: Final = 30
_GONE: Final = "%s/%s is gone: dropped"

log = logging.getLogger(HOST)


def queue_name(host_id: str) -> str:
    """The host's own queue between webhook and functions."""
    return f"azure-webjobs-blobtrigger-{host_id}"


class BlobFunctions:
    """The app's blob triggers, by name.

    Args:
        functions: The app's functions.
        invocations: What runs them.
        storage: The accounts.
        host_id: Sets receipts and queue apart from other apps' in the account.
        most_tries: For the log.
        sent: Called after a message went to the host's queue.
    """

    def __init__(
        self,
        functions: tuple[Function, ...],
        invocations: Invocations,
        storage: Storage,
        *,
        host_id: str,
        most_tries: int,
        sent: Callable[[str], None],
    ) -> None:
        self._invocations = invocations
        self._storage = storage
        self._host_id = host_id
        self._most_tries = most_tries
        self._sent = sent
        self._functions = {
            function.name.lower(): (function, function.trigger)
            for function in functions
            if isinstance(function.trigger, BlobTrigger) and not function.disabled
        }

    def __bool__(self) -> bool:
        return bool(self._functions)

    def _find(self, name: str) -> tuple[Function, BlobTrigger] | None:
        return self._functions.get(name.removeprefix(_PREFIX).lower())

    async def post(self, name: str, event_type: str, body: bytes) -> Answer:
        """Answer a POST for the function `name` (`Host.Functions.<function>`)."""
        found = self._find(name)
        if found is None:
            return Answer(404, text=f"cannot find function: '{name}'")
        function, trigger = found
        return await receive(
            event_type, body, lambda event: self._note_event(function, trigger, event)
        )

    async def _note_event(
        self, function: Function, trigger: BlobTrigger, event: Mapping[str, Any]
    ) -> bool:
        kind = event.get("eventType") or event.get("type")
        container, slash, blob = _path_of(str(event.get("subject", "")))
        if kind != _CREATED or not slash:
            return True
        try:
            return await self._note(function, trigger, container, blob)
        except AzureError as error:
            log.warning(
                "its event was not taken: %s", brief(error), extra={"function": function.name}
            )
            return False

    async def _note(
        self, function: Function, trigger: BlobTrigger, container: str, blob: str
    ) -> bool:
        """Put one message for the blob's present version into the host's queue, once."""
        if trigger.pattern.match(container, blob) is None:
            return True
        source = self._storage.blobs(trigger.connection).get_blob_client(container, blob)
        try:
            etag = (await source.get_blob_properties()).etag
        except ResourceNotFoundError:
            log.info(_GONE, container, blob, extra={"function": function.name})
            return True
        receipt = await self._open_receipt(function, etag, container, blob)
        if (await receipt.get_blob_properties()).metadata.get("Completed") == "true":
            return True
        try:
            lease = await receipt.acquire_lease(_LEASE)
        except ResourceExistsError:
            return False  # another delivery of this event is at it: Event Grid comes again
        message = {
            "Type": "BlobTrigger",
            "FunctionId": f"{_PREFIX}{function.name}",
            "BlobType": "BlockBlob",
            "ContainerName": container,
            "BlobName": blob,
            "ETag": etag,
        }
        try:
            queue = self._storage.queue(queue_name(self._host_id))
            await send(queue, base64.b64encode(json.dumps(message).encode()).decode())
            # Complete once the message is written, not once the function succeeds.
            await receipt.set_blob_metadata({"Completed": "true"}, lease=lease)
        finally:
            with suppress(AzureError):
                await lease.release()
        self._sent(queue_name(self._host_id))
        return True

    async def _open_receipt(
        self, function: Function, etag: str, container: str, blob: str
    ) -> BlobClient:
        service = self._storage.blobs()
        version = etag.strip('"')
        owner = f"{self._host_id}/{_PREFIX}{function.name}"
        name = f"blobreceipts/{owner}/{version}/{container}/{blob}"
        receipt = service.get_blob_client(HOSTS, name)
        try:
            await receipt.upload_blob(b"", overwrite=False)
        except ResourceExistsError:
            pass
        except ResourceNotFoundError:
            with suppress(ResourceExistsError):
                await service.create_container(HOSTS)
            with suppress(ResourceExistsError):
                await receipt.upload_blob(b"", overwrite=False)
        return receipt

    async def handle(self, message: QueueMessage, text: str) -> bool:
        """Run the function that a message of the host's queue names; true if that is done with."""
        try:
            content = json.loads(text)
            found = self._find(content["FunctionId"])
            container, blob, etag = content["ContainerName"], content["BlobName"], content["ETag"]
        except (ValueError, LookupError, TypeError):
            log.warning("message %s in the blob trigger's queue cannot be read", message.id)
            return False
        if found is None:
            return True  # the function was removed from the app or disabled
        function, trigger = found
        attempt = f"{container}/{blob}, try {message.dequeue_count} of {self._most_tries}"
        try:
            return await self.invoke(function, container, blob, etag=etag, attempt=attempt)
        except ResourceNotFoundError:
            log.info(_GONE, container, blob, extra={"function": function.name})
            return True
        except ResourceModifiedError:
            return await self._note(function, trigger, container, blob)

    async def invoke(
        self, function: Function, container: str, blob: str, *, etag: str = "", attempt: str = ""
    ) -> bool:
        """Fetch a blob and invoke the function with it; true if it returned.

        Raises:
            ResourceNotFoundError: There is no such blob.
            ResourceModifiedError: It is no longer the version `etag`.
            azure.core.exceptions.AzureError: Storage refused.
        """
        trigger = function.trigger
        assert isinstance(trigger, BlobTrigger)
        client = self._storage.blobs(trigger.connection).get_blob_client(container, blob)
        condition: dict[str, Any] = (
            {"etag": etag, "match_condition": MatchConditions.IfNotModified} if etag else {}
        )
        download = await client.download_blob(**condition)
        content = await download.readall()
        values = trigger.pattern.match(container, blob) or {}
        datum = self._invocations.runtime.datum
        path = f"{container}/{blob}"
        metadata = {
            **{name: datum(value, "string") for name, value in values.items()},
            "BlobTrigger": datum(path, "string"),
            "Uri": datum(json.dumps(client.url), "json"),
            "Properties": datum(json.dumps(_properties(download.properties)), "json"),
            "Metadata": datum(json.dumps(download.properties.metadata or {}), "json"),
        }
        result = await self._invocations.run(
            function,
            datum(content, "bytes"),
            metadata,
            {"blobTrigger": path, **values},
            attempt=attempt,
        )
        return result.ok


def _path_of(subject: str) -> tuple[str, str, str]:
    """Container and blob in `/blobServices/default/containers/C/blobs/B`."""
    _, _, rest = subject.partition("/containers/")
    return rest.partition("/blobs/")


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


def _properties(found: BlobProperties) -> dict[str, Any]:
    """The properties under their .NET names."""
    return {
        "ContentLength": found.size,
        "ContentType": found.content_settings.content_type,
        "ETag": found.etag,
        "LastModified": _iso(found.last_modified),
        "CreatedOn": _iso(found.creation_time),
        "BlobType": 0,
    }
