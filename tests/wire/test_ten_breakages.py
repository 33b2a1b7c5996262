"""The ways in which Microsoft's fine-tuning notebook breaks when it is automated word for word.

Each test is one of them (the registry's and the SDK's public sources tell how they came to be): the unmodified
SDK meets the trouble, and the run's record shows that Droptune does not.
"""

from __future__ import annotations

import json

import pytest
from conftest import make_client
from whole_runs import PROMPTS, Droptune

from shared.data.prompts import prompt_of, sample_prompts
from shared.runs import naming
from shared.runs.phases import Phase
from tests.wire.journeys import GPU

PHI_3 = "Phi-3-mini-4k-instruct"


def test_1_the_latest_version_of_an_archived_model_is_not_found(journey, registry_client):
    """The SDK says that it does not exist; Droptune what there is, and takes a stand-in if it may."""
    from azure.ai.ml.exceptions import ValidationException

    with pytest.raises(ValidationException, match="does not exist in registry"):
        registry_client.models.get(PHI_3, label="latest")
    told = journey.refused(model={"name": PHI_3})
    assert f"every version of '{PHI_3}' in the registry 'azureml' is archived" in told
    assert "15 (archived, fine-tuning ends 2025-08-30" in told
    assert "set model.allow_fallback" in told
    facts = journey.trained(model={"name": PHI_3, "allow_fallback": True})
    assert facts.foundation_model == "azureml://registries/azureml/models/Phi-4/versions/8"
    assert any("Phi-4 version 8 stands in for it" in note for note in facts.notes), facts.notes


def test_2_the_allow_lists_and_tasks_are_tags_no_longer(journey, registry_client):
    """Version 14 has them as tags, version 15 as system metadata; both are told the same."""
    assert "finetune_compute_allow_list" not in registry_client.models.get(PHI_3, "15").tags
    old, new = (
        journey.workspace.foundation_model("azureml", PHI_3, version) for version in ("14", "15")
    )
    for name in ("train_sizes", "serve_sizes", "tasks", "tuning_ends", "serving_ends"):
        assert getattr(old, name)
        assert getattr(old, name) == getattr(new, name)
    size = "Standard_NC40ads_H100_v5"
    for version in ("14", "15"):
        asked = {"name": PHI_3, "version": version, "allow_retired": True}
        told = journey.refused(model=asked, compute={"size": size})
        assert f"compute.size: '{size}' cannot train {PHI_3}" in told


def test_3_a_models_defaults_name_inputs_that_the_component_does_not_have(
    journey, registry_client
):
    """The SDK refuses `learning_rate_min`; Droptune drops it with a note and trains."""
    from azure.ai.ml.exceptions import UserErrorException

    component = registry_client.components.get("chat_completion_pipeline", label="latest")
    with pytest.raises(UserErrorException, match="learning_rate_min"):
        component(task_name="ChatCompletion", learning_rate_min=5e-7)
    facts = journey.trained(model={"name": PHI_3, "version": "15", "allow_retired": True})
    assert facts.parameters["learning_rate"] == pytest.approx(5e-6)
    assert "learning_rate_min" not in facts.parameters
    dropped = [note for note in facts.notes if "learning_rate_min" in note]
    assert dropped == [
        "the model's default learning_rate_min=5e-07 is not an input of the component"
    ]


def test_4_the_notebooks_cluster_size_has_left_the_models_list(journey):
    """`Standard_ND40rs_v2` is refused with the sizes that would do, before anything is made."""
    journey.sim.limited(instance_types=(GPU, "Standard_ND40rs_v2"))
    asked = {"cluster": "gpu-cluster-big", "size": "Standard_ND40rs_v2"}
    told = journey.refused(model={"name": "Phi-4"}, compute=asked)
    assert "'Standard_ND40rs_v2' cannot train Phi-4; it supports Standard_NC24ads_A100_v4" in told


def test_5_the_notebooks_deployment_size_is_not_in_the_list_and_case_must_not_matter(journey):
    """The notebook prints and goes on; Droptune refuses, and compares without case."""
    wrong = "STANDARD_NC4AS_T4_V3"
    journey.sim.limited(instance_types=(GPU, wrong))
    told = journey.refused(deploy={"instance_type": wrong})
    assert f"deploy.instance_type: '{wrong}' cannot serve Phi-4" in told
    facts = journey.trained(deploy={"instance_type": GPU.upper()}, compute={"size": GPU.lower()})
    assert facts.size == GPU


