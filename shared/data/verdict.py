"""Whether prepared data is fit to train on: arithmetic over the report, words for its author."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from shared.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Mapping

    from shared.data.options import Options
    from shared.data.reasons import Reason
    from shared.data.report import Report

_MOST_EXAMPLES = 3


@dataclass(slots=True)
class FirstExamples:
    """The first few refused rows of each reason, to be shown to the author."""

    by_reason: dict[Reason, list[tuple[str, str]]] = field(default_factory=dict)

    def add(self, reason: Reason, place: str, detail: str) -> None:
        """Keep this one if there are few of its kind."""
        kept = self.by_reason.setdefault(reason, [])
        if len(kept) < _MOST_EXAMPLES:
            kept.append((place, detail))


def judge(report: Report, options: Options, examples: FirstExamples) -> list[Problem]:
    """Everything that speaks against training on this data; empty if nothing does."""
    problems = []
    if not report.rows_sampled:
        return [_nothing(report)]
    fraction = report.rows_dropped / report.rows_sampled
    if fraction > options.max_dropped_fraction:
        reading = "" if report.complete else " that were read before giving up"
        problems.append(
            Problem(
                "dataset",
                f"{report.rows_dropped:,} of {report.rows_sampled:,} rows ({_percent(fraction)})"
                f"{reading} were refused,"
                f" more than the {_percent(options.max_dropped_fraction)} allowed",
                "Mend the rows that dropped.jsonl lists, or raise max_dropped_fraction",
            )
        )
    problems += _too_few(report, options)
    problems += _mixed_tools(report)
    if problems:
        problems += [
            _refused(reason, report.dropped[reason], kept)
            for reason, kept in examples.by_reason.items()
        ]
    return problems


def _nothing(report: Report) -> Problem:
    if not report.rows_read:
        names = ", ".join(name for given in report.inputs.values() for name in given.names)
        return Problem("dataset", f"there is not one row in {names}", "Name files that have rows")
    return Problem("dataset", "the sample holds not one row", "Raise percent")


def _too_few(report: Report, options: Options) -> list[Problem]:
    problems = []
    train = report.splits["train"].rows
    if train < options.min_train_rows:
        problems.append(
            Problem(
                "dataset.train",
                f"{train} {'row is' if train == 1 else 'rows are'} left to train on after all checks,"
                f" fewer than {options.min_train_rows}{_dealt_out(report)}",
                "Give more rows" + (", or raise percent" if options.percent < 100 else ""),  # noqa: PLR2004
            )
        )
    empty = [split for split in ("validation", "test") if not report.splits[split].rows]
    problems += [
        Problem(
            f"dataset.{split}",
            f"no rows are left in {split} after all checks; an empty file fails the training job",
            f"Give rows to {split}, or leave it out: then a share of train is taken",
        )
        for split in empty
        if split in report.inputs or train >= options.min_train_rows
    ]
    return problems


def _dealt_out(report: Report) -> str:
    """Where train's rows went, for an author who counted more."""
    carved = {
        split: counts.rows for split, counts in report.splits.items() if split not in report.inputs
    }
    if not any(carved.values()):
        return ""
    return "; " + " and ".join(f"{rows:,} went to {split}" for split, rows in carved.items())


def _mixed_tools(report: Report) -> list[Problem]:
    """The component silently drops rows without tools from a file in which others have them."""
    return [
        Problem(
            f"dataset.{split}",
            f"{counts.with_tools:,} of {counts.rows:,} rows give tools;"
            " the others would be left out of training",
            "Give tools in every row, or in none",
        )
        for split, counts in report.splits.items()
        if 0 < counts.with_tools < counts.rows
    ]


def _refused(reason: Reason, count: int, kept: list[tuple[str, str]]) -> Problem:
    place, detail = kept[0]
    rows = "1 row" if count == 1 else f"{count:,} rows"
    text = f"{reason.value}, {rows} ({reason.meaning}): {detail}"
    if len(kept) > 1:
        text += "; also " + ", ".join(place for place, _ in kept[1:])
        text += " and more" if count > len(kept) else ""
    return Problem(place, text, reason.mend)


def _percent(fraction: float) -> str:
    return f"{fraction:.2%}".replace(".00%", "%")


def missing_sources(splits: Mapping[str, int]) -> list[Problem]:
    """What is wrong with the set of splits itself.

    Args:
        splits: How many sources each split has.
    """
    problems = [
        Problem(
            f"dataset.splits.{split}",
            "there is no such split",
            "Splits are train, validation and test",
        )
        for split in splits
        if split not in ("train", "validation", "test")
    ]
    problems += [
        Problem(
            f"dataset.splits.{split}", "no file or hub split stands behind it", "Name at least one"
        )
        for split, count in splits.items()
        if not count
    ]
    if "train" not in splits:
        problems.append(
            Problem("dataset.splits", "there is no train split", "Name what to train on as train")
        )
    return problems
