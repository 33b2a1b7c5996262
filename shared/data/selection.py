"""The one pass over all rows: each is judged, sampled, looked up among those seen, and sent on."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from shared.data.formats.reading import place_of, rows_of
from shared.data.reasons import Reason, Refusal
from shared.data.report import InputTally
from shared.data.rows import Example, Reader
from shared.data.splitting import DigestSet, Sampling
from shared.data.verdict import FirstExamples

if TYPE_CHECKING:
    from collections.abc import Callable

    from shared.data.options import Options
    from shared.data.outputs import Outputs
    from shared.data.ports import Source

#: Seconds between two calls of `on_progress`, and refused rows between two looks at the clock.
_PACE = 1.0
_REFUSALS_A_LOOK = 1024
#: Data of which more than half is refused is not read to its end once this many rows were: the end
#: might be far.
PATIENCE = 100_000
_HOPELESS = 0.5


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


class Selection:
    """Reads sources, one after the other, into outputs.

    Attributes:
        inputs: Counts of what was read, by split.
        hopeless: Whether so much was refused that reading on has no use.
        first_examples: The first refused rows of each reason.
    """

    def __init__(
        self, outputs: Outputs, options: Options, on_progress: Callable[[Progress], None]
    ) -> None:
        self._outputs = outputs
        self._options = options
        self._on_progress = on_progress
        self._next_look = 0.0
        self._read_row = Reader().read
        self._sampling = Sampling(options.percent, options.seed)
        self._seen: dict[str, DigestSet] = {}
        self._dropped = 0
        self.inputs: dict[str, InputTally] = {}
        self.hopeless = False
        self.first_examples = FirstExamples()

    def read(self, split: str, source: Source) -> None:
        """Take in one source; stops as soon as the data is hopeless.

        Splits are read one after the other: a row that a split read before has is a leak.
        """
        tally = self.inputs.setdefault(split, InputTally())
        tally.sources.append(source.identity)
        self._seen.setdefault(split, DigestSet())
        self._look(split, source.name, at_once=True)
        for some in rows_of(source, limit=self._options.max_row_bytes, count=tally.count_bytes):
            if some.refusal is not None:
                tally.rows += 1
                self._invalid(split, source.name, some.first, some.lines[0], some.refusal)
            else:
                self._take(split, source.name, some.first, some.lines)
            if self.hopeless:
                return
            self._look(split, source.name)
        self._look(split, source.name, at_once=True)

    def _take(self, split: str, source: str, first: int, lines: list[bytes]) -> None:
        tally, seen = self.inputs[split], self._seen[split]
        held_out = [(other, known) for other, known in self._seen.items() if known is not seen]
        read, digest_of, takes, place = (
            self._read_row,
            self._sampling.digest,
            self._sampling.takes,
            self._outputs.place,
        )
        for number, line in enumerate(lines, first):
            verdict = read(line)
            if verdict is None:
                tally.blank += 1
                continue
            tally.rows += 1
            if isinstance(verdict, Example):
                digest = digest_of(verdict.line)
                if not takes(digest):
                    tally.not_selected += 1
                elif leaks := [other for other, known in held_out if digest in known]:
                    self._refuse(
                        split, source, number, line, Refusal(Reason.LEAK, f"also in {leaks[0]}")
                    )
                elif seen.add(digest):
                    place(split, digest, verdict)
                else:
                    same = Refusal(Reason.DUPLICATE, "the same conversation as a row before")
                    self._refuse(split, source, number, line, same)
            else:
                self._invalid(split, source, number, line, verdict)
            if self.hopeless:
                return

    def _invalid(
        self, split: str, source: str, number: int, line: bytes, refusal: Refusal
    ) -> None:
        """Refuse a row that is no example, if it belongs to the sample by its raw bytes."""
        if self._sampling.takes(self._sampling.digest(line)):
            self._refuse(split, source, number, line, refusal)
        else:
            self.inputs[split].not_selected += 1

    def _refuse(self, split: str, source: str, number: int, line: bytes, refusal: Refusal) -> None:
        tally = self.inputs[split]
        tally.dropped[refusal.reason] += 1
        self._dropped += 1
        self._outputs.drop(split, source, number, line, refusal)
        self.first_examples.add(refusal.reason, place_of(source, number), refusal.detail)
        if self._dropped % _REFUSALS_A_LOOK == 0:
            self._look(split, source)
            if self._dropped >= PATIENCE:
                bearable = max(_HOPELESS, self._options.max_dropped_fraction)
                rows = sum(given.rows - given.not_selected for given in self.inputs.values())
                self.hopeless = self._dropped > bearable * rows

    def _look(self, split: str, source: str, *, at_once: bool = False) -> None:
        """Tell how far we are, if the last time is a while ago."""
        now = time.monotonic()
        if not at_once and now < self._next_look:
            return
        self._next_look = now + _PACE
        given = self.inputs.values()
        rows, size = sum(tally.rows for tally in given), sum(tally.bytes for tally in given)
        self._on_progress(Progress(split, source, rows, size, self._dropped))
