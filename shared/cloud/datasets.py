"""Rows from where they lie to where a job reads them: `shared.runs.ports.Preparation` on blobs and the hub.

`shared.data` does the work; this module finds it sources and gives it a place for the result, the folder
`FINGERPRINT/` in the container `datasets`, which the workspace knows as a datastore.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from shared.cloud import hub
from shared.cloud.data_files import DataFiles
from shared.cloud.failures import failing
from shared.cloud.staging import staged
from shared.cloud.storage import DATASETS
from shared.cloud.web import Web
from shared.data.options import Options
from shared.data.page import PAGE_FILE
from shared.data.prepare import fingerprint, prepare
from shared.data.prompts import sample_prompts
from shared.errors import DataRejected
from shared.runs.ports import PreparedData

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractContextManager

    from azure.storage.blob import BlobClient

    from shared.cloud.storage import StorageConnection
    from shared.data.ports import Source
    from shared.errors import Problem
    from shared.runs.manifest import Dataset
    from shared.runs.ports import Message
    from shared.settings import Settings

NOWHERE: Final = Web(frozenset())
"""Asks no server."""


class BlobSink:
    """`shared.data.ports.Sink`: the folder of one fingerprint in the container `datasets`.

    Args:
        connection: The storage account.
        datastore: The workspace's name for the container.
        folder: The fingerprint.
    """

    def __init__(self, connection: StorageConnection, datastore: str, folder: str) -> None:
        self._connection = connection
        self._datastore = datastore
        self._folder = folder

    def _blob(self, name: str) -> BlobClient:
        return self._connection.container(DATASETS).get_blob_client(f"{self._folder}/{name}")

    def exists(self, name: str) -> bool:
        """Whether a finished file of this name is there."""
        with failing(f"looking for {self._folder}/{name}"):
            return self._blob(name).exists()

    def read(self, name: str) -> bytes:
        """The whole of a small file.

        Raises:
            Missing: It is not there.
        """
        with failing(f"reading {self._folder}/{name}"):
            return self._blob(name).download_blob().readall()

    def write(self, name: str) -> AbstractContextManager[Callable[[bytes], None]]:
        """Stream a file; it is sent while it is written, and there at the end, all at once."""
        return staged(self._blob(name))

    def address(self, name: str) -> str:
        """The file's address as a job is given it."""
        return f"azureml://datastores/{self._datastore}/paths/{self._folder}/{name}"


class CloudPreparation:
    """`shared.runs.ports.Preparation` on the containers `data` and `datasets`, the hub and listed https hosts.

    Args:
        connection: The storage account.
        datastore: The workspace's name for the container `datasets`.
        web: What may be asked for files elsewhere; nothing unless it is given.
        hub_token: For private datasets of the hub; never shown.
    """

    def __init__(
        self,
        connection: StorageConnection,
        datastore: str,
        web: Web = NOWHERE,
        hub_token: str = "",
    ) -> None:
        self._connection = connection
        self._datastore = datastore
        self._web = web
        self._hub_token = hub_token

    def problems(self, dataset: Dataset) -> list[Problem]:
        """What is wrong with the sources at first sight: files that are not there, unknown formats."""
        if dataset.hub is not None:
            return hub.problems(dataset, self._hub_token)
        files = DataFiles(self._connection, self._web)
        files.of(dataset)
        return files.problems

    def prepare(
        self, dataset: Dataset, max_seq_length: int | None, beat: Callable[[], None]
    ) -> PreparedData:
        """Prepare the rows, calling `beat` about every second of work.

        Raises:
            DataRejected: The rows are not fit to train on.
        """
        options = options_of(dataset, max_seq_length)
        sources = self._sources(dataset)
        beat()
        sink = self._sink(fingerprint(sources, options))
        prepared = prepare(sources, sink, options, on_progress=lambda _: beat())
        report = prepared.report
        return PreparedData(
            fingerprint=prepared.fingerprint,
            splits=dict(prepared.files),
            rows={split: found.rows for split, found in report.splits.items()},
            dropped=report.rows_dropped,
            tokens=report.splits["train"].trained_tokens,
        )

    def page(self, fingerprint: str) -> bytes:
        """The page on what was prepared or refused under the fingerprint.

        Raises:
            Missing: Nothing was.
        """
        return self._sink(fingerprint).read(PAGE_FILE)

    def prompts(self, fingerprint: str, count: int) -> list[list[Message]]:
        """The first conversations of the test split, each cut to end with a user's turn."""
        found = sample_prompts(self._sink(fingerprint), count)
        return [
            [{"role": message["role"], "content": message["content"]} for message in messages]
            for messages in found
        ]

    def _sink(self, folder: str) -> BlobSink:
        return BlobSink(self._connection, self._datastore, folder)

    def _sources(self, dataset: Dataset) -> Mapping[str, Sequence[Source]]:
        if dataset.hub is not None:
            return hub.sources(dataset, self._hub_token)
        files = DataFiles(self._connection, self._web)
        found = files.of(dataset)
        if files.problems:
            raise DataRejected(files.problems)
        return found


def options_of(dataset: Dataset, max_seq_length: int | None) -> Options:
    """How the manifest wants its rows prepared."""
    return Options(
        shape=dataset.shape,
        columns=dataset.columns,
        system=dataset.system,
        keep_columns=dataset.keep_columns,
        percent=dataset.percent,
        sampling=dataset.sampling,
        max_seq_length=max_seq_length,
        max_dropped_fraction=dataset.max_dropped_fraction,
        validation_fraction=dataset.validation_fraction,
        test_fraction=dataset.test_fraction,
        seed=dataset.seed,
    )


def preparation_from(connection: StorageConnection, settings: Settings) -> CloudPreparation:
    """The preparation that the app settings name."""
    return CloudPreparation(
        connection, settings.datastore, Web(settings.data_hosts), settings.hub_token
    )
