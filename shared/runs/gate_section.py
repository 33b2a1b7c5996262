"""The manifest's section `gate`: what the trained model's metrics must keep before it is deployed."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import BeforeValidator, ConfigDict, Field, model_validator

from shared.runs.sections import Section

Direction = Literal["lower", "higher"]
"""Which of two values of a metric is the better one."""


def direction_of(metric: str) -> Direction:
    """Which values of a metric are better, where its name says so: losses and perplexities are to be low.

    Raises:
        ValueError: The name does not say; the message is for the manifest's author.
    """
    name = metric.lower()
    if name.endswith("loss") or "perplexity" in name:
        return "lower"
    raise ValueError(
        f"it is not known which values of '{metric}' are better: "
        f'write {{"{metric}": "higher"}} or {{"{metric}": "lower"}}'
    )


def _directions(value: object) -> object:
    """`"eval_loss"` and `["eval_loss"]` as `{"eval_loss": "lower"}`."""
    names = [value] if isinstance(value, str) else value
    if isinstance(names, list | tuple) and all(isinstance(name, str) for name in names):
        return {name: direction_of(name) for name in names}
    return value


class Threshold(Section):
    """Bounds of one metric; both ends are allowed values."""

    min: float | None = Field(default=None, strict=False, description="The smallest good value.")
    max: float | None = Field(default=None, strict=False, description="The largest good value.")

    @model_validator(mode="after")
    def _some_bound(self) -> Threshold:
        bounds = [bound for bound in (self.min, self.max) if bound is not None]
        if not bounds:
            raise ValueError("needs at least one of 'min' and 'max'")
        if not all(map(math.isfinite, bounds)):
            raise ValueError("bounds must be finite numbers")
        if len(bounds) == 2 and bounds[0] > bounds[1]:  # noqa: PLR2004
            raise ValueError("'min' is above 'max'")
        return self


class Gate(Section):
    """Bounds by metric, and what else the trained model must keep; every further key is a metric's name."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)
    __pydantic_extra__: dict[str, Threshold]

    better_than_current: Annotated[
        dict[str, Direction],
        BeforeValidator(
            _directions,
            json_schema_input_type=str | list[str] | dict[str, Direction],
        ),
    ] = Field(
        default={},
        description="Metrics that must be better than those of the model that has the endpoint, when the gate "
        "judges and still when the model is rolled out: a name, names, or `lower` or `higher` by name.",
    )
    refused: Literal["discard", "register"] = Field(
        default="discard",
        description="What becomes of a model that the gate refuses; `register` keeps it with the tag "
        "`gate=failed`. It is never deployed.",
    )

    @property
    def thresholds(self) -> dict[str, Threshold]:
        """Bounds by metric."""
        return dict(self.__pydantic_extra__ or {})
