"""Where records, manifests and data lie, and the clients that reach them.

A connection is a value; its clients are made once in a process, when first needed, and shared by its threads.
They try again but briefly: a step that does not get through is looked at again by the reconciler.
"""

from __future__ import annotations

import functools
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from shared.cloud.failures import failing
from shared.errors import StaleRecord

if TYPE_CHECKING:
    from azure.storage.blob import BlobClient, BlobServiceClient, ContainerClient
    from azure.storage.queue import QueueClient, QueueServiceClient

    from shared.settings import Settings

MANIFESTS: Final = "manifests"
DATA: Final = "data"
DATASETS: Final = "datasets"
RUNS: Final = "runs"
REPORTS: Final = "reports"
CONTAINERS: Final = (MANIFESTS, DATA, DATASETS, RUNS, REPORTS)
"""Every container."""

RUN_STEPS: Final = "run-steps"
"""The queue."""

CONNECT_SECONDS: Final = 5
READ_SECONDS: Final = 30
_RETRIES: Final = 2
_CHUNK: Final = 4 * 1024 * 1024
"""Most bytes of a download that are in memory at once."""

_making = threading.Lock()


@dataclass(frozen=True, slots=True)
class StorageConnection:
    """One storage account: by connection string, or by addresses with the process's own identity.

    Attributes:
        connection_string: Goes before the addresses when both are given. Never shown.
        blob_uri: `https://ACCOUNT.blob.core.windows.net`.
        queue_uri: `https://ACCOUNT.queue.core.windows.net`.
    """

    connection_string: str = field(default="", repr=False)
    blob_uri: str = ""
    queue_uri: str = ""

    def container(self, name: str) -> ContainerClient:
        """A client of the container, which need not exist."""
        return _blobs(self).get_container_client(name)

    def queue(self, name: str = RUN_STEPS) -> QueueClient:
        """A client of the queue, which need not exist; messages are base64 as the Functions host expects."""
        from azure.storage.queue import TextBase64DecodePolicy, TextBase64EncodePolicy

        return _queues(self).get_queue_client(
            name,
            message_encode_policy=TextBase64EncodePolicy(),
            message_decode_policy=TextBase64DecodePolicy(),
        )


def connection_from(settings: Settings) -> StorageConnection:
    """The connection that the app settings name."""
    return StorageConnection(settings.storage, settings.blob_uri, settings.queue_uri)


def make_ready(connection: StorageConnection) -> None:
    """Create what does not exist yet of containers and queue; doing it twice changes nothing.

    Raises:
        Denied, Unavailable: As for any call.
    """
    from azure.core.exceptions import ResourceExistsError

    for name in CONTAINERS:
        with failing(f"creating the container {name}"):
            try:
                connection.container(name).create_container()
            except ResourceExistsError:
                continue
    with failing(f"creating the queue {RUN_STEPS}"):
        try:
            connection.queue().create_queue()
        except ResourceExistsError:
            return


def bare(etag: str | None) -> str:
    """An ETag without its quotes: headers have them, listings do not.

    >>> bare('"0x8D"')
    '0x8D'
    """
    return (etag or "").strip('"')


def content_type(name: str) -> str:
    """What a browser is told that a file of ours is, by the ending of its name.

    >>> content_type("report.html")
    'text/html; charset=utf-8'
    """
    kinds = {".html": "text/html", ".json": "application/json", ".jsonl": "application/x-ndjson"}
    kind = next((kind for ending, kind in kinds.items() if name.endswith(ending)), "text/plain")
    return f"{kind}; charset=utf-8"


def write_once(
    blob: BlobClient, body: bytes, *, replacing: str | None, content_type: str, **options: Any
) -> str:
    """Write a blob on condition, and know for certain whether it was written; returns the new ETag.

    An answer may get lost after the work was done; the client then tries again and is told that the condition
    does not hold, by its own doing. So each write carries a mark of its own, which tells.

    Args:
        blob: Which one.
        body: Its content.
        replacing: The ETag that it must have; `None`: it must not exist.
        content_type: Its type.
        options: Passed on to `upload_blob`, such as `lease`.

    Raises:
        StaleRecord: The condition does not hold.
    """
    import uuid

    from azure.core import MatchConditions
    from azure.core.exceptions import ResourceExistsError, ResourceModifiedError
    from azure.storage.blob import ContentSettings

    mark = uuid.uuid4().hex
    condition = (
        {"overwrite": False}
        if replacing is None
        else {
            "overwrite": True,
            "etag": f'"{bare(replacing)}"',
            "match_condition": MatchConditions.IfNotModified,
        }
    )
    with failing(f"writing {blob.blob_name}"):
        try:
            written = blob.upload_blob(
                body,
                metadata={"mark": mark},
                content_settings=ContentSettings(content_type=content_type),
                **condition,
                **options,
            )
        except (ResourceExistsError, ResourceModifiedError) as error:
            properties = blob.get_blob_properties()
            if (properties.metadata or {}).get("mark") == mark:
                return bare(properties.etag)
            raise StaleRecord(f"{blob.blob_name} was changed by somebody else") from error
    return bare(written["etag"])


def _blobs(connection: StorageConnection) -> BlobServiceClient:
    with _making:
        return _make_blobs(connection)


def _queues(connection: StorageConnection) -> QueueServiceClient:
    with _making:
        return _make_queues(connection)


@functools.cache
def _make_blobs(connection: StorageConnection) -> BlobServiceClient:
    from azure.storage.blob import BlobServiceClient, ExponentialRetry

    retries = ExponentialRetry(
        initial_backoff=1, increment_base=2, retry_total=_RETRIES, random_jitter_range=1
    )
    options: dict[str, Any] = {
        "retry_policy": retries,
        "connection_timeout": CONNECT_SECONDS,
        "read_timeout": READ_SECONDS,
        "max_single_get_size": _CHUNK,
        "max_chunk_get_size": _CHUNK,
    }
    if connection.connection_string:
        return BlobServiceClient.from_connection_string(connection.connection_string, **options)
    return BlobServiceClient(connection.blob_uri, credential=credential(), **options)


@functools.cache
def _make_queues(connection: StorageConnection) -> QueueServiceClient:
    from azure.storage.queue import ExponentialRetry, QueueServiceClient

    retries = ExponentialRetry(
        initial_backoff=1, increment_base=2, retry_total=_RETRIES, random_jitter_range=1
    )
    options: dict[str, Any] = {
        "retry_policy": retries,
        "connection_timeout": CONNECT_SECONDS,
        "read_timeout": READ_SECONDS,
    }
    if connection.connection_string:
        return QueueServiceClient.from_connection_string(connection.connection_string, **options)
    return QueueServiceClient(connection.queue_uri, credential=credential(), **options)


@functools.cache
def credential() -> Any:
    """The process's identity: a managed identity in Azure, a developer's sign-in elsewhere."""
    from azure.identity import DefaultAzureCredential

    return DefaultAzureCredential(exclude_interactive_browser_credential=True)
