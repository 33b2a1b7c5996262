"""The endpoint's record: what the runs that share an endpoint agree on.

Runs come and go; the endpoint keeps its name. Its record says who owns it, which deployment is live and
whether it is asleep. Only who holds its lease writes it, and looks at it again just before changing traffic,
deployments or sleep.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

import msgspec


class Rest(StrEnum):
    """Whether the endpoint answers."""

    NEVER_SERVED = "never served"
    SERVING = "serving"
    ASLEEP = "asleep"
    WAKING = "waking"
    RETIRED = "retired"


class EndpointRecord(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What is agreed about one endpoint.

    Attributes:
        name: Its name in people's words: the `model` of OpenAI clients.
        azure_name: Azure ML's name of the online endpoint.
        manifest: Path of the manifest that claimed it.
        claimed_by: The last run that claimed it.
        owner: The run whose deployment is live, or was when it fell asleep.
        former: Owners before; they still have to notice.
        live: The deployment that holds the traffic.
        scoring_uri: Where it answers.
        rest: Whether it answers.
        since: Since when that is so.
        idle_after: Unused for so many seconds, it may be put to sleep.
        keep_until: Until then the deployments of former owners are kept, without traffic.
        candidate: The run whose canary has a share of the traffic.
        emptied_for: The run that is rolled out `direct`: the owner sleeps until it has the traffic or failed.
    """

    name: str
    azure_name: str
    manifest: str
    claimed_by: str
    since: datetime
    idle_after: float
    owner: str | None = None
    former: list[str] = []
    live: str | None = None
    scoring_uri: str | None = None
    rest: Rest = Rest.NEVER_SERVED
    keep_until: datetime | None = None
    candidate: str | None = None
    emptied_for: str | None = None

    def silent(self, rest: Rest, now: datetime) -> EndpointRecord:
        """The record of an endpoint that has stopped answering."""
        return msgspec.structs.replace(self, rest=rest, since=now, live=None)
