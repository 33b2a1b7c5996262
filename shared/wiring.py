"""Which adapter fills which port: the one place where the settings meet the code.

Everything is made at first use and kept for the life of the process: indexing a function imports nothing
heavy, and a warm instance makes no client twice.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from shared.cloud.storage import StorageConnection
    from shared.cloud.workspace import AzureWorkspace
    from shared.runs.ports import Look, World
    from shared.runs.record import Run
    from shared.serving.proxy import Proxy
    from shared.settings import Settings

MOST_LOOKED_THROUGH = 500
"""How many records a filtered list of runs reads at most before it gives back what it found."""


@functools.cache
def settings() -> Settings:
    """The app settings.

    Raises:
        SettingsError: With every problem at once.
    """
    import os

    from shared.settings import read

    return read(os.environ)


@functools.cache
def _storage() -> StorageConnection:
    from shared.cloud.storage import connection_from

    return connection_from(settings())


@functools.cache
def _workspace() -> AzureWorkspace:
    from shared.cloud.workspace import workspace_from

    return workspace_from(settings())


@functools.cache
def world() -> World:
    """The core's ports, filled for Azure."""
    from datetime import UTC, datetime

    from shared.cloud.configs import BlobConfigs
    from shared.cloud.datasets import preparation_from
    from shared.cloud.endpoint_store import BlobEndpointStore
    from shared.cloud.looks import QueueLooks
    from shared.cloud.manifests import BlobManifests
    from shared.cloud.run_store import BlobRunStore
    from shared.cloud.uses import BlobUses
    from shared.runs.limits import Limits, Pace
    from shared.runs.ports import World

    chosen, storage = settings(), _storage()
    return World(
        runs=BlobRunStore(storage),
        looks=QueueLooks(storage),
        endpoints=BlobEndpointStore(storage),
        manifests=BlobManifests(storage),
        preparation=preparation_from(storage, chosen),
        configs=BlobConfigs(storage, chosen.datastore),
        workspace=_workspace(),
        uses=BlobUses(storage),
        limits=Limits(
            registries=chosen.registries,
            instance_types=chosen.instance_types,
            nodes=chosen.max_nodes,
            instances=chosen.max_instances,
            runs=chosen.max_runs,
            attempts=chosen.max_attempts,
            fallback_models=chosen.fallback_models,
            tokens=chosen.max_tokens,
            in_function=chosen.prepare_in_function_up_to,
            preparing_nodes=chosen.prepare_nodes,
        ),
        pace=Pace(
            job=chosen.look_at_job,
            rollout=chosen.look_at_rollout,
            preparing=chosen.prepare_for_at_most,
            queued=chosen.longest_queued,
            unresponsive=chosen.longest_unresponsive,
        ),
        now=lambda: datetime.now(UTC),
    )


@functools.cache
def proxy() -> Proxy:
    """The scoring path; lives on the loop of the first request."""
    from shared.cloud.uses import BlobUses
    from shared.serving.api_keys import ApiKeys
    from shared.serving.options import Options
    from shared.serving.proxy import Proxy
    from shared.serving.records import Records

    chosen = settings()
    records = Records(world(), key=_workspace().key, note=BlobUses(_storage()).note)
    return Proxy(
        ApiKeys(chosen.api_key_digests, setting="DROPTUNE_API_KEYS"),
        source=records,
        waker=records,
        notes=records,
        options=Options(
            hold=chosen.hold_while_waking.total_seconds(),
            wake_retry_after=chosen.look_at_rollout.total_seconds(),
        ),
    )


def look_in(body: bytes) -> Look:
    """The look that a queue message asks for.

    Raises:
        Refused: It asks for none.
    """
    from shared.cloud.looks import parse

    return parse(body)


def runs_page(
    *, limit: int, after: str | None, manifest: str | None = None, phase: str | None = None
) -> tuple[list[Run], str | None]:
    """Runs, newest first, and what to give as `after` for those that follow.

    A filter looks through `MOST_LOOKED_THROUGH` runs at most; what it has not seen by then is found by asking
    again with `after`.

    Raises:
        Refused: `after` is nothing that a page gave.
    """
    from shared.cloud.run_store import BlobRunStore

    store = BlobRunStore(_storage())
    found: list[Run] = []
    for _ in range(max(1, MOST_LOOKED_THROUGH // limit)):
        page = store.page(after, limit - len(found))
        after = page.after
        found += [
            run
            for run in page.runs
            if manifest in (None, run.manifest) and phase in (None, run.phase)
        ]
        if len(found) == limit or after is None:
            break
    return found, after
