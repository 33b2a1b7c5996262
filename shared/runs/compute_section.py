"""The manifest's section `compute`: what to train on."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from shared.runs.sections import Duration, Section

Priorities = Annotated[
    tuple[Literal["dedicated", "low-priority"], ...],
    BeforeValidator(
        lambda v: (v,) if isinstance(v, str) else tuple(v) if isinstance(v, list) else v
    ),
]


class Compute(Section):
    """Where training runs: a cluster by name, or serverless when none is named."""

    cluster: str | None = Field(
        default=None,
        pattern=r"^[a-zA-Z][a-zA-Z0-9-]{0,30}[a-zA-Z0-9]$",
        description="A compute cluster's name: used when it is there, made when it is not; without it "
        "training is serverless.",
    )
    size: str = Field(
        default="Standard_NC24ads_A100_v4",
        min_length=1,
        description="The VM size to train on; a cluster that is there has its own.",
    )
    max_nodes: int = Field(default=1, ge=1, description="How many nodes the job may use.")
    priority: Priorities = Field(
        default=("dedicated",),
        min_length=1,
        description="How a new cluster's nodes are had, in the order to try: `dedicated`, `low-priority`.",
    )
    scale_down_after: Duration = Field(
        default=timedelta(minutes=2),
        gt=timedelta(0),
        description="A new cluster gives its nodes back when idle for this long.",
    )

    @model_validator(mode="after")
    def _cluster_or_serverless(self) -> Compute:
        if self.cluster is not None and self.cluster.lower() == "serverless":
            raise ValueError("leave 'cluster' out for serverless")
        if self.cluster is None and "low-priority" in self.priority:
            raise ValueError("low-priority needs a 'cluster': serverless nodes are dedicated here")
        return self
