"""Numbers that the core decides by: what a job logged, how a deployment fares, how much quota is left."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Point = tuple[int, float]
"""A step of the training, and a metric's value there."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What a job logged.

    Attributes:
        last: The last value of each metric; not always a finite number.
        curves: Each metric's points in the order of their steps.
        tokens: Tokens that were trained on, by what was counted: `training`, `assistant`.
    """

    last: Mapping[str, float]
    curves: Mapping[str, Sequence[Point]] = field(default_factory=dict)
    tokens: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Seen:
    """How a deployment answered over a span of time.

    Attributes:
        requests: How many requests it was given.
        failed: How many of them failed by its fault: 5xx, 424, 408, 429.
        latency: The 90th percentile of its latency in milliseconds; `None` when it is not known.
    """

    requests: int = 0
    failed: int = 0
    latency: float | None = None

    @property
    def error_rate(self) -> float:
        """The part of its requests that failed, from 0 to 1."""
        return self.failed / self.requests if self.requests else 0.0
