"""Datasets of the Hugging Face hub as sources of JSON lines, streamed and pinned to a commit.

Nothing that a dataset's author wrote is ever run: the library reads data files alone. `HF_ENDPOINT` and
`HF_TOKEN` in the environment name another hub and a token, as for the hub's own tools.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any, Final

import msgspec

from shared.cloud.blob_rows import in_blocks
from shared.cloud.failures import failing, plain, translation
from shared.errors import DataRejected, Missing, Problem, Transient

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from shared.runs.manifest import Dataset

_SECONDS: Final = 20


class HubSource:
    """`shared.data.ports.Source`: one split of a hub dataset at one commit."""

    def __init__(self, repository: str, config: str | None, commit: str, split: str) -> None:
        self._repository = repository
        self._config = config
        self._commit = commit
        self._split = split

    @property
    def name(self) -> str:
        """`hub:OWNER/NAME@COMMIT/SPLIT`, with the configuration before the split if one is named."""
        config = f"{self._config}/" if self._config else ""
        return f"hub:{self._repository}@{self._commit}/{config}{self._split}"

    @property
    def identity(self) -> str:
        """The same: a commit's content never changes."""
        return self.name

    def blocks(self) -> Iterator[bytes]:
        """Its rows as JSON lines, in blocks of about a mebibyte, as they stream in.

        Raises:
            DataRejected: There is no such configuration or split, or its files cannot be read.
        """
        import pyarrow as pa
        from datasets.exceptions import DatasetsError

        with failing(f"reading {self.name}"):
            try:
                yield from in_blocks(self._lines())
            except (DatasetsError, pa.ArrowException) as error:
                ours = translation(error, f"reading {self.name}")
                if isinstance(ours, Transient):
                    raise ours from error
                raise DataRejected(
                    [Problem(self.name, f"cannot be read: {plain(str(error))}")]
                ) from error

    def _lines(self) -> Iterator[bytes]:
        from datasets import load_dataset

        try:
            rows = load_dataset(
                self._repository,
                self._config,
                split=self._split,
                revision=self._commit,
                streaming=True,
            )
        except ValueError as error:  # an unknown configuration or split
            raise DataRejected([Problem(self.name, plain(str(error)))]) from error
        for row in rows:
            yield msgspec.json.encode(row, enc_hook=str)


def commit_of(repository: str, revision: str) -> str:
    """The commit that a branch or tag points to.

    Raises:
        Missing: There is no such dataset, or no such revision of it.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

    with failing(f"looking for the hub dataset {repository}"):
        try:
            info = HfApi().dataset_info(repository, revision=revision, timeout=_SECONDS)
        except RevisionNotFoundError as error:
            raise Missing(
                f"the hub dataset '{repository}' has no revision '{revision}'"
            ) from error
        except RepositoryNotFoundError as error:  # the hub says the same of private ones
            raise Missing(
                f"there is no dataset '{repository}' on the hub, or it is private"
            ) from error
        return str(info.sha)


def _splits(dataset: Dataset) -> Mapping[str, str]:
    """The hub's name of each split that the manifest names."""
    splits = dataset.splits
    named = {"train": splits.train, "validation": splits.validation, "test": splits.test}
    return {split: name for split, name in named.items() if name is not None}


def sources(dataset: Dataset) -> Mapping[str, Sequence[HubSource]]:
    """A source for each split, all at the same commit.

    Raises:
        DataRejected: There is no such dataset or revision.
    """
    assert dataset.hub is not None
    try:
        commit = commit_of(dataset.hub, dataset.revision)
    except Missing as error:
        raise DataRejected([Problem("dataset.hub", str(error))]) from error
    return {
        split: [HubSource(dataset.hub, dataset.config, commit, name)]
        for split, name in _splits(dataset).items()
    }


def size(dataset: Dataset) -> int:
    """Bytes of the dataset's files, at most: the hub counts those of other configurations and splits, too."""
    from huggingface_hub import HfApi

    assert dataset.hub is not None
    with failing(f"asking for the size of the hub dataset {dataset.hub}"):
        info = HfApi().dataset_info(
            dataset.hub, revision=dataset.revision, files_metadata=True, timeout=_SECONDS
        )
    return sum(file.size or 0 for file in info.siblings or ())


def problems(dataset: Dataset) -> list[Problem]:
    """What a few requests to the hub can tell: no such dataset, revision, configuration or split."""
    assert dataset.hub is not None
    try:
        commit = commit_of(dataset.hub, dataset.revision)
    except Missing as error:
        return [Problem("dataset.hub", str(error))]
    try:
        names = _split_names(dataset.hub, dataset.config, commit)
    except ValueError as error:
        return [Problem("dataset.config", plain(str(error)))]
    return [
        Problem(
            f"dataset.splits.{split}",
            f"'{dataset.hub}' has no split '{name}'",
            _nearest(name, names),
        )
        for split, name in _splits(dataset).items()
        if name not in names
    ]


def _split_names(repository: str, config: str | None, commit: str) -> Sequence[str]:
    import datasets

    look: Any = datasets.get_dataset_split_names
    with failing(f"reading the splits of the hub dataset {repository}"):
        found = look(repository, config_name=config, revision=commit)
    return [str(name) for name in found]


def _nearest(name: str, names: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, names, n=1)
    return f"Did you mean '{close[0]}'?" if close else f"It has {', '.join(names)}"
