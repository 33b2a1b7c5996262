"""A manifest held against everything that can be known before a GPU is asked for, all problems at once.

Form, limits, sources, the foundation model, the parameters as the job will have them, the machines and their
quota: what is wrong with one does not hide what is wrong with another.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from shared.errors import ManifestRejected, Missing, Problem
from shared.runs import compute, foundation, parameters
from shared.runs import manifest as manifests
from shared.runs.failures import problem

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from shared.runs.manifest import Manifest
    from shared.runs.parameters import Component, Parameters
    from shared.runs.ports import FoundationModel, World
    from shared.runs.record import Run


@dataclass(frozen=True, slots=True)
class Checked:
    """A manifest that may become a job.

    Attributes:
        manifest: As it was written, defaults filled in.
        component: The pipeline component that will train.
        model: The foundation model to start from.
        parameters: What the job will be given.
        in_effect: The same with the component's defaults.
        size: The VM size that will train.
        gpus: GPUs of one node.
        notes: What a person should know about all of these.
    """

    manifest: Manifest
    component: Component
    model: FoundationModel
    parameters: Mapping[str, Any]
    in_effect: Mapping[str, Any]
    size: str
    gpus: int
    notes: tuple[str, ...]


def check(run: Run, world: World) -> Checked:
    """The run's manifest, checked.

    Raises:
        ManifestRejected: With every problem that there is.
    """
    component = world.workspace.component()
    fields = manifests.parse(run.manifest, run.source)
    manifest, problems = manifests.check(fields)
    if manifest is None:
        malformed = {each.place.partition(".")[0] for each in problems}
        raise ManifestRejected(problems + _of_the_rest(fields, malformed, component, world))
    wrong = parameters.check(manifest.finetune, component.inputs)
    problems += wrong
    problems += world.limits.problems(manifest)
    problems += world.preparation.problems(manifest.dataset)
    choice = _choice(manifest, world)
    model = choice.model
    problems += choice.problems
    merged, conflicts = _merged(manifest, model, component, wrong, world)
    problems += conflicts
    machines, unfit = compute.machines(manifest, model, world)
    problems += _without_repeats(unfit, problems)
    if model is not None:
        problems += compute.serving_problems(manifest, model)
    if problems or model is None or machines is None:
        raise ManifestRejected(problems)
    return Checked(
        manifest=manifest,
        component=component,
        model=model,
        parameters=merged.values,
        in_effect=merged.in_effect,
        size=machines.size.name,
        gpus=machines.size.gpus,
        notes=(*choice.notes, *machines.notes, *merged.notes),
    )


def _of_the_rest(
    fields: dict[str, Any], malformed: Collection[str], component: Component, world: World
) -> list[Problem]:
    """What is wrong with the sections whose form is right, in a manifest in which others' is not.

    Only what a section is wrong in by itself: whether sections go together shows once all can be read.
    """
    rest = manifests.well_formed(fields, malformed)
    given = fields.get("finetune")
    finetune = given if isinstance(given, dict) else {}
    problems = wrong = parameters.check(finetune, component.inputs)
    problems = problems + [
        each
        for each in world.limits.problems(rest)
        if each.place.partition(".")[0] not in malformed
    ]
    if "dataset" not in malformed:
        problems += world.preparation.problems(rest.dataset)
    model = None
    if "model" not in malformed:
        choice = _choice(rest, world)
        model = choice.model
        problems += choice.problems
    if "finetune" not in malformed:
        problems += _merged(rest, model, component, wrong, world)[1]
    return problems


def _choice(manifest: Manifest, world: World) -> foundation.Choice:
    """The foundation model; a registry that is beyond the limits is not asked for it."""
    if manifest.model.registry not in world.limits.registries:
        return foundation.Choice(None)
    return foundation.choose(manifest.model, world)


def _without_repeats(new: list[Problem], told: list[Problem]) -> list[Problem]:
    """A size that is beyond the limits has been told: its quota and GPUs need no word."""
    places = {each.place for each in told}
    return [each for each in new if each.place not in places]


def _merged(
    manifest: Manifest,
    model: FoundationModel | None,
    component: Component,
    wrong: list[Problem],
    world: World,
) -> tuple[Parameters, list[Problem]]:
    """What the job will be given, and what does not go together in it."""
    bad = {each.place.removeprefix("finetune.") for each in wrong}
    good = {name: value for name, value in manifest.finetune.items() if name not in bad}
    merged = parameters.merge(good, model.defaults if model else {}, component.inputs)
    problems = parameters.conflicts(merged.values, component.inputs)
    if parameters.CONFIG not in merged.values:
        return merged, problems
    content, unfit = _config(merged.values[parameters.CONFIG], world)
    problems += unfit
    if content is None:
        return merged, problems
    address = world.configs.keep(content)
    return replace(merged, values={**merged.values, parameters.CONFIG: address}), problems


def _config(given: str | dict[str, Any], world: World) -> tuple[bytes | None, list[Problem]]:
    """The DeepSpeed configuration as a file's content, and what is wrong with it."""
    place = f"finetune.{parameters.CONFIG}"
    if isinstance(given, dict):
        problems = parameters.config_problems(given)
        return None if problems else json.dumps(given).encode(), problems
    try:
        content = world.configs.read(given)
    except Missing:
        reason = f"'{given}' is not in the container 'data'"
        return None, [problem("parameter-wrong", place, reason)]
    try:
        config = json.loads(content)
    except ValueError as error:
        return None, [problem("parameter-wrong", place, f"'{given}' is not JSON: {error}")]
    problems = parameters.config_problems(config)
    return None if problems else content, problems
