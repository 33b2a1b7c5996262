"""How a dataset is to be prepared; every value a part of the fingerprint."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

from shared.data.kept import kept_problem
from shared.data.shapes import Shape, named_shape

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: Raise this whenever the same input would give other files than before: it is a part of the fingerprint, too.
VERSION: Final = 4
_ALL: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the manifest may say about preparation.

    Attributes:
        shape: The shape of all rows, by its name in `shared.data.shapes.Shape`; None where each row
            tells its own.
        columns: By our name of a shape's column the dataset's name of it. A mapping of columns that
            only one shape has names that shape.
        system: A system message for each conversation that has none.
        keep_columns: Further columns to keep, as texts, in this order.
        percent: Share of the rows to take, above 0 and up to 100; the same rows every time.
        sampling: `hash` takes rows by what is in them, whatever their order. `first` takes the
            first rows of each source, rounded to the nearest, as Microsoft's notebook does; it
            reads each source twice, once to count.
        max_seq_length: The fine-tune's limit in tokens, to tell how many examples will be cut;
            None or -1 for none.
        max_dropped_fraction: More refused rows than this share (0 to 1) and the dataset is
            rejected.
        min_train_rows: Fewer examples in train and the dataset is rejected. The component refuses
            fewer than 10.
        validation_fraction: Share of train's rows (above 0, below 1) that becomes validation if
            the dataset has none.
        test_fraction: Share of train's rows that becomes test if the dataset has none.
        seed: Another seed takes another sample and splits train differently. 0 to 2^64 - 1.
        max_row_bytes: A longer line is refused unread, which bounds the memory needed.

    Raises:
        ValueError: A value is out of its range; the message names all that are.
    """

    shape: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    system: str | None = None
    keep_columns: Sequence[str] = ()
    percent: float = 100
    sampling: Literal["hash", "first"] = "hash"
    max_seq_length: int | None = None
    max_dropped_fraction: float = 0.05
    min_train_rows: int = 10
    validation_fraction: float = 0.1
    test_fraction: float = 0.1
    seed: int = 42
    max_row_bytes: int = 4 << 20

    def __post_init__(self) -> None:
        length, held_out = self.max_seq_length, self.validation_fraction + self.test_fraction
        checks = {
            "percent must be above 0 and at most 100": 0 < self.percent <= _ALL,
            "max_seq_length must be at least 1, or -1 for none": length in (None, -1)
            or length >= 1,
            "max_dropped_fraction must be from 0 to 1": 0 <= self.max_dropped_fraction <= 1,
            "min_train_rows must be at least 1": self.min_train_rows >= 1,
            "validation_fraction must be above 0": self.validation_fraction > 0,
            "test_fraction must be above 0": self.test_fraction > 0,
            "validation_fraction and test_fraction must leave something for train": held_out < 1,
            "seed must be from 0 to 2^64 - 1": 0 <= self.seed < 1 << 64,
            "max_row_bytes must be from 1 KiB to 1 GiB": 1 << 10 <= self.max_row_bytes <= 1 << 30,
            f"shape must be one of {', '.join(Shape)}": self.shape in (None, *Shape),
            "sampling must be hash or first": self.sampling in ("hash", "first"),
            "system must not be blank": self.system is None or bool(self.system.strip()),
        }
        wrong = [rule for rule, kept in checks.items() if not kept]
        if self.shape in (None, *Shape):
            try:
                named_shape(self.shape, self.columns)
            except ValueError as error:
                wrong.append(f"columns {error}")
        if problem := kept_problem(self.keep_columns):
            wrong.append(f"keep_columns {problem}")
        if wrong:
            raise ValueError("; ".join(wrong))

    @property
    def token_limit(self) -> int | None:
        """`max_seq_length`, or None if there is no limit."""
        return None if self.max_seq_length == -1 else self.max_seq_length
