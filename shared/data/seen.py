"""Which rows were seen before, in bounded memory however many there are.

A row is known by a digest of 16 bytes. Digests lie in tables of buckets; a digest's hash says which
bucket it belongs to, and a full bucket overflows into the next. The first table is in memory, 25
bytes for each row that it has room for; when it has taken all that it may, it stays as it is and a
larger table on disk takes what comes, and so on. So memory does not grow with the rows, nothing is
ever moved, and a look-up reads one bucket of each table: half a microsecond in memory, two on a disk
that is cached.

Among 10^9 rows the chance that any two share a digest is about 10^-21; beyond that nothing is left
to chance, since digests are compared whole.
"""

from __future__ import annotations

import os
import tempfile
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final, Protocol, Self

from shared.errors import Transient

if TYPE_CHECKING:
    from types import TracebackType

_DIGEST: Final = 16
_SLOT: Final = _DIGEST + 1
"""A digest and its mark."""
_SLOTS: Final = 15
_USED: Final = _SLOT * _SLOTS
"""Where in a bucket the number of its used bytes stands; the slots are filled from the front."""
_BUCKET: Final = _USED + 1
_LOAD: Final = 10
"""Digests for each bucket when a table is full: few buckets overflow, a third of the room is spare."""
_GROWTH: Final = 4
"""How much larger each table is than the one before it."""
MEMORY: Final = 12 << 20
"""Bytes of the table in memory: room for 491,520 rows. The first on disk takes 1,966,080 more in 48 MiB."""


class DigestSet:
    """Digests with a mark each. A context: the temporary files go when it ends, however it ends.

    The files have no name on systems that allow that, so not even a kill leaves them behind.

    Args:
        memory: The bound in bytes; what does not fit goes to temporary files, 25 to 100 bytes a row.
    """

    def __init__(self, memory: int = MEMORY) -> None:
        self._buckets = max(memory // _BUCKET, 1)
        self._full: list[_Table] = []
        self._open: _Table = _MemoryTable(self._buckets)

    def add(self, digest: bytes, mark: int = 1) -> int:
        """Remember a digest unless it is known.

        Args:
            digest: 16 bytes.
            mark: 1 to 255, to be told by when the digest comes again.

        Returns:
            0 if it is new, or the mark that it was first added with.

        Raises:
            shared.errors.Transient: There is no room for a temporary file.
        """
        for table in self._full:
            if known := table.look(digest, 0):
                return known
        if not self._open.room:
            self._full.append(self._open)
            self._buckets *= _GROWTH
            self._open = _FileTable(self._buckets)
            return self.add(digest, mark)
        return self._open.look(digest, mark)

    def close(self) -> None:
        """Give memory and disk back."""
        for table in (*self._full, self._open):
            table.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class _Table(Protocol):
    """Buckets of digests."""

    room: int
    """How many more it may take."""

    def look(self, digest: bytes, mark: int) -> int:
        """The digest's mark if it is here; else 0, and unless `mark` is 0, it is added with that."""

    def close(self) -> None:
        """Give the room back."""


class _MemoryTable:
    def __init__(self, buckets: int) -> None:
        self._size = buckets * _BUCKET
        self._bytes = bytearray(self._size)
        self.room = buckets * _LOAD

    def look(self, digest: bytes, mark: int) -> int:
        table = self._bytes
        start = hash(digest) * _BUCKET % self._size
        while True:
            used = table[start + _USED]
            end = start + used
            found = table.find(digest, start, end)
            while found >= 0:
                if (found - start) % _SLOT == 0:
                    return table[found + _DIGEST]
                found = table.find(digest, found + 1, end)  # that one lay across two slots
            if used < _USED:
                break
            start = (start + _BUCKET) % self._size
        if mark:
            table[end : end + _DIGEST] = digest
            table[end + _DIGEST] = mark
            table[start + _USED] = used + _SLOT
            self.room -= 1
        return 0

    def close(self) -> None:
        self._bytes = bytearray()


class _FileTable:
    def __init__(self, buckets: int) -> None:
        self._size = buckets * _BUCKET
        self.room = buckets * _LOAD
        try:
            with ExitStack() as stack:
                self._file = stack.enter_context(
                    tempfile.TemporaryFile(prefix="droptune-", buffering=0)
                )
                self._file.truncate(self._size)
                stack.pop_all()
        except OSError as error:
            raise Transient(f"no temporary file for the digests of rows: {error}") from error
        self._number = self._file.fileno()

    def look(self, digest: bytes, mark: int) -> int:
        start = hash(digest) * _BUCKET % self._size
        while True:
            bucket = os.pread(self._number, _BUCKET, start)
            used = bucket[_USED]
            found = bucket.find(digest, 0, used)
            while found >= 0:
                if found % _SLOT == 0:
                    return bucket[found + _DIGEST]
                found = bucket.find(digest, found + 1, used)  # that one lay across two slots
            if used < _USED:
                break
            start = (start + _BUCKET) % self._size
        if mark:
            slot, rest = digest + bytes((mark,)), bucket[used + _SLOT : _USED]
            self._write(start, bucket[:used] + slot + rest + bytes((used + _SLOT,)))
            self.room -= 1
        return 0

    def _write(self, start: int, bucket: bytes) -> None:
        try:
            written = os.pwrite(self._number, bucket, start)
        except OSError as error:
            raise Transient(f"the digests of rows do not fit on the disk: {error}") from error
        if written != len(bucket):
            raise Transient("the digests of rows do not fit on the disk")

    def close(self) -> None:
        self._file.close()
