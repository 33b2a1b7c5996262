"""Which rows are taken, and which split each goes to: decided by the row itself.

A row's digest is as good as a random draw, and it is the same draw whatever the order of rows and
files. So a sample of 5 % is part of the sample of 10 %, and a row never moves between train and
test when a file is added.
"""

from __future__ import annotations

from bisect import insort
from collections import defaultdict
from functools import partial
from typing import TYPE_CHECKING

import xxhash

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from shared.data.rows import Example

_WHOLE = 1 << 64


def digest_with(seed: int) -> Callable[[bytes], bytes]:
    """Gives a row's 16 bytes; with another seed others, so that another sample is taken and split differently.

    XXH3 costs a tenth of BLAKE2b, which would be the dearest step of reading a row.
    """
    return partial(xxhash.xxh3_128_digest, seed=seed)


class Sampling:
    """Takes a percentage of rows.

    Args:
        percent: Above 0, up to 100.

    Attributes:
        takes_all: Whether every row belongs to the sample.
    """

    def __init__(self, percent: float) -> None:
        self.takes_all = percent >= 100  # noqa: PLR2004
        self._below = int(percent / 100 * _WHOLE)

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
        self._held: list[Example] = []

    def deal(self, examples: Sequence[Example]) -> Iterator[tuple[str, Sequence[Example]]]:
        """Where these rows go, unless they are held back, and which held rows are free now."""
        dealt = 0
        while self._empty and dealt < len(examples):
            yield from self._deal_one(examples[dealt])
            dealt += 1
        train = self._train
        rest = examples[dealt:]
        kept = [example for example in rest if example.digest[8:] >= train]
        if kept:
            yield "train", kept
        if len(kept) < len(rest):
            carved: defaultdict[str, list[Example]] = defaultdict(list)
            for example in rest:
                if example.digest[8:] < train:
                    carved[self.split_of(example.digest)].append(example)
            yield from carved.items()

    def _deal_one(self, example: Example) -> Iterator[tuple[str, Sequence[Example]]]:
        """As `deal`, of one row, while splits are empty."""
        split = self.split_of(example.digest)
        if split == "train":
            insort(self._held, example, key=lambda held: held.digest[8:])
        else:
            self._empty.discard(split)
            yield split, (example,)
        held = len(self._empty)
        if free := self._held[held:]:
            del self._held[held:]
            yield "train", free

    def rest(self) -> Iterator[tuple[str, Sequence[Example]]]:
        """The rows held back to the end: one to each split that is still empty."""
        for split in sorted(self._empty):
            if self._held:
                yield split, (self._held.pop(0),)
        if self._held:
            yield "train", self._held
        self._held = []

    def split_of(self, digest: bytes) -> str:
        """The split that the digest draws: a carved one, or train."""
        place = digest[8:]
        if place < self._train:  # as few are
            for bound, split in self._bounds:
                if place < bound:
                    return split
        return "train"
