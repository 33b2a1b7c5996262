"""From the paths of a manifest to the files that they stand for, or to what is wrong with them."""

from __future__ import annotations

import difflib
from itertools import islice
from typing import TYPE_CHECKING, Final

from shared.cloud.blob_files import BlobFile
from shared.cloud.failures import failing
from shared.cloud.globs import is_glob, matcher, prefix_of
from shared.cloud.storage import DATA, bare
from shared.cloud.web import NotAllowed, target_of
from shared.cloud.web_files import WebFile
from shared.data.formats.endings import KNOWN, kind_of
from shared.errors import DataRejected, Missing, Problem

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from azure.storage.blob import BlobProperties

    from shared.cloud.storage import StorageConnection
    from shared.cloud.web import Web
    from shared.data.ports import File
    from shared.runs.manifest import Dataset

MOST_FILES: Final = 10_000
"""How many files one pattern may stand for."""

_MOST_NAMES: Final = 5000
"""How many names of the container are looked through for the one that was probably meant."""

_SHOWN: Final = 3


class DataFiles:
    """Finds files, and keeps what is wrong with those that it does not find.

    Args:
        connection: The storage account.
        web: What may be asked for files elsewhere.

    Attributes:
        problems: Those of all paths looked at so far.
    """

    def __init__(self, connection: StorageConnection, web: Web) -> None:
        self._connection = connection
        self._web = web
        self.problems: list[Problem] = []

    def of(self, dataset: Dataset) -> Mapping[str, Sequence[File]]:
        """The files of each split that the manifest names; each once, in the order of paths and names."""
        found: dict[str, list[File]] = {}
        for split, paths in _paths(dataset).items():
            place = f"dataset.files.{split}"
            named = (file for path in paths for file in self._of_path(place, path))
            # Not by name: that of a file on the web leaves out the query, which may be all that differs.
            found[split] = list({file.identity: file for file in named}.values())
        self._check_overlap(found)
        return found

    def _of_path(self, place: str, path: str) -> Iterator[File]:
        if "://" in path:
            yield from self._on_the_web(place, path)
        elif is_glob(path):
            yield from self._of_glob(place, path)
        elif self._is_known(place, path, path):
            file = BlobFile(self._connection, path)
            try:
                file.size()
            except Missing:
                near = self._nearest(path)
                mend = f"Did you mean '{near}'?" if near else "Upload it there first"
                self._add(place, f"'{path}' is not in the container 'data'", mend)
            else:
                yield file

    def _on_the_web(self, place: str, url: str) -> Iterator[File]:
        file = WebFile(self._web, url)
        if not self._is_known(place, file.name, file.name):
            return
        try:
            target_of(url, self._web.hosts)
            file.size()
        except NotAllowed as error:
            self._add(place, f"'{file.name}' {error}", error.mend)
        except DataRejected as error:
            self.problems += [
                Problem(place, f"'{file.name}' {problem.reason}", problem.mend)
                for problem in error.problems
            ]
        except Missing:
            self._add(place, f"the server has no '{file.name}'", "Check the address")
        else:
            yield file

    def _of_glob(self, place: str, pattern: str) -> Iterator[File]:
        matches = matcher(pattern)
        listed = (blob for blob in self._listed(prefix_of(pattern)) if matches(blob.name))
        found = list(islice(listed, MOST_FILES + 1))
        if not found:
            near = self._nearest(pattern)
            mend = f"Did you mean '{near}'?" if near else "Upload the files there first"
            self._add(place, f"'{pattern}' matches nothing in the container 'data'", mend)
        if len(found) > MOST_FILES:
            what = f"'{pattern}' matches more than {MOST_FILES:,} files"
            self._add(place, what, "Join them to fewer, larger ones")
            return
        for blob in sorted(found, key=lambda blob: str(blob.name)):
            if self._is_known(place, blob.name, pattern):
                yield BlobFile(self._connection, blob.name, bare(blob.etag), blob.size)

    def _listed(self, prefix: str) -> Iterator[BlobProperties]:
        """Files that begin so; not what some tools put beside them (`_SUCCESS`, `.part`), nor folders."""
        with failing(f"listing the container {DATA}"):
            blobs = self._connection.container(DATA).list_blobs(
                name_starts_with=prefix, include=["metadata"]
            )
            for blob in blobs:
                aside = blob.name.rpartition("/")[2].startswith(("_", "."))
                folder = (blob.metadata or {}).get("hdi_isfolder") == "true"
                if not aside and not folder:
                    yield blob

    def _is_known(self, place: str, path: str, written: str) -> bool:
        """Whether the format is known; `written` is the path or pattern of the manifest."""
        if kind_of(path) is not None:
            return True
        if path == written:
            self._add(
                place, f"'{path}' is of no format that Droptune reads", f"Endings are {KNOWN}"
            )
        else:
            self._add(
                place,
                f"'{written}' matches '{path}', which is of no format that Droptune reads",
                f"Name the ending as well. Endings are {KNOWN}",
            )
        return False

    def _nearest(self, path: str) -> str | None:
        with failing(f"listing the container {DATA}"):
            blobs = self._connection.container(DATA).list_blob_names()
            names = list(islice(blobs, _MOST_NAMES))
        return next(iter(difflib.get_close_matches(path, names, n=1)), None)

    def _check_overlap(self, found: Mapping[str, Sequence[File]]) -> None:
        """A file that is trained on and evaluated on tells nothing; a wide pattern does it easily."""
        held_out: set[str] = set()
        for split in ("test", "validation", "train"):
            files = {file.identity: file.name for file in found.get(split, ())}
            if twice := [name for file, name in files.items() if file in held_out]:
                some = ", ".join(f"'{name}'" for name in twice[:_SHOWN])
                more = " and more" if len(twice) > _SHOWN else ""
                self._add(
                    f"dataset.files.{split}",
                    f"{some}{more} is named for another split, too",
                    "Name each file for one split",
                )
            held_out.update(files)

    def _add(self, place: str, reason: str, mend: str) -> None:
        self.problems.append(Problem(place, reason, mend))


def _paths(dataset: Dataset) -> Mapping[str, Sequence[str]]:
    """The paths of each split that the manifest names."""
    files = dataset.files
    if files is None:
        return {}
    named = {"train": files.train, "validation": files.validation, "test": files.test}
    return {split: paths for split, paths in named.items() if paths}
