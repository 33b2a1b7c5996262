"""From `approved` to `registered`: one model version, and where it came from.

Whoever finds the model in Azure ML can tell from its tags and properties which manifest, data, parameters and
job made it, and what it measured.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from shared.runs import naming
from shared.runs.outcomes import Advance, Outcome
from shared.runs.phases import Phase
from shared.runs.ports import ModelRequest
from shared.runs.submission import foundation_of
from shared.runs.training import manifest_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from shared.runs.ports import World
    from shared.runs.record import Facts, Run

PASSED: Final = "passed"
FAILED: Final = "failed"

GATE_TAG: Final = "gate"
"""The tag that says whether the gate passed the model."""

LONGEST_VALUE: Final = 1000
MOST_PROPERTIES: Final = 50
MOST_PIECES: Final = 10
"""Bounds of Azure ML's on tags and properties: 50 of each, 1,000 characters a value
(https://learn.microsoft.com/azure/machine-learning/resource-limits-capacity); and of ours on the pieces of one
long value."""


def approved(run: Run, world: World) -> Outcome:
    """Register the model version, unless it is there already."""
    facts = register(run, world)
    return Advance(
        Phase.REGISTERED, f"model {facts.model}:{facts.model_version} is registered", facts
    )


def register(run: Run, world: World) -> Facts:
    """Have the model version registered, once; returns the facts with its name and version."""
    manifest, facts = manifest_of(run), run.facts
    name, version = naming.model_name(manifest.name), naming.model_version(run.id)
    if not world.workspace.has_model(name, version):
        world.workspace.register(
            ModelRequest(
                name=name,
                version=version,
                job=facts.job or "",
                run=run.id,
                description=f"{foundation_of(run, manifest)} fine-tuned on {run.manifest} by Droptune",
                tags=tags(run),
                lineage=lineage(run),
            )
        )
    return msgspec.structs.replace(facts, model=name, model_version=version)


def tags(run: Run) -> dict[str, str]:
    """What people filter models by; the ownership tag is the adapter's to add."""
    manifest, facts = manifest_of(run), run.facts
    found = {
        GATE_TAG: facts.gate or PASSED,
        "manifest": run.manifest,
        "foundation_model": foundation_of(run, manifest),
        "dataset": manifest.dataset.hub or "files",
    }
    return {name: value[:LONGEST_VALUE] for name, value in found.items()}


def lineage(run: Run) -> dict[str, str]:
    """Where the model came from, as properties within Azure ML's bounds."""
    manifest, facts = manifest_of(run), run.facts
    whole: dict[str, str] = {
        "droptune_manifest": run.manifest,
        "droptune_manifest_etag": run.etag,
        "droptune_job": facts.job or "",
        "droptune_component": facts.component or "",
        "droptune_foundation_model": facts.foundation_model or "",
        "droptune_fingerprint": facts.fingerprint or "",
        "droptune_revision": facts.revision or "",
        "droptune_dataset": _json(manifest.dataset.model_dump(mode="json", exclude_none=True)),
        "droptune_rows": _json(facts.rows),
        "droptune_tokens": _json(facts.trained_tokens),
        "droptune_parameters": _json(_parameters(run)),
        "droptune_metrics": _json(facts.metrics),
        "droptune_verdict": "; ".join(facts.verdict),
    }
    pieces = [piece for name, value in whole.items() if value for piece in cut(name, value)]
    return dict(pieces[:MOST_PROPERTIES])


def _parameters(run: Run) -> Mapping[str, Any]:
    """What the job was given; where the record does not keep that, what the manifest asked for."""
    given = run.facts.parameters
    return manifest_of(run).finetune if given is None else given


def _json(value: object) -> str:
    return msgspec.json.encode(value, order="sorted").decode()


def cut(name: str, value: str) -> Iterator[tuple[str, str]]:
    """`value` under `name`; a long one in numbered pieces, the first under the name itself.

    >>> dict(cut("a", "xyz"))
    {'a': 'xyz'}
    """
    for number in range(min(MOST_PIECES, max(1, -(-len(value) // LONGEST_VALUE)))):
        piece = value[number * LONGEST_VALUE : (number + 1) * LONGEST_VALUE]
        yield (name if number == 0 else f"{name}_{number + 1}"), piece
