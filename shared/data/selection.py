"""The one pass over all rows: each is judged, sampled, looked up among those seen, and sent on."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from shared.data.first_rows import extent_of, first_rows
from shared.data.formats.reading import rows_of, unit_of
from shared.data.judging.verdicts import refused
from shared.data.lines import portions
from shared.data.reasons import Reason, Refusal
from shared.data.rows import Example
from shared.data.splitting import Sampling
from shared.data.tallies import InputTally, Meter
from shared.data.verdict import FirstExamples

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from shared.data.judging.judges import Judges
    from shared.data.judging.verdicts import Refused, Verdict
    from shared.data.lines import Lines, Parsed
    from shared.data.options import Options
    from shared.data.ports import Source
    from shared.data.seen import DigestSet

#: Seconds between two calls of `on_progress`, and refused rows between two looks at the clock.
_PACE = 1.0
_REFUSALS_A_LOOK = 1024
#: Data of which more than half is refused is not read to its end once this many rows were: the end
#: might be far.
PATIENCE = 100_000
_HOPELESS = 0.5
#: Rows between two notes of the course: few beside those that are patiently read, and many for a note to be kept.
_ROWS_A_NOTE = 4096
_ORDER = ("test", "validation", "train")


def mark_of(split: str) -> int:
    """What a row of this split is remembered with."""
    return _ORDER.index(split) + 1


def bearable(options: Options) -> float:
    """The share of refused rows up to which reading on has a use."""
    return max(_HOPELESS, options.max_dropped_fraction)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a preparation is.

    Attributes:
        split: What is being read: test, validation or train.
        source: The name of the source that is being read.
        rows: Read so far, over all sources.
        bytes: Read so far, over all sources.
        dropped: Refused so far.
    """

    split: str
    source: str
    rows: int
    bytes: int
    dropped: int


class Taker(Protocol):
    """Where selected rows go: `shared.data.outputs.Outputs`, or whoever only counts them."""

    def place(self, split: str, examples: Sequence[Example]) -> None:
        """Take examples that are new, in their order."""

    def drop(self, split: str, source: str, number: int, row: Refused) -> None:
        """Take a refused row."""


