"""From manifest to trained model on the real service's terms: each way it fails, and the record at the end.

The SDK is unmodified, the emulator is told to misbehave, the reconciler and the adapters are the real ones.
"""

from __future__ import annotations

import json
import uuid

import pytest
import requests
from azure.core.exceptions import HttpResponseError

from shared.assets import AssetId
from shared.cloud import storage
from shared.cloud.configs import BlobConfigs
from shared.runs import reconciler
from shared.runs.naming import TAG
from shared.runs.phases import Phase
from tests.wire.job_making import wait_for
from tests.wire.journeys import FALLBACK, GPU

FAMILY = "StandardNCADSA100v4Family"
PREEMPTED = (
    "AzureMLCompute job failed. PreemptionError: Nodes of this job got pre-empted. Check if the run "
    "has failed or restarted. Reason: Received pre-emption warning signal"
)


def new(kind: str) -> str:
    return f"{kind}-{uuid.uuid4().hex[:8]}"


def somebodys_cluster(client, name: str) -> None:
    """Make a cluster as a person would."""
    from azure.ai.ml.entities import AmlCompute

    asked = AmlCompute(name=name, size=GPU, min_instances=0, max_instances=1)
    client.compute.begin_create_or_update(asked).result()


def somebodys_failed_cluster(journey, client, name: str) -> None:
    """Have one fail to come up as a person makes it."""
    journey.spoil_cluster(name, code="AllocationFailed", message="No machines.")
    with pytest.raises(HttpResponseError, match="No machines"):
        somebodys_cluster(client, name)


def deprecation(day: str) -> dict:
    ends = {"finetuneRetirementDate": f"{day}T00:00:00.000000Z"}
    return {
        "deprecation": json.dumps(ends),
        "tasks": json.dumps({"fineTuningTasks": ["chat-completion"]}),
    }


# Foundation model -------------------------------------------------------------------------------


def test_a_whole_asset_id_names_the_model(journey):
    """As people copy it from the studio."""
    identity = "azureml://registries/azureml/models/Phi-4/versions/8"
    assert journey.trained(model={"id": identity}).foundation_model == identity


def test_a_model_that_was_archived_yesterday_is_told_with_its_versions(journey):
    """`latest` worked until then; the version still does, with a note."""
    name = new("model")
    journey.change_model(name, "3", isArchived=True)
    told = journey.refused(model={"name": name})
    assert f"every version of '{name}' in the registry 'azureml' is archived: 3 (archived)" in told
    facts = journey.trained(model={"name": name, "version": "3"})
    assert f"the model {name} version 3 is archived: its registry offers it to nobody new" in (
        facts.notes
    )


def test_a_deprecated_model_trains_and_the_record_has_its_date(journey):
    """Its end lies ahead: that is no reason to refuse it."""
    name = new("model")
    journey.change_model(name, "1", systemMetadata=deprecation("2099-01-01"))
    facts = journey.trained(model={"name": name})
    assert (
        f"the model {name} version 1 is deprecated: its fine-tuning ends on 2099-01-01"
        in facts.notes
    )


def test_a_retired_model_is_refused_with_its_date(journey):
    """Though it is not archived and `latest` finds it."""
    name = new("model")
    journey.change_model(name, "1", systemMetadata=deprecation("2025-06-30"))
    told = journey.refused(model={"name": name})
    assert (
        f"the model '{name}' version 1 is retired: its fine-tuning was retired on 2025-06-30"
        in (told)
    )
    facts = journey.trained(model={"name": name, "allow_fallback": True})
    assert facts.foundation_model == "azureml://registries/azureml/models/Phi-4/versions/8"


def test_a_model_for_inference_alone_is_refused(journey):
    """Some chat models list no fine-tuning task; nothing is made for them."""
    name = new("model")
    tasks = json.dumps({"inferenceTasks": ["chat-completion"]})
    journey.change_model(name, "2", systemMetadata={"tasks": tasks})
    told = journey.refused(model={"name": name, "allow_fallback": True})
    assert f"the model '{name}' version 2 can be fine-tuned for nothing" in told


