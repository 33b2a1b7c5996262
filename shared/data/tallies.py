"""Counting while rows are read and written, at the price of a few look-ups a row."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from shared.data.report import InputReport, SplitReport, bin_of, most_frequent_first

if TYPE_CHECKING:
    from collections.abc import Mapping

    from shared.data.reasons import Reason
    from shared.data.rows import Example
    from shared.data.turns import Turns

_MOST: Final = 1 << 15
"""Examples whose lengths are kept apart; some megabytes at worst."""


@dataclass(slots=True)
class InputTally:
    """Counts while one split's sources are read."""

    sources: list[str] = field(default_factory=list)
    bytes: int = 0
    rows: int = 0
    blank: int = 0
    not_selected: int = 0
    dropped: Counter[Reason] = field(default_factory=Counter)

    def count_bytes(self, size: int) -> None:
        """Add bytes that were read."""
        self.bytes += size

    def report(self) -> InputReport:
        """The counts so far."""
        return InputReport(
            sources=self.sources,
            bytes=self.bytes,
            rows=self.rows,
            blank=self.blank,
            not_selected=self.not_selected,
            dropped=most_frequent_first(self.dropped),
        )


class SplitTally:
    """Counts while one split is written.

    How often each pattern of turns and each length occurs is counted; figures are made of that from time to time.

    Args:
        limit: `max_seq_length`, if there is one.
    """

    def __init__(self, limit: int | None) -> None:
        self._limit = limit
        self._before: SplitReport | None = None
        self._begin()

    def _begin(self) -> None:
        self._rows = 0
        self._bytes = 0
        self._turns: dict[Turns, int] = defaultdict(int)
        self._characters: dict[int, int] = defaultdict(int)
        self._tokens: dict[int, int] = defaultdict(int)

    def add(self, example: Example) -> None:
        """Count one example."""
        if self._rows == _MOST:
            self._before = self.report()
            self._begin()
        self._rows += 1
        self._bytes += len(example.line) + 1
        self._turns[example.turns] += 1
        self._characters[example.characters] += 1
        self._tokens[example.tokens] += 1

    def report(self) -> SplitReport:
        """The counts so far."""
        lately = self._report()
        return lately if self._before is None else self._before + lately

    def _report(self) -> SplitReport:
        patterns = self._turns.items()
        roles = {
            "system": sum(turns.system * count for turns, count in patterns),
            "user": sum(turns.user * count for turns, count in patterns),
            "assistant": sum(turns.assistant * count for turns, count in patterns),
            "tool": sum(turns.tool * count for turns, count in patterns),
        }
        limit = self._limit
        cut = {} if limit is None else {n: c for n, c in self._tokens.items() if n > limit}
        by_turns: Counter[int] = Counter()
        for turns, count in patterns:
            by_turns[turns.kept] += count
        return SplitReport(
            rows=self._rows,
            bytes=self._bytes,
            turns=sum(roles.values()),
            turns_histogram=_binned(by_turns),
            roles={role: count for role, count in roles.items() if count},
            characters=_total(self._characters),
            characters_histogram=_binned(self._characters),
            tokens=_total(self._tokens),
            histogram=_binned(self._tokens),
            longest=max(self._tokens, default=0),
            truncated=None if limit is None else sum(cut.values()),
            cut_tokens=_total(cut) - (limit or 0) * sum(cut.values()),
            trimmed=sum(count for turns, count in patterns if turns.trimmed),
            with_tools=sum(count for turns, count in patterns if turns.tools),
        )


def _total(counts: Mapping[int, int]) -> int:
    """The sum of all values, each as often as it was counted."""
    return sum(value * count for value, count in counts.items())


def _binned(counts: Mapping[int, int]) -> dict[str, int]:
    bins: Counter[int] = Counter()
    for value, count in counts.items():
        bins[bin_of(value)] += count
    return {str(bound): bins[bound] for bound in sorted(bins)}
