"""What became of the rows: the counts of `report.json`.

Counts of parts of a dataset add up: the sum of two reports is the report of both parts together, in
whatever order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping

ROLES: Final = ("system", "user", "assistant", "tool")


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

    @property
    def names(self) -> list[str]:
        """What a person calls the sources: their identities without the versions."""
        return [source.rpartition("#")[0] or source for source in self.sources]

    def __add__(self, other: InputReport) -> InputReport:
        """What was read for both."""
        return InputReport(
            sources=[*self.sources, *other.sources],
            bytes=self.bytes + other.bytes,
            rows=self.rows + other.rows,
            blank=self.blank + other.blank,
            not_selected=self.not_selected + other.not_selected,
            dropped=most_frequent_first(_summed(self.dropped, other.dropped)),
        )


class SplitReport(msgspec.Struct, frozen=True, kw_only=True):
    """What was written for one split.

    Attributes:
        rows: Examples in the file.
        bytes: The file's length.
        turns: Messages in all; `roles` has them by role.
        turns_histogram: Examples by messages, in bins (see `bin_of`).
        roles: Messages of each role that occurs.
        characters: Code points of content.
        characters_histogram: Examples by code points of content, in bins.
        tokens: An estimate without the model's tokenizer: bytes of content / 4 + 4 for each
            message.
        histogram: Examples by estimated tokens, in bins.
        longest: The longest example's estimate of tokens.
        truncated: Examples estimated longer than `max_seq_length`, which the component will cut;
            null without one.
        cut_tokens: How many of `tokens` the component will cut off there; 0 without a limit.
        trimmed: Examples whose unanswered last turns were cut off.
        with_tools: Examples that give tools.
    """

    rows: int
    bytes: int
    turns: int
    turns_histogram: dict[str, int]
    roles: dict[str, int]
    characters: int
    characters_histogram: dict[str, int]
    tokens: int
    histogram: dict[str, int]
    longest: int
    truncated: int | None
    cut_tokens: int
    trimmed: int
    with_tools: int

    @property
    def trained_tokens(self) -> int:
        """What an epoch over the split takes: its tokens without those that will be cut off."""
        return self.tokens - self.cut_tokens

    def __add__(self, other: SplitReport) -> SplitReport:
        """What was written for both, under the same options."""
        limited = self.truncated is not None or other.truncated is not None
        return SplitReport(
            rows=self.rows + other.rows,
            bytes=self.bytes + other.bytes,
            turns=self.turns + other.turns,
            turns_histogram=_in_order(_summed(self.turns_histogram, other.turns_histogram)),
            roles=by_role(_summed(self.roles, other.roles)),
            characters=self.characters + other.characters,
            characters_histogram=_in_order(
                _summed(self.characters_histogram, other.characters_histogram)
            ),
            tokens=self.tokens + other.tokens,
            histogram=_in_order(_summed(self.histogram, other.histogram)),
            longest=max(self.longest, other.longest),
            truncated=(self.truncated or 0) + (other.truncated or 0) if limited else None,
            cut_tokens=self.cut_tokens + other.cut_tokens,
            trimmed=self.trimmed + other.trimmed,
            with_tools=self.with_tools + other.with_tools,
        )


class FoundProblem(msgspec.Struct, frozen=True):
    """A `shared.errors.Problem` as the report keeps it."""

    place: str
    reason: str
    mend: str


class RefusedRow(msgspec.Struct, frozen=True):
    """One of the first refused rows of a reason: where it stands, and what is wrong there."""

    place: str
    detail: str


class ShownMessage(msgspec.Struct, frozen=True):
    """A message of an example, its text cut if it is long."""

    role: str
    content: str


class ShownRow(msgspec.Struct, frozen=True):
    """An example to look at: its first messages, and how many more there are."""

    messages: list[ShownMessage]
    more: int = 0


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The content of `report.json`, written last: where it is, the preparation is complete.

    Attributes:
        fingerprint: Of sources, options and this code's version.
        version: This code's version of what it writes.
        options: As given.
        inputs: By the split that the sources were named for.
        splits: By the split that was written.
        dropped: Refused rows by reason, over all inputs.
        refused: The first few refused rows of each reason.
        complete: False if reading stopped early, since nearly everything was refused.
        problems: Why the data is not fit to train on; empty if it is.
        examples: A few rows of train, cut short.
        seconds: How long it took, which is the one thing here that differs between two
            preparations of the same.
    """

    fingerprint: str
    version: int
    options: dict[str, Any]
    inputs: dict[str, InputReport]
    splits: dict[str, SplitReport]
    dropped: dict[str, int]
    refused: dict[str, list[RefusedRow]]
    complete: bool
    problems: list[FoundProblem]
    examples: list[ShownRow]
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


def bin_of(value: int) -> int:
    """The upper bound of the histogram's bin that a positive number falls in.

    Up to 8 each number has a bin of its own; then four bins, equally wide, lead from each power of two
    to the next, so that a bin is never wider than a quarter of what it holds.

    >>> [bin_of(value) for value in (1, 8, 9, 10, 11, 1025, 2048)]
    [1, 8, 10, 10, 12, 1280, 2048]
    """
    shift = value.bit_length() - 3
    return value if shift <= 0 else -(-value >> shift) << shift


def most_frequent_first(counts: Mapping[Any, int]) -> dict[str, int]:
    """Counts by the reason's code, the most frequent first."""
    return {str(key): counts[key] for key in sorted(counts, key=lambda key: (-counts[key], key))}


def by_role(counts: Mapping[str, int]) -> dict[str, int]:
    """Counts of the roles that occur, in one order whichever of them came first."""
    return {role: counts[role] for role in ROLES if counts.get(role)}


def _in_order(histogram: Mapping[str, int]) -> dict[str, int]:
    return {bound: histogram[bound] for bound in sorted(histogram, key=int)}


def _summed(left: Mapping[str, int], right: Mapping[str, int]) -> dict[str, int]:
    """Counts by key."""
    return {key: left.get(key, 0) + right.get(key, 0) for key in [*left, *right]}
