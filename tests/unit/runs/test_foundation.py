"""Models come and go; a run is told which of it it met."""

from __future__ import annotations

from datetime import date

import pytest

from shared.assets import AssetId
from shared.runs import foundation
from shared.runs.manifest import Model
from shared.runs.ports import FoundationModel
from tests.worlds import Simulation

PAST, FUTURE = date(2025, 8, 30), date(2027, 1, 1)


def model(name: str = "Old", version: str = "2", **changed) -> FoundationModel:
    usual = {"defaults": {}, "tasks": ("chat-completion",)}
    return FoundationModel(f"azureml://{name}/{version}", name, version, **(usual | changed))


def choose(*versions: FoundationModel, fallbacks: tuple[str, ...] = (), **asked):
    sim = Simulation()
    sim.workspace.versions["Old"] = list(versions)
    sim.limited(
        fallback_models=tuple(AssetId("azureml", "models", f, "latest") for f in fallbacks)
    )
    return foundation.choose(Model(name="Old", **asked), sim.world)


def test_an_active_model_is_taken_without_a_word():
    """There is nothing to tell of a model that is offered and has no end."""
    choice = choose(model())
    assert choice.model == model()
    assert (choice.notes, choice.problems) == ((), ())


def test_latest_of_an_archived_model_tells_its_versions_and_the_ways_out():
    """Azure says only that it does not exist; what a person needs is what there is instead."""
    gone = model(version="2", archived=True, tuning_ends=PAST)
    (problem,) = choose(gone, model(version="1", archived=True)).problems
    assert "every version of 'Old' in the registry 'azureml' is archived" in problem.reason
    assert "2 (archived, fine-tuning ends 2025-08-30), 1 (archived)" in problem.reason
    assert "model.version" in problem.mend
    assert "model.allow_fallback" in problem.mend


def test_a_pinned_archived_model_is_taken_with_a_note():
    """Who names a version knows what they want."""
    choice = choose(model(archived=True), version="2")
    assert choice.model is not None
    assert "is archived" in choice.notes[0]


def test_a_deprecated_model_is_taken_and_its_end_is_noted():
    """Until the date it works; the record says when it stops."""
    choice = choose(model(tuning_ends=FUTURE, serving_ends=FUTURE))
    assert choice.model is not None
    assert choice.notes == (
        "the model Old version 2 is deprecated: its fine-tuning ends on 2027-01-01",
        "the model Old version 2 is deprecated: its inference ends on 2027-01-01",
    )


@pytest.mark.parametrize("ends", ["tuning_ends", "serving_ends"])
def test_a_retired_model_is_refused_with_its_date_unless_it_is_asked_for_all_the_same(ends):
    """A model that can be tuned and not served is no use either."""
    retired = model(**{ends: PAST})
    (problem,) = choose(retired).problems
    assert "2025-08-30" in problem.reason
    assert "retired" in problem.reason
    choice = choose(retired, allow_retired=True)
    assert choice.model is not None
    assert "ended on 2025-08-30" in choice.notes[0]


def test_a_model_is_retired_on_its_very_date():
    """The date is the first day without it."""
    today = Simulation().clock().date()
    assert choose(model(tuning_ends=today)).model is None


def test_a_version_that_is_not_there_tells_those_that_are():
    """A slip of the finger is mended by the list."""
    (problem,) = choose(model(), version="99").problems
    assert "no version '99'" in problem.reason
    assert "it has 2" in problem.reason


def test_a_fallback_stands_in_only_where_the_manifest_allows_it():
    """The operator keeps the list, the author decides."""
    assert choose(fallbacks=("Phi-4",)).model is None
    choice = choose(fallbacks=("Phi-4",), allow_fallback=True)
    assert choice.model is not None
    assert choice.model.name == "Phi-4"
    assert "Phi-4 version 8 stands in" in choice.notes[0]


def test_the_first_fallback_that_can_be_had_stands_in():
    """The list is tried in its order; what is gone itself is passed over."""
    choice = choose(fallbacks=("Old", "Phi-4"), allow_fallback=True)
    assert choice.model is not None
    assert choice.model.name == "Phi-4"


def test_a_fallback_that_cannot_be_tuned_is_passed_over():
    """The operator's slip is not the author's trouble while another model in the list will do."""
    sim = Simulation()
    sim.workspace.versions["Old"] = []
    sim.workspace.versions["Reads"] = [model("Reads", tasks=("text-classification",))]
    sim.workspace.versions["Ends"] = [model("Ends", tuning_ends=PAST)]
    names = ("Reads", "Ends", "Phi-4")
    assets = [AssetId("azureml", "models", each, "latest") for each in names]
    asked = Model(name="Old", allow_fallback=True)
    sim.limited(fallback_models=tuple(assets))
    choice = foundation.choose(asked, sim.world)
    assert choice.model is not None
    assert choice.model.name == "Phi-4"
    sim.limited(fallback_models=tuple(assets[:2]))
    _, told = foundation.choose(asked, sim.world).problems
    assert "Reads: the model 'Reads' version 2 can be fine-tuned for text-class" in told.reason
    assert "Ends: the model 'Ends' version 2 is retired" in told.reason


def test_without_a_fallback_to_be_had_both_troubles_are_told():
    """The author learns of their model, the operator of the list."""
    first, second = choose(allow_fallback=True).problems
    assert "no version" in first.reason
    assert "DROPTUNE_FALLBACK_MODELS is empty" in second.reason


@pytest.mark.parametrize("tasks", [(), ("text-classification",)])
def test_a_model_that_cannot_be_tuned_for_chat_is_refused_whatever_may_stand_in(tasks):
    """That is no accident of its life: the author chose wrongly."""
    choice = choose(model(tasks=tasks), fallbacks=("Phi-4",), allow_fallback=True)
    assert choice.model is None
    assert "not for chat-completion" in choice.problems[0].reason


def test_a_model_of_which_nothing_is_known_is_taken_with_a_note():
    """Registries of one's own say nothing of tasks."""
    choice = choose(model(tasks=None))
    assert choice.model is not None
    assert "does not say" in choice.notes[0]


def test_an_asset_id_is_taken_apart():
    """A whole id says the same as registry, name and version."""
    whole = Model(id="azureml://registries/mine/models/Old/versions/3")
    assert (whole.registry, whole.name, whole.version) == ("mine", "Old", "3")
    latest = Model(id="azureml://registries/mine/models/Old/labels/latest")
    assert latest.version == "latest"
    assert Model.model_validate(whole.model_dump()) == whole
    for wrong in ({"id": "Old:3"}, {"id": whole.id, "version": "4"}):
        with pytest.raises(ValueError, match=r"azureml://|disagree"):
            Model.model_validate(wrong)
