"""From `received` to `prepared`: the manifest is checked whole, then its data.

Everything that can be known to be wrong is found before a GPU is asked for, and told at once.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import msgspec

from shared.errors import DataRejected, ManifestRejected, Missing, Permanent, Problem
from shared.runs import naming, tokens
from shared.runs.checking import check
from shared.runs.endpoints import EndpointRecord, Rest
from shared.runs.outcomes import Advance, Outcome
from shared.runs.phases import Phase
from shared.runs.ports import PreparedData
from shared.runs.preparing_by_job import data_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from shared.runs.checking import Checked
    from shared.runs.manifest import Manifest
    from shared.runs.ports import World
    from shared.runs.record import Run
    from shared.runs.tokens import Estimate

logger = logging.getLogger(__name__)


def received(run: Run, world: World, beat: Callable[[], None]) -> Outcome:
    """Check the manifest, claim its endpoint and have its data prepared. Long: beats while it works.

    Raises:
        Rejected: With every problem found.
    """
    checked = check(run, world)
    manifest = checked.manifest
    beat()
    azure_name = _claim(run, manifest, world, finally_=False)
    prepared = _prepared(run, checked, world, beat)
    if not isinstance(prepared, PreparedData):
        return prepared
    effort = _bounded(checked, prepared, world)
    _claim(run, manifest, world, finally_=True)
    facts = msgspec.structs.replace(
        run.facts,
        request=manifest.model_dump(mode="json", exclude_none=True),
        notes=list(dict.fromkeys([*run.facts.notes, *checked.notes])),
        foundation_model=checked.model.id,
        component=checked.component.id,
        parameters=dict(checked.parameters),
        size=checked.size,
        gpus=checked.gpus,
        fingerprint=prepared.fingerprint,
        revision=prepared.revision,
        splits=dict(prepared.splits),
        rows=dict(prepared.rows),
        dropped=prepared.dropped,
        tokens=effort.tokens,
        endpoint=azure_name,
    )
    counts = ", ".join(f"{count:,} {split}" for split, count in prepared.rows.items())
    why = (
        f"rows: {counts}; {prepared.dropped:,} dropped; about {effort.tokens:,} tokens to train on"
    )
    return Advance(Phase.PREPARED, why, facts)


def _prepared(
    run: Run, checked: Checked, world: World, beat: Callable[[], None]
) -> PreparedData | Outcome:
    """The data, prepared, or what to do until it is; its author gets a page on it, all the more if it is refused."""
    sequence = checked.in_effect.get("max_seq_length")
    limit = sequence if isinstance(sequence, int) and sequence > 0 else None
    try:
        prepared = data_of(run, checked.manifest, limit, world, beat)
    except DataRejected as error:
        if error.fingerprint is not None:
            _show(run, error.fingerprint, world)
        raise
    if isinstance(prepared, PreparedData):
        _show(run, prepared.fingerprint, world)
    return prepared


def _show(run: Run, fingerprint: str, world: World) -> None:
    try:
        world.manifests.show_data(run.manifest, world.preparation.page(fingerprint))
    except Permanent:
        logger.exception("%s: the page on its data cannot be written", run.id)


def _bounded(checked: Checked, prepared: PreparedData, world: World) -> Estimate:
    """What the training will take, which is within every bound."""
    manifest = checked.manifest
    effort = tokens.estimate(
        prepared.tokens,
        prepared.rows["train"],
        checked.in_effect,
        lambda: manifest.compute.max_nodes * checked.gpus,
    )
    own, allowed = manifest.limits.max_tokens, world.limits.tokens
    if problems := tokens.problems(effort, own=own, allowed=allowed):
        raise ManifestRejected(problems)
    return effort


def _claim(run: Run, manifest: Manifest, world: World, *, finally_: bool) -> str:
    """Claim the endpoint for this manifest, so that no other takes it unasked; returns Azure's name.

    Another manifest's endpoint is only taken over `finally_`: the data might yet be refused.
    """
    with world.endpoints.hold(manifest.endpoint) as held:
        record = held.record
        if record is None:
            record = EndpointRecord(
                name=manifest.endpoint,
                azure_name=naming.endpoint_name(manifest.endpoint, world.workspace.place),
                manifest=run.manifest,
                claimed_by=run.id,
                since=world.now(),
                idle_after=manifest.idle.after.total_seconds(),
            )
        is_ours = record.manifest == run.manifest or _is_free(record, run, world)
        if not (is_ours or manifest.deploy.take_over):
            raise ManifestRejected(
                [
                    Problem(
                        "deploy.endpoint",
                        f"'{manifest.endpoint}' belongs to the manifest {record.manifest}",
                        "Choose another name, or set deploy.take_over to true",
                    )
                ]
            )
        if is_ours or finally_:
            held.save(msgspec.structs.replace(record, manifest=run.manifest, claimed_by=run.id))
        return record.azure_name


def _is_free(record: EndpointRecord, run: Run, world: World) -> bool:
    """Whether the endpoint's claim came to nothing, or its owner came from this manifest."""
    if record.rest is Rest.RETIRED:
        return True
    holder = record.owner or record.claimed_by
    try:
        claimant, _ = world.runs.load(holder)
    except Missing:
        return True
    return claimant.manifest == run.manifest or (record.owner is None and claimant.is_final)