def test_6_the_components_own_instance_type_is_retired(journey, ml_client, registry_client):
    """Serverless, every stage is given the size that was asked for."""
    component = registry_client.components.get("chat_completion_pipeline", label="latest")
    assert component.inputs["instance_type_finetune"].default.lower() == "standard_nc24rs_v3"
    facts = journey.trained()
    (step,) = ml_client.jobs.get(facts.job).jobs.values()
    given = {name: value._data for name, value in step.inputs.items()}
    for stage in ("model_import", "preprocess", "finetune"):
        assert given[f"instance_type_{stage}"] == GPU
        assert given[f"compute_{stage}"] == "serverless"


def test_7_the_pipeline_evaluates_no_test_data_and_its_presence_changes_the_split(
    journey, ml_client
):
    """All three splits are given, so that nothing is carved from train; no evaluation is waited for."""
    facts = journey.trained()
    (step,) = ml_client.jobs.get(facts.job).jobs.values()
    given = {name: value._data for name, value in step.inputs.items()}
    for split in ("train", "validation", "test"):
        assert given[f"{split}_file_path"].path == facts.splits[split]
    assert set(step.outputs) <= {"mlflow_model_folder", "pytorch_model_folder"}


def test_8_the_sdk_checks_neither_minima_nor_enums_nor_types(journey, registry_client, ml_client):
    """What the SDK lets through is refused with its place; enums are sent as the text they are."""
    component = registry_client.components.get("chat_completion_pipeline", label="latest")
    wrong = {
        "num_train_epochs": 0,
        "learning_rate": "5e-6",
        "precision": 8,
        "learning_rte": 1,
    }
    passed = component(task_name="ChatCompletion", num_train_epochs=0, precision=8)
    assert passed._validate().passed
    told = journey.refused(finetune=wrong)
    assert "finetune.num_train_epochs: is 0; it must be at least 1" in told
    assert "finetune.learning_rate: is '5e-6'; it must be a number" in told
    assert "finetune.precision: is 8; allowed are 32, 16" in told
    assert "finetune.learning_rte: is not an input of the component. Did you mean" in told
    facts = journey.trained(finetune={"precision": 16, "deepspeed_stage": 2, "apply_lora": True})
    (step,) = ml_client.jobs.get(facts.job).jobs.values()
    given = {name: value._data for name, value in step.inputs.items()}
    assert (given["precision"], given["deepspeed_stage"]) == ("16", "2")
    assert given["apply_lora"] == "true"
    assert "deepspeed_stage is 2; the model's own default is 3" in facts.notes


def test_9_the_smoke_test_ends_with_the_users_turn(droptune: Droptune) -> None:
    """The notebook sends a whole conversation that ends with the assistant's; MLflow's predictor refuses it."""
    row = {
        "messages": [
            {"role": "user", "content": "Hello?"},
            {"role": "assistant", "content": "Hi."},
            {"role": "user", "content": "Open on Saturday?"},
            {"role": "assistant", "content": "Yes."},
        ]
    }
    line = prompt_of(json.dumps(row).encode())
    assert line is not None
    (prompt,) = sample_prompts([line + b"\n"], 1)
    assert prompt[-1] == {"role": "user", "content": "Open on Saturday?"}
    PROMPTS.insert(0, prompt)
    try:
        run = droptune.play(droptune.drop("user-last", {"serves": {"last": "user"}}))
    finally:
        PROMPTS.remove(prompt)
    assert run.phase is Phase.SERVING, run.why
    assert run.facts.answers[0].question == "Open on Saturday?"


def test_10_an_endpoints_name_is_never_too_long(droptune: Droptune) -> None:
    """A sample's name plus a time stamp is longer than the 32 characters that the SDK takes."""
    name = "multi-lingual-reasoning-chat-completion-1764097200"
    run = droptune.play(droptune.drop(name))
    assert run.phase is Phase.SERVING, run.why
    azure_name = run.facts.endpoint or ""
    assert len(azure_name) <= naming.ENDPOINT_LIMIT < len(name)
    endpoint = make_client().online_endpoints.get(azure_name)
    assert endpoint.traffic == {run.facts.deployment: 100}
