"""What Bicep makes in Azure's storage account: containers and the queue."""

from __future__ import annotations

from typing import Final

CONTAINERS: Final = ("manifests", "data", "datasets", "runs", "reports", "azureml-blobstore")
QUEUE: Final = "run-steps"


def ensure(connection_string: str) -> None:
    """Make the containers and the queue unless they are there.

    Raises:
        azure.core.exceptions.AzureError: The storage does not answer, or refuses.
    """
    from azure.core.exceptions import ResourceExistsError
    from azure.storage.blob import BlobServiceClient
    from azure.storage.queue import QueueClient

    with BlobServiceClient.from_connection_string(connection_string) as service:
        there = {container.name for container in service.list_containers()}
        for name in CONTAINERS:
            if name not in there:
                service.create_container(name)
    with QueueClient.from_connection_string(connection_string, QUEUE) as queue:
        try:
            queue.create_queue()
        except ResourceExistsError:
            return
