"""Files of a hub dataset as sources of rows, each pinned to a commit.

Most are of formats that `shared.data` reads itself: row by row, in bounded memory, as files of the storage account.
What only the hub's own library can read comes as it streams it.
"""

from __future__ import annotations

import functools
import json
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any, Final
from urllib.parse import quote

from shared.cloud.failures import failing, translation
from shared.cloud.hub_archives import Opened
from shared.data.lines import as_line
from shared.errors import DroptuneError, Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

BLOCK: Final = 1 << 20
"""About as many bytes are given at once."""


@dataclass(frozen=True, slots=True)
class Repository:
    """A hub dataset at one commit.

    Attributes:
        name: `OWNER/NAME`.
        commit: What is read of it.
        token: For private datasets; never shown.
    """

    name: str
    commit: str
    token: str = field(default="", repr=False)

    @property
    def source(self) -> str:
        """How the names of its sources begin: `hub:OWNER/NAME@COMMIT`."""
        return f"hub:{self.name}@{self.commit}"

    @property
    def address(self) -> str:
        """Where the hub's libraries find its files: `hf://datasets/OWNER/NAME@COMMIT`."""
        return f"hf://datasets/{self.name}@{self.commit}"


class HubFile:
    """`shared.data.ports.File`: one file of a hub dataset.

    Args:
        repository: Where it is.
        path: There.
        size: In bytes.
    """

    def __init__(self, repository: Repository, path: str, size: int) -> None:
        self._repository = repository
        self._path = path
        self._size = size

    @property
    def path(self) -> str:
        """Where it is in the repository."""
        return self._path

    @property
    def address(self) -> str:
        """Where the hub's libraries find it."""
        return f"{self._repository.address}/{self._path}"

    @property
    def name(self) -> str:
        """`hub:OWNER/NAME@COMMIT/PATH`."""
        return f"{self._repository.source}/{self._path}"

    @property
    def identity(self) -> str:
        """The same: a commit's content never changes."""
        return self.name

    def size(self) -> int:
        """Its length in bytes."""
        return self._size

    def blocks(self) -> Iterator[bytes]:
        """Its bytes in order, asked for once; a broken connection is taken up where it broke."""
        left = self._size
        with failing(f"reading {self.name}"):
            with self._open(block_size=0) as stream:
                while left and (block := stream.read(min(BLOCK, left))):
                    left -= len(block)
                    yield block
            if left:
                raise Unavailable(f"reading {self.name}: the connection ended early")

    def span(self, start: int, length: int) -> bytes:
        """So many bytes from `start` on."""
        with failing(f"reading {self.name}"), self._open(cache_type="none") as file:
            file.seek(start)
            found: bytes = file.read(length)
            return found

    @contextmanager
    def anywhere(self) -> Iterator[IO[bytes]]:
        """It, to be read here and there."""
        with failing(f"reading {self.name}"), self._open() as file:
            yield file

    def _open(self, **how: object) -> Any:
        return self._files.open(self.address, "rb", **how)

    @functools.cached_property
    def _files(self) -> Any:
        from huggingface_hub import HfFileSystem

        return HfFileSystem(token=self._repository.token or None)


class HubStream:
    """`shared.data.ports.Source`: the rows that the hub's library makes of one file of a split.

    Args:
        repository: Where it is.
        config: The configuration, if one is named: it may say how files are read.
        split: The hub's name of it.
        files: All of the split that the library reads, in order, each once.
        place: Which of them this is, from 0.
    """

    def __init__(
        self,
        repository: Repository,
        config: str | None,
        split: str,
        files: Sequence[HubFile],
        place: int,
    ) -> None:
        self._repository = repository
        self._config = config
        self._split = split
        self._files = files
        self._place = place

    @property
    def name(self) -> str:
        """`hub:OWNER/NAME@COMMIT/SPLIT/PATH`, with the configuration before the split if one is named."""
        return self._name_of(self._files[self._place])

    @property
    def identity(self) -> str:
        """`NAME//config=CONFIG;split=SPLIT`: a commit's content never changes.

        It says twice what decides how the file is read, since a name may be that of another file, in a folder that is
        called as the split is. No path in a repository has an empty part, so this is no other source's.
        """
        config, split = quote(self._config or "", safe=""), quote(self._split, safe="")
        return f"{self.name}//config={config};split={split}"

    def size(self) -> int:
        """The file's length in bytes."""
        return self._files[self._place].size()

    def blocks(self) -> Iterator[bytes]:
        """Its rows as JSON lines, in blocks of about a mebibyte, as they stream in.

        Raises:
            DataRejected: The file cannot be read, or another that the library looks into for the columns' types.
            Unavailable: The hub cannot be reached, or what else `shared.cloud.failures` makes of its answer.
        """
        opened = Opened({file.address: (self._name_of(file), file.blocks) for file in self._files})
        try:
            yield from _in_blocks(map(_line, self._rows(opened)))
        except DroptuneError:
            raise
        # The library lets through whatever packings, parsers and its own code raise on damaged files and on options
        # of a card that it does not check: EOFError, KeyError, TypeError. ImportError is of pictures and the like, for
        # which it wants more packages.
        except Exception as error:
            ours = translation(error, f"reading {self.name}")
            if ours is not None:
                raise ours from error
            if of_this_machine(error):
                raise
            raise opened.rejection(error, self.name) from error

    def _rows(self, opened: Opened) -> Iterable[Any]:
        builder = builder_of(self._repository, self._config)
        # Never a file that is read without the library, or of another split.
        builder.config.data_files = {self._split: [file.address for file in self._files]}
        opened.watch(builder)
        rows = builder.as_streaming_dataset(self._split)
        if rows.num_shards == len(self._files):
            return rows.shard(len(self._files), self._place)  # type: ignore[no-any-return]
        # A format that the library does not stream file by file: all of it belongs to the first.
        return () if self._place else rows

    def _name_of(self, file: HubFile) -> str:
        return f"{split_name(self._repository, self._config, self._split)}/{file.path}"


def split_name(repository: Repository, config: str | None, split: str) -> str:
    """`hub:OWNER/NAME@COMMIT/SPLIT`, with the configuration before the split if one is named."""
    named = f"{config}/" if config else ""
    return f"{repository.source}/{named}{split}"


def builder_of(repository: Repository, config: str | None) -> Any:
    """What the hub's library knows of the dataset; asks the hub, and reads no rows."""
    import datasets

    return datasets.load_dataset_builder(
        # Looked for on the hub alone, never in a folder of that name.
        f"hf://datasets/{repository.name}",
        config,
        revision=repository.commit,
        token=repository.token or None,
    )


def of_this_machine(error: Exception) -> bool:
    """Whether an exception of the library's comes of no data: no memory, a full disk, too many open files.

    A file that is not there is of the data: the library looks for what a card names, for some formats on the disk.
    """
    if isinstance(error, OSError):
        return error.errno is not None and not isinstance(error, FileNotFoundError)
    return isinstance(error, MemoryError)


def _line(row: Any) -> bytes:
    """A row as JSON. Half a surrogate pair has no UTF-8; it goes as its escape, and is refused as that."""
    try:
        return as_line(row)
    except UnicodeEncodeError:
        return json.dumps(row, default=str).encode()


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
