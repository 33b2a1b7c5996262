"""The sweep that puts idle endpoints to sleep.

It only decides and leaves a wish; the run itself looks once more and deletes. Endpoints are measured in
batches, so that a thousand of them cost some twenty calls.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from shared.errors import DroptuneError
from shared.runs import reconciler
from shared.runs.endpoints import Rest
from shared.runs.record import Wish
from shared.serving import idle

if TYPE_CHECKING:
    from collections.abc import Iterator

    from shared.runs.ports import World

logger = logging.getLogger(__name__)


def retire_idle(world: World) -> list[str]:
    """Wish sleep for every run whose endpoint nobody uses; returns the endpoints' names."""
    retired = []
    for candidate, decision in idle.sweep(
        world.now(), _candidates(world), world.workspace.last_requests
    ):
        name = candidate.record.name
        if isinstance(decision, idle.Unknown):
            logger.warning("%s is left alone: %s", name, decision.why)
        elif isinstance(decision, idle.Idle) and candidate.record.owner is not None:
            try:
                reconciler.wish(world, candidate.record.owner, Wish.SLEEP)
            except DroptuneError as error:
                logger.warning("%s: its run %s: %s", name, candidate.record.owner, error)
                continue
            logger.info("%s goes to sleep: %s", name, decision.why)
            retired.append(name)
    return retired


def _candidates(world: World) -> Iterator[idle.Candidate]:
    for record in world.endpoints.all():
        if record.rest is Rest.SERVING:
            yield idle.Candidate.of(record, world.uses.last(record.name))
