"""Which files each split of a hub dataset is made of, at one commit, by what its card says or by their names.

The hub's own library finds that out. Nothing that a dataset's author wrote is ever run, and files that a card names
elsewhere (on this machine, say, or on a server) are not read.
"""

from __future__ import annotations

import dataclasses
import itertools
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from shared.cloud.failures import failing, plain, translation
from shared.cloud.hub_archives import is_zip, zip_damage, zip_problem
from shared.cloud.hub_files import HubFile, builder_of, of_this_machine
from shared.data.formats.endings import Format, kind_of
from shared.errors import DataRejected, Problem, Transient, Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from shared.cloud.hub_files import Repository
    from shared.errors import DroptuneError

SECONDS: Final = 20
"""How long the hub may take to tell what a dataset is."""

_PLACED: Final = frozenset(
    {"name", "version", "data_dir", "data_files", "description", "features"}
)
"""What a configuration says of any dataset; all else is how its files are to be read."""

_NO_CONFIGURATION: Final = re.compile(r"BuilderConfig '.*' not found|Config name is missing")
"""How the library begins when there is no such configuration, or when none is named and there are several."""

_MOST_ARCHIVES: Final = 100
"""How many zip archives are looked into for the one that the library could not read; it looks into ten of a split."""

_DELIMITERS: Final = {Format.CSV: ",", Format.TSV: "\t"}


@dataclass(frozen=True, slots=True)
class SplitFile:
    """A file of a split.

    Attributes:
        path: In the repository.
        size: In bytes.
        plain: Whether it is to be read as its name's ending says, as files anywhere else. If not, the hub's library
            reads it.
    """

    path: str
    size: int
    plain: bool


def listing(repository: Repository, config: str | None) -> Mapping[str, Sequence[SplitFile]]:
    """What each split is made of, by the hub's name of it; no file of rows is read.

    The files come in the order of the card, or of their names; each once, though two patterns may name it.

    Raises:
        DataRejected: There is no such configuration, there are no such files, or they may not be read.
        Unavailable: The hub cannot be reached, or does not tell a file's size.
    """
    builder = _builder(repository, config)
    sizes = _sizes(repository)
    found: dict[str, Sequence[SplitFile]] = {}
    for split, addresses in builder.config.data_files.items():
        paths = dict.fromkeys(_path(str(address), repository) for address in addresses)
        found[str(split)] = tuple(
            SplitFile(path, _size(path, sizes), _is_plain(builder, path)) for path in paths
        )
    return found


def _path(address: str, repository: Repository) -> str:
    """Where a file is in the repository."""
    path = address.removeprefix(f"{repository.address}/")
    if path == address:
        # Of another commit: the library lets no other dataset and no other place pass.
        raise DataRejected([_not_its_own(repository.name)])
    return path


def _not_its_own(name: str) -> Problem:
    return Problem(
        "dataset.hub",
        f"the card of '{name}' names files that are not its own at this revision",
        "Choose a dataset that holds its rows itself",
    )


def _sizes(repository: Repository) -> Mapping[str, int]:
    """Bytes of each file in the repository."""
    from huggingface_hub import HfApi

    with failing(f"asking for the sizes of the hub dataset {repository.name}"):
        info = HfApi(token=repository.token or None).dataset_info(
            repository.name, revision=repository.commit, files_metadata=True, timeout=SECONDS
        )
    return {file.rfilename: file.size for file in info.siblings or () if file.size is not None}


def _size(path: str, sizes: Mapping[str, int]) -> int:
    if path not in sizes:
        raise Unavailable(f"the hub does not tell the size of {path}")
    return sizes[path]


def _builder(repository: Repository, config: str | None) -> Any:
    try:
        return builder_of(repository, config)
    # The library checks little of a card, and lets through whatever its own code raises on what it did not expect:
    # TypeError, AttributeError.
    except Exception as error:
        ours = translation(error, f"looking at the hub dataset {repository.name}")
        if ours is None and of_this_machine(error):
            raise
        if ours is None:
            ours = _damaged_archive(error, repository)
        raise _told(error, ours, repository.name) from error


def _damaged_archive(error: Exception, repository: Repository) -> DataRejected | None:
    """Which zip archive the library could not look into, if that is what it raised; it does not tell."""
    if zip_damage(error, repository.name) is None:
        return None
    archives = (item for item in sorted(_sizes(repository).items()) if is_zip(item[0]))
    for path, size in itertools.islice(archives, _MOST_ARCHIVES):
        file = HubFile(repository, path, size)
        with file.anywhere() as content:
            found = zip_problem(content, file.name)
        if found is not None:
            return found
    return None


def _told(error: Exception, ours: DroptuneError | None, name: str) -> DroptuneError:
    """What keeps the library from finding the dataset's files, as a problem of the manifest's where it is one.

    Args:
        error: What it raised.
        ours: What `shared.cloud.failures` makes of that.
        name: Of the dataset.
    """
    from datasets.exceptions import DatasetNotFoundError

    if isinstance(ours, Transient):
        return ours
    what, mend = f"'{name}' has no files of rows", ""
    match error:
        case DatasetNotFoundError() if "is a gated dataset" in str(error):
            what = f"'{name}' is gated, and the hub does not let Droptune in"
            mend = "Ask for access on the dataset's page; DROPTUNE_HUB_TOKEN has to be of an account that has it"
        case RuntimeError() if "scripts are no longer supported" in str(error):
            what = f"'{name}' is a program that makes rows; only data is read"
            mend = "Choose a copy in Parquet or JSON lines, or upload the rows as files"
        case FileNotFoundError():
            pass
        case _ if ours is not None:
            return ours
        case ValueError() if "don't belong to" in str(error):
            return DataRejected([_not_its_own(name)])
        case ValueError() if _NO_CONFIGURATION.match(str(error)):
            return DataRejected([Problem("dataset.config", plain(str(error)))])
        case _:
            what = plain(f"the card of '{name}' cannot be read: {type(error).__name__}: {error}")
    return DataRejected([Problem("dataset.hub", what, mend)])


def _is_plain(builder: Any, path: str) -> bool:
    """Whether a file is of a format that `shared.data` reads, and its card wants nothing else than all of it.

    The library reads all files of a configuration as of one format, which is that of most of them or the card's choice;
    what is of another of these formats it cannot read. A `sep` is of CSV files alone.
    """
    from datasets.packaged_modules.csv.csv import Csv
    from datasets.packaged_modules.json.json import Json
    from datasets.packaged_modules.parquet.parquet import Parquet

    kind = kind_of(path)
    if kind is None or not isinstance(builder, (Csv, Json, Parquet)):
        return False
    if not isinstance(builder, Csv):
        return not any(_options(builder.config))
    asked = set(_options(builder.config)) - {"sep", "delimiter"}
    separated = kind.format in _DELIMITERS
    return not asked and (not separated or builder.config.sep == _DELIMITERS[kind.format])


def _options(config: Any) -> Iterator[str]:
    """What a card says of how files are to be read, beyond what goes for all."""
    for each in dataclasses.fields(config):
        if each.name not in _PLACED and getattr(config, each.name) != each.default:
            yield each.name
