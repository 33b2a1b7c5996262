"""Datasets of the Hugging Face hub as sources of JSON lines, streamed and pinned to a commit.

Nothing that a dataset's author wrote is ever run: the library reads data files alone, and refuses datasets that are
programs. `HF_ENDPOINT` in the environment names another hub, as for the hub's own tools.
"""

from __future__ import annotations

import difflib
import functools
import re
from typing import TYPE_CHECKING, Any, Final

import msgspec

from shared.cloud.failures import failing, plain, translation
from shared.data.formats.parquet import parquet_rows
from shared.errors import DataRejected, Missing, Problem, Transient

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from shared.runs.manifest import Dataset

BLOCK: Final = 1 << 20
"""About as many bytes of lines are given at once."""

_ANY_LENGTH: Final = 1 << 40
_SECONDS: Final = 20
_IDENTITY: Final = re.compile(r"hub:[^@]+@([^/]+)/")


class HubSource:
    """`shared.data.ports.Source`: one split of a hub dataset at one commit.

    Args:
        repository: `OWNER/NAME`.
        config: The configuration, if one is named.
        commit: Of the repository.
        split: The hub's name of it.
        token: For private datasets; never shown.
    """

    def __init__(
        self, repository: str, config: str | None, commit: str, split: str, token: str = ""
    ) -> None:
        self._repository = repository
        self._config = config
        self._commit = commit
        self._split = split
        self._token = token

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

        doing = f"reading {self.name}"
        with failing(doing):
            try:
                yield from _in_blocks(self._lines())
            except (DatasetsError, pa.ArrowException, ValueError, RuntimeError) as error:
                ours = translation(error, doing)
                if isinstance(ours, Transient):
                    raise ours from error
                raise DataRejected(
                    [Problem(self.name, f"cannot be read: {plain(str(error))}")]
                ) from error

    def _lines(self) -> Iterator[bytes]:
        import datasets
        from datasets.features.features import require_decoding

        builder: Any = datasets.load_dataset_builder(
            _remote(self._repository),
            self._config,
            revision=self._commit,
            token=self._token or None,
        )
        rows = builder.as_streaming_dataset(self._split)
        features = rows.features
        plain_columns = features is not None and not require_decoding(dict(features))
        if plain_columns and _is_parquet(builder):
            yield from self._parquet_lines(builder.config.data_files[self._split])
            return
        for row in rows:
            yield msgspec.json.encode(row, enc_hook=str)

    def _parquet_lines(self, addresses: Sequence[str]) -> Iterator[bytes]:
        """Rows of Parquet files, a few at a time: the library holds whole row groups, of any size."""
        from huggingface_hub import HfFileSystem

        files = HfFileSystem(token=self._token or None)
        for address in addresses:
            file = _HubFile(files, address)
            for some in parquet_rows(file, limit=_ANY_LENGTH, count=lambda _: None):
                # What is not UTF-8 is refused as that once more, as a line.
                yield from (line.replace(b"\n", b" ") for line in some.lines)


class _HubFile:
    """`shared.data.ports.File`: one file of a dataset, at an address `hf://…@COMMIT/…`."""

    def __init__(self, files: Any, address: str) -> None:
        self._files = files
        self._address = address

    @property
    def name(self) -> str:
        """`hub:OWNER/NAME@COMMIT/PATH`."""
        return "hub:" + self._address.removeprefix("hf://datasets/")

    @property
    def identity(self) -> str:
        """The same."""
        return self.name

    @functools.cached_property
    def _size(self) -> int:
        return int(self._files.info(self._address)["size"])

    def size(self) -> int:
        """Its length in bytes."""
        return self._size

    def span(self, start: int, length: int) -> bytes:
        """So many bytes from `start` on."""
        found: bytes = self._files.cat_file(self._address, start=start, end=start + length)
        return found

    def blocks(self) -> Iterator[bytes]:
        """Its bytes in order."""
        for start in range(0, self._size, BLOCK):
            yield self.span(start, min(BLOCK, self._size - start))


def _is_parquet(builder: Any) -> bool:
    """Whether the dataset is Parquet files, of which every row and column is wanted."""
    from datasets.packaged_modules.parquet.parquet import Parquet

    return (
        isinstance(builder, Parquet)
        and builder.config.columns is None
        and builder.config.filters is None
    )


def _remote(repository: str) -> str:
    """The dataset as the library looks for it on the hub alone, never in a folder of that name."""
    return f"hf://datasets/{repository}"


