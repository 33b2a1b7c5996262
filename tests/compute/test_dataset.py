"""Promises about data: which files are read, how they are split, which rows stay."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from local.compute.dataset import Dataset, read_dataset
from local.compute.failures import UserFailure
from local.compute.inputs import Inputs

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def row(number: int = 0) -> dict[str, Any]:
    return {
        "messages": [
            {"role": "user", "content": f"question {number}"},
            {"role": "assistant", "content": f"answer {number}"},
        ]
    }


def rows(count: int) -> list[dict[str, Any]]:
    return [row(number) for number in range(count)]


def write(path: Path, data: Sequence[Any]) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in data))
    return path


def read(train: Path, validation: Path | None = None, test: Path | None = None) -> Dataset:
    return read_dataset(
        Inputs(
            task_name="ChatCompletion",
            train_file_path=train,
            validation_file_path=validation,
            test_file_path=test,
        )
    )


def sizes(dataset: Dataset) -> tuple[int, int, int]:
    return len(dataset.train.rows), len(dataset.validation.rows), dataset.test_rows


def test_missing_files_are_split_off_the_train_file_by_position(tmp_path: Path) -> None:
    train, other = write(tmp_path / "a.jsonl", rows(50)), write(tmp_path / "b.jsonl", rows(7))
    assert sizes(read(train)) == (40, 5, 5)
    assert sizes(read(train, test=other)) == (40, 10, 7)
    assert sizes(read(train, validation=other)) == (40, 7, 10)
    assert sizes(read(train, other, other)) == (50, 7, 7)
    assert read(train).validation.rows[0] == row(40)


@given(count=st.integers(13, 400))
def test_a_split_loses_no_row_and_repeats_none(
    count: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    dataset = read(write(tmp_path_factory.mktemp("split") / "a.jsonl", rows(count)))
    assert sum(sizes(dataset)) == count
    assert [*dataset.train.rows, *dataset.validation.rows] == rows(count)[: -dataset.test_rows]


def test_every_supported_format_gives_the_same_rows(tmp_path: Path) -> None:
    data = rows(20)
    lines = write(tmp_path / "a.jsonl", data)
    array = tmp_path / "a.json"
    array.write_text(json.dumps(data))
    misnamed = write(tmp_path / "b.json", data)
    columns = tmp_path / "a.parquet"
    parquet.write_table(pa.Table.from_pylist(data), columns)
    table = tmp_path / "table"
    table.mkdir()
    write(table / "x.jsonl", data)
    (table / "MLTable").write_text("paths:\n  - file: ./x.jsonl\n")
    for path in (lines, array, misnamed, columns, table):
        assert read(path, lines, lines).train.rows == data


def test_csv_gives_messages_as_text(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([" messages ", "prompt"])
        writer.writerows([[json.dumps(row(n)["messages"]), "x"] for n in range(20)])
    assert read(path).train.rows[0] == {"messages": json.dumps(row(0)["messages"])}


def test_rows_that_hold_nothing_to_learn_are_dropped(tmp_path: Path) -> None:
    bad = [
        {"messages": None},
        {"messages": []},
        {"messages": row()["messages"][:1]},
        {"prompt": 1},
    ]
    train, other = (
        write(tmp_path / "a.jsonl", [*rows(12), *bad]),
        write(tmp_path / "b.jsonl", rows(3)),
    )
    dataset = read(train, other, other)
    assert sizes(dataset)[0] == 12
    assert dataset.train.dropped == 4


def test_other_columns_and_null_keys_are_left_out_but_tools_stay(tmp_path: Path) -> None:
    noisy = [
        {
            "prompt": "p",
            "tools": [{"name": "t"}],
            "messages": [message | {"name": None} for message in row(n)["messages"]],
        }
        for n in range(12)
    ]
    kept = read(
        write(tmp_path / "a.jsonl", noisy), write(tmp_path / "b.jsonl", rows(2))
    ).train.rows
    assert kept[0] == row(0) | {"tools": [{"name": "t"}]}


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("a.txt", "x", "the file type '.txt' is not supported"),
        ("a.JSONL", "{}", "the file type '.JSONL' is not supported"),
        ("a", "x", "the file type '(none)' is not supported"),
        ("a.jsonl", "{", "cannot be read"),
        ("a.jsonl", "[1]", "line 1 is not an object"),
        ("a.parquet", "x", "cannot be read"),
        ("a.jsonl", "", "Found no examples after data preprocessing"),
        ("a.jsonl", '{"Messages": []}\n' * 20, "Dataset Columns: ['Messages']. User Passed"),
        ("a.jsonl", '{"messages": []}\n' * 20, "Found no examples after data preprocessing"),
    ],
)
def test_data_that_the_component_cannot_use_is_refused_with_the_place(
    tmp_path: Path, name: str, text: str, says: str
) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(UserFailure) as caught:
        read(path)
    assert says in str(caught.value)
    assert str(path) in str(caught.value)


def test_ten_train_rows_must_remain_after_split_and_filters(tmp_path: Path) -> None:
    assert sizes(read(write(tmp_path / "a.jsonl", rows(13))))[0] == 10
    with pytest.raises(UserFailure, match="has 9 non-null samples, which is fewer than 10"):
        read(write(tmp_path / "a.jsonl", rows(11)))
