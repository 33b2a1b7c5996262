"""The sample app under the real host, against real storage."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from azure.storage.blob import BlobServiceClient
from azure.storage.queue import QueueServiceClient
from azure.storage.queue.aio import QueueServiceClient as AsyncQueueServiceClient

from tests.host.process import SAMPLE, HostProcess

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from local.azurite import Azurite

NEVER = "0 0 0 29 2 *"
NIGHTLY = f"0 0 {(datetime.now(UTC).hour + 12) % 24} * * *"
"""Once a day, and not while the tests run."""


@dataclass(frozen=True)
class Account:
    """Storage with names of its own for each test."""

    connection: str
    bundle: str
    mark: str
    blobs: BlobServiceClient
    queues: QueueServiceClient

    def async_queues(self) -> AsyncQueueServiceClient:
        """For this process, where aiohttp was imported before SSL_CERT_FILE was set."""
        return AsyncQueueServiceClient.from_connection_string(
            self.connection, connection_verify=self.bundle
        )

    @property
    def orders(self) -> str:
        return f"orders-{self.mark}"

    @property
    def inbox(self) -> str:
        return f"inbox-{self.mark}"

    @property
    def environment(self) -> dict[str, str]:
        return {
            "STORE": self.connection,
            "AzureWebJobsStorage": self.connection,
            "ORDERS": self.orders,
            "INBOX": self.inbox,
            "OFTEN": NEVER,
            "NIGHTLY": NIGHTLY,
            "AzureFunctionsWebHost__hostid": f"host-{self.mark}",
        }


@pytest.fixture
def account(azurite: Azurite) -> Iterator[Account]:
    connection = azurite.connection_string
    with (
        BlobServiceClient.from_connection_string(connection) as blobs,
        QueueServiceClient.from_connection_string(connection) as queues,
    ):
        yield Account(
            connection, str(azurite.certificates.bundle), uuid.uuid4().hex[:8], blobs, queues
        )


@pytest.fixture
def start(account: Account, tmp_path: Path) -> Iterator[Callable[..., HostProcess]]:
    """Start the sample app; further environment as keywords, options as arguments."""
    running: list[HostProcess] = []

    def begin(*options: str, **environment: str) -> HostProcess:
        process = HostProcess(
            SAMPLE, tmp_path / "state", {**account.environment, **environment}, *options
        )
        running.append(process)
        return process.ready()

    yield begin
    for process in running:
        process.end()


OFFLINE = {
    "STORE": "UseDevelopmentStorage=true",
    "AzureWebJobsStorage": "UseDevelopmentStorage=true",
    "ORDERS": "orders",
    "INBOX": "inbox",
    "OFTEN": NEVER,
    "NIGHTLY": NIGHTLY,
    # Without storage: what needs it is off.
    "AzureWebJobs.take_order.Disabled": "true",
    "AzureWebJobs.file_arrived.Disabled": "true",
    "AzureWebJobs.tick.Disabled": "true",
    "AzureWebJobs.nightly.Disabled": "true",
    "AzureWebJobs.stubborn.Disabled": "true",
}


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostProcess]:
    """The sample app without storage, one host for the module."""
    with HostProcess(SAMPLE, tmp_path_factory.mktemp("host"), OFFLINE) as process:
        yield process
