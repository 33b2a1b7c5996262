"""What a job is asked to be: its names, its labels, its inputs, all derived from the run's record."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from shared.runs import naming, parameters
from shared.runs.ports import JobRequest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from shared.runs.manifest import Manifest
    from shared.runs.ports import World
    from shared.runs.record import Run


def job_request(run: Run, manifest: Manifest, world: World) -> JobRequest:
    """The job of the run's present attempt."""
    facts, component = run.facts, world.workspace.component()
    kept = facts.parameters
    given = _merged_late(run, manifest, component.inputs, world) if kept is None else kept
    size = facts.size or manifest.compute.size
    gpus = facts.gpus
    if gpus is None:
        found = world.workspace.vm_size(size)
        gpus = found.gpus if found else 1
    effective = parameters.effective_values(given, component.inputs)
    dataset = (manifest.dataset.hub or manifest.name).rpartition("/")[2]
    return JobRequest(
        name=naming.job_name(run.id, facts.attempt),
        display_name=display_name(
            foundation_of(run, manifest), dataset, effective, gpus * manifest.compute.max_nodes
        ),
        experiment=f"droptune-{naming.slug(manifest.name)}",
        run=run.id,
        foundation_model=facts.foundation_model or "",
        component=facts.component or component.id,
        splits=facts.splits,
        parameters=given,
        cluster=manifest.compute.cluster,
        size=size,
        nodes=manifest.compute.max_nodes,
        gpus=max(gpus, 1),
        lineage=lineage(run),
    )


def foundation_of(run: Run, manifest: Manifest) -> str:
    """The name of the model that is tuned; not the manifest's where another stands in for it."""
    return naming.asset_name(run.facts.foundation_model or "") or manifest.model.name


def _merged_late(
    run: Run, manifest: Manifest, inputs: Mapping[str, parameters.Input], world: World
) -> Mapping[str, Any]:
    """The parameters of a record that was written before they were kept in it."""
    version = (run.facts.foundation_model or "").rpartition("/")[2]
    model = world.workspace.foundation_model(
        manifest.model.registry, manifest.model.name, version or manifest.model.version
    )
    return parameters.merge(manifest.finetune, model.defaults, inputs).values


def display_name(model: str, dataset: str, values: Mapping[str, Any], gpus: int) -> str:
    """The name that people see, in the form of Microsoft's fine-tuning notebook.

    Args:
        model: The foundation model's name.
        dataset: The dataset's name.
        values: Every parameter that shapes the training, defaults filled in.
        gpus: GPUs of all nodes together.

    >>> display_name("Phi-4", "chat", {"apply_lora": "true", "save_total_limit": 1}, 2)
    'Phi-4-chat-bs2-linear-nods-lora-save_limit1-seqlen-1'
    """
    batch = values.get("per_device_train_batch_size", 1)
    accumulated = values.get("gradient_accumulation_steps", 1)
    with_deepspeed = values.get("apply_deepspeed") == "true"
    parts = (
        model,
        dataset,
        f"bs{int(batch) * int(accumulated) * gpus}",
        values.get("lr_scheduler_type") or "linear",
        f"ds{values.get('deepspeed_stage', '2')}" if with_deepspeed else "nods",
        "lora" if values.get("apply_lora") == "true" else "nolora",
        f"save_limit{values.get('save_total_limit', -1)}",
        f"seqlen{values.get('max_seq_length', -1)}",
    )
    return "-".join(str(part) for part in parts)


def lineage(run: Run) -> dict[str, str]:
    """Where the model came from, as properties of what is made of it."""
    return {
        "droptune_manifest": run.manifest,
        "droptune_fingerprint": run.facts.fingerprint or "",
        "droptune_foundation_model": run.facts.foundation_model or "",
        "droptune_generation": str(run.generation),
        "droptune_attempt": str(run.facts.attempt),
    }
