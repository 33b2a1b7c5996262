"""Rows from where they lie to where a job reads them: `shared.runs.ports.Preparation` on blobs and the hub.

`shared.data` does the work; this module finds it sources and gives it a place for the result, the folder
`FINGERPRINT/` in the container `datasets`, which the workspace knows as a datastore.
"""

from __future__ import annotations

import difflib
from itertools import islice
from typing import TYPE_CHECKING, Final

from shared.cloud import hub
from shared.cloud.blob_rows import ENDINGS, BlobSource, ending_of
from shared.cloud.failures import failing
from shared.cloud.staging import staged
from shared.cloud.storage import DATA, DATASETS
from shared.data.options import Options
from shared.data.page import PAGE_FILE
from shared.data.prepare import fingerprint, prepare
from shared.data.prompts import sample_prompts
from shared.errors import Missing, Problem
from shared.runs.ports import PreparedData

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractContextManager

    from azure.storage.blob import BlobClient

    from shared.cloud.storage import StorageConnection
    from shared.data.ports import Source
    from shared.runs.manifest import Dataset
    from shared.runs.ports import Message
    from shared.settings import Settings

_MOST_NAMES: Final = 5000
"""How many names of the container are looked through for the one that was probably meant."""


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
    """`shared.runs.ports.Preparation` on the containers `data` and `datasets`, and the hub.

    Args:
        connection: The storage account.
        datastore: The workspace's name for the container `datasets`.
    """

    def __init__(self, connection: StorageConnection, datastore: str) -> None:
        self._connection = connection
        self._datastore = datastore

    def problems(self, dataset: Dataset) -> list[Problem]:
        """What is wrong with the sources at first sight: files that are not there, unknown formats."""
        if dataset.hub is not None:
            return hub.problems(dataset)
        return [
            problem
            for split, paths in _paths(dataset).items()
            for path in paths
            if (problem := self._problem(f"dataset.files.{split}", path)) is not None
        ]

    def _problem(self, place: str, path: str) -> Problem | None:
        if "://" in path:
            return Problem(
                place, f"'{path}' is an address", "Upload the file to the container 'data'"
            )
        if ending_of(path) not in ENDINGS:
            return Problem(
                place,
                f"'{path}' is of no format that Droptune reads",
                f"Give it one of the endings {', '.join(ENDINGS)}",
            )
        try:
            BlobSource(self._connection, path).identity  # noqa: B018 - asks the storage
        except Missing:
            near = self._nearest(path)
            mend = f"Did you mean '{near}'?" if near else "Upload it there first"
            return Problem(place, f"'{path}' is not in the container 'data'", mend)
        return None

    def _nearest(self, path: str) -> str | None:
        with failing("listing the container data"):
            blobs = self._connection.container(DATA).list_blob_names()
            names = list(islice(blobs, _MOST_NAMES))
        return next(iter(difflib.get_close_matches(path, names, n=1)), None)

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
            return hub.sources(dataset)
        return {
            split: [BlobSource(self._connection, path) for path in paths]
            for split, paths in _paths(dataset).items()
        }


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


def _paths(dataset: Dataset) -> Mapping[str, Sequence[str]]:
    """The paths of each split that the manifest names."""
    files = dataset.files
    if files is None:
        return {}
    named = {"train": files.train, "validation": files.validation, "test": files.test}
    return {split: paths for split, paths in named.items() if paths}


def preparation_from(connection: StorageConnection, settings: Settings) -> CloudPreparation:
    """The preparation that the app settings name."""
    return CloudPreparation(connection, settings.datastore)
