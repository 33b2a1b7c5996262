"""What the record keeps of a rollout: attempts that failed, and how the canary fared."""

from __future__ import annotations

from datetime import datetime

import msgspec


class DeploymentFailure(msgspec.Struct, frozen=True, omit_defaults=True):
    """An attempt to make the deployment that failed.

    Attributes:
        attempt: Its number, from 1.
        at: When it was noticed.
        kind: What it was (see `deployment_failures`).
        said: Azure's own words.
        size: The VM size that was asked for.
        logs: The end of the container's log.
    """

    attempt: int
    at: datetime
    kind: str
    said: str
    size: str
    logs: str | None = None


class Stage(msgspec.Struct, frozen=True, omit_defaults=True):
    """The canary at one share of the traffic.

    Attributes:
        share: Its part of the traffic in percent.
        against: The deployment that had the rest.
        since: When the share was in effect.
        until: When it is judged.
        extended: How often it was given more time because too few had asked.
        verdict: What was found, one line each; empty while it bakes.
    """

    share: int
    against: str
    since: datetime
    until: datetime
    extended: int = 0
    verdict: list[str] = []