def test_a_fallback_that_fails_itself_is_passed_over_or_told(journey):
    """One that is gone, one that is retired, one for inference alone: the next stands in; without it all are told."""
    asked, gone, retired, mute = new("model"), new("model"), new("model"), new("model")
    journey.change_model(asked, "1", systemMetadata=deprecation("2025-06-30"))
    journey.change_model(gone, "1", isArchived=True)
    journey.change_model(retired, "1", systemMetadata=deprecation("2025-08-30"))
    tasks = json.dumps({"inferenceTasks": ["chat-completion"]})
    journey.change_model(mute, "1", systemMetadata={"tasks": tasks})
    assets = [AssetId("azureml", "models", name, "latest") for name in (gone, retired, mute)]
    journey.sim.limited(fallback_models=(*assets, FALLBACK))
    model = {"name": asked, "allow_fallback": True}
    facts = journey.trained(model=model)
    assert facts.foundation_model == "azureml://registries/azureml/models/Phi-4/versions/8"
    assert facts.notes[0].endswith("Phi-4 version 8 stands in for it")
    journey.sim.limited(fallback_models=tuple(assets))
    told = journey.refused(model=model)
    assert f"the model '{asked}' version 1 is retired" in told
    assert f"{gone}: every version of '{gone}' in the registry 'azureml' is archived" in told
    assert f"{retired}: the model '{retired}' version 1 is retired" in told
    assert f"{mute}: the model '{mute}' version 1 can be fine-tuned for nothing" in told


def test_a_version_that_is_not_there_is_told_with_those_that_are(journey):
    """And a model that is not there with the registry that was asked."""
    told = journey.refused(model={"name": "Phi-4", "version": "99"})
    assert "has no version '99' of 'Phi-4'; it has 8" in told
    assert "has no model 'Phi-40'" in journey.refused(model={"name": "Phi-40"})


# Parameters -------------------------------------------------------------------------------------


def test_the_models_defaults_take_part_in_what_does_not_go_together(journey):
    """The manifest alone would do; with the model's `apply_deepspeed` it fails on the GPU."""
    told = journey.refused(finetune={"auto_find_batch_size": True})
    assert "finetune.auto_find_batch_size: does not work with apply_deepspeed" in told
    facts = journey.trained(finetune={"auto_find_batch_size": True, "apply_deepspeed": False})
    assert facts.parameters["apply_deepspeed"] == "false"
    assert "apply_deepspeed is false; the model's own default is true" in facts.notes


def test_a_deepspeed_configuration_reaches_the_job_as_a_file(journey, connection, ml_client):
    """It is checked where it lies and kept where jobs read, under a name that follows from it."""
    journey.use_configs(BlobConfigs(connection, "droptune_datasets"))
    data = connection.container(storage.DATA)
    good = {"stage": 3, "stage3_gather_16bit_weights_on_model_save": True}
    for name, zero in (("good.json", good), ("bad.json", {"stage": 3})):
        content = json.dumps({"zero_optimization": zero}).encode()
        data.get_blob_client(name).upload_blob(content, overwrite=True)
    assert "the model could not be saved" in journey.refused(finetune={"deepspeed": "bad.json"})
    assert "not in the container 'data'" in journey.refused(finetune={"deepspeed": "none.json"})
    for _ in range(2):
        facts = journey.trained(finetune={"deepspeed": "good.json"})
    address = facts.parameters["deepspeed"]
    assert address.startswith("azureml://datastores/droptune_datasets/paths/configs/")
    (step,) = ml_client.jobs.get(facts.job).jobs.values()
    given = step.inputs["deepspeed"]._data
    assert (given.type, given.path) == ("uri_file", address)


# Compute ----------------------------------------------------------------------------------------


