"""Sources in, files for training out: everything that preparation promises comes together here.

Under the fingerprint stand, always all of them, `train.jsonl`, `validation.jsonl`, `test.jsonl`,
`dropped.jsonl`, `prompts.jsonl`, `report.html` and, written last, `report.json`. While that is not
there, nothing is finished and the work may be done again from the start, with the same bytes as its
result.
"""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import msgspec

from shared.data.judging.judges import Judges
from shared.data.options import VERSION, Options
from shared.data.outputs import SPLITS, outputs_in
from shared.data.page import PAGE_FILE, page
from shared.data.report import FoundProblem, RefusedRow, Report, most_frequent_first
from shared.data.seen import DigestSet
from shared.data.selection import Progress, Selection
from shared.data.shares import in_order
from shared.data.verdict import judge, missing_sources
from shared.errors import DataRejected, Missing, Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from shared.data.ports import Sink, Source
    from shared.data.report import InputReport, ShownRow, SplitReport
    from shared.data.verdict import FirstExamples

__all__ = ["Options", "Prepared", "Progress", "fingerprint", "prepare"]

REPORT_FILE = "report.json"


@dataclass(frozen=True, slots=True)
class Prepared:
    """A dataset that is fit to train on.

    Attributes:
        fingerprint: Of sources, options and this code's version.
        files: The address of each split's file, as a training job is given it.
        report: What became of the rows.
    """

    fingerprint: str
    files: Mapping[str, str]
    report: Report


def fingerprint(sources: Mapping[str, Sequence[Source]], options: Options) -> str:
    """32 hexadecimal digits that stand for the input and everything that decides about the output.

    The order of a split's sources does not matter.

    Args:
        sources: By split: train, and validation and test if the dataset has them.
        options: How it is to be prepared.

    Raises:
        DataRejected: A source does not exist, or the splits are not what they may be; all problems
            at once.
    """
    problems = missing_sources({split: len(given) for split, given in sources.items()})
    identities: dict[str, list[str]] = {}
    for split, given in sorted(sources.items()):
        identities[split] = []
        for source in given:
            try:
                identities[split].append(source.identity)
            except Missing as error:
                problems.append(
                    Problem(source.name, str(error), "Check the name, or upload it first")
                )
        identities[split].sort()
    if problems:
        raise DataRejected(problems)
    facts = {"version": VERSION, "options": asdict(options), "sources": identities}
    return hashlib.sha256(msgspec.json.encode(facts, order="deterministic")).hexdigest()[:32]


def _silent(_: Progress) -> None:
    """Tells nobody."""


def prepare(
    sources: Mapping[str, Sequence[Source]],
    sink: Sink,
    options: Options,
    *,
    on_progress: Callable[[Progress], None] = _silent,
) -> Prepared:
    """Check, sample, split and write a dataset; or find that this was done before.

    Reads every source once (twice where the sample is its first rows), test and validation first, in
    memory that depends on `max_row_bytes` alone; what is to be remembered of very many rows lies in
    a temporary file.

    Args:
        sources: By split: train, and validation and test if the dataset has them; missing ones are
            carved from train.
        sink: The folder that belongs to `fingerprint(sources, options)`.
        options: How it is to be prepared.
        on_progress: Called at each source's beginning, at least about every second of work, and at
            the end. What it raises ends the preparation, leaving nothing that looks finished.

    Raises:
        DataRejected: The rows are not fit to train on, with everything that speaks against them.
            The files are written all the same, for the author to read; preparing the same again is
            rejected again without reading anything.
    """
    key = fingerprint(sources, options)
    report = finished(sink, key) or alone(sources, sink, options, key, on_progress)
    return accepted(report, sink)


def accepted(report: Report, sink: Sink) -> Prepared:
    """The dataset that a finished preparation's report tells of.

    Raises:
        DataRejected: It is not fit to train on.
    """
    if report.problems:
        problems = [Problem(found.place, found.reason, found.mend) for found in report.problems]
        raise DataRejected(problems, report.fingerprint)
    files = {split: sink.address(f"{split}.jsonl") for split in SPLITS}
    return Prepared(report.fingerprint, files, report)


def finished(sink: Sink, key: str) -> Report | None:
    """The report of a finished preparation; not one that is broken or of something else."""
    if not sink.exists(REPORT_FILE):
        return None
    try:
        report = msgspec.json.decode(sink.read(REPORT_FILE), type=Report)
    except msgspec.MsgspecError:
        return None
    return report if report.fingerprint == key else None


def carved_from_train(sources: Mapping[str, Sequence[Source]]) -> list[str]:
    """The splits that the dataset does not have."""
    return [split for split in SPLITS if split not in sources]


def alone(
    sources: Mapping[str, Sequence[Source]],
    sink: Sink,
    options: Options,
    key: str,
    on_progress: Callable[[Progress], None],
) -> Report:
    """Prepare it all in this process; returns what became of it, fit to train on or not."""
    started = time.monotonic()
    carved = carved_from_train(sources)
    with (
        DigestSet() as seen,
        Judges(options) as judges,
        outputs_in(sink, options, carved) as outputs,
    ):
        selection = Selection(outputs, options, judges, seen, on_progress)
        for split, source in in_order(sources):
            if not selection.hopeless:
                selection.read(split, source)
    findings = Findings(
        inputs={split: tally.report() for split, tally in selection.inputs.items()},
        splits={split: tally.report() for split, tally in outputs.tallies.items()},
        first_examples=selection.first_examples,
        shown=outputs.shown,
        complete=not selection.hopeless,
    )
    return conclude(findings, sink, options, key, time.monotonic() - started)


@dataclass(frozen=True, slots=True)
class Findings:
    """What is known once all rows are read.

    Attributes:
        inputs: Counts of what was read, by split.
        splits: Counts of what was written, by split.
        first_examples: The first refused rows of each reason.
        shown: The first few examples of train, cut short.
        complete: Whether all was read.
    """

    inputs: Mapping[str, InputReport]
    splits: Mapping[str, SplitReport]
    first_examples: FirstExamples
    shown: list[ShownRow]
    complete: bool


def conclude(findings: Findings, sink: Sink, options: Options, key: str, seconds: float) -> Report:
    """Judge what was found and write the report, which says that all the rest is there."""
    dropped: Counter[str] = Counter()
    for given in findings.inputs.values():
        dropped.update(given.dropped)
    report = Report(
        fingerprint=key,
        version=VERSION,
        options=msgspec.json.decode(msgspec.json.encode(asdict(options))),
        inputs=dict(findings.inputs),
        splits=dict(findings.splits),
        dropped=most_frequent_first(dropped),
        refused={
            reason.value: [RefusedRow(place, detail) for place, detail in kept]
            for reason, kept in findings.first_examples.by_reason.items()
        },
        complete=findings.complete,
        problems=[],
        examples=findings.shown,
        seconds=round(seconds, 3),
    )
    problems = judge(report, options, findings.first_examples)
    kept = [FoundProblem(problem.place, problem.reason, problem.mend) for problem in problems]
    report = msgspec.structs.replace(report, problems=kept)
    with sink.write(PAGE_FILE) as write:
        write(page(report).encode())
    with sink.write(REPORT_FILE) as write:
        write(msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n")
    return report
