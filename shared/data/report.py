"""What became of the rows: the counts of `report.json`, and how they are gathered."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from shared.data.reasons import Reason
    from shared.data.rows import Example


class InputReport(msgspec.Struct, frozen=True, kw_only=True):
    """What was read for one split.

    Attributes:
        sources: Their identities, in the order read.
        bytes: Read in all, of packed files as they are.
        rows: Lines that are not blank, or what the format has in their place. `rows` = rows written
            from here + `not_selected` + all of `dropped`.
        blank: Blank lines; not counted as rows.
        not_selected: Rows outside of the sample that `percent` asks for.
        dropped: Refused rows by reason.
    """

    sources: list[str]
    bytes: int
    rows: int
    blank: int
    not_selected: int
    dropped: dict[str, int]


class SplitReport(msgspec.Struct, frozen=True, kw_only=True):
    """What was written for one split.

    Attributes:
        rows: Examples in the file.
        bytes: The file's length.
        turns: Messages in all; `roles` has them by role.
        roles: Messages of each role that occurs.
        characters: Code points of content.
        tokens: An estimate without the model's tokenizer: bytes of content / 4 + 4 for each
            message.
        histogram: Examples by estimated tokens: each key is an upper bound (a power of two), its
            lower bound the key before.
        longest: The longest example's estimate of tokens.
        truncated: Examples estimated longer than `max_seq_length`, which the component will cut;
            null without one.
        trimmed: Examples whose unanswered last turns were cut off.
        with_tools: Examples that give tools.
    """

    rows: int
    bytes: int
    turns: int
    roles: dict[str, int]
    characters: int
    tokens: int
    histogram: dict[str, int]
    longest: int
    truncated: int | None
    trimmed: int
    with_tools: int


class FoundProblem(msgspec.Struct, frozen=True):
    """A `shared.errors.Problem` as the report keeps it."""

    place: str
    reason: str
    mend: str


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The content of `report.json`, written last: where it is, the preparation is complete.

    Attributes:
        fingerprint: Of sources, options and this code's version.
        version: This code's version of what it writes.
        options: As given.
        inputs: By the split that the sources were named for.
        splits: By the split that was written.
        dropped: Refused rows by reason, over all inputs.
        complete: False if reading stopped early, since nearly everything was refused.
        problems: Why the data is not fit to train on; empty if it is.
        examples: A few rows of train, long texts cut.
        seconds: How long it took, which is the one thing here that differs between two
            preparations of the same.
    """

    fingerprint: str
    version: int
    options: dict[str, Any]
    inputs: dict[str, InputReport]
    splits: dict[str, SplitReport]
    dropped: dict[str, int]
    complete: bool
    problems: list[FoundProblem]
    examples: list[Any]
    seconds: float

    @property
    def rows_read(self) -> int:
        """Rows in all inputs, blank lines not counted."""
        return sum(given.rows for given in self.inputs.values())

    @property
    def rows_dropped(self) -> int:
        """Refused rows in all inputs."""
        return sum(self.dropped.values())

    @property
    def rows_sampled(self) -> int:
        """Rows that were asked for: read, less those outside of the sample."""
        return self.rows_read - sum(given.not_selected for given in self.inputs.values())


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
            dropped=by_reason(self.dropped),
        )


@dataclass(slots=True)
class SplitTally:
    """Counts while one split is written.

    Attributes:
        limit: `max_seq_length`, if there is one.
    """

    limit: int | None
    rows: int = 0
    bytes: int = 0
    system: int = 0
    user: int = 0
    assistant: int = 0
    tool: int = 0
    characters: int = 0
    tokens: int = 0
    longest: int = 0
    truncated: int = 0
    trimmed: int = 0
    with_tools: int = 0
    powers: list[int] = field(default_factory=lambda: [0] * 64)

    def add(self, example: Example) -> None:
        """Count one example."""
        turns, tokens = example.turns, example.tokens
        self.rows += 1
        self.bytes += len(example.line) + 1
        self.system += turns.system
        self.user += turns.user
        self.assistant += turns.assistant
        self.tool += turns.tool
        self.characters += example.characters
        self.tokens += tokens
        self.powers[(tokens - 1).bit_length()] += 1
        self.longest = max(self.longest, tokens)
        if self.limit is not None and tokens > self.limit:
            self.truncated += 1
        self.trimmed += turns.trimmed
        self.with_tools += example.tools

    def report(self) -> SplitReport:
        """The counts so far."""
        roles = {
            "system": self.system,
            "user": self.user,
            "assistant": self.assistant,
            "tool": self.tool,
        }
        return SplitReport(
            rows=self.rows,
            bytes=self.bytes,
            turns=sum(roles.values()),
            roles={role: count for role, count in roles.items() if count},
            characters=self.characters,
            tokens=self.tokens,
            histogram={str(1 << power): count for power, count in enumerate(self.powers) if count},
            longest=self.longest,
            truncated=self.truncated if self.limit is not None else None,
            trimmed=self.trimmed,
            with_tools=self.with_tools,
        )


def by_reason(counts: Counter[Reason]) -> dict[str, int]:
    """Counts by the reason's code, the most frequent first."""
    return {
        reason.value: count
        for reason, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    }