def test_a_cluster_is_made_for_the_run_and_used_by_the_next(journey, ml_client):
    """With no nodes while idle; the job runs on it, on all of its GPUs."""
    name = new("c")
    size = "Standard_NC48ads_A100_v4"
    asked = {"cluster": name, "size": size, "max_nodes": 2, "scale_down_after": "5m"}
    facts = journey.trained(compute=asked)
    made = ml_client.compute.get(name)
    assert (made.size, made.min_instances, made.max_instances) == (size, 0, 2)
    assert (made.tier, made.idle_time_before_scale_down) == ("dedicated", 300)
    (step,) = ml_client.jobs.get(facts.job).jobs.values()
    given = {key: value._data for key, value in step.inputs.items()}
    assert given["compute_finetune"] == name
    assert (given["num_nodes_finetune"], given["number_of_gpu_to_use_finetuning"]) == ("2", "2")
    facts = journey.trained(compute={"cluster": name})
    (step,) = ml_client.jobs.get(facts.job).jobs.values()
    assert step.inputs["compute_finetune"]._data == name
    assert facts.gpus == 2
    assert ml_client.compute.get(name).tags == made.tags, "the second run made none"
    ml_client.compute.begin_delete(name).result()


def test_a_cluster_that_keeps_nodes_is_used_and_its_cost_is_noted(journey, ml_client):
    """Somebody made it so; the record says what it means."""
    from azure.ai.ml.entities import AmlCompute

    name = new("c")
    asked = AmlCompute(name=name, size=GPU, min_instances=1, max_instances=1)
    ml_client.compute.begin_create_or_update(asked).result()
    facts = journey.trained(compute={"cluster": name})
    assert f"the cluster {name} keeps at least 1 nodes: they cost money while idle" in facts.notes
    told = journey.refused(compute={"cluster": name, "max_nodes": 2})
    assert f"compute.cluster: the cluster {name} has at most 1 nodes" in told
    ml_client.compute.begin_delete(name).result()


def test_a_cluster_that_fails_is_made_with_the_next_priority(journey, ml_client):
    """The first has no machines; the record says so, and the job ran on low-priority nodes."""
    name = new("c")
    journey.spoil_cluster(
        name, code="AllocationFailed", message="No machines.", priority="Dedicated"
    )
    asked = {"cluster": name, "priority": ["dedicated", "low-priority"]}
    facts = journey.trained(compute=asked)
    assert facts.tried == {"dedicated": "AllocationFailed: No machines."}
    assert ml_client.compute.get(name).tier == "low_priority"
    ml_client.compute.begin_delete(name).result()


def test_compute_that_is_no_cluster_is_refused_and_left_alone(journey, ml_client):
    """Somebody's workstation has the name; the manifest's author is told its type."""
    name = new("c")
    journey.put_instance(name)
    told = journey.refused(compute={"cluster": name})
    said = f"compute.cluster: the compute {name} is of type ComputeInstance, not a cluster"
    assert f"{said}. Mend the cluster, name another one" in told
    there = ml_client.compute.get(name)
    assert (there.type, there.state) == ("computeinstance", "Running")


def test_somebodys_cluster_that_failed_is_refused_and_left_alone(journey, ml_client):
    """Made without Droptune's tag: it is for its owner to mend or to delete."""
    name = new("c")
    somebodys_failed_cluster(journey, ml_client, name)
    told = journey.refused(compute={"cluster": name})
    assert f"compute.cluster: the cluster {name} has failed: AllocationFailed" in told
    assert ml_client.compute.get(name).provisioning_state == "Failed"
    ml_client.compute.begin_delete(name).result()


def test_a_cluster_that_fails_its_owner_after_the_check_fails_the_run(journey, ml_client):
    """Deleted and made again while the run waited for quota: no job is submitted to it, and it stays as it is."""
    name = new("c")
    somebodys_cluster(ml_client, name)
    journey.control("PUT", "quota", {"used": {FAMILY: 180}})
    run = journey.drop(compute={"cluster": name})
    journey.play(run, lambda found: "quota" in found.why)
    ml_client.compute.begin_delete(name).result()
    somebodys_failed_cluster(journey, ml_client, name)
    found = journey.ended(run)
    assert found.phase is Phase.FAILED
    assert found.facts.training_failure == "cluster-not-usable"
    assert f"the cluster {name} has failed: AllocationFailed: No machines." in found.why
    assert found.facts.job is None
    assert ml_client.compute.get(name).provisioning_state == "Failed"
    ml_client.compute.begin_delete(name).result()


