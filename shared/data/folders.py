"""Local files as sources, local folders as sinks: for a job with mounted inputs, and for tests.

Identity is the file's length and modification time, as good as an ETag for files that nobody
forges.
"""

from __future__ import annotations

import os
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from shared.errors import Missing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_BLOCK = 1 << 20


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
        """Its bytes, a mebibyte at a time.

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
        """Stream a file beside its place and move it there at the end, safely on disk."""
        self.folder.mkdir(parents=True, exist_ok=True)
        handle, beside = tempfile.mkstemp(prefix=f".{name}.", dir=self.folder)
        try:
            with os.fdopen(handle, "wb", buffering=0) as file:

                def write(block: bytes) -> None:
                    rest = memoryview(block)
                    while rest:
                        rest = rest[file.write(rest) :]

                yield write
                os.fsync(file.fileno())
            Path(beside).replace(self.folder / name)
        except BaseException:
            Path(beside).unlink(missing_ok=True)
            raise

    def address(self, name: str) -> str:
        """The file's absolute path."""
        return str((self.folder / name).resolve())
