"""Request bodies and answers of Azure as values: what is sent, and what is read out of what comes."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta

import pytest

from shared.cloud import jobs, metrics, scoring
from shared.cloud import online_shapes as online
from shared.cloud.arm import refusal
from shared.cloud.foundation import defaults_from, described
from shared.cloud.looks import body_of, parse, seconds
from shared.cloud.manifests import dropped_from, metadata_of
from shared.cloud.registry import ComponentReference, input_from
from shared.errors import Missing, Refused
from shared.runs.naming import TAG
from shared.runs.ports import DeploymentRequest, Dropped, JobRequest, JobState, Look, Provisioning

NOW = datetime(2026, 1, 5, 8, 0, 30, tzinfo=UTC)
RESOURCE = "/subscriptions/s/resourceGroups/g/providers/x/workspaces/w/onlineEndpoints/e"


def a_request(**changed):
    usual = {
        "name": "a-0123456789-g1-a1",
        "display_name": "d",
        "experiment": "e",
        "run": "a-0123456789-g1",
        "foundation_model": "azureml://registries/azureml/models/Phi-4/versions/8",
        "component": "azureml://registries/azureml/components/c/versions/1",
        "splits": {"train": "azureml://datastores/d/paths/f/train.jsonl"},
        "parameters": {"learning_rate": 5e-6, "max_steps": None},
        "cluster": None,
        "size": "Standard_NC24ads_A100_v4",
        "nodes": 2,
        "gpus": 4,
        "lineage": {},
    }
    return JobRequest(**(usual | changed))


# Jobs -------------------------------------------------------------------------------------------


def test_serverless_stages_name_their_size():
    """The component's own default size is retired, so each stage is told ours."""
    given = jobs.component_inputs(a_request())
    for stage in ("model_import", "preprocess", "finetune", "model_evaluation"):
        assert given[f"compute_{stage}"] == "serverless"
        assert given[f"instance_type_{stage}"] == "Standard_NC24ads_A100_v4"
    assert given["num_nodes_finetune"] == 2
    assert given["number_of_gpu_to_use_finetuning"] == 4


def test_a_cluster_is_named_for_every_stage_and_no_size_is():
    """A cluster has its own size."""
    given = jobs.component_inputs(a_request(cluster="gpu"))
    assert {value for name, value in given.items() if name.startswith("compute_")} == {"gpu"}
    assert not [name for name in given if name.startswith("instance_type_")]


def test_nothing_that_is_none_is_sent():
    """An input that is None would be refused; one that is left out has its default."""
    assert "max_steps" not in jobs.component_inputs(a_request())


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("Completed", JobState.COMPLETED),
        ("completed", JobState.COMPLETED),
        ("Failed", JobState.FAILED),
        ("failed", JobState.FAILED),
        ("Canceled", JobState.CANCELLED),
        ("CancelRequested", JobState.ACTIVE),
        ("Finalizing", JobState.ACTIVE),
        ("NotResponding", JobState.ACTIVE),
        ("Running", JobState.ACTIVE),
        ("SomethingNew", JobState.ACTIVE),
        (None, JobState.ACTIVE),
    ],
)
def test_a_status_means_the_same_in_any_case(status, state):
    """Only three statuses are ends; whatever is new counts as under way."""
    assert jobs.state_of(status) is state


def test_the_innermost_code_tells_whose_fault_it_is():
    """Run history nests its errors."""
    run = {
        "error": {
            "error": {
                "code": "UserError",
                "message": "bad",
                "innerError": {"code": "BadArgument", "innerError": {"code": "Deep"}},
            }
        }
    }
    assert jobs.error_in(run) == ("Deep", "bad")
    assert jobs.error_in({}) == ("", "")
    assert jobs.error_in({"error": None}) == ("", "")


