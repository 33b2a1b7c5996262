"""Datasets of the Hugging Face hub: what a manifest's section stands for, pinned to a commit.

`HF_ENDPOINT` in the environment names another hub, as for the hub's own tools.
"""

from __future__ import annotations

import difflib
import functools
import hashlib
import itertools
import re
from typing import TYPE_CHECKING, Final

from shared.cloud.failures import failing
from shared.cloud.hub_files import HubFile, HubStream, Repository, split_name
from shared.cloud.hub_listing import SECONDS, listing
from shared.data.joined import Joined
from shared.errors import DataRejected, Missing, Problem

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from huggingface_hub import DatasetInfo

    from shared.cloud.hub_listing import SplitFile
    from shared.data.ports import Source
    from shared.runs.manifest import Dataset

_KEPT: Final = 8
"""How many datasets' files are remembered."""

_ALL: Final = 100
_IDENTITY: Final = re.compile(r"hub:[^@]+@([^/]+)/")


class Hub:
    """Looks at datasets of the hub. What a commit's splits are made of is asked once: it never changes.

    Args:
        token: For private datasets; never shown.
    """

    def __init__(self, token: str = "") -> None:
        self._token = token
        self._listing = functools.lru_cache(_KEPT)(listing)

    def problems(self, dataset: Dataset) -> list[Problem]:
        """What a few requests can tell: no such dataset, revision, configuration, files or split."""
        try:
            self._files(dataset, self._repository(dataset))
        except DataRejected as error:
            return list(error.problems)
        return []

    def problems_without_token(self, dataset: Dataset) -> list[Problem]:
        """Whether it is read with our token alone, so that whoever has none may not."""
        assert dataset.hub is not None
        if not self._token:
            return []
        info = _info(dataset.hub, dataset.revision, self._token)
        if not (info.private or info.gated):
            return []
        kind = "private" if info.private else "gated"
        return [
            Problem(
                "dataset.hub",
                f"the job that would do it is given no token for '{dataset.hub}', which is {kind}",
                "Upload its files to the container 'data' and name them in dataset.files, or have"
                " DROPTUNE_PREPARE_IN_FUNCTION_UP_TO raised",
            )
        ]

    def sources(self, dataset: Dataset) -> Mapping[str, Sequence[Source]]:
        """A source for each file of each split that the manifest names, all at the same commit.

        A split of which the first rows are wanted is one source: which they are takes all of it in order.

        Raises:
            DataRejected: There is no such dataset, revision, configuration, file or split.
        """
        repository = self._repository(dataset)
        found: dict[str, Sequence[Source]] = {}
        for split, (name, listed) in self._files(dataset, repository).items():
            sources = _sources(repository, dataset.config, name, listed)
            found[split] = (
                [_joined(split_name(repository, dataset.config, name), sources)]
                if dataset.sampling == "first" and dataset.percent < _ALL and len(sources) > 1
                else sources
            )
        return found

    def pinned(self, dataset: Dataset) -> Dataset:
        """The same dataset at the commit that its revision stands for now.

        Raises:
            DataRejected: There is no such dataset or revision.
        """
        return dataset.model_copy(update={"revision": self._repository(dataset).commit})

    def _repository(self, dataset: Dataset) -> Repository:
        assert dataset.hub is not None
        try:
            commit = str(_info(dataset.hub, dataset.revision, self._token).sha)
        except Missing as error:
            raise DataRejected([Problem("dataset.hub", str(error))]) from error
        return Repository(dataset.hub, commit, self._token)

    def _files(
        self, dataset: Dataset, repository: Repository
    ) -> Mapping[str, tuple[str, Sequence[SplitFile]]]:
        """The hub's name and the files of each split that the manifest names."""
        found = self._listing(repository, dataset.config)
        wanted = _splits(dataset)
        problems = [
            Problem(
                f"dataset.splits.{split}",
                f"'{dataset.hub}' has no split '{name}'",
                _nearest(name, list(found)),
            )
            for split, name in wanted.items()
            if name not in found
        ]
        if problems:
            raise DataRejected(problems)
        return {split: (name, found[name]) for split, name in wanted.items()}


def _info(repository: str, revision: str, token: str) -> DatasetInfo:
    """What the hub says of the dataset, the commit that the branch or tag points to among it.

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
            return HfApi(token=token or None).dataset_info(
                repository, revision=revision, timeout=SECONDS
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


def commit_in(source: str) -> str | None:
    """The commit in the identity of a hub dataset's source; `None` for any other source.

    >>> commit_in("hub:some/chats@c0ffee/train.jsonl")
    'c0ffee'
    """
    matched = _IDENTITY.match(source)
    return matched[1] if matched else None


def _sources(
    repository: Repository, config: str | None, name: str, listed: Sequence[SplitFile]
) -> Sequence[Source]:
    """Each file of a split, by our own readers wherever they can: then a bad row costs no more than itself."""
    files = [HubFile(repository, file.path, file.size) for file in listed]
    streamed = [file for file, found in zip(files, listed, strict=True) if not found.plain]
    places = itertools.count()
    return [
        file if found.plain else HubStream(repository, config, name, streamed, next(places))
        for file, found in zip(files, listed, strict=True)
    ]


def _joined(name: str, sources: Sequence[Source]) -> Joined:
    """A split's files as one source, known by its commit and by which files these are."""
    taken = hashlib.sha256("\n".join(source.identity for source in sources).encode())
    return Joined(name, f"{name}#{taken.hexdigest()[:16]}", tuple(sources))


def _splits(dataset: Dataset) -> Mapping[str, str]:
    """The hub's name of each split that the manifest names."""
    splits = dataset.splits
    named = {"train": splits.train, "validation": splits.validation, "test": splits.test}
    return {split: name for split, name in named.items() if name is not None}


def _nearest(name: str, names: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, names, n=1)
    return f"Did you mean '{close[0]}'?" if close else f"It has {', '.join(names)}"
