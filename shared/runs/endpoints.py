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
        kept: Until when a former owner's deployment is kept, without traffic, by run: each as long as the manifest
            that took its traffic asked for, whoever came later.
        keep_until: The same for all former owners; only in records of before `kept`.
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
    kept: dict[str, datetime] = {}
    keep_until: datetime | None = None
    candidate: str | None = None
    emptied_for: str | None = None

    @property
    def keeps(self) -> bool:
        """Whether a former owner's deployment may be kept."""
        return bool(self.kept) or self.keep_until is not None

    def kept_until(self, run: str) -> datetime | None:
        """Until when this former owner's deployment is kept; `None` when it is not."""
        return self.kept.get(run, self.keep_until)

    def keeping_nothing(self) -> EndpointRecord:
        """The record of an endpoint on which nothing is kept any longer."""
        return msgspec.structs.replace(self, kept={}, keep_until=None)

    def silent(self, rest: Rest, now: datetime) -> EndpointRecord:
        """The record of an endpoint that has stopped answering."""
        return msgspec.structs.replace(self, rest=rest, since=now, live=None)
