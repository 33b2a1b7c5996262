"""Who reads what when several nodes prepare one dataset: a contiguous share of its files each.

One node alone reads the files in a fixed order. Shares cut that order into runs, so what stands before a row in the
whole is what stands before it in its share, and everything in the shares before.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from shared.data.outputs import SPLITS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from shared.data.ports import Source

Share = tuple[tuple[str, "Source"], ...]
"""Sources in the order in which they are read, each with its split."""


def in_order(sources: Mapping[str, Sequence[Source]]) -> Share:
    """All sources in the order of reading.

    Held-out rows come first, so that a row of train is known to be one of them when it comes; the order in which a
    split's files were named does not matter.
    """
    return tuple(
        (split, source)
        for split in reversed(SPLITS)
        for source in sorted(sources.get(split, ()), key=lambda source: source.identity)
    )


def cut(sizes: Sequence[int], nodes: int) -> list[range]:
    """Contiguous shares of files, none empty, at most `nodes`; the largest is as small as can be.

    Args:
        sizes: Bytes of each file in the order of reading.
        nodes: At least 1.

    >>> cut([5, 1, 1, 1, 5], 3)
    [range(0, 1), range(1, 4), range(4, 5)]
    """
    least, most = max(sizes, default=0), sum(sizes)
    while least < most:
        middle = (least + most) // 2
        if len(_filled(sizes, middle)) <= nodes:
            most = middle
        else:
            least = middle + 1
    return _filled(sizes, least)


def _filled(sizes: Sequence[int], most: int) -> list[range]:
    """Shares of up to `most` bytes, each as full as the next file allows."""
    ends, held = [0], 0
    for number, size in enumerate(sizes):
        if number > ends[-1] and held + size > most:
            ends.append(number)
            held = 0
        held += size
    ends.append(len(sizes))
    return [range(start, end) for start, end in pairwise(ends) if end > start]
