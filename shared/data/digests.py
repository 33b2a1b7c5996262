"""The digests of a share's rows, written for the other nodes: what they need to know of rows that they do not read.

A file of digests is 16 bytes for each row that is new in its share, in the order of the rows. What matters of other
shares' digests is only which of them stand in one's own share as well, so a node holds its own and streams the rest.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from shared.data.judging.verdicts import Refused
    from shared.data.rows import Example
    from shared.data.seen import DigestSet
    from shared.data.splitting import Carving

SIZE = 16
_BLOCK = 1 << 20
_AT_ONCE = 1 << 14
"""Digests that are looked for at once among those held out; some megabytes, and nearly always enough."""


class DigestFile:
    """Gathers digests to blocks worth sending."""

    def __init__(self, write: Callable[[bytes], None]) -> None:
        self._write = write
        self._waiting = bytearray()

    def add(self, digests: bytes) -> None:
        """Append some, run together."""
        self._waiting += digests
        if len(self._waiting) >= _BLOCK:
            self.flush()

    def flush(self) -> None:
        """Pass on what was gathered."""
        if self._waiting:
            self._write(bytes(self._waiting))
            self._waiting.clear()


class DigestTaker:
    """`shared.data.selection.Taker` that keeps the digests of what it is given, and nothing else."""

    def __init__(self, files: dict[str, DigestFile]) -> None:
        self._files = files

    def place(self, split: str, examples: Sequence[Example]) -> None:
        """Note rows that are new in this share."""
        self._files[split].add(b"".join([example.digest for example in examples]))

    def drop(self, _split: str, _source: str, _number: int, _row: Refused) -> None:
        """A refused row is told of in the second pass."""


def digests_in(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """The digests of a file that comes in blocks of any length."""
    rest = b""
    for block in blocks:
        whole = rest + block if rest else block
        end = len(whole) - len(whole) % SIZE
        for start in range(0, end, SIZE):
            yield whole[start : start + SIZE]
        rest = whole[end:]


def among(digests: Iterable[bytes], own: DigestSet) -> Iterator[bytes]:
    """Those of `digests` that are in `own`."""
    return (digest for digest in digests if own.mark_of(digest))


def settles(
    train: Iterable[bytes],
    held_out: Callable[[], Iterable[bytes]],
    carved: Sequence[str],
    carving: Carving,
) -> set[str]:
    """Which carved splits get a row from these.

    Args:
        train: Digests of train.
        held_out: Gives the digests of the splits that are not carved; their rows are no rows of train.
        carved: The splits that train's rows are dealt out to.
        carving: Deals them.
    """
    missing = set(carved)
    drawn = ((split, digest) for digest in train if (split := carving.split_of(digest)) in missing)
    while missing and (some := list(islice(drawn, _AT_ONCE))):
        wanted = {digest for _, digest in some}
        leaks = {digest for digest in held_out() if digest in wanted}
        missing -= {split for split, digest in some if digest not in leaks}
    return set(carved) - missing
