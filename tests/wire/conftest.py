"""What the tests over real sockets share."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest

from shared.cloud import storage
from shared.cloud.storage import StorageConnection

if TYPE_CHECKING:
    from collections.abc import Iterator

    from local.azurite import Azurite


@pytest.fixture
def connection(azurite: Azurite) -> Iterator[StorageConnection]:
    """Real storage with every container there and empty."""
    connection = StorageConnection(azurite.connection_string)
    storage.make_ready(connection)
    yield connection
    for name in storage.CONTAINERS:
        container = connection.container(name)
        for blob in container.list_blobs():
            container.get_blob_client(blob.name).delete_blob()
    connection.queue().clear_messages()
