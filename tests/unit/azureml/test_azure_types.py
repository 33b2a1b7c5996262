"""Request bodies are read as Azure's front end reads them; the facts are those of the SDK's models."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local.azureml.azure_types import Field, read, types
from local.azureml.wire import ArmError
from tests.sdk_warnings import SDK_WARNINGS

ENDPOINT = "workspaces/onlineEndpoints"


def endpoint(**changed):
    return {"location": "eastus", "properties": {"authMode": "Key", **changed}}


def refusals(name, body, **how) -> list[str]:
    with pytest.raises(ArmError) as refused:
        read(name, body, **how)
    error = refused.value
    assert (error.status, error.code) == (400, "UserError")
    assert error.message == "Request is invalid and/or missing fields."
    assert {each.code for each in error.details} == {"RequestInvalid"}
    return [each.message for each in error.details]


def test_what_may_be_written_passes():
    """A good body comes back as it was sent, nulls and free objects too."""
    body = endpoint(description=None, traffic={"blue": 100}, properties={"any": "thing"})
    body["tags"] = {"a": "1"}
    assert read(ENDPOINT, body) == body


def test_what_is_read_only_or_unknown_is_ignored():
    """A client may send back what it was shown, and a newer one may know more."""
    body = endpoint(scoringUri="https://x", provisioningState="Banana", invented={"a": 1})
    body |= {"id": 7, "systemData": "?", "colour": "red"}
    assert read(ENDPOINT, body) == endpoint()


def test_names_and_enums_are_read_in_any_case():
    """They come out in Azure's spelling."""
    body = {"Location": "eastus", "PROPERTIES": {"authmode": "aadtoken"}}
    assert read(ENDPOINT, body) == endpoint(authMode="AADToken")


@pytest.mark.parametrize(("sent", "read_as"), [(202208, "202208"), (0.5, "0.5"), (True, "true")])
def test_a_number_where_text_belongs_is_its_text(sent, read_as):
    """The SDK itself sends one."""
    assert read(ENDPOINT, endpoint(properties={"a": sent})) == endpoint(properties={"a": read_as})


def test_every_problem_is_told_at_once():
    """A bad enum, two wrong types and a missing field, each with its place."""
    properties = {"traffic": {"blue": "all"}, "compute": ["x"], "publicNetworkAccess": "Perhaps"}
    assert sorted(refusals(ENDPOINT, {"location": "eastus", "properties": properties})) == [
        "The field is required. Field: properties.authMode.",
        (
            "The value provided is not a valid enum value. Field: properties.publicNetworkAccess. "
            "Allowed values: Disabled,Enabled."
        ),
        "The value provided is not a valid int. Field: properties.traffic.blue.",
        "The value provided is not a valid string. Field: properties.compute.",
    ]


def test_a_bad_enum_is_told_in_azures_words():
    """As users of the service quote it."""
    assert refusals("DeploymentLogsRequest", {"containerType": "inference-server"}) == [
        (
            "The value provided is not a valid enum value. Field: containerType. "
            "Allowed values: InferenceServer,StorageInitializer."
        )
    ]


def test_a_tracked_resource_needs_its_location():
    """Resource Manager asks for it before anything else is looked at."""
    with pytest.raises(ArmError, match="The location property is required") as refused:
        read(ENDPOINT, {"properties": {"authMode": 7}})
    assert refused.value.code == "LocationRequired"


def test_a_patch_may_leave_out_what_is_required():
    """What it does bring is still held to its type."""
    assert read(ENDPOINT, {"tags": {"a": "1"}}, partial=True) == {"tags": {"a": "1"}}
    assert refusals(ENDPOINT, {"tags": {"a": [1]}}, partial=True) == [
        "The value provided is not a valid string. Field: tags.a."
    ]


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ({}, "The field is required. Field: properties.computeType."),
        ({"computeType": "Toaster"}, "Field: properties.computeType. Allowed values: AKS,"),
        ({"computeType": ["AKS"]}, "not a valid string. Field: properties.computeType."),
    ],
)
def test_a_kind_that_is_none_is_refused(kind, told):
    """The field that tells the kinds apart is an enum of all that Azure has."""
    [said] = refusals("workspaces/computes", {"properties": kind})
    assert told in said


def test_a_kind_that_is_not_emulated_is_left_to_its_handler():
    """It may hold what the facts do not describe; the handler says 501."""
    body = {"properties": {"computeType": "aks", "properties": {"anything": [1]}}}
    wanted = {"properties": {"computeType": "AKS", "properties": {"anything": [1]}}}
    assert read("workspaces/computes", body) == wanted


def test_inputs_of_a_job_are_read_by_their_kind():
    """A literal is text, a path has an address, and what a step holds is its own business."""
    properties = {
        "jobType": "Pipeline",
        "inputs": {
            "good": {"jobInputType": "literal", "value": "1", "uri": "dropped"},
            "list": {"jobInputType": "literal", "value": [1]},
            "nowhere": {"jobInputType": "uri_file", "mode": "Teleport"},
        },
        "jobs": {"step": {"anything": [1, None]}},
    }
    assert sorted(refusals("workspaces/jobs", {"properties": properties})) == [
        "The field is required. Field: properties.inputs.nowhere.uri.",
        (
            "The value provided is not a valid enum value. Field: properties.inputs.nowhere.mode. "
            "Allowed values: Direct,Download,EvalDownload,EvalMount,ReadOnlyMount,ReadWriteMount."
        ),
        "The value provided is not a valid string. Field: properties.inputs.list.value.",
    ]
    properties["inputs"] = {"good": properties["inputs"]["good"]}
    read_as = read("workspaces/jobs", {"properties": properties})["properties"]
    assert read_as["inputs"] == {"good": {"jobInputType": "literal", "value": "1"}}
    assert read_as["jobs"] == properties["jobs"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["properties", "location", "tags", "authMode", "traffic", "keys", "x"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(st.sampled_from(sorted(types())), st.dictionaries(st.text(max_size=12), JSON), JSON)
def test_whatever_is_sent_is_read_or_refused(name, body, properties):
    """No JSON object breaks the reader, and what it read it reads again as the same."""
    try:
        once = read(name, {**body, "properties": properties})
    except ArmError:
        return
    assert read(name, once) == once
    json.dumps(once)


def test_a_field_is_parsed_from_its_line():
    """Types, enums, lists and flags as `seed/types.json` writes them."""
    assert Field.parse("string") == Field("string")
    assert Field.parse("ErrorResponse[] readOnly") == Field("ErrorResponse", (), 1, read_only=True)
    assert Field.parse("'A,B'|'C' required writeOnly") == Field(
        "string", ("A,B", "C"), required=True, write_only=True
    )


@pytest.mark.filterwarnings(*SDK_WARNINGS)
def test_the_facts_are_those_of_the_sdks_own_models():
    """azure-ai-ml carries models of the same API version: same fields, same read-only flags."""
    from azure.ai.ml._restclient.arm_ml_service import models

    compared = 0
    for name, described in types().items():
        model = getattr(models, name, None)
        if model is None or (not described.fields and not described.kinds):
            continue
        model.__new__(model)  # the model learns its fields with its first instance
        theirs = {each._rest_name: each for each in model._attr_to_rest_field.values()}
        ours = set(described.fields) | ({described.kind} if described.kind else set())
        assert ours == set(theirs), name
        for key, field in described.fields.items():
            assert field.read_only is (theirs[key]._visibility == ["read"]), f"{name}.{key}"
        compared += 1
    assert compared > 60
