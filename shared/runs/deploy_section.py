"""The manifest's section `deploy`: where the model answers, and how it gets there."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, field_validator

from shared.runs.sections import Duration, Section

LONGEST_REQUEST = timedelta(seconds=180)
"""Azure ML's own limit (https://learn.microsoft.com/azure/machine-learning/how-to-manage-quotas)."""

LEAST_STARTUP = timedelta(minutes=1)
WHOLE = 100


def _listed(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


class Canary(Section):
    """How a canary gets its traffic, and what ends it."""

    shares: Annotated[tuple[int, ...], BeforeValidator(_listed)] = Field(
        default=(10, 50),
        min_length=1,
        max_length=10,
        description="Its shares of the traffic in percent, one after the other; then it gets all.",
    )
    bake: Duration = Field(
        default=timedelta(minutes=10),
        gt=timedelta(0),
        description="How long it is watched at each share; metrics lag by one to three minutes.",
    )
    max_error_rate: float = Field(
        default=0.05,
        ge=0,
        le=1,
        strict=False,
        description="It is rolled back when a larger part of its requests fails, and larger than of the old "
        "deployment's.",
    )
    max_slowdown: float = Field(
        default=2.0,
        gt=1,
        strict=False,
        description="It is rolled back when its 90th percentile of latency is so many times the old "
        "deployment's.",
    )

    @field_validator("shares")
    @classmethod
    def _rising(cls, shares: tuple[int, ...]) -> tuple[int, ...]:
        if any(not 0 < share < WHOLE for share in shares):
            raise ValueError("shares must be from 1 to 99 percent")
        if sorted(set(shares)) != list(shares):
            raise ValueError("shares must rise")
        return shares


class Deploy(Section):
    """Where the model answers."""

    endpoint: str | None = Field(
        default=None,
        min_length=1,
        max_length=64,
        description="The endpoint's name, which is also the model's name for OpenAI clients; "
        "by default the manifest's name.",
    )
    instance_type: str = Field(
        default="Standard_NC24ads_A100_v4", min_length=1, description="The VM size to serve on."
    )
    instance_types: Annotated[tuple[str, ...], BeforeValidator(_listed)] = Field(
        default=(),
        max_length=5,
        description="VM sizes to try next, in this order, when there is no quota or no capacity for it.",
    )
    instances: int = Field(default=1, ge=1, le=50, description="How many of them.")
    rollout: Literal["blue-green", "canary", "direct"] = Field(
        default="blue-green",
        description="`blue-green` tests a new deployment without traffic, then switches; `canary` gives it "
        "more and more traffic; `direct` deletes the old one first.",
    )
    canary: Canary = Canary()
    keep_old: Duration = Field(
        default=timedelta(minutes=10),
        ge=timedelta(0),
        description="How long the old deployment is kept, without traffic, after the switch.",
    )
    short_of_quota: Literal["refuse", "direct"] = Field(
        default="refuse",
        description="What to do when quota does not allow a second deployment beside the old one.",
    )
    startup: Duration = Field(
        default=timedelta(minutes=15),
        ge=LEAST_STARTUP,
        description="How long a deployment may take to load its model before its probes fail it.",
    )
    request_timeout: Duration = Field(
        default=timedelta(seconds=90),
        gt=timedelta(0),
        le=LONGEST_REQUEST,
        description="How long an answer may take, queueing included.",
    )
    concurrent_requests: int = Field(
        default=8,
        ge=1,
        le=1000,
        description="Requests that an instance works on at once; twice as many get in.",
    )
    take_over: bool = Field(
        default=False, description="Allow this manifest to take an endpoint from another one."
    )

    @property
    def sizes(self) -> tuple[str, ...]:
        """VM sizes to serve on, in the order to try them; each once, whatever its case."""
        found: dict[str, str] = {}
        for size in (self.instance_type, *self.instance_types):
            found.setdefault(size.lower(), size)
        return tuple(found.values())
