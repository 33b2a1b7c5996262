"""What trains, in the core's words: VM sizes, their quota, compute clusters."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import timedelta

    from shared.runs.ports import Provisioning


class Priority(StrEnum):
    """How a cluster's nodes are had: for oneself, or cheaply until somebody else wants them."""

    DEDICATED = "dedicated"
    LOW = "low-priority"


@dataclass(frozen=True, slots=True)
class VmSize:
    """A VM size of the region."""

    name: str
    family: str
    cores: int
    gpus: int


@dataclass(frozen=True, slots=True)
class Allowance:
    """A quota in cores. `limit`: `None` when there is none."""

    name: str
    limit: int | None
    used: int


@dataclass(frozen=True, slots=True)
class ClusterRequest:
    """A compute cluster to make. It has no nodes while nothing trains."""

    name: str
    run: str
    size: str
    nodes: int
    priority: Priority
    idle: timedelta


@dataclass(frozen=True, slots=True)
class Cluster:
    """A compute cluster as Azure ML reports it.

    Attributes:
        name: Its name.
        provisioning: What matters about its provisioning state.
        run: The value of its ownership tag; `None`: Droptune did not make it.
        size: Its VM size.
        least: Nodes that it keeps, and bills, while nothing runs.
        most: Nodes that it may have.
        nodes: Nodes that it has now.
        priority: How its nodes are had.
        error: Why it failed.
    """

    name: str
    provisioning: Provisioning
    run: str | None
    size: str
    least: int
    most: int
    nodes: int
    priority: Priority
    error: str | None = None