def _in_blocks(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Lines, each without its newline, in blocks of about a mebibyte."""
    waiting = bytearray()
    for line in lines:
        waiting += line
        waiting += b"\n"
        if len(waiting) >= BLOCK:
            yield bytes(waiting)
            waiting.clear()
    if waiting:
        yield bytes(waiting)


def commit_of(repository: str, revision: str, token: str = "") -> str:
    """The commit that a branch or tag points to.

    Raises:
        Missing: There is no such dataset, or no such revision of it.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import (
        HFValidationError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    with failing(f"looking for the hub dataset {repository}"):
        try:
            info = HfApi(token=token or None).dataset_info(
                repository, revision=revision, timeout=_SECONDS
            )
        except RevisionNotFoundError as error:
            raise Missing(
                f"the hub dataset '{repository}' has no revision '{revision}'"
            ) from error
        except RepositoryNotFoundError as error:  # the hub says the same of private ones
            hidden = (
                "the token in DROPTUNE_HUB_TOKEN may not read it" if token else "it is private"
            )
            raise Missing(f"there is no dataset '{repository}' on the hub, or {hidden}") from error
        except HFValidationError as error:
            raise Missing(f"'{repository}' is no name of a hub dataset") from error
        return str(info.sha)


def commit_in(source: str) -> str | None:
    """The commit in the identity of a hub dataset's source; `None` for any other source.

    >>> commit_in("hub:some/chats@c0ffee/train")
    'c0ffee'
    """
    matched = _IDENTITY.match(source)
    return matched[1] if matched else None


def _splits(dataset: Dataset) -> Mapping[str, str]:
    """The hub's name of each split that the manifest names."""
    splits = dataset.splits
    named = {"train": splits.train, "validation": splits.validation, "test": splits.test}
    return {split: name for split, name in named.items() if name is not None}


def sources(dataset: Dataset, token: str = "") -> Mapping[str, Sequence[HubSource]]:
    """A source for each split, all at the same commit.

    Args:
        dataset: With `hub`.
        token: For private datasets; never shown.

    Raises:
        DataRejected: There is no such dataset or revision.
    """
    assert dataset.hub is not None
    try:
        commit = commit_of(dataset.hub, dataset.revision, token)
    except Missing as error:
        raise DataRejected([Problem("dataset.hub", str(error))]) from error
    return {
        split: [HubSource(dataset.hub, dataset.config, commit, name, token)]
        for split, name in _splits(dataset).items()
    }


def size(dataset: Dataset, token: str = "") -> int:
    """Bytes of the dataset's files, at most: the hub counts those of other configurations and splits, too."""
    from huggingface_hub import HfApi

    assert dataset.hub is not None
    with failing(f"asking for the size of the hub dataset {dataset.hub}"):
        info = HfApi(token=token or None).dataset_info(
            dataset.hub, revision=dataset.revision, files_metadata=True, timeout=_SECONDS
        )
    return sum(file.size or 0 for file in info.siblings or ())


def problems(dataset: Dataset, token: str = "") -> list[Problem]:
    """What a few requests to the hub can tell: no such dataset, revision, configuration or split."""
    assert dataset.hub is not None
    try:
        commit = commit_of(dataset.hub, dataset.revision, token)
    except Missing as error:
        return [Problem("dataset.hub", str(error))]
    try:
        names = _split_names(dataset, commit, token)
    except ValueError as error:  # no such configuration
        return [Problem("dataset.config", plain(str(error)))]
    except DataRejected as error:
        return list(error.problems)
    return [
        Problem(
            f"dataset.splits.{split}",
            f"'{dataset.hub}' has no split '{name}'",
            _nearest(name, names),
        )
        for split, name in _splits(dataset).items()
        if name not in names
    ]


def _split_names(dataset: Dataset, commit: str, token: str) -> Sequence[str]:
    import datasets
    from datasets.data_files import EmptyDatasetError
    from datasets.exceptions import DataFilesNotFoundError

    assert dataset.hub is not None
    look: Any = datasets.get_dataset_split_names
    with failing(f"reading the splits of the hub dataset {dataset.hub}"):
        try:
            found = look(
                _remote(dataset.hub),
                config_name=dataset.config,
                revision=commit,
                token=token or None,
            )
        except (DataFilesNotFoundError, EmptyDatasetError) as error:
            what = f"'{dataset.hub}' has no files of rows"
            raise DataRejected([Problem("dataset.hub", what)]) from error
        except RuntimeError as error:
            if "scripts are no longer supported" not in str(error):
                raise
            what = f"'{dataset.hub}' is a program that makes rows; only data is read"
            mend = "Choose a copy in Parquet or JSON lines, or upload the rows as files"
            raise DataRejected([Problem("dataset.hub", what, mend)]) from error
    return [str(name) for name in found]


def _nearest(name: str, names: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, names, n=1)
    return f"Did you mean '{close[0]}'?" if close else f"It has {', '.join(names)}"