class Selection:
    """Reads sources, one after the other, into outputs.

    Args:
        outputs: Where rows go.
        options: How the dataset is prepared.
        judges: Judge the rows.
        seen: Remembers the rows; has those that were read before, each with the `mark_of` its split.
        on_progress: Told how far it is.
        gives_up: Whether to stop at data that is hopeless, or only to note its course.

    Attributes:
        inputs: Counts of what was read, by split.
        hopeless: Whether so much was refused that reading on has no use.
        first_examples: The first refused rows of each reason.
        course: Rows refused and rows asked for so far, noted every few thousand rows and after each source, unless
            it gives up.
    """

    def __init__(
        self,
        outputs: Taker,
        options: Options,
        judges: Judges,
        seen: DigestSet,
        on_progress: Callable[[Progress], None],
        *,
        gives_up: bool = True,
    ) -> None:
        self._outputs = outputs
        self._options = options
        self._judges = judges
        self._seen = seen
        self._on_progress = on_progress
        self._next_look = 0.0
        self._gives_up = gives_up
        self._first = options.sampling == "first" and options.percent < 100  # noqa: PLR2004
        self._sampling = Sampling(100 if self._first else options.percent)
        self._dropped = 0
        self._unit = "line"
        self.inputs: dict[str, InputTally] = {}
        self.hopeless = False
        self.first_examples = FirstExamples()
        self.course: list[tuple[int, int]] = []

    def read(self, split: str, source: Source) -> None:
        """Take in one source; stops as soon as the data is hopeless.

        Splits are read one after the other: a row that a split read before has is a leak.
        """
        tally = self.inputs.setdefault(split, InputTally())
        tally.sources.append(source.identity)
        self._unit = unit_of(source)
        self._look(split, source.name, at_once=True)
        if self._first:
            self._read_first(split, source, tally)
        else:
            meter = Meter()
            self._take_all(split, source, meter.passing(self._lines(source, meter.count)), meter)
        if not self._gives_up:
            self.course.append((self._dropped, self._asked()))
        self._look(split, source.name, at_once=True)

    def _lines(self, source: Source, count: Callable[[int], None]) -> Iterator[Lines | Parsed]:
        chunks = rows_of(
            source,
            limit=self._options.max_row_bytes,
            count=count,
            columns=self._judges.columns_among,
        )
        return portions(chunks, more=len((self._options.system or "").encode()))

    def _read_first(self, split: str, source: Source, tally: InputTally) -> None:
        """Take the first rows of a source; all of it is counted as read, once."""
        rows, blank = tally.rows, tally.blank
        extent = extent_of(self._watched(split, source, self._lines(source, tally.count_bytes)))
        share = extent.share(self._options.percent)
        self._take_all(split, source, first_rows(self._lines(source, _uncounted), share))
        if not self.hopeless:
            tally.rows, tally.blank = rows + extent.rows, blank + extent.blank
            tally.not_selected += extent.rows - share

    def _watched(
        self, split: str, source: Source, chunks: Iterable[Lines | Parsed]
    ) -> Iterator[Lines | Parsed]:
        for chunk in chunks:
            yield chunk
            self._look(split, source.name)

    def _take_all(
        self,
        split: str,
        source: Source,
        chunks: Iterable[Lines | Parsed],
        meter: Meter | None = None,
    ) -> None:
        tally = self.inputs[split]
        with closing(self._judges.verdicts(chunks)) as judged:
            for chunk, verdicts in judged:
                if meter is not None:
                    tally.count_bytes(meter.take())
                self._take(split, source.name, chunk, verdicts)
                if self.hopeless:
                    return
                if not self._gives_up:
                    self._note()
                self._look(split, source.name)
        if meter is not None:
            tally.count_bytes(meter.rest())

    def _note(self) -> None:
        """Note the course, if the last time is some rows ago: a chunk may be one row."""
        asked = self._asked()
        if asked - (self.course[-1][1] if self.course else 0) >= _ROWS_A_NOTE:
            self.course.append((self._dropped, asked))

    def _take(
        self, split: str, source: str, chunk: Lines | Parsed, verdicts: Sequence[Verdict]
    ) -> None:
        tally, mark = self.inputs[split], mark_of(split)
        takes_all, takes, add = self._sampling.takes_all, self._sampling.takes, self._seen.add
        new: list[Example] = []
        for number, verdict in enumerate(verdicts, chunk.first):
            if verdict is None:
                tally.blank += 1
                continue
            tally.rows += 1
            if not (takes_all or takes(verdict.digest)):
                tally.not_selected += 1
                continue
            if isinstance(verdict, Example):
                known = add(verdict.digest, mark)
                if not known:
                    new.append(verdict)
                    continue
                again = _seen_in(_ORDER[known - 1], split)
                self._refuse(split, source, number, refused(chunk.line(number), again))
            else:
                self._refuse(split, source, number, verdict)
            if self.hopeless:
                break
        self._outputs.place(split, new)

    def _refuse(self, split: str, source: str, number: int, row: Refused) -> None:
        tally = self.inputs[split]
        tally.dropped[row.reason] += 1
        self._dropped += 1
        self._outputs.drop(split, source, number, row)
        place = f"{source} {self._unit} {number}"
        self.first_examples.add(row.reason, place, row.detail)
        if self._dropped % _REFUSALS_A_LOOK == 0:
            self._look(split, source)
            if self._gives_up and self._dropped >= PATIENCE:
                self.hopeless = self._dropped > bearable(self._options) * self._asked()

    def _asked(self) -> int:
        """Rows read that belong to the sample."""
        return sum(given.rows - given.not_selected for given in self.inputs.values())

    def _look(self, split: str, source: str, *, at_once: bool = False) -> None:
        """Tell how far we are, if the last time is a while ago."""
        now = time.monotonic()
        if not at_once and now < self._next_look:
            return
        self._next_look = now + _PACE
        given = self.inputs.values()
        rows, size = sum(tally.rows for tally in given), sum(tally.bytes for tally in given)
        self._on_progress(Progress(split, source, rows, size, self._dropped))


def _seen_in(other: str, split: str) -> Refusal:
    if other == split:
        return Refusal(Reason.DUPLICATE, "the same conversation as a row before")
    return Refusal(Reason.LEAK, f"also in {other}")


def _uncounted(_: int) -> None:
    """For bytes that are read a second time."""
