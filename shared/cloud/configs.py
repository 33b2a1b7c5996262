"""Configuration files of jobs: `shared.runs.ports.Configs` on the containers `data` and `datasets`.

People put a file beside their rows, in the container `data`; jobs read the container `datasets`, through its
datastore. What a job is given is therefore kept there, under a name that follows from its content.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

from shared.cloud.failures import failing
from shared.cloud.storage import DATA, DATASETS
from shared.errors import StaleRecord

if TYPE_CHECKING:
    from shared.cloud.storage import StorageConnection

FOLDER: Final = "configs"


class BlobConfigs:
    """`shared.runs.ports.Configs` on blobs.

    Args:
        connection: The storage account.
        datastore: The workspace's name for the container `datasets`.
    """

    def __init__(self, connection: StorageConnection, datastore: str) -> None:
        self._connection = connection
        self._datastore = datastore

    def read(self, path: str) -> bytes:
        """The file at this path of the container `data`.

        Raises:
            Missing: There is none.
        """
        with failing(f"reading data/{path}"):
            blob = self._connection.container(DATA).get_blob_client(path)
            return blob.download_blob().readall()

    def keep(self, content: bytes) -> str:
        """Put the content where jobs read; returns its address as a job input takes it."""
        name = f"{FOLDER}/{hashlib.sha256(content).hexdigest()}.json"
        blob = self._connection.container(DATASETS).get_blob_client(name)
        try:
            with failing(f"writing {name}"):
                blob.upload_blob(content)
        except StaleRecord:
            pass  # it is there already: the name follows from the content
        return f"azureml://datastores/{self._datastore}/paths/{name}"
