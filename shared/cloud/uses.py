"""When the proxy last used an endpoint: an empty blob `used/SLUG` in the container `runs`, with the time.

Fresher than Azure Monitor, which lags by minutes. The proxy notes a use once per span, not per request.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from shared.cloud.endpoint_store import key_of
from shared.cloud.failures import failing
from shared.cloud.storage import RUNS
from shared.errors import Missing

if TYPE_CHECKING:
    from azure.storage.blob import BlobClient

    from shared.cloud.storage import StorageConnection

_FOLDER: Final = "used/"


class BlobUses:
    """`shared.runs.ports.Uses`, and the other side of it for the proxy."""

    def __init__(self, connection: StorageConnection) -> None:
        self._connection = connection

    def _blob(self, name: str) -> BlobClient:
        return self._connection.container(RUNS).get_blob_client(_FOLDER + key_of(name))

    def note(self, name: str, at: datetime) -> None:
        """Note that the endpoint of this name, in people's words, was used at `at`; the last note stands."""
        with failing(f"noting the use of {name}"):
            self._blob(name).upload_blob(
                b"", overwrite=True, metadata={"at": at.astimezone(UTC).isoformat()}
            )

    def last(self, name: str) -> datetime | None:
        """The last noted use of the endpoint of this name; `None` if there is none."""
        try:
            with failing(f"reading the last use of {name}"):
                properties = self._blob(name).get_blob_properties()
        except Missing:
            return None
        try:
            return datetime.fromisoformat((properties.metadata or {})["at"])
        except (KeyError, ValueError):
            # Not written by `note`: when it was written is the best there is.
            return properties.last_modified