@pytest.mark.parametrize("refuse", [False, True])
def test_a_cluster_that_cannot_be_made_fails_the_run_and_is_not_left_behind(journey, refuse):
    """Whether Azure refuses it at once or it fails later."""
    name = new("c")
    journey.spoil_cluster(name, code="AllocationFailed", message="No machines.", refuse=refuse)
    found = journey.ended(journey.drop(compute={"cluster": name}))
    assert found.phase is Phase.FAILED
    assert found.facts.training_failure == "cluster-failed"
    assert "AllocationFailed: No machines." in found.why
    assert journey.workspace.cluster(name) is None
    assert found.facts.job is None


def test_quota_that_is_too_small_is_refused_with_family_limit_used_and_needed(journey):
    """Before anything is made; the numbers are what a request for quota asks for."""
    journey.control("PUT", "quota", {"limits": {FAMILY: 12}, "used": {FAMILY: 6}})
    told = journey.refused()
    assert f"family {FAMILY}, limit 12 cores, used 6, needed 24" in told


def test_no_quota_for_dedicated_nodes_leads_to_low_priority_ones(journey, ml_client):
    """The order of the manifest is the order of the tries, and quota is asked before each."""
    name = new("c")
    journey.control("PUT", "quota", {"limits": {FAMILY: 0}})
    asked = {"cluster": name, "priority": ["dedicated", "low-priority"]}
    facts = journey.trained(compute=asked)
    assert "not enough quota" in facts.tried["dedicated"]
    assert ml_client.compute.get(name).tier == "low_priority"
    ml_client.compute.begin_delete(name).result()


def test_quota_that_others_use_is_waited_for(journey):
    """No job is submitted to wait in vain; when there is room it goes on by itself."""
    journey.control("PUT", "quota", {"used": {FAMILY: 180}})
    run = journey.drop(gate={"never": {"max": 0}})
    found = journey.play(run, lambda found: "quota" in found.why)
    assert found.phase is Phase.PREPARED
    assert f"family {FAMILY}, limit 192 cores, used 180, needed 24" in found.why
    assert journey.workspace.job(f"{run}-a1") is None
    journey.control("PUT", "quota", {"used": {FAMILY: 0}})
    assert journey.ended(run).facts.job == f"{run}-a1"


def test_quota_that_stays_in_use_fails_the_run(journey):
    """After the longest time, with its kind."""
    journey.control("PUT", "quota", {"used": {FAMILY: 180}})
    found = journey.ended(journey.drop(), step=3600)
    assert found.phase is Phase.FAILED
    assert found.facts.training_failure == "quota-in-use"


def test_quota_that_may_not_be_read_is_noted(journey):
    """Reading it takes a role on the subscription; training does not."""
    fault = {"path": "/usages$", "status": 403, "code": "AuthorizationFailed", "times": 9}
    journey.control("POST", "faults", fault)
    facts = journey.trained()
    (note,) = [note for note in facts.notes if "quota" in note]
    assert note.startswith("the quota could not be asked before submission")
    assert "AuthorizationFailed" in note


def test_a_size_without_gpus_is_refused_for_a_model_without_an_allow_list(journey):
    """The component would find no CUDA."""
    name = new("model")
    journey.change_model(name, "1")
    journey.sim.limited(instance_types=(GPU, "Standard_D12_v2"))
    told = journey.refused(model={"name": name}, compute={"size": "standard_d12_v2"})
    assert "compute.size: 'Standard_D12_v2' has no GPU, and training needs one" in told
    journey.sim.limited(instance_types=(GPU, "Standard_NC24r"))
    told = journey.refused(model={"name": name}, compute={"size": "STANDARD_NC24R"})
    assert "compute.size: 'STANDARD_NC24R' has K80 GPUs" in told


