"""Counting while rows are read and written."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeVar

from shared.data.report import InputReport, SplitReport, bin_of, by_role, most_frequent_first

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from shared.data.reasons import Reason
    from shared.data.rows import Example
    from shared.data.turns import Turns

_Chunk = TypeVar("_Chunk")

_MOST: Final = 1 << 15
"""Examples that are noted before figures are made of them: ten megabytes at worst."""


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


class Meter:
    """Bytes read for the chunks that were taken, however far reading runs ahead of taking."""

    def __init__(self) -> None:
        self._read = self._told = 0
        self._ahead: deque[int] = deque()

    def count(self, size: int) -> None:
        """Bytes were read, for the chunk that comes next."""
        self._read += size

    def passing(self, chunks: Iterable[_Chunk]) -> Iterator[_Chunk]:
        """The same chunks."""
        for chunk in chunks:
            self._ahead.append(self.rest())
            yield chunk

    def take(self) -> int:
        """Bytes that were read for the next chunk to be taken."""
        return self._ahead.popleft()

    def rest(self) -> int:
        """Bytes that were read since the last chunk."""
        read = self._read  # which another thread may be adding to
        since, self._told = read - self._told, read
        return since


class SplitTally:
    """Counts while one split is written.

    What is known of each example is noted; figures are made of many at once.

    Args:
        limit: `max_seq_length`, if there is one.
    """

    def __init__(self, limit: int | None) -> None:
        self._limit = limit
        self._before: SplitReport | None = None
        self._begin()

    def _begin(self) -> None:
        self._bytes = 0
        self._turns: list[Turns] = []
        self._characters: list[int] = []
        self._tokens: list[int] = []

    def add(self, examples: Sequence[Example]) -> None:
        """Count examples."""
        self._bytes += sum([len(example.line) for example in examples]) + len(examples)
        self._turns += [example.turns for example in examples]
        self._characters += [example.characters for example in examples]
        self._tokens += [example.tokens for example in examples]
        if len(self._turns) >= _MOST:
            self._before = self.report()
            self._begin()

    def report(self) -> SplitReport:
        """The counts so far."""
        lately = self._report()
        return lately if self._before is None else self._before + lately

    def _report(self) -> SplitReport:
        patterns = Counter(self._turns).items()
        roles = {
            "system": sum(turns.system * count for turns, count in patterns),
            "user": sum(turns.user * count for turns, count in patterns),
            "assistant": sum(turns.assistant * count for turns, count in patterns),
            "tool": sum(turns.tool * count for turns, count in patterns),
        }
        limit = self._limit
        cut = (
            [] if limit is None else [tokens - limit for tokens in self._tokens if tokens > limit]
        )
        return SplitReport(
            rows=len(self._turns),
            bytes=self._bytes,
            turns=sum(roles.values()),
            turns_histogram=_binned(turns.kept for turns in self._turns),
            roles=by_role(roles),
            characters=sum(self._characters),
            characters_histogram=_binned(self._characters),
            tokens=sum(self._tokens),
            histogram=_binned(self._tokens),
            longest=max(self._tokens, default=0),
            truncated=None if limit is None else len(cut),
            cut_tokens=sum(cut),
            trimmed=sum(count for turns, count in patterns if turns.trimmed),
            with_tools=sum(count for turns, count in patterns if turns.tools),
        )


def _binned(values: Iterable[int]) -> dict[str, int]:
    bins: Counter[int] = Counter()
    for value, count in Counter(values).items():
        bins[bin_of(value)] += count
    return {str(bound): bins[bound] for bound in sorted(bins)}
