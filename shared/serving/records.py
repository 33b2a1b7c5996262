"""The records behind the scoring path: where a model answers, who wakes it, where its use is noted.

The core's ports are synchronous, the scoring path is not: each look runs on a thread of its own, and the
directory in front of this sees to it that there are few.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from shared.errors import Missing
from shared.runs import reconciler
from shared.runs.endpoints import Rest
from shared.runs.record import Wish
from shared.serving.directory import Found, Listed, Resting, Target

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from shared.runs.endpoints import EndpointRecord
    from shared.runs.ports import World


class Records:
    """A `Source`, a `Waker` and `Notes` over the core's ports.

    Args:
        world: The ports.
        key: Gets an endpoint's scoring key by Azure's name; raises `Missing` when it is gone.
        note: Notes that the endpoint of a name, in people's words, was used at a time.
    """

    def __init__(
        self, world: World, key: Callable[[str], str], note: Callable[[str, datetime], None]
    ) -> None:
        self._world = world
        self._key = key
        self._note = note

    async def find(self, model: str) -> Found:
        """What the endpoint's record says."""
        return await asyncio.to_thread(self._find, model)

    def _find(self, model: str) -> Found:
        record = self._world.endpoints.load(model)
        if record is None or self._came_to_nothing(record):
            return None
        if record.rest is not Rest.SERVING or not record.scoring_uri or not record.owner:
            return Resting(record.rest)
        try:
            key = self._key(record.azure_name)
        except Missing:
            # Deleted behind our back: the run finds that out when it is looked at.
            self._wish(model)
            return Resting(Rest.ASLEEP)
        return Target(record.scoring_uri, key, record.owner, record.live)

    async def models(self) -> Sequence[Listed]:
        """Every endpoint that serves, has served or may yet."""
        return await asyncio.to_thread(self._models)

    def _models(self) -> list[Listed]:
        return [
            Listed(record.name, record.since, record.rest)
            for record in self._world.endpoints.all()
            if not self._came_to_nothing(record)
        ]

    def _came_to_nothing(self, record: EndpointRecord) -> bool:
        """Whether the run that claimed the name has ended before it served: then there is no such model."""
        if record.rest is not Rest.NEVER_SERVED:
            return False
        try:
            claimant, _ = self._world.runs.load(record.claimed_by)
        except Missing:
            return True
        return claimant.is_final

    async def wake(self, model: str) -> None:
        """Leave the wish that the model's run wakes."""
        await asyncio.to_thread(self._wish, model)

    async def nudge(self, model: str) -> None:
        """Have the run look whether its endpoint still stands; the same wish says so."""
        await asyncio.to_thread(self._wish, model)

    def _wish(self, model: str) -> None:
        record = self._world.endpoints.load(model)
        if record is not None and record.owner is not None:
            reconciler.wish(self._world, record.owner, Wish.WAKE)

    async def note_use(self, model: str, at: datetime) -> None:
        """Note the use."""
        await asyncio.to_thread(self._note, model, at)
