"""Messages between processes in memory that they share: written once, read where they lie.

A pipe would copy each byte four times, which costs as much as judging the row that it belongs to.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from typing import Final

COUNT: Final = 4
"""How many messages may be under way at once."""
_SIZE: Final = 1 << 20
_HEAD: Final = 4
"""Bytes that tell a message's length."""
LONGEST: Final = _SIZE - _HEAD
"""Bytes of the longest message."""


class Slots:
    """A few places of one message each.

    Who may read or write a slot, the processes agree on by other means.

    Args:
        file: The descriptor of a file of `file_of_slots`; it may be closed afterwards.
    """

    def __init__(self, file: int) -> None:
        self._memory = mmap.mmap(file, COUNT * _SIZE)

    def put(self, slot: int, message: bytes) -> bool:
        """Write a message; False, and an empty one, if it does not fit."""
        fits = len(message) <= LONGEST
        written = message if fits else b""
        start = slot * _SIZE + _HEAD
        self._memory[start - _HEAD : start] = len(written).to_bytes(_HEAD)
        self._memory[start : start + len(written)] = written
        return fits

    def get(self, slot: int) -> bytes:
        """The message that was written last."""
        start = slot * _SIZE + _HEAD
        return self._memory[start : start + int.from_bytes(self._memory[start - _HEAD : start])]

    def close(self) -> None:
        """Give the memory back."""
        self._memory.close()


def file_of_slots() -> int:
    """The descriptor of a file without a name, as large as all slots; in memory, where a system has such files.

    Raises:
        OSError: There is no room for it.
    """
    if hasattr(os, "memfd_create"):
        file = os.memfd_create("droptune-rows")
        os.ftruncate(file, COUNT * _SIZE)
        return file
    with tempfile.TemporaryFile(buffering=0) as beside:
        # Written, since a disk without room for it would tell only when somebody uses it, and then by a signal.
        beside.write(bytes(COUNT * _SIZE))
        return os.dup(beside.fileno())
