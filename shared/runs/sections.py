"""What all parts of a manifest are made of: strict sections, and time spans as people write them."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer

from shared import durations


def _duration(value: object) -> object:
    if isinstance(value, timedelta):
        return value
    if not isinstance(value, str):
        raise ValueError("must be text such as '30m' or '2h'")
    return durations.parse(value)


Duration = Annotated[
    timedelta,
    BeforeValidator(_duration, json_schema_input_type=str),
    PlainSerializer(durations.spell, return_type=str),
]
"""A time span as people write it: `45s`, `30m`, `2h`, `1d`."""


class Section(BaseModel):
    """What all parts of a manifest share: unknown keys are refused, values are not bent."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
