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


def delete_orphans(world: World) -> list[str]:
    """Delete endpoints of ours that no run owns any more; returns Azure's names of them.

    There should be none: runs let go of what they hold before they end. This is for what people did by hand,
    such as deleting records.
    """
    records = {record.azure_name: record for record in world.endpoints.all()}
    active = {mark.run for mark in world.runs.active()}
    deleted = []
    for orphan in idle.orphans(world.now(), world.workspace.standing(), records, active):
        logger.warning("%s belongs to no run and is deleted: %s", orphan.name, orphan.why)
        try:
            world.workspace.delete_endpoint(orphan.name)
        except DroptuneError as error:
            logger.warning("%s cannot be deleted now: %s", orphan.name, error)
            continue
        deleted.append(orphan.name)
    return deleted


def _candidates(world: World) -> Iterator[idle.Candidate]:
    for record in world.endpoints.all():
        if record.rest is Rest.SERVING:
            yield idle.Candidate.of(record, world.uses.last(record.name))
