"""Which foundation model a run starts from: the one that was asked for, or one that may stand in for it.

Models come and go: their registries archive versions (then `latest` finds none of them), announce dates on which
fine-tuning or inference ends, and keep listing what is past its date. A run is told which of these it met.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from shared.assets import LATEST
from shared.errors import Missing, Problem
from shared.runs.failures import problem

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date

    from shared.assets import AssetId
    from shared.runs.model_section import Model
    from shared.runs.ports import FoundationModel, World

TASK: Final = "chat-completion"
_MOST_TOLD: Final = 5


@dataclass(frozen=True, slots=True)
class Choice:
    """What came of the choice: a model with notes on it, or problems."""

    model: FoundationModel | None
    notes: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()


def choose(asked: Model, world: World) -> Choice:
    """The model to start from, or why there is none."""
    model, trouble = _sought(asked.registry, asked.name, asked.version, world)
    if model is not None and not asked.allow_retired:
        trouble = _retired(model, world.now().date())
    if trouble is None:
        assert model is not None
        return _tunable(model, _lifecycle(model, world.now().date()))
    if not asked.allow_fallback:
        return Choice(None, problems=(trouble,))
    return _stand_in(trouble, world)


def _stand_in(trouble: Problem, world: World) -> Choice:
    """The first fallback model that will do; `trouble` is why the one asked for will not."""
    missed = []
    for other in world.limits.fallback_models:
        choice = _considered(other, world)
        if choice.model is not None:
            model = choice.model
            note = f"{trouble.reason}: {model.name} version {model.version} stands in for it"
            return replace(choice, notes=(note, *choice.notes))
        missed += [f"{other.name}: {why.reason}" for why in choice.problems]
    said = "; ".join(missed) or "the setting DROPTUNE_FALLBACK_MODELS is empty"
    told = Problem(
        "model.allow_fallback",
        f"no other model can stand in: {said}",
        "Have one named in DROPTUNE_FALLBACK_MODELS, or choose another model",
    )
    return Choice(None, problems=(trouble, told))


def _considered(other: AssetId, world: World) -> Choice:
    """A fallback model, or why it will not do either."""
    model, why = _sought(other.registry, other.name, other.version, world)
    today = world.now().date()
    if model is not None:
        why = _retired(model, today)
    if why is not None:
        return Choice(None, problems=(why,))
    assert model is not None
    return _tunable(model, _lifecycle(model, today))


def _sought(
    registry: str, name: str, version: str, world: World
) -> tuple[FoundationModel | None, Problem | None]:
    try:
        return world.workspace.foundation_model(registry, name, version), None
    except Missing as error:
        missing = error
    try:
        versions = world.workspace.model_versions(registry, name)
    except Missing:
        versions = ()  # no such registry, as the first answer says
    if not versions:
        return None, problem("model-missing", "model", str(missing))
    told = _told(versions)
    if version == LATEST:
        reason = f"every version of '{name}' in the registry '{registry}' is archived: {told}"
        return None, problem("model-archived", "model", reason)
    reason = f"the registry '{registry}' has no version '{version}' of '{name}'; it has {told}"
    return None, problem("model-missing", "model.version", reason)


def _told(versions: Sequence[FoundationModel]) -> str:
    """Versions with what there is to know of each: `15 (archived, fine-tuning ends 2025-08-30), 14`."""
    shown = []
    for each in versions[:_MOST_TOLD]:
        said = ["archived"] if each.archived else []
        said += [f"{what} ends {when}" for what, when in _dates(each)]
        shown.append(f"{each.version} ({', '.join(said)})" if said else each.version)
    more = len(versions) - _MOST_TOLD
    return ", ".join(shown) + (f" and {more} older" if more > 0 else "")


def _dates(model: FoundationModel) -> list[tuple[str, date]]:
    both = (("fine-tuning", model.tuning_ends), ("inference", model.serving_ends))
    return [(what, when) for what, when in both if when is not None]


def _retired(model: FoundationModel, today: date) -> Problem | None:
    past = [f"{what} was retired on {when}" for what, when in _dates(model) if when <= today]
    if not past:
        return None
    reason = f"the model '{model.name}' version {model.version} is retired: its {' and its '.join(past)}"
    return problem("model-retired", "model", reason)


def _lifecycle(model: FoundationModel, today: date) -> tuple[str, ...]:
    """What a person should know of a model that is used all the same."""
    whose, notes = f"the model {model.name} version {model.version}", []
    if model.archived:
        notes.append(f"{whose} is archived: its registry offers it to nobody new")
    for what, when in _dates(model):
        if when <= today:
            notes.append(f"{whose} is retired: its {what} ended on {when}")
        else:
            notes.append(f"{whose} is deprecated: its {what} ends on {when}")
    return tuple(notes)


def _tunable(model: FoundationModel, notes: tuple[str, ...]) -> Choice:
    if model.tasks is None:
        said = f"the registry does not say what {model.name} can be fine-tuned for"
        return Choice(model, (*notes, said))
    if TASK in model.tasks:
        return Choice(model, notes)
    tasks = ", ".join(model.tasks) or "nothing"
    reason = (
        f"the model '{model.name}' version {model.version} can be fine-tuned for {tasks}, "
        f"not for {TASK}"
    )
    return Choice(None, problems=(problem("model-not-tunable", "model", reason),))