# The registry -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('{"apply_lora": "true", "precision": 16}', {"apply_lora": "true", "precision": 16}),
        ("{'apply_lora': 'true', 'x': 5e-06}", {"apply_lora": "true", "x": 5e-06}),
        (None, {}),
        ("", {}),
        ("[1, 2]", {}),
        ("nonsense {", {}),
        ("__import__('os').system('true')", {}),
        ("[" * 100_000, {}),
        ('{"a": ' * 100_000, {}),
    ],
)
def test_a_publishers_defaults_are_read_in_either_spelling(text, found):
    """JSON first, then a Python literal; anything else is left out, and nothing is run."""
    assert defaults_from(text) == found


class Given:
    def __init__(self, **fields):
        self.__dict__.update(fields)


def test_an_input_has_values_of_its_own_type():
    """Specifications hold numbers as text at times, and enums as numbers."""
    number = input_from(Given(type="number", default="2e-05", min="0", max=None, enum=None))
    assert (number.default, number.minimum, number.maximum) == (2e-5, 0.0, None)
    assert input_from(Given(type="integer", default="7")).default == 7
    assert input_from(Given(type="boolean", default="True")).default is True
    assert input_from(Given(type="string", default="32", enum=[32, 16])).enum == ("32", "16")
    assert input_from(Given(type="uri_file")).default is None


def test_a_components_id_is_taken_apart():
    """The id in a record leads back to registry, name and version; another is refused."""
    reference = ComponentReference.of_id("azureml://registries/r/components/c/versions/0.0.82")
    assert reference == ComponentReference("r", "c", "0.0.82")
    with pytest.raises(Missing):
        ComponentReference.of_id("azureml:c:1")


# Endpoints --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "meaning"),
    [
        ("Creating", Provisioning.WORKING),
        ("Updating", Provisioning.WORKING),
        ("Scaling", Provisioning.WORKING),
        ("Deleting", Provisioning.DELETING),
        ("Succeeded", Provisioning.SUCCEEDED),
        ("Failed", Provisioning.FAILED),
        ("Canceled", Provisioning.FAILED),
        ("SomethingNew", Provisioning.WORKING),
        (None, Provisioning.WORKING),
    ],
)
def test_provisioning_states_have_four_meanings(state, meaning):
    """What is new counts as under way, never as done."""
    assert online.provisioning_of(state) is meaning


def test_a_new_endpoint_is_tagged_and_takes_keys():
    """The tag is what lets us change or delete it later."""
    body = online.endpoint_body("eastus", "run-1")
    assert body["tags"] == {TAG: "run-1"}
    assert body["properties"]["authMode"] == "Key"


def test_a_deployment_waits_for_its_model_and_its_answers():
    """Fifteen minutes to load, ninety seconds to answer; the model by its ARM id."""
    body = online.deployment_body(
        DeploymentRequest(
            "e",
            "d",
            "run-1",
            "m",
            "7",
            "Standard_X",
            3,
            attempt=2,
            startup=timedelta(minutes=15),
            request_timeout=timedelta(seconds=90),
            concurrent_requests=4,
        ),
        "/subscriptions/s/w",
        "eastus",
    )
    properties = body["properties"]
    assert properties["model"] == "/subscriptions/s/w/models/m/versions/7"
    assert properties["requestSettings"] == {
        "requestTimeout": "PT90S",
        "maxConcurrentRequestsPerInstance": 4,
    }
    assert properties["livenessProbe"]["initialDelay"] == "PT600S"
    assert properties["readinessProbe"]["initialDelay"] == "PT10S"
    assert body["sku"]["capacity"] == 3
    assert body["tags"] == {TAG: "run-1", online.ATTEMPT: "2"}


@pytest.mark.parametrize("minutes", [1, 5, 15, 60])
def test_probes_give_a_model_its_time_and_no_more(minutes):
    """No probe fails a model before its time is up, and one does then."""
    budgets = [
        int(probe["initialDelay"][2:-1]) + int(probe["period"][2:-1]) * probe["failureThreshold"]
        for probe in online.probes(timedelta(minutes=minutes)).values()
    ]
    assert budgets == [minutes * 60, minutes * 60]