# The job ----------------------------------------------------------------------------------------


def test_the_job_is_named_labelled_and_set_up_as_the_notebook_does(
    journey, ml_client, control_plane
):
    """Derived name, display name in the notebook's form, tags, lineage; no data is uploaded again."""
    requests.delete(f"{control_plane.url}/_emulator/counts", timeout=10)
    run = journey.drop(gate={"never": {"max": 0}}, finetune={"max_seq_length": 512})
    facts = journey.ended(run).facts
    assert not [
        route for route in journey.control("GET", "counts")["requests"] if "datastores" in route
    ], "prepared files are given by their address"
    job = ml_client.jobs.get(f"{run}-a1")
    name = run.partition("-")[0]
    assert job.display_name == f"Phi-4-{name}-bs1-cosine-ds3-lora-save_limit1-seqlen512"
    assert job.experiment_name == f"droptune-{name}"
    assert job.tags == {TAG: run}
    assert job.settings.force_rerun is True
    assert job.settings.continue_on_step_failure is False
    for key, value in {
        "droptune_manifest": f"{name}.json",
        "droptune_fingerprint": facts.fingerprint,
        "droptune_foundation_model": facts.foundation_model,
        "droptune_attempt": "1",
    }.items():
        assert job.properties[key] == value


@pytest.mark.parametrize(
    ("code", "message", "kind"),
    [
        ("UserError", PREEMPTED, "job-preempted"),
        ("SystemError", "The node became unhealthy.", "job-infrastructure"),
    ],
)
def test_what_the_machines_did_is_tried_again_as_a_new_attempt(journey, code, message, kind):
    """Pre-emption comes as a user's error at that; the second attempt is another job and completes."""
    run = journey.drop(gate={"never": {"max": 0}})
    journey.order(job=f"{run}-a1$", at="Running", do="fail", code=code, message=message)
    found = journey.play(run, lambda found: found.facts.attempt > 1)
    assert found.facts.training_failure == kind
    found = journey.ended(run)
    assert found.facts.job == f"{run}-a2"
    assert found.facts.training_failure is None, "it was mended"
    (note,) = [note for note in found.facts.notes if "attempt 1" in note]
    assert message[:40] in note


def test_attempts_come_to_an_end(journey):
    """As many as the settings allow; the last failure's kind is the run's."""
    run = journey.drop()
    journey.order(job=run, at="Running", do="fail", code="UserError", message=PREEMPTED, times=10)
    found = journey.ended(run)
    assert found.phase is Phase.FAILED
    assert found.facts.attempt == 2
    assert found.facts.training_failure == "job-preempted"
    assert journey.workspace.job(f"{run}-a3") is None


def test_a_users_error_is_not_tried_again(journey):
    """The training process itself says what is wrong with the data."""
    journey.preparation.order = {"do": "fail"}
    run = journey.drop()
    found = journey.ended(run)
    assert found.phase is Phase.FAILED
    assert found.facts.training_failure == "job-user-error"
    assert "Bad data." in found.why
    assert journey.workspace.job(f"{run}-a2") is None


@pytest.mark.parametrize("where", ["the job", "its step"])
def test_a_job_without_machines_is_told_then_cancelled(journey, ml_client, where):
    """Also where the pipeline runs in name and its step waits; the run fails with what to do."""
    run = journey.drop()
    if where == "the job":
        journey.order(job=run, at="Queued", do="hold")
    else:
        journey.order(job=run, at="Running", do="hold", step="finetune")
    found = journey.play(run, lambda found: "no machines since" in found.why)
    assert found.phase is Phase.TRAINING
    found = journey.ended(run, step=1800)
    assert found.phase is Phase.FAILED
    assert found.facts.training_failure == "job-stuck-queued"
    assert "Choose another size, region or priority" in found.why
    assert ml_client.jobs.get(f"{run}-a1").status == "Canceled"


