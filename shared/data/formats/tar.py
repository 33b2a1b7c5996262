"""The files in a tar archive, one after the other, or a rejection if the archive is not whole.

A tar archive has no table of contents; it ends with blocks of zeroes
(https://pubs.opengroup.org/onlinepubs/9699919799/utilities/pax.html, "ustar Interchange Format"). Python's `tarfile`
takes anything that is no header for that end, so whatever follows damage would be lost in silence.
"""

from __future__ import annotations

import bz2
import gzip
import io
import itertools
import lzma
import tarfile
import zlib
from typing import IO, TYPE_CHECKING, Any, Final, NamedTuple

from shared.data.formats.damage import damaged
from shared.data.formats.packing import PIECE, Counted, Stream, check_growth

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from typing import Self

MOST_CONTENT: Final = 64 << 20
"""Most bytes of one file in an archive. It becomes part of a row, which may be much smaller."""

_LONGEST_NOTE: Final = 1 << 20
"""Most bytes of what an archive tells of a file beyond its header: long names, times."""

_PACKINGS: Final[Mapping[bytes, Callable[[IO[bytes]], Any]]] = {
    b"\x1f\x8b": lambda packed: gzip.GzipFile(fileobj=packed),
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ": lzma.LZMAFile,
}
"""How the bytes of a packed archive begin, and what unpacks them; its name need not say so."""

_LONGEST_SHOWN: Final = 60

_REPACK: Final = "Pack its files anew to one archive and upload it whole"


class Member(NamedTuple):
    """A file in an archive."""

    name: str
    content: bytes


def tar_members(
    blocks: Iterable[bytes], name: str, *, wanted: Callable[[str], bool]
) -> Iterator[Member]:
    """The regular files in a tar archive, in order, each read whole.

    The archive has to end with a block of zeroes, after which come only more of them. Writers of today write two and
    fill the last record up with zeroes; one without a second is whole all the same. An archive that ends where a file
    does, without any, cannot be told from one that is cut off there, and is rejected: GNU tar would take it.

    Args:
        blocks: Its bytes in order, packed with gzip, bzip2 or xz or not.
        name: The archive's, for the rejection.
        wanted: Whether a file of that name counts; others are passed over.

    Raises:
        shared.errors.DataRejected: The archive is damaged, cut off or none, goes on after its end, holds too large a
            file, or unpacks to more than the bounds of `packing` allow.
    """
    last = ""
    try:
        stream: Any = Stream(_unpacked(blocks, name))
        archive: Any
        with tarfile.open(fileobj=stream, mode="r|", tarinfo=_Header) as archive:
            while (found := archive.next()) is not None:
                archive.members.clear()  # tarfile remembers all
                if not found.name:  # overwritten: whoever goes by names would pass it over
                    raise tarfile.ReadError("the next file has no name")
                last = found.name
                if found.isreg() and wanted(found.name):
                    yield Member(found.name, _content(archive, found, name))
            _check_end(archive)
    except tarfile.TarError as error:
        where = (
            f"is damaged in or after its file '{_shown(last)}'" if last else "is no tar archive"
        )
        raise damaged(name, f"{where}: {error}", _REPACK) from error


class _Header(tarfile.TarInfo):
    """What stands before a file. `TarFile.next` ends in silence where `HeaderError` is raised, hence `ReadError`."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        if bytes(buf) == bytes(tarfile.BLOCKSIZE):
            return super().frombuf(buf, encoding, errors)  # the end, as tarfile tells it
        if len(buf) < tarfile.BLOCKSIZE:
            raise tarfile.ReadError("it is cut off there, or its end was never written")
        try:
            header = super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(f"the next file's header is wrong ({error})") from error
        if not header.isreg() and header.size > _LONGEST_NOTE:
            raise tarfile.ReadError("the next file's header is too long")
        return header


def _content(archive: Any, found: tarfile.TarInfo, name: str) -> bytes:
    if found.size > MOST_CONTENT:
        raise damaged(
            name,
            f"holds '{_shown(found.name)}', of more than {MOST_CONTENT >> 20} MiB",
            "Leave out what is no part of a conversation",
        )
    content: bytes = archive.extractfile(found).read()
    return content


def _shown(path: str) -> str:
    """The end of a path, as UTF-8 can have it."""
    text = path.encode(errors="replace").decode()
    return text if len(text) <= _LONGEST_SHOWN else f"…{text[-_LONGEST_SHOWN:]}"


def _check_end(archive: Any) -> None:
    """To be asked after the first block of zeroes."""
    while piece := archive.fileobj.read(PIECE):
        if piece.count(0) < len(piece):
            raise tarfile.ReadError("it goes on after its end, or was overwritten with zeroes")


def _unpacked(blocks: Iterable[bytes], name: str) -> Iterator[bytes]:
    taken = Counted(blocks)
    packed = io.BufferedReader(Stream(taken))
    begin = packed.read(max(map(len, _PACKINGS)))
    whole = itertools.chain([begin], iter(lambda: packed.read1(PIECE), b""))
    unpacking = next((how for magic, how in _PACKINGS.items() if begin.startswith(magic)), None)
    if unpacking is None:
        yield from whole
        return
    given = 0
    with unpacking(io.BufferedReader(Stream(whole))) as plain:
        while piece := _piece(plain, name):
            given += len(piece)
            check_growth(taken.size, given, name)
            yield piece


def _piece(plain: Any, name: str) -> bytes:
    try:
        piece: bytes = plain.read(PIECE)
    except EOFError as error:
        raise damaged(
            name, "is cut off or damaged: its packed data has no end", _REPACK
        ) from error
    except (OSError, zlib.error, lzma.LZMAError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise damaged(name, f"cannot be unpacked, it is damaged: {error}", _REPACK) from error
    return piece
