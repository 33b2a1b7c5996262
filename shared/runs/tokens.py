"""How many tokens a training will take, by estimate, and whether that is more than it may.

Tokens times epochs is what a fine-tuning costs, whatever it runs on; it is known as soon as the rows are
prepared, before any GPU is asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from shared.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a training will take.

    Attributes:
        tokens: Of all epochs or steps together; early stopping may leave some of them out.
        how: How the number came to be, for a person.
        mend: What lowers it.
    """

    tokens: int
    how: str
    mend: str


def estimate(
    tokens: int, rows: int, values: Mapping[str, Any], devices: Callable[[], int]
) -> Estimate:
    """The estimate for one training.

    The trainer (transformers') goes through all rows in each of `num_train_epochs`, unless `max_steps` is
    positive: then it takes so many steps, fewer or more than an epoch, and begins the rows anew when they
    run out. A step takes a batch on each device, as often as gradients are accumulated.

    Args:
        tokens: Of the training split, each row cut at `max_seq_length`.
        rows: Of the training split.
        values: The component's inputs in effect, defaults too.
        devices: Tells how many GPUs the training has, over all nodes; asked only where it matters.
    """
    steps = _number(values, "max_steps", -1)
    if steps > 0:
        batch = _number(values, "per_device_train_batch_size", 1)
        rows_a_step = batch * _number(values, "gradient_accumulation_steps", 1) * devices()
        return Estimate(
            steps * rows_a_step * tokens // max(rows, 1),
            f"{steps:,} steps of {_counted(rows_a_step, 'row')} with {tokens // max(rows, 1):,}"
            " tokens on average",
            "Lower finetune.max_steps",
        )
    epochs = _number(values, "num_train_epochs", 1)
    return Estimate(
        tokens * epochs,
        f"{tokens:,} tokens in {_counted(epochs, 'epoch')}",
        "Lower finetune.num_train_epochs, finetune.max_seq_length or dataset.percent",
    )


def problems(found: Estimate, *, own: int | None, allowed: int | None) -> list[Problem]:
    """What speaks against so long a training.

    Args:
        found: Its estimate.
        own: The bound that the manifest sets itself.
        allowed: The bound that the operator sets for all manifests.
    """
    said = f"training would take about {found.tokens:,} tokens ({found.how})"
    told = []
    if own is not None and found.tokens > own:
        told.append((f"{said}, more than the {own:,} it may", f"{found.mend}, or raise the bound"))
    if allowed is not None and found.tokens > allowed:
        told.append((f"{said}; at most {allowed:,} are allowed here", found.mend))
    return [Problem("limits.max_tokens", reason, mend) for reason, mend in told]


def _number(values: Mapping[str, Any], name: str, default: int) -> int:
    value = values.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) else default


def _counted(count: int, thing: str) -> str:
    return f"{count:,} {thing}{'s' if count != 1 else ''}"
