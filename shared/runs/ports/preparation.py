"""Rows in, files for training out: what the core wants of the preparation of data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from shared.errors import Problem
    from shared.runs.manifest import Dataset


Message = dict[str, str]
"""One chat message: `{"role": …, "content": …}`."""


@dataclass(frozen=True, slots=True)
class PreparedData:
    """The files that the job is given.

    Attributes:
        fingerprint: Names the data; the same sources and options have the same one.
        splits: Address of each split's file, as a job input takes it.
        rows: Number of rows in each split.
        dropped: Number of rows refused.
        tokens: Estimate of the tokens in `train`, each row cut at `max_seq_length`.
        revision: The commit of the hub dataset that was read; `None` for files.
    """

    fingerprint: str
    splits: Mapping[str, str]
    rows: Mapping[str, int]
    dropped: int
    tokens: int
    revision: str | None = None


@dataclass(frozen=True, slots=True)
class DataPlan:
    """What a job is to prepare, written down where the job reads it.

    Attributes:
        fingerprint: Names the data.
        nodes: How many nodes have a share of the sources.
    """

    fingerprint: str
    nodes: int


class Preparation(Protocol):
    """Rows to files."""

    def problems(self, dataset: Dataset) -> list[Problem]:
        """What is wrong with the sources at first sight: files that are not there, unknown formats."""

    def prepare(
        self, dataset: Dataset, max_seq_length: int | None, beat: Callable[[], None]
    ) -> PreparedData:
        """Prepare the rows, calling `beat` at least every few seconds.

        Raises:
            DataRejected: The rows are not fit to train on.
        """

    def size(self, dataset: Dataset) -> int:
        """Bytes of all sources as they lie."""

    def problems_in_job(self, dataset: Dataset) -> list[Problem]:
        """What keeps a job from reading the sources, though a function may: it is given no secret."""

    def fingerprint(self, dataset: Dataset, max_seq_length: int | None) -> str:
        """Names the data that these sources, as they are now, and these options make."""

    def plan(self, dataset: Dataset, max_seq_length: int | None, job: str, nodes: int) -> DataPlan:
        """Write down for the job of this name what it is to prepare, on at most so many nodes."""

    def finished(self, fingerprint: str, job: str | None = None) -> PreparedData | None:
        """The data of this fingerprint, if somebody has prepared it; `None` if nobody has.

        Raises:
            DataRejected: The rows are not fit to train on, or `job` could not read them.
        """

    def page(self, fingerprint: str) -> bytes:
        """The page (HTML) on the rows that were prepared, or refused, under the fingerprint.

        Raises:
            Missing: Nothing was.
        """

    def prompts(self, fingerprint: str, count: int) -> list[list[Message]]:
        """The first conversations of the test split, each cut to end with a user's turn."""


class Configs(Protocol):
    """Small configuration files that a job is given beside its rows."""

    def read(self, path: str) -> bytes:
        """The file at this path of the container `data`.

        Raises:
            Missing: There is none.
        """

    def keep(self, content: bytes) -> str:
        """Put the content where jobs read; returns its address as a job input takes it."""
