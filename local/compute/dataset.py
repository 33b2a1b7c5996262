"""Read the train, validation and test data by the rules of the component's preprocess step.

The rules, with their error texts, are those of azureml-acft-contrib-hf-nlp 0.0.91 (validation_utils,
data_utils, tasks/chat_completion/preprocess): which file types are read, how data is split when a file
is missing, which rows are dropped, and how many must remain.
"""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from local.compute.failures import UserFailure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from local.compute.inputs import Inputs

    Row = dict[str, Any]

MINIMUM_TRAIN_ROWS: Final = 10
KEPT: Final = ("messages", "tools")


@dataclass(frozen=True, slots=True)
class Split:
    """Rows of one split that passed the rules.

    Attributes:
        path: Where they came from, for error texts.
        rows: Each with `messages`, and with `tools` where the data has that column.
        dropped: How many rows the rules dropped.
    """

    path: Path
    rows: Sequence[Row]
    dropped: int


@dataclass(frozen=True, slots=True)
class Dataset:
    """What a job trains and evaluates on. Test rows are split off but, as in Azure ML, not used."""

    train: Split
    validation: Split
    test_rows: int


def read_dataset(inputs: Inputs) -> Dataset:
    """Read and split the data and apply the rules.

    Raises:
        UserFailure: A file cannot be read or breaks a rule.
    """
    train = inputs.train_mltable_path or inputs.train_file_path
    validation = inputs.validation_mltable_path or inputs.validation_file_path
    test = inputs.test_mltable_path or inputs.test_file_path
    if train is None:
        raise UserFailure("train_file_path or train_mltable_path must be given")
    rows = _read(train)
    count = len(rows)
    if validation is None:
        end = count if test is not None else round(count * 0.9)
        held_back = rows[round(count * 0.8) : end]
        test_rows = len(_read(test)) if test is not None else count - end
        used, place = rows[: round(count * 0.8)], train
    elif test is None:
        # The component takes the test split from the train data even though no step evaluates it.
        used, place, held_back = rows[: round(count * 0.8)], validation, _read(validation)
        test_rows = count - len(used)
    else:
        used, place, held_back, test_rows = rows, validation, _read(validation), len(_read(test))
    kept = _apply_rules(used, train)
    if len(kept.rows) < MINIMUM_TRAIN_ROWS:
        raise UserFailure(
            f"Training dataset has {len(kept.rows)} non-null samples, which is fewer than"
            f" {MINIMUM_TRAIN_ROWS} samples, which is the min required to finetune. Please check your"
            " training dataset or provide a validation dataset (training dataset will be split if no"
            " validation dataset)."
        )
    return Dataset(kept, _apply_rules(held_back, place), test_rows)


def _apply_rules(rows: Sequence[Row], path: Path) -> Split:
    columns = {name for row in rows for name in row}
    if "messages" not in columns:
        if not rows:
            raise UserFailure(f"Found no examples after data preprocessing for {path}")
        raise UserFailure(
            f"Path or dict: {path}. Dataset Columns: {sorted(columns)}. User Passed Columns: ['messages']."
        )
    kept_columns = [name for name in KEPT if name in columns]
    kept: list[Row] = [
        {name: _without_nulls(row[name]) for name in kept_columns}
        for row in rows
        if all(_holds_something(row.get(name)) for name in kept_columns)
        and not (isinstance(row["messages"], list) and len(row["messages"]) < 2)  # noqa: PLR2004
    ]
    if not kept:
        raise UserFailure(f"Found no examples after data preprocessing for {path}")
    return Split(path, kept, len(rows) - len(kept))


def _holds_something(value: Any) -> bool:
    return value is not None and (not isinstance(value, str | list | dict) or len(value) > 0)


def _without_nulls(value: Any) -> Any:
    """Drop null keys inside messages, which columnar formats add to rows of different shapes."""
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    if isinstance(value, dict):
        return {name: _without_nulls(item) for name, item in value.items() if item is not None}
    return value


def _read(path: Path) -> list[Row]:
    """All rows of a data file or an MLTable folder, column names stripped."""
    try:
        if path.is_dir():
            files = _mltable_files(path)
            return [row for file in files for row in _read(file)]
        if path.suffix not in LOADERS:
            raise UserFailure(
                f"{path}: the file type {path.suffix or '(none)'!r} is not supported;"
                f" use one of {', '.join(LOADERS)}"
            )
        return [
            {str(name).strip(): value for name, value in row.items()}
            for row in LOADERS[path.suffix](path)
        ]
    except (OSError, ValueError, csv.Error) as error:
        raise UserFailure(f"{path} cannot be read: {error}") from error


def _mltable_files(folder: Path) -> list[Path]:
    """The files that an `MLTable` lists; patterns and remote paths are not read here."""
    import yaml

    try:
        about = yaml.safe_load((folder / "MLTable").read_text(encoding="utf-8"))
        return [folder / entry["file"] for entry in about["paths"]]
    except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
        raise UserFailure(
            f"{folder}: has no MLTable with paths of the form `- file: ./x.jsonl`"
        ) from error


def _json_lines(path: Path) -> Iterator[Row]:
    with path.open(encoding="utf-8-sig") as file:
        yield from _objects(
            (
                (f"line {number}", json.loads(line))
                for number, line in enumerate(file, 1)
                if line.strip()
            )
        )


def _json(path: Path) -> Iterator[Row]:
    """A JSON array of objects, or JSON lines under the wrong name, which the component reads as well."""
    text = path.read_text(encoding="utf-8-sig")
    if text.lstrip().startswith("["):
        yield from _objects(
            (f"item {number}", value) for number, value in enumerate(json.loads(text), 1)
        )
    else:
        yield from _json_lines(path)


def _objects(values: Iterable[tuple[str, Any]]) -> Iterator[Row]:
    for place, value in values:
        if not isinstance(value, dict):
            raise ValueError(f"{place} is not an object")
        yield value


def _delimited(delimiter: str) -> Callable[[Path], Iterator[Row]]:
    def rows(path: Path) -> Iterator[Row]:
        with path.open(encoding="utf-8-sig", newline="") as file:
            yield from csv.DictReader(file, delimiter=delimiter)

    return rows


def _parquet(path: Path) -> Iterator[Row]:
    from pyarrow import parquet

    with parquet.ParquetFile(path) as file:
        for batch in file.iter_batches(1000):
            yield from batch.to_pylist()


# Matched with their case, as the component does.
LOADERS: Final[dict[str, Callable[[Path], Iterable[Row]]]] = {
    ".jsonl": _json_lines,
    ".json": _json,
    ".csv": _delimited(","),
    ".tsv": _delimited("\t"),
    ".parquet": _parquet,
}
