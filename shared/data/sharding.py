"""One dataset prepared by several nodes, byte for byte as one node alone prepares it.

Each node reads a contiguous share of the files, twice. The first pass writes the digests of the share's rows; when
all have done that, each knows which of its rows stand in an earlier share or in a split held out, and the second pass
writes the share's part of every file. Rank 0 then joins the parts in the order of the shares and writes the report,
last. What a node leaves behind before that lies in a folder of the job and looks like nothing finished.

Two things depend on more than a row and its digest, and are kept exact by not sharing them:

- A split that is carved from train must get a row. While one is still empty, rows are held back, so the shares of
  train up to the one in which the last of them gets its first row are written by one node.
- Data of which nearly everything is refused is given up early. If that might have happened, rank 0 reads alone.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from functools import reduce
from itertools import chain
from operator import add
from typing import TYPE_CHECKING

import msgspec

from shared.data.digests import DigestFile, DigestTaker, among, digests_in, settles
from shared.data.judging.judges import Judges
from shared.data.outputs import DROPPED_FILE, SPLITS, Outputs, carving
from shared.data.prepare import Findings, alone, carved_from_train, conclude, finished
from shared.data.prompts import MOST_PROMPTS, PROMPTS_FILE
from shared.data.reasons import Reason
from shared.data.report import InputReport, ShownRow, SplitReport
from shared.data.seen import DigestSet
from shared.data.selection import PATIENCE, Selection, bearable, mark_of
from shared.data.verdict import FirstExamples
from shared.data.writing import LinesFile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from shared.data.options import Options
    from shared.data.ports import PartSink, Source
    from shared.data.report import Report
    from shared.data.selection import Progress
    from shared.data.shares import Share

_JOINED = {split: f"{split}.jsonl" for split in SPLITS} | {"dropped": DROPPED_FILE}
_SHOWN = 3


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """What a node's second pass leaves for rank 0.

    Attributes:
        receipts: The node's part of each file, as `PartSink.join` takes it.
        prompts: Its lines of `prompts.jsonl`.
        inputs: What was read, by split.
        splits: What was written, by split.
        refused: The first refused rows of each reason: place and detail.
        shown: The first few examples of train.
        course: Rows refused and rows read so far, noted every few thousand rows.
    """

    receipts: dict[str, list[str]]
    prompts: bytes
    inputs: dict[str, InputReport]
    splits: dict[str, SplitReport]
    refused: dict[str, list[tuple[str, str]]]
    shown: list[ShownRow]
    course: list[tuple[int, int]]

    @property
    def dropped(self) -> int:
        """Rows refused."""
        return self.course[-1][0] if self.course else 0

    @property
    def rows(self) -> int:
        """Rows read that were asked for."""
        return self.course[-1][1] if self.course else 0


class ShardedPreparation:
    """The two passes and the joining, each to be called when the one before is done everywhere.

    Args:
        sources: By split, as for `prepare`.
        shares: The sources in the order of reading, cut into one share for each node.
        sink: The folder that belongs to the fingerprint.
        options: How the dataset is prepared.
        key: The fingerprint.
        folder: The job's own folder in the sink; another one for another job or number of shares.
        on_progress: Told how far this node is.
    """

    def __init__(
        self,
        sources: Mapping[str, Sequence[Source]],
        shares: Sequence[Share],
        sink: PartSink,
        options: Options,
        *,
        key: str,
        folder: str,
        on_progress: Callable[[Progress], None],
    ) -> None:
        self._sources = sources
        self._shares = shares
        self._sink = sink
        self._options = options
        self._key = key
        self._folder = folder
        self._on_progress = on_progress
        self._carved = carved_from_train(sources)
        self._started = time.monotonic()

    @property
    def nodes(self) -> int:
        """How many nodes have a share."""
        return len(self._shares)

    def has_read(self, rank: int) -> bool:
        """Whether the node's first pass is done."""
        return self._sink.exists(self._name(rank, "read"))

    def has_written(self, rank: int) -> bool:
        """Whether the node's second pass is done."""
        return self._sink.exists(self._name(rank, "part.json"))

    def read(self, rank: int) -> None:
        """The first pass; one that is done already is not done again."""
        if self.has_read(rank):
            return
        with ExitStack() as stack:
            files = {
                split: DigestFile(
                    stack.enter_context(self._sink.write(self._digests(rank, split)))
                )
                for split in SPLITS
            }
            selection = Selection(
                DigestTaker(files),
                self._options,
                stack.enter_context(Judges(self._options)),
                stack.enter_context(DigestSet()),
                self._on_progress,
                gives_up=False,
            )
            for split, source in self._shares[rank]:
                selection.read(split, source)
            for file in files.values():
                file.flush()
        with self._sink.write(self._name(rank, "read")):
            pass

    def write(self, rank: int) -> None:
        """The second pass, once every node has done its first; not done again either."""
        if self.has_written(rank):
            return
        group, settled = self._group(rank)
        receipts: dict[str, list[str]] = {key: [] for key in _JOINED}
        prompts: list[bytes] = []
        with ExitStack() as stack:
            files = {
                key: LinesFile(stack.enter_context(self._sink.write_part(name, receipts[key])))
                for key, name in _JOINED.items()
            }
            files["prompts"] = LinesFile(prompts.append)
            outputs = Outputs(files, self._options, self._carved, settled=settled)
            seen = stack.enter_context(DigestSet())
            self._remember(seen, group)
            judges = stack.enter_context(Judges(self._options))
            selection = Selection(
                outputs, self._options, judges, seen, self._on_progress, gives_up=False
            )
            for split, source in chain.from_iterable(self._shares[share] for share in group):
                selection.read(split, source)
            outputs.finish()
            for file in files.values():
                file.flush()
        part = Part(
            receipts=receipts,
            prompts=b"".join(prompts),
            inputs={split: tally.report() for split, tally in selection.inputs.items()},
            splits={split: tally.report() for split, tally in outputs.tallies.items()},
            refused={
                reason.value: kept for reason, kept in selection.first_examples.by_reason.items()
            },
            shown=outputs.shown,
            course=selection.course,
        )
        with self._sink.write(self._name(rank, "part.json")) as write:
            write(msgspec.json.encode(part))

    def join(self) -> Report:
        """Put the parts together, once every node has done its second pass; rank 0 does it."""
        report = finished(self._sink, self._key)
        if report is not None:
            return report
        parts = [
            msgspec.json.decode(self._sink.read(self._name(rank, "part.json")), type=Part)
            for rank in range(self.nodes)
        ]
        if may_be_hopeless(parts, self._options):
            report = alone(self._sources, self._sink, self._options, self._key, self._on_progress)
        else:
            report = self._joined(parts)
        self._sink.remove(self._folder)
        return report

    def _joined(self, parts: Sequence[Part]) -> Report:
        for key, name in _JOINED.items():
            self._sink.join(name, [part.receipts[key] for part in parts])
        prompts = b"".join(part.prompts for part in parts).splitlines(keepends=True)
        with self._sink.write(PROMPTS_FILE) as write:
            write(b"".join(prompts[:MOST_PROMPTS]))
        return conclude(
            findings_of(parts),
            self._sink,
            self._options,
            self._key,
            time.monotonic() - self._started,
        )

    def _remember(self, seen: DigestSet, group: range) -> None:
        """Add which rows of these shares stand in earlier ones, too."""
        if not group.start:
            return
        with DigestSet() as own:
            for split in SPLITS:
                for digest in self._digests_of(group, split):
                    own.add(digest)
            # In the order of reading: a row of several splits is known as one of the first.
            for split in reversed(SPLITS):
                for digest in among(self._digests_of(range(group.start), split), own):
                    seen.add(digest, mark_of(split))

    def _group(self, rank: int) -> tuple[range, bool]:
        """The shares that this node writes, and whether every carved split has a row before them."""
        own = range(rank, rank + 1)
        if not self._carved:
            return own, True
        with_train = [
            number
            for number, share in enumerate(self._shares)
            if any(split == "train" for split, _ in share)
        ]
        last = self._settling(with_train)
        if rank == last:
            return range(with_train[0], rank + 1), False
        return (range(0) if with_train[0] <= rank < last else own), rank > last

    def _settling(self, with_train: Sequence[int]) -> int:
        """The share in which the last carved split gets its first row; the last share if none does."""
        empty, dealt = set(self._carved), carving(self._options, self._carved)
        given = [split for split in SPLITS if split not in self._carved and split != "train"]
        everywhere = range(self.nodes)
        for rank in with_train:
            empty -= settles(
                self._digests_of(range(rank, rank + 1), "train"),
                lambda: chain.from_iterable(self._digests_of(everywhere, s) for s in given),
                self._carved,
                dealt,
            )
            if not empty:
                return rank
        return with_train[-1]

    def _digests_of(self, shares: range, split: str) -> Iterator[bytes]:
        for share in shares:
            yield from digests_in(self._sink.blocks(self._digests(share, split)))

    def _digests(self, rank: int, split: str) -> str:
        return self._name(rank, f"{split}.digests")

    def _name(self, rank: int, what: str) -> str:
        return f"{self._folder}/{rank:04d}-{what}"


