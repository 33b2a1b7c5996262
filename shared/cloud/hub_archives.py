"""Which file the hub's library reads, and archives among them: what ails one is told by its name, and nothing is lost.

The library opens files as its readers ask for them, some for the types of columns alone; what it raises does not tell
which one it was. Python's `tarfile`, by which it reads tar archives, takes damage for the archive's end. So it is given
what is in them by our own reader.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from typing import IO, TYPE_CHECKING, Any

from shared.cloud.failures import plain
from shared.data.formats.damage import damaged
from shared.data.formats.tar import tar_members

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from shared.errors import DataRejected


class Opened:
    """What the library opens on the way to a split's rows.

    Args:
        files: By the address that the library has for a file: what to call it, and what gives its bytes in order.
    """

    def __init__(self, files: Mapping[str, tuple[str, Callable[[], Iterable[bytes]]]]) -> None:
        self._files = files
        self._name = ""

    def watch(self, builder: Any) -> None:
        """Stand between a builder of the library's and the manager that it asks for files."""
        splits = builder._split_generators  # noqa: SLF001 - which builders are made to implement
        builder._split_generators = lambda manager: splits(_Manager(manager, self))  # noqa: SLF001

    def rejection(self, error: Exception, name: str) -> DataRejected:
        """What the library raised, told of the file that it read then.

        Args:
            error: No problem of the hub's or of this machine's.
            name: Of the file whose rows were asked for, if the library had opened none.
        """
        reading = self._name or name
        if is_zip(reading):
            ours = zip_damage(error, reading)
            if ours is not None:
                return ours
        return damaged(reading, plain(f"cannot be read: {type(error).__name__}: {error}"))

    def note(self, address: str) -> None:
        """A file is about to be read."""
        if address in self._files:
            self._name, _ = self._files[address]

    def members(self, address: str) -> Iterator[tuple[str, io.BytesIO]]:
        """What is in a tar archive, as the library wants it: it passes hidden files over."""
        self.note(address)
        name, blocks = self._files[address]
        for member in tar_members(blocks(), name, wanted=_is_shown):
            yield member.name, io.BytesIO(member.content)


def is_zip(name: str) -> bool:
    """Whether a file is a zip archive, by its name."""
    return name.lower().endswith(".zip")


def zip_damage(error: Exception, name: str) -> DataRejected | None:
    """What was raised over a zip archive, as a rejection; `None` if it is not about the archive."""
    mend, said = (
        "Pack its files anew to one archive and upload it whole",
        f": {error}".rstrip(": "),
    )
    match error:
        case zipfile.BadZipFile() | zlib.error() | EOFError() | struct.error():
            reason = f"is no zip archive, or a damaged or cut off one{said}"
        case ValueError() if "Seek before start" in str(error):  # fsspec's, of too short a file
            reason = "is no zip archive, or an empty, damaged or cut off one"
        case RuntimeError() if "is encrypted" in str(error):
            reason, mend = "is locked with a password", "Pack its files anew without one"
        case _:
            return None
    return damaged(name, plain(reason), mend)


def zip_problem(archive: IO[bytes], name: str) -> DataRejected | None:
    """What is wrong with the table of contents of a zip archive, which stands at its end."""
    try:
        zipfile.ZipFile(archive).close()
    except Exception as error:
        found = zip_damage(error, name)
        if found is None:
            raise
        return found
    return None


class _Manager:
    """The library's download manager, seen from a builder."""

    def __init__(self, theirs: Any, opened: Opened) -> None:
        self._theirs = theirs
        self._opened = opened

    def __getattr__(self, name: str) -> Any:
        return getattr(self._theirs, name)

    def iter_files(self, address: str) -> Iterable[str]:
        files = self._theirs.iter_files(address)
        archive = address.rpartition("::")[2]  # `zip://::hf://…` is what is in it
        return _Again(lambda: _noted(files, archive, self._opened))

    def iter_archive(self, address: str) -> Iterable[tuple[str, Any]]:
        if is_zip(address):
            archive = self._theirs.iter_archive(address)
            return _Again(lambda: _noted(archive, address, self._opened))
        return _Again(lambda: self._opened.members(address))


class _Again:
    """Something to go through as often as wanted: the library looks at the first rows twice."""

    def __init__(self, begin: Callable[[], Iterator[Any]]) -> None:
        self._begin = begin

    def __iter__(self) -> Iterator[Any]:
        return self._begin()


def _noted(each: Iterable[Any], address: str, opened: Opened) -> Iterator[Any]:
    opened.note(address)
    yield from each


def _is_shown(name: str) -> bool:
    return not name.rpartition("/")[2].startswith((".", "__"))