def test_moving_traffic_sends_the_rest_as_it_was_read():
    """A PUT resets what it leaves out, and refuses what only the service may set."""
    present = {
        "id": "x",
        "name": "e",
        "location": "eastus",
        "kind": "Managed",
        "tags": {TAG: "run-1", "team": "a"},
        "identity": {
            "type": "UserAssigned",
            "principalId": "p",
            "userAssignedIdentities": {"/i": {"clientId": "c"}},
        },
        "systemData": {"createdAt": "x"},
        "properties": {
            "authMode": "Key",
            "description": "mine",
            "publicNetworkAccess": "Disabled",
            "properties": {
                "own": "1",
                "azureml.onlineendpointid": "x",
                "AzureAsyncOperationUri": "u",
            },
            "provisioningState": "Succeeded",
            "scoringUri": "https://x",
            "traffic": {"blue": 100},
        },
    }
    assert online.with_traffic(present, {"green": 100}) == {
        "location": "eastus",
        "kind": "Managed",
        "tags": {TAG: "run-1", "team": "a"},
        "identity": {"type": "UserAssigned", "userAssignedIdentities": {"/i": {}}},
        "properties": {
            "authMode": "Key",
            "description": "mine",
            "publicNetworkAccess": "Disabled",
            "properties": {"own": "1"},
            "traffic": {"green": 100},
        },
    }


def test_an_endpoint_in_the_making_has_no_address_yet():
    """Nulls of Azure's become nothing, not the text `None`."""
    body = {"name": "e", "tags": None, "properties": {"scoringUri": None, "traffic": None}}
    found = online.endpoint_from(body)
    assert (found.scoring_uri, found.run, found.traffic) == (None, None, {})


def test_the_back_ends_reasons_are_taken_out_of_their_wrapping():
    """Quota and other refusals arrive as JSON inside a message."""
    inner = json.dumps({"errors": {"VmSize": ["Not enough quota. Needed: 8"]}, "title": "t"})
    text = json.dumps(
        {
            "error": {
                "code": "BadRequest",
                "message": "The request is invalid.",
                "details": [{"code": "InferencingClientCreateDeploymentFailed", "message": inner}],
            }
        }
    )
    code, said = refusal(text)
    assert code == "BadRequest"
    assert said == "BadRequest: The request is invalid.; VmSize: Not enough quota. Needed: 8"
    assert refusal("<html>") == ("", "<html>")
    assert refusal('{"code": "BadRequest", "message": "flat"}')[1] == "BadRequest: flat"


# Scoring ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        {"output": "yes"},
        {"output": "yes", "message": {"role": "assistant", "content": "no"}, "usage": {}},
        {"message": {"role": "assistant", "content": "yes"}},
        [{"0": "yes"}],
        ["yes"],
        {"predictions": ["yes"]},
        [{"output": "yes"}],
        json.dumps({"output": "yes"}),
    ],
)
def test_every_documented_answer_is_understood(answer):
    """The three servers answer in different shapes."""
    assert scoring.text_in(json.dumps(answer).encode()) == "yes"


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ({}, "empty"),
        ([], "empty"),
        (None, "empty"),
        ({"output": None}, "no text"),
        ({"output": None, "error": {"status_code": 400, "body": "too long"}}, "too long"),
        (json.dumps({"error": "boom", "exception": "trace"}), "boom"),
        ({"output": "   "}, "no text"),
        ({"output": 3}, "no text"),
        ("plain", "not JSON"),
    ],
)
def test_an_error_in_a_200_is_a_refusal(answer, why):
    """Status 200 says little here."""
    with pytest.raises(Refused, match=why):
        scoring.text_in(json.dumps(answer).encode())


def test_both_forms_of_question_hold_the_same_conversation():
    """The documented one is flat; the notebook's is a list of one."""
    messages = [{"role": "user", "content": "hi"}]
    assert scoring.flat(messages)["input_data"]["input_string"] == messages
    assert scoring.nested(messages)["input_data"]["input_string"] == [messages]


# Metrics ----------------------------------------------------------------------------------------