def may_be_hopeless(parts: Sequence[Part], options: Options) -> bool:
    """Whether one node alone, reading in this order, could have given up.

    It looks after some refused rows only, and here it is known how things stood every few rows; so where it could
    have been in between is taken for where it was.
    """
    most = bearable(options)
    dropped = rows = 0
    for part in parts:
        before = 0
        for dropped_now, rows_now in part.course:
            refused = dropped + dropped_now
            if refused >= PATIENCE and refused > most * (rows + before):
                return True
            before = rows_now
        dropped, rows = dropped + part.dropped, rows + part.rows
    return False


def findings_of(parts: Sequence[Part]) -> Findings:
    """What all parts together found."""
    examples = FirstExamples()
    for part in parts:
        for reason, kept in part.refused.items():
            for place, detail in kept:
                examples.add(Reason(reason), place, detail)
    inputs: dict[str, InputReport] = {}
    for part in parts:
        for split, given in part.inputs.items():
            inputs[split] = inputs[split] + given if split in inputs else given
    return Findings(
        inputs=inputs,
        splits={split: reduce(add, (part.splits[split] for part in parts)) for split in SPLITS},
        first_examples=examples,
        shown=list(chain.from_iterable(part.shown for part in parts))[:_SHOWN],
        complete=True,
    )
