"""Rows from where they lie to where a job reads them: `shared.runs.ports.Preparation` on blobs and the hub.

`shared.data` does the work; this module finds it sources and gives it a place for the result, the folder
`FINGERPRINT/` in the container `datasets`, which the workspace knows as a datastore.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Final

from shared.cloud.data_files import DataFiles
from shared.cloud.data_plans import Plan, read_plan, refused_by, write_plan
from shared.cloud.failures import failing
from shared.cloud.hub import Hub, commit_in
from shared.cloud.staging import commit, sent, staged
from shared.cloud.storage import DATASETS
from shared.cloud.web import Web
from shared.data.options import Options
from shared.data.page import PAGE_FILE
from shared.data.prepare import accepted, fingerprint, finished, prepare
from shared.data.prompts import sample_prompts
from shared.data.shares import cut, in_order
from shared.errors import DataRejected, Missing
from shared.runs.ports import DataPlan, PreparedData

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from azure.storage.blob import BlobClient

    from shared.cloud.storage import StorageConnection
    from shared.data.ports import Source
    from shared.data.prepare import Prepared
    from shared.errors import Problem
    from shared.runs.manifest import Dataset
    from shared.runs.ports import Message
    from shared.settings import Settings

PART_BLOCK: Final = 32 * 1024 * 1024
"""Bytes of one block of a job's part: a blob may have 50,000, so a split may have 1.5 TB."""

NOWHERE: Final = Web(frozenset())
"""Asks no server."""


class BlobSink:
    """`shared.data.ports.PartSink`: the folder of one fingerprint in the container `datasets`.

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

    def blocks(self, name: str) -> Iterator[bytes]:
        """A file's bytes in order, up to 4 MiB at a time.

        Raises:
            Missing: It is not there.
        """
        with failing(f"reading {self._folder}/{name}"):
            yield from self._blob(name).download_blob().chunks()

    def write_part(
        self, name: str, receipt: list[str]
    ) -> AbstractContextManager[Callable[[bytes], None]]:
        """Send blocks of a file that others write with us; `receipt` is filled with their names."""
        return sent(self._blob(name), receipt, PART_BLOCK)

    def join(self, name: str, receipts: Sequence[Sequence[str]]) -> None:
        """Make the file of these blocks, at once; doing it twice changes nothing.

        Raises:
            Busy: Somebody else wrote the file since; the service then cleared our blocks away.
        """
        commit(self._blob(name), [block for receipt in receipts for block in receipt])

    def remove(self, folder: str) -> None:
        """Remove every file whose name begins with `folder/`."""
        container = self._connection.container(DATASETS)
        with failing(f"removing {self._folder}/{folder}"):
            for found in container.list_blob_names(name_starts_with=f"{self._folder}/{folder}/"):
                container.delete_blob(found)

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
        self._hub = Hub(hub_token)

    def problems(self, dataset: Dataset) -> list[Problem]:
        """What is wrong with the sources at first sight: files that are not there, unknown formats."""
        if dataset.hub is not None:
            return self._hub.problems(dataset)
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
        sources = self.sources(dataset)
        beat()
        sink = self.sink(fingerprint(sources, options))
        return _told(prepare(sources, sink, options, on_progress=lambda _: beat()))

    def size(self, dataset: Dataset) -> int:
        """Bytes of all sources as they lie."""
        sources = chain.from_iterable(self.sources(dataset).values())
        return sum(source.size() for source in sources)

    def problems_in_job(self, dataset: Dataset) -> list[Problem]:
        """What keeps a job from reading the sources: it has no token for the hub."""
        return self._hub.problems_without_token(dataset) if dataset.hub is not None else []

    def fingerprint(self, dataset: Dataset, max_seq_length: int | None) -> str:
        """Names the data that these sources, as they are now, and these options make."""
        return fingerprint(self.sources(dataset), options_of(dataset, max_seq_length))

    def plan(self, dataset: Dataset, max_seq_length: int | None, job: str, nodes: int) -> DataPlan:
        """Write down for the job of this name what it is to prepare, on at most so many nodes.

        What is written already stays: the job may have begun to read it. A hub dataset is written down at its
        commit: the job may begin much later, when its revision is another one.
        """
        if dataset.hub is not None:
            dataset = self._hub.pinned(dataset)
        sources = self.sources(dataset)
        key = fingerprint(sources, options_of(dataset, max_seq_length))
        try:
            return DataPlan(key, len(read_plan(self.sink(key), job).shares))
        except Missing:
            pass
        shares = cut([source.size() for _, source in in_order(sources)], nodes)
        written = Plan(
            dataset=dataset.model_dump(mode="json", exclude_none=True),
            max_seq_length=max_seq_length,
            shares=[len(share) for share in shares],
        )
        write_plan(self.sink(key), job, written)
        return DataPlan(key, len(shares))

    def finished(self, fingerprint: str, job: str | None = None) -> PreparedData | None:
        """The data of this fingerprint, if somebody has prepared it; `None` if nobody has.

        Raises:
            DataRejected: The rows are not fit to train on, or `job` could not read them.
        """
        sink = self.sink(fingerprint)
        report = finished(sink, fingerprint)
        if report is not None:
            return _told(accepted(report, sink))
        if job is not None and (problems := refused_by(sink, job)):
            raise DataRejected(problems)
        return None

    def page(self, fingerprint: str) -> bytes:
        """The page on what was prepared or refused under the fingerprint.

        Raises:
            Missing: Nothing was.
        """
        return self.sink(fingerprint).read(PAGE_FILE)

    def prompts(self, fingerprint: str, count: int) -> list[list[Message]]:
        """The first conversations of the test split, each cut to end with a user's turn."""
        found = sample_prompts(self.sink(fingerprint), count)
        return [
            [{"role": message["role"], "content": message["content"]} for message in messages]
            for messages in found
        ]

    def sink(self, folder: str) -> BlobSink:
        """The folder of one fingerprint."""
        return BlobSink(self._connection, self._datastore, folder)

    def sources(self, dataset: Dataset) -> Mapping[str, Sequence[Source]]:
        """The sources of each split, as they are now."""
        if dataset.hub is not None:
            return self._hub.sources(dataset)
        files = DataFiles(self._connection, self._web)
        found = files.of(dataset)
        if files.problems:
            raise DataRejected(files.problems)
        return found


def options_of(dataset: Dataset, max_seq_length: int | None) -> Options:
    """How the manifest wants its rows prepared.

    Said in one way, whatever the manifest's way was: the fingerprint tells 100 from 100.0.
    """
    return Options(
        shape=dataset.shape,
        columns=dataset.columns,
        system=dataset.system,
        keep_columns=dataset.keep_columns,
        percent=float(dataset.percent),
        sampling=dataset.sampling,
        max_seq_length=max_seq_length,
        max_dropped_fraction=float(dataset.max_dropped_fraction),
        validation_fraction=float(dataset.validation_fraction),
        test_fraction=float(dataset.test_fraction),
        seed=dataset.seed,
    )


def _told(prepared: Prepared) -> PreparedData:
    report = prepared.report
    return PreparedData(
        fingerprint=prepared.fingerprint,
        splits=dict(prepared.files),
        rows={split: found.rows for split, found in report.splits.items()},
        dropped=report.rows_dropped,
        tokens=report.splits["train"].trained_tokens,
        revision=commit_in(report.inputs["train"].sources[0]),
    )


def preparation_from(connection: StorageConnection, settings: Settings) -> CloudPreparation:
    """The preparation that the app settings name."""
    return CloudPreparation(
        connection, settings.datastore, Web(settings.data_hosts), settings.hub_token
    )
