"""Which rows are taken, and which split each goes to: decided by the row itself.

A row's digest is as good as a random draw, and it is the same draw whatever the order of rows and
files. So a sample of 5 % is part of the sample of 10 %, and a row never moves between train and
test when a file is added.
"""

from __future__ import annotations

from bisect import insort
from functools import partial
from typing import TYPE_CHECKING

import xxhash

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from shared.data.rows import Example

_WHOLE = 1 << 64


class Sampling:
    """Takes a percentage of rows.

    Args:
        percent: Above 0, up to 100.
        seed: Another seed takes another sample and splits differently.

    Attributes:
        digest: Gives a row's 16 bytes. XXH3 costs a tenth of BLAKE2b, which would be the dearest step
            of reading a row.
        takes_all: Whether every row belongs to the sample.
    """

    def __init__(self, percent: float, seed: int) -> None:
        self.takes_all = percent >= 100  # noqa: PLR2004
        self._below = int(percent / 100 * _WHOLE)
        self.digest: Callable[[bytes], bytes] = partial(xxhash.xxh3_128_digest, seed=seed)

    def takes(self, digest: bytes) -> bool:
        """Whether the row belongs to the sample: by the digest's first half."""
        return self.takes_all or int.from_bytes(digest[:8]) < self._below


class Carving:
    """Deals rows of train out to the splits that the dataset does not have.

    The component refuses an empty file, so each carved split gets at least one row: while one is
    still empty, as many of train's rows as may be needed, those nearest to being carved, are held
    back. `rest` deals them out at the end.

    Args:
        fractions: For each missing split the share of train's rows that it gets; below 1 together.
        settled: Whether rows that were dealt elsewhere gave each of them one already.
    """

    def __init__(self, fractions: Mapping[str, float], *, settled: bool = False) -> None:
        self._bounds: list[tuple[bytes, str]] = []
        share = 0.0
        for split, fraction in fractions.items():
            share += fraction
            self._bounds.append((int(share * _WHOLE).to_bytes(8), split))
        self._train = self._bounds[-1][0]
        self._empty = set() if settled else set(fractions)
        self._held: list[tuple[bytes, Example]] = []

    @property
    def settled(self) -> bool:
        """Whether each carved split has a row, so that none is held back: `split_of` says all from here on."""
        return not self._empty

    def deal(self, digest: bytes, example: Example) -> Iterator[tuple[str, Example]]:
        """Where this row goes, unless it is held back, and which held rows are free now."""
        split = self.split_of(digest)
        if split != "train":
            self._empty.discard(split)
            yield split, example
        if self._empty:
            if split == "train":
                insort(self._held, (digest[8:], example), key=lambda held: held[0])
            while len(self._held) > len(self._empty):
                yield "train", self._held.pop()[1]
        else:
            if split == "train":
                yield "train", example
            for _, held in self._held:
                yield "train", held
            self._held.clear()

    def rest(self) -> Iterator[tuple[str, Example]]:
        """The rows held back to the end: one to each split that is still empty."""
        for split in sorted(self._empty):
            if self._held:
                yield split, self._held.pop(0)[1]
        for _, example in self._held:
            yield "train", example
        self._held.clear()

    def split_of(self, digest: bytes) -> str:
        """The split that the digest draws: a carved one, or train."""
        place = digest[8:]
        if place < self._train:  # as few are
            for bound, split in self._bounds:
                if place < bound:
                    return split
        return "train"
