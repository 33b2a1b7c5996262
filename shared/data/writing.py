"""Lines to a sink's file, gathered to blocks worth sending."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from shared.data.ports import Sink

#: Few enough bytes to be in a processor's cache still.
_BLOCK = 1 << 16


class LinesFile:
    """Takes lines and passes them on 64 KiB at a time, or more if more come at once."""

    def __init__(self, write: Callable[[bytes], None]) -> None:
        self._write = write
        self._lines: list[bytes] = []
        self._size = 0

    def add(self, lines: Sequence[bytes]) -> None:
        """Append lines, given without their line breaks."""
        self._lines += lines
        self._size += sum(map(len, lines))
        if self._size >= _BLOCK:
            self.flush()

    def flush(self) -> None:
        """Pass on what was gathered."""
        if self._lines:
            self._lines.append(b"")
            self._write(b"\n".join(self._lines))
            self._lines, self._size = [], 0


@contextmanager
def lines_file(sink: Sink, name: str) -> Iterator[LinesFile]:
    """A file of lines in the sink; visible once the context ends without an exception."""
    with sink.write(name) as write:
        file = LinesFile(write)
        yield file
        file.flush()
