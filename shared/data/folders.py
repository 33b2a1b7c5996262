"""Local files as sources, local folders as sinks: for a job with mounted inputs, and for tests.

Identity is the file's length and modification time, as good as an ETag for files that nobody
forges.
"""

from __future__ import annotations

import fcntl
import glob
import os
import tempfile
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from shared.data.background import Background
from shared.errors import Missing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from io import FileIO

#: What a processor's cache holds while its lines are cut, checked and written.
_BLOCK = 1 << 18
#: Bytes that are worth handing to another thread, and how many times that may wait for the disk.
_HANDFUL = 1 << 20
_MOST_UNWRITTEN = 2
#: Blocks in one call: no more than Linux and macOS take.
_MOST_IN_A_CALL = 1024


@dataclass(frozen=True, slots=True)
class FileSource:
    """A file, of the format that the ending of its name says.

    Attributes:
        path: Where it lies.
        label: What a person calls it; the path if empty.
    """

    path: Path
    label: str = ""

    @property
    def name(self) -> str:
        """The label or the path."""
        return self.label or str(self.path)

    @property
    def identity(self) -> str:
        """The name with length and modification time.

        Raises:
            shared.errors.Missing: There is no such file.
        """
        try:
            facts = self.path.stat()
        except FileNotFoundError as error:
            raise Missing(f"{self.name}: no such file") from error
        return f"{self.name}#{facts.st_size}-{facts.st_mtime_ns}"

    def blocks(self) -> Iterator[bytes]:
        """Its bytes, 256 KiB at a time.

        Raises:
            shared.errors.Missing: There is no such file.
        """
        try:
            file = self.path.open("rb", buffering=0)
        except FileNotFoundError as error:
            raise Missing(f"{self.name}: no such file") from error
        with file:
            while block := file.read(_BLOCK):
                yield block

    def size(self) -> int:
        """Its length in bytes."""
        return self.path.stat().st_size

    def span(self, start: int, length: int) -> bytes:
        """So many bytes from `start` on."""
        with self.path.open("rb", buffering=0) as file:
            file.seek(start)
            return file.read(length)


@dataclass(frozen=True, slots=True)
class FolderSink:
    """A folder that takes prepared files. It is made when the first is written."""

    folder: Path

    def exists(self, name: str) -> bool:
        """Whether the finished file is there."""
        return (self.folder / name).is_file()

    def read(self, name: str) -> bytes:
        """The whole file. Raises `shared.errors.Missing` if it is not there."""
        try:
            return (self.folder / name).read_bytes()
        except FileNotFoundError as error:
            raise Missing(f"{self.address(name)}: no such file") from error

    @contextmanager
    def write(self, name: str) -> Iterator[Callable[[bytes], None]]:
        """Stream a file beside its place and move it there at the end: safe from a kill, though not from a power cut.

        The disk is busy in the background: what it could not do is raised at a later write, or at the end.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self._clear(name)
        handle, beside = self._begin(name)
        try:
            with (
                os.fdopen(handle, "wb", buffering=0) as file,
                Background(threads=1, most=_MOST_UNWRITTEN) as background,
            ):
                writing = _Writing(file, background)
                yield writing.write
                writing.finish()
            Path(beside).replace(self.folder / name)
        except BaseException:
            Path(beside).unlink(missing_ok=True)
            raise

    def _begin(self, name: str) -> tuple[int, str]:
        """A file of this writer's own, and its path."""
        while True:
            handle, beside = tempfile.mkstemp(prefix=f".{name}.", dir=self.folder)
            fcntl.flock(handle, fcntl.LOCK_EX)
            if os.fstat(handle).st_nlink:
                return handle, beside
            os.close(handle)  # somebody took it for left behind in the moment before the lock

    def _clear(self, name: str) -> None:
        """Remove what writers left behind who were killed: nobody holds its lock any more."""
        for left in self.folder.glob(f".{glob.escape(name)}.*"):
            with suppress(FileNotFoundError, BlockingIOError), left.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                left.unlink()

    def address(self, name: str) -> str:
        """The file's absolute path."""
        return str((self.folder / name).resolve())


class _Writing:
    """One file's blocks: gathered here, written elsewhere."""

    def __init__(self, file: FileIO, background: Background) -> None:
        self._file = file
        self._background = background
        self._gathered: list[bytes] = []
        self._size = 0

    def write(self, block: bytes) -> None:
        self._gathered.append(block)
        self._size += len(block)
        if self._size >= _HANDFUL:
            self._background.do(self._put, self._gathered)
            self._gathered, self._size = [], 0

    def finish(self) -> None:
        self._background.finish()
        self._put(self._gathered)

    def _put(self, blocks: list[bytes]) -> None:
        """In as few calls as there may be: after each, this thread waits for whoever reads rows."""
        rest: list[memoryview] = [memoryview(block) for block in blocks]
        while rest:
            written = os.writev(self._file.fileno(), rest[:_MOST_IN_A_CALL])
            while rest and written >= len(rest[0]):
                written -= len(rest.pop(0))
            if written:
                rest[0] = rest[0][written:]
