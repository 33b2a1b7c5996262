"""Bytes as a file at the port of `shared.data`, and the rows that come of it."""

from __future__ import annotations

from shared.data.formats.reading import rows_of
from tests.memory import MemorySource


class MemoryFile(MemorySource):
    """A file in memory, read in blocks of a chosen size or anywhere; the name's ending says its format."""

    def size(self) -> int:
        return len(self.content)

    def span(self, start: int, length: int) -> bytes:
        assert 0 <= start <= start + length <= len(self.content)
        return self.content[start : start + length]


def rows(content: bytes, name: str, block: int = 1 << 16, limit: int = 1 << 20) -> list[tuple]:
    """Each row with its number: its bytes, or the reason why it is refused."""
    return [
        (some.first + place, some.refusal.reason if some.refusal else line)
        for some in rows_of(MemoryFile(content, name, block), limit=limit, count=lambda _: None)
        for place, line in enumerate(some.lines)
    ]