def a_batch(*points, error="Success", name="RequestsPerMinute"):
    return {
        "values": [
            {
                "resourceid": RESOURCE,
                "value": [
                    {
                        "name": {"value": name},
                        "errorCode": error,
                        "timeseries": [{"data": list(points)}] if points else [],
                    }
                ],
            }
        ]
    }


def last(body, minutes=1):
    return dict(metrics.read_batch(body, timedelta(minutes=minutes), NOW))


def test_the_last_minute_with_requests_counts_at_its_end():
    """Minutes without a value or with 0 had no requests."""
    body = a_batch(
        {"timeStamp": "2026-01-05T07:10:00Z", "average": 3.0},
        {"timeStamp": "2026-01-05T07:20:00Z", "average": 1.0},
        {"timeStamp": "2026-01-05T07:21:00Z", "average": 0.0},
        {"timeStamp": "2026-01-05T07:22:00Z"},
    )
    assert last(body) == {RESOURCE.lower(): datetime(2026, 1, 5, 7, 21, tzinfo=UTC)}


def test_no_use_lies_in_the_future():
    """A minute that has begun ends now at the latest."""
    body = a_batch({"timeStamp": "2026-01-05T08:00:00Z", "average": 1.0})
    assert last(body) == {RESOURCE.lower(): NOW}


def test_an_empty_series_is_no_use_and_an_error_is_no_measurement():
    """Without traffic Azure may give no series at all; that is certain, an error is not."""
    assert last(a_batch()) == {RESOURCE.lower(): None}
    assert last(a_batch(error="InternalServerError")) == {}
    assert last(a_batch(name="Other")) == {}
    assert last({}) == {}


@pytest.mark.parametrize(
    ("span", "grain"),
    [
        (timedelta(hours=2), "PT1M"),
        (timedelta(hours=24), "PT1M"),
        (timedelta(days=2), "PT15M"),
        (timedelta(days=30), "PT1H"),
    ],
)
def test_long_spans_are_asked_in_longer_points(span, grain):
    """Fifty endpoints by the minute for a month would be two million points."""
    assert metrics.grain_for(span)[1] == grain


# The queue, and notes ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("delay", "whole"),
    [
        (timedelta(), 0),
        (timedelta(seconds=-5), 0),
        (timedelta(milliseconds=1), 1),
        (timedelta(seconds=30), 30),
        (timedelta(days=9), 7 * 86400),
    ],
)
def test_a_look_is_never_early(delay, whole):
    """Whole seconds, rounded up, and no longer than the queue allows."""
    assert seconds(delay) == whole


def test_looks_survive_the_queue():
    """With and without a number."""
    for look in (Look("a-0-g1", 3), Look("a-0-g1")):
        assert parse(body_of(look)) == look
        assert parse(body_of(look).encode()) == look


@pytest.mark.parametrize("body", ["", "{}", "[]", '{"run": 1}', '{"run": "a", "number": "x"}'])
def test_a_message_that_is_no_look_is_refused(body):
    """The host will poison it; the log says why."""
    with pytest.raises(Refused, match="not a look"):
        parse(body)


def test_a_note_gives_its_drop_back():
    """Whatever letters the path has; what somebody else wrote is no note."""
    drop = Dropped("ordner/ä ß.json", "0x8D")
    assert dropped_from(metadata_of(drop)) == drop
    assert all(value.isascii() for value in metadata_of(drop).values())
    assert dropped_from({}) is None
    assert dropped_from({"path": "?", "drop": "x"}) is None


def a_version(**properties):
    return {"id": "azureml://m", "name": "15", "properties": properties}


