"""Several files that count as one source, where the place of a row among all of them matters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from shared.data.ports import Source


@dataclass(frozen=True, slots=True)
class Joined:
    """`shared.data.ports.Source`: other sources, one after the other.

    `shared.data.formats.reading` reads each in its own format and numbers the rows through by their place.

    Attributes:
        name: What a person calls the whole.
        identity: Stands for the content of all.
        parts: In the order of reading.
    """

    name: str
    identity: str
    parts: Sequence[Source]

    def size(self) -> int:
        """Bytes of all parts."""
        return sum(part.size() for part in self.parts)

    def blocks(self) -> Iterator[bytes]:
        """The bytes of all parts as they lie."""
        for part in self.parts:
            yield from part.blocks()
