"""A manifest arrives: make its run, once.

The blob event is a hint like any other. What counts is what lies in the container: path, content and ETag
decide which run this is, so that the same drop told twice is one run, a changed manifest is a new run, and
the same manifest dropped again over an ended run is that run's next generation.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import msgspec

from shared.errors import DroptuneError, Missing, StaleRecord
from shared.runs import naming
from shared.runs.ports import Dropped, Look
from shared.runs.record import received

if TYPE_CHECKING:
    from shared.runs.ports import World
    from shared.runs.record import Run

SUFFIXES = (".json", ".yaml", ".yml")
"""What a manifest's name ends in; anything else in the container is left alone."""

logger = logging.getLogger(__name__)


def receive(world: World, path: str) -> Run | None:
    """The run of the manifest at `path`, made if it is new; `None` if there is no manifest there."""
    if not path.endswith(SUFFIXES):
        logger.warning("%s is not a manifest: its name ends in none of %s", path, SUFFIXES)
        return None
    try:
        content, etag = world.manifests.read(path)
    except Missing:
        logger.warning("%s is gone", path)
        return None
    run = _existing_or_new(world, path, content, etag)
    if run.is_active:
        world.runs.mark_active(run.id)
        world.looks.send(Look(run.id), world.pace.at_once)
    # Last, so that whatever was cut short above is found by `sweep` and done again.
    world.manifests.note_seen(Dropped(path, etag))
    return run


def _existing_or_new(world: World, path: str, content: bytes, etag: str) -> Run:
    generation = 1
    while True:
        run_id = naming.run_id(path, content, generation)
        try:
            run, version = world.runs.load(run_id)
        except Missing:
            run = received(
                run_id,
                manifest=path,
                etag=etag,
                generation=generation,
                source=content,
                now=world.now(),
            )
            world.runs.mark_active(run_id)  # first: a record without a mark could be forgotten
            try:
                world.runs.create(run)
            except StaleRecord:
                continue  # somebody else has just made it: look at theirs
            logger.info("%s: %s", run_id, run.why)
            return run
        if run.etag == etag:
            return run
        if run.is_final:
            generation += 1
            continue
        # A second drop while the run is on its way is this run's too, also when it is told again later.
        adopted = msgspec.structs.replace(run, etag=etag)
        try:
            world.runs.save(adopted, version)
        except StaleRecord:
            continue
        return adopted


def sweep(world: World) -> list[Run]:
    """Make the runs of all manifests whose event was lost; two lists, and nothing read that was seen."""
    seen = set(world.manifests.seen())
    missed = [drop for drop in world.manifests.listed() if drop not in seen]
    made = []
    for drop in missed:
        if not drop.path.endswith(SUFFIXES):
            continue
        try:
            run = receive(world, drop.path)
        except DroptuneError:
            logger.exception("%s: its run cannot be made now; the others go on", drop.path)
            continue
        if run is not None:
            made.append(run)
    return made