def test_steps_that_cannot_be_read_hide_nothing_of_the_job(journey):
    """Whether it waits is not known then; that it runs is."""
    run = journey.drop()
    journey.order(job=run, at="Running", do="hold", step="finetune")
    journey.play(run, lambda found: "no machines since" in found.why)
    assert journey.workspace.job(f"{run}-a1").waits
    journey.control("POST", "faults", {"path": "/children$", "status": 404, "times": 1})
    assert not journey.workspace.job(f"{run}-a1").waits
    journey.control("POST", "faults", {"path": "/children$", "status": 403, "times": 1})
    job = journey.workspace.job(f"{run}-a1")
    assert (job.status, job.waits) == ("Running", False)
    reconciler.cancel(journey.sim.world, run, "seen enough")
    journey.ended(run)


def test_a_job_that_trains_for_too_long_is_cancelled(journey, ml_client):
    """It runs and responds, and never ends; the run fails with what to do, and no attempt follows."""
    run = journey.drop()
    journey.order(job=run, at="Running", do="hold")
    found = journey.play(run, lambda found: "is Running" in found.why)
    assert found.phase is Phase.TRAINING
    found = journey.ended(run, step=12 * 3600)
    assert found.phase is Phase.FAILED
    assert found.facts.training_failure == "job-too-long"
    assert "took longer than 7d. Train on fewer rows, fewer epochs or more GPUs" in found.why
    assert ml_client.jobs.get(f"{run}-a1").status == "Canceled"
    assert journey.workspace.job(f"{run}-a2") is None


def test_a_job_that_does_not_respond_is_cancelled_and_tried_again(journey, ml_client):
    """The second attempt begins when the first is gone."""
    run = journey.drop(gate={"never": {"max": 0}})
    journey.order(job=f"{run}-a1$", at="Running", do="hold", status="NotResponding")
    found = journey.play(run, lambda found: "no response since" in found.why)
    assert found.phase is Phase.TRAINING
    found = journey.ended(run, step=600)
    assert ml_client.jobs.get(f"{run}-a1").status == "Canceled"
    assert found.facts.job == f"{run}-a2"
    assert any("did not respond" in note for note in found.facts.notes)


def test_who_cancels_the_run_cancels_its_job(journey, ml_client):
    """The run ends when the job has."""
    run = journey.drop()
    journey.order(job=run, at="Queued", do="hold")
    journey.until_phase(run, Phase.TRAINING)
    reconciler.cancel(journey.sim.world, run, "called off by its author")
    found = journey.ended(run)
    assert found.phase is Phase.CANCELLED
    assert ml_client.jobs.get(f"{run}-a1").status == "Canceled"


def test_who_cancels_the_job_in_azure_ends_the_run(journey, ml_client):
    """As cancelled, not as failed, and without another attempt."""
    run = journey.drop()
    journey.order(job=run, at="Queued", do="hold")
    journey.until_phase(run, Phase.TRAINING)
    ml_client.jobs.begin_cancel(f"{run}-a1")
    wait_for(ml_client, f"{run}-a1", "Canceled")
    found = journey.ended(run)
    assert found.phase is Phase.CANCELLED
    assert found.facts.training_failure == "job-cancelled"
    assert journey.workspace.job(f"{run}-a2") is None


def test_a_job_that_azure_refuses_fails_the_run_with_azures_words(journey):
    """The cluster is deleted between the check and the submission."""
    run = journey.drop()
    journey.control(
        "POST",
        "faults",
        {
            "method": "PUT",
            "path": f"/jobs/{run}",
            "status": 400,
            "code": "UserError",
            "message": "Unknown compute target.",
        },
    )
    found = journey.ended(run)
    assert found.phase is Phase.FAILED
    assert found.facts.training_failure == "job-refused"
    assert "Unknown compute target." in found.why
