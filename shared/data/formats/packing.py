"""Compressed bytes to plain ones, in pieces of bounded size and up to a bound.

A few kilobytes may unpack to terabytes. Pieces keep that out of memory; the bounds keep it from going on for hours.
"""

from __future__ import annotations

import io
import zlib
from typing import TYPE_CHECKING, Any, Final

from shared.data.formats.damage import damaged, told_by_arrow
from shared.data.formats.endings import Packing

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

PIECE: Final = 1 << 20
"""Most bytes that are given at once."""
MOST_UNPACKED: Final = 64 << 30
"""What one file may unpack to, in bytes."""
MOST_RATIO: Final = 200
"""How many bytes may come out of one, once `UNSUSPECTED` have come. Text of people packs to a third or a tenth."""
UNSUSPECTED: Final = 64 << 20

_GZIP: Final = (
    16 + zlib.MAX_WBITS
)  # zlib's way to say that a gzip header and trailer surround the data
_REPACK: Final = "Pack the file anew and upload it whole"


def unpacked(blocks: Iterable[bytes], packing: Packing, name: str) -> Iterator[bytes]:
    """The plain bytes of a compressed file, which may be several joined to one.

    Args:
        blocks: The compressed bytes in order.
        packing: How they are compressed.
        name: The file's, for the rejection.

    Raises:
        shared.errors.DataRejected: The file is damaged, cut off or of another kind, or unpacks to more than
            the bounds allow.
    """
    taken = Counted(blocks)
    pieces = _gunzipped(taken, name) if packing is Packing.GZIP else _unzstd(taken, name)
    given = 0
    for piece in pieces:
        given += len(piece)
        check_growth(taken.size, given, name)
        yield piece


def check_growth(packed: int, plain: int, name: str) -> None:
    """Compare what was read with what came out of it.

    Raises:
        shared.errors.DataRejected: It is more than the bounds allow.
    """
    if plain > MOST_UNPACKED:
        raise damaged(
            name, f"unpacks to more than {MOST_UNPACKED >> 30} GiB", "Split it into several files"
        )
    if plain > UNSUSPECTED and plain > MOST_RATIO * packed:
        raise damaged(
            name,
            f"unpacks to more than {MOST_RATIO} times its size, as no text of people does",
            "If it is meant so, upload it unpacked",
        )


class Counted:
    """Blocks that pass by, and how many bytes they were; empty ones are left out."""

    def __init__(self, blocks: Iterable[bytes]) -> None:
        self._blocks = iter(blocks)
        self.size = 0

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        while not (block := next(self._blocks)):
            pass
        self.size += len(block)
        return block


def _gunzipped(blocks: Counted, name: str) -> Iterator[bytes]:
    member: Any = zlib.decompressobj(_GZIP)
    members, begun = 0, False
    for block in blocks:
        left = block
        while left:
            if not begun and members:
                left = left.lstrip(b"\0")  # some writers fill up the last block of a tape or disk
                if not left:
                    break
            begun = True
            try:
                piece = member.decompress(left, PIECE)
            except zlib.error as error:
                what = "goes on after its end with what is not gzip" if members else "is not gzip"
                raise damaged(name, f"{what}, or damaged: {error}", _REPACK) from error
            if piece:
                yield piece
            left = member.unused_data if member.eof else member.unconsumed_tail
            if member.eof:
                member, members, begun = zlib.decompressobj(_GZIP), members + 1, False
    if begun or not members:
        raise damaged(name, "is cut off: its gzip data has no end", _REPACK)


def _unzstd(blocks: Counted, name: str) -> Iterator[bytes]:
    import pyarrow as pa

    with pa.CompressedInputStream(pa.PythonFile(Stream(blocks), "r"), "zstd") as stream:
        while True:
            try:
                piece: bytes = stream.read(PIECE)
            except OSError as error:
                if not told_by_arrow(error):
                    raise
                if "Truncated" in str(error):
                    raise damaged(name, "is cut off: its zstd data has no end", _REPACK) from error
                raise damaged(name, f"is not zstd, or damaged: {error}", _REPACK) from error
            if not piece:
                break
            yield piece
    if not blocks.size:
        raise damaged(name, "is cut off: its zstd data has no end", _REPACK)


class Stream(io.RawIOBase):
    """Blocks of bytes as a file that is read from its beginning to its end."""

    def __init__(self, blocks: Iterable[bytes]) -> None:
        self._blocks = iter(blocks)
        self._left = memoryview(b"")

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any) -> int:
        """What is left of the block at hand, as much as there is room for; 0 at the end."""
        while not self._left:
            block = next(self._blocks, None)
            if block is None:
                return 0
            self._left = memoryview(block)
        taken = min(len(buffer), len(self._left))
        buffer[:taken] = self._left[:taken]
        self._left = self._left[taken:]
        return taken
