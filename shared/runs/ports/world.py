"""All ports together: what steps and the reconciler are given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from shared.runs.limits import Limits, Pace
    from shared.runs.ports.preparation import Configs, Preparation
    from shared.runs.ports.stores import EndpointStore, Looks, Manifests, RunStore, Uses
    from shared.runs.ports.workspace import Workspace


@dataclass(frozen=True, slots=True)
class World:
    """Everything that steps and the reconciler act on."""

    runs: RunStore
    looks: Looks
    endpoints: EndpointStore
    manifests: Manifests
    preparation: Preparation
    configs: Configs
    workspace: Workspace
    uses: Uses
    limits: Limits
    pace: Pace
    now: Callable[[], datetime]
