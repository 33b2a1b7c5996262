"""What Bicep makes in Azure's storage account: containers and the queue."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from local.processes import StartFailed

if TYPE_CHECKING:
    from pathlib import Path

CONTAINERS: Final = ("manifests", "data", "datasets", "runs", "reports", "azureml-blobstore")
QUEUE: Final = "run-steps"


def ensure(connection_string: str, bundle: Path) -> None:
    """Make the containers and the queue unless they are there.

    Args:
        connection_string: Of the storage account.
        bundle: The certificates to trust.

    Raises:
        StartFailed: The storage does not answer, or refuses.
    """
    from azure.core.exceptions import AzureError

    try:
        _ensure(connection_string, bundle)
    except AzureError as error:
        raise StartFailed(f"The containers cannot be made: {error}") from error


def _ensure(connection_string: str, bundle: Path) -> None:
    from azure.core.exceptions import ResourceExistsError
    from azure.storage.blob import BlobServiceClient
    from azure.storage.queue import QueueClient

    trust: dict[str, Any] = {"connection_verify": str(bundle), "retry_total": 1}
    with BlobServiceClient.from_connection_string(connection_string, **trust) as service:
        there = {container.name for container in service.list_containers()}
        for name in CONTAINERS:
            if name not in there:
                service.create_container(name)
    with QueueClient.from_connection_string(connection_string, QUEUE, **trust) as queue:
        try:
            queue.create_queue()
        except ResourceExistsError:
            return
