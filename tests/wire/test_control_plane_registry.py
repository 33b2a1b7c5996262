"""The registry and the region, asked by the unmodified SDK."""

from __future__ import annotations

import ast
import json

import pytest
from azure.core.exceptions import ResourceNotFoundError

REGISTRY = (
    "/regional/mferp/managementfrontend/subscriptions/00000000-0000-0000-0000-000000000001"
    "/resourceGroups/registries/providers/Microsoft.MachineLearningServices/registries/azureml"
)


def test_latest_version_of_an_active_model_is_found(registry_client):
    """`label="latest"` of an active model gives its newest version with readable metadata."""
    model = registry_client.models.get("Phi-4", label="latest")
    assert model.version == "8"
    assert json.loads(model.tags["model_specific_defaults"])["deepspeed_stage"] == 3


def test_latest_version_of_an_archived_model_is_refused(registry_client):
    """`label="latest"` of a model with archived versions only fails as on Azure."""
    from azure.ai.ml.exceptions import ValidationException

    with pytest.raises(ValidationException, match="does not exist in registry azureml"):
        registry_client.models.get("Phi-3-mini-4k-instruct", label="latest")


def test_an_archived_version_is_found_by_its_number(registry_client):
    """A pinned archived version can be read, with the tags of its time."""
    old = registry_client.models.get("Phi-3-mini-4k-instruct", "14")
    new = registry_client.models.get("Phi-3-mini-4k-instruct", "15")
    assert "Standard_NC24ads_A100_v4" in ast.literal_eval(old.tags["finetune_compute_allow_list"])
    assert "learning_rate_min" in json.loads(old.tags["model_specific_defaults"])
    assert "finetune_compute_allow_list" not in new.tags


def test_newer_versions_have_system_metadata_on_the_wire(ask):
    """What were tags until 2026-06-16 is system metadata since (azure-ai-ml 1.35.2 drops it)."""
    version = ask(f"{REGISTRY}/models/Phi-4/versions/8")
    metadata = version["properties"]["systemMetadata"]
    computes = json.loads(metadata["supportedComputes"])
    assert "Standard_NC24ads_A100_v4" in computes["finetuneComputes"]
    assert json.loads(metadata["tasks"])["fineTuningTasks"] == ["chat-completion"]


def test_archived_versions_are_listed_on_request_only(registry_client, ask):
    """Lists show active assets unless archived ones are asked for."""
    name = "Phi-3-mini-4k-instruct"
    everything = ask(f"{REGISTRY}/models/{name}/versions", listViewType="All")
    assert [each["name"] for each in everything["value"]] == ["15", "14"]
    assert list(registry_client.models.list(name)) == []
    assert {model.name for model in registry_client.models.list()} == {"Phi-4"}


def test_an_unknown_model_is_not_found(registry_client):
    """A model that the registry lacks is 404 with Azure's inner code."""
    with pytest.raises(ResourceNotFoundError, match="not found"):
        registry_client.models.get("Phi-5", "1")


def test_the_component_has_its_69_inputs_and_two_outputs(registry_client):
    """`chat_completion_pipeline` is the real component, typed, with enums, minima and defaults."""
    component = registry_client.components.get("chat_completion_pipeline", label="latest")
    assert component.version == "0.0.82"
    assert component.id == (
        "azureml://registries/azureml/components/chat_completion_pipeline/versions/0.0.82"
    )
    assert len(component.inputs) == 69
    assert set(component.outputs) == {"mlflow_model_folder", "pytorch_model_folder"}
    assert component.inputs["precision"].enum == ["32", "16"]
    assert component.inputs["num_train_epochs"].min == 1
    required = [name for name, each in component.inputs.items() if not each.optional]
    assert required == ["task_name"]


def test_sizes_tell_gpus(ml_client):
    """VM sizes carry the count of GPUs that the notebook reads."""
    sizes = {size.name: size for size in ml_client.compute.list_sizes()}
    assert sizes["Standard_NC96ads_A100_v4"].gpus == 4
    assert sizes["Standard_D12_v2"].gpus == 0


def test_usages_tell_limits_by_family(ml_client):
    """Usages name each family with what is used and what is allowed."""
    usages = {usage.name["value"]: usage for usage in ml_client.compute.list_usage()}
    assert usages["StandardNCADSA100v4Family"].limit == 192
    assert usages["standardNDSv2Family"].limit == 0
    assert usages["standardNDSv2Family"].currentValue == 0