@pytest.mark.parametrize(
    "properties",
    [
        {
            "tags": {
                "finetune_compute_allow_list": "['Size_A', 'Size_B']",
                "inference_compute_allow_list": "['Size_C']",
                "task": "chat-completion",
                "FinetuneRetirementDate": "2025-08-30",
                "InferenceRetirementDate": "2025-09-30",
                "model_specific_defaults": "{'precision': 16}",
            },
            "properties": {"finetuning-tasks": "chat-completion, text-generation"},
            "systemMetadata": None,
        },
        {
            "tags": {"model_specific_defaults": '{"precision": 16}'},
            "properties": {},
            "systemMetadata": {
                "supportedComputes": '{"finetuneComputes": ["Size_A", "Size_B"], '
                '"inferenceComputes": ["Size_C"]}',
                "tasks": '{"fineTuningTasks": ["chat-completion", "text-generation"]}',
                "deprecation": '{"finetuneRetirementDate": "2025-08-30T00:00:00.000000Z", '
                '"inferenceRetirementDate": "2025-09-30T00:00:00.000000Z"}',
            },
        },
    ],
)
def test_a_model_is_described_alike_by_its_tags_and_by_its_system_metadata(properties):
    """What were tags until June 2026 is system metadata since; JSON and Python literals are read."""
    model = described("azureml", "Phi", a_version(**properties, isArchived=True))
    assert model.train_sizes == ("Size_A", "Size_B")
    assert model.serve_sizes == ("Size_C",)
    assert model.tasks == ("chat-completion", "text-generation")
    assert (model.tuning_ends, model.serving_ends) == (date(2025, 8, 30), date(2025, 9, 30))
    assert model.archived
    assert model.defaults == {"precision": 16}


@pytest.mark.parametrize(
    ("properties", "tasks"),
    [
        ({}, None),
        ({"tags": {"task": "chat-completion"}}, ()),
        ({"systemMetadata": {"tasks": '{"inferenceTasks": ["chat-completion"]}'}}, ()),
        ({"tags": {"finetune_compute_allow_list": "[broken"}}, None),
    ],
)
def test_saying_nothing_of_fine_tuning_differs_from_saying_nothing_at_all(properties, tasks):
    """Mistral-7B-Instruct lists inference alone and cannot be tuned; a model of one's own lists nothing."""
    model = described("azureml", "Phi", a_version(**properties))
    assert model.tasks == tasks
    assert model.tuning_ends is None


STEP, PIPELINE = "azureml.StepRun", "azureml.PipelineRun"


@pytest.mark.parametrize(
    ("below", "waits"),
    [
        ({}, False),
        ({"job": [(STEP, "Queued")]}, True),
        ({"job": [(STEP, "Completed"), (STEP, "Queued")]}, True),
        ({"job": [(STEP, "Running"), (STEP, "Queued")]}, False),
        ({"job": [(STEP, "Completed")]}, False),
        ({"job": [(PIPELINE, "Running")], "job.0": [(STEP, "NotStarted")]}, True),
        ({"job": [(PIPELINE, "Running")], "job.0": [(STEP, "Finalizing")]}, False),
        ({"job": [(PIPELINE, "Running")], "job.0": []}, False),
        ({"job": [(PIPELINE, "Running")], "job.0": [(PIPELINE, "Running")]}, False),
    ],
)
def test_a_pipeline_waits_when_all_that_is_left_of_it_does(below, waits):
    """The component is a pipeline within the job's, so its steps lie one level deeper."""

    def children(run: str) -> list[dict[str, str]]:
        return [
            {"runId": f"{run}.{number}", "runType": kind, "status": status}
            for number, (kind, status) in enumerate(below.get(run, []))
        ]

    assert jobs.all_wait("job", children) is waits


def test_looking_for_steps_comes_to_an_end():
    """However deep pipelines nest, so many runs are read and no more."""
    read = []

    def children(run: str) -> list[dict[str, str]]:
        read.append(run)
        return [{"runId": f"{run}.0", "runType": PIPELINE, "status": "Running"}]

    assert jobs.all_wait("job", children) is False
    assert len(read) < 100


@pytest.mark.parametrize("name", ["15", "Phi"])
def test_a_models_version_is_that_of_its_id(name):
    """A registry's listing gives the version as `name`, a read of one version the model's name."""
    identity = "azureml://registries/azureml/models/Phi/versions/15"
    model = described("azureml", "Phi", {"id": identity, "name": name, "properties": {}})
    assert (model.id, model.version) == (identity, "15")
