"""What trains: clusters found and made, sizes that fit, quota that is there."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from shared.errors import Denied, Refused
from shared.runs import reconciler
from shared.runs.machines import Allowance, Cluster, Priority, VmSize
from shared.runs.phases import Phase
from shared.runs.ports import Look, Provisioning
from tests.unit.runs.test_reconciler import GOOD, drop, phases, play
from tests.worlds import SIZE, CrashError, FakeCluster, Simulation

ON_CLUSTER = GOOD | {"compute": {"cluster": "gpus"}}
EITHER = GOOD | {"compute": {"cluster": "gpus", "priority": ["dedicated", "low-priority"]}}


def standing(sim: Simulation, **changed) -> None:
    usual = {
        "provisioning": Provisioning.SUCCEEDED,
        "run": None,
        "size": SIZE,
        "least": 0,
        "most": 4,
        "nodes": 0,
        "priority": Priority.DEDICATED,
    }
    shown = Cluster(name="gpus", **(usual | changed))
    sim.workspace.clusters["gpus"] = FakeCluster(shown, sim.clock(), shown.provisioning)


def limited(sim: Simulation, limit: int, used: int = 0, priority=Priority.DEDICATED) -> None:
    sim.workspace.quotas[priority] = [Allowance("A100", limit, used)]


def rejected(sim: Simulation, manifest: dict) -> str:
    run = drop(sim, manifest)
    play(sim, minutes=2)
    assert sim.run(run).phase is Phase.REJECTED, sim.run(run).why
    assert not sim.workspace.jobs
    return "; ".join(f"{p.place}: {p.reason}" for p in sim.run(run).problems)


def test_a_cluster_that_is_not_there_is_made_and_then_used():
    """Its making is begun and looked at again; no step waits for it."""
    sim = Simulation()
    run = drop(sim, ON_CLUSTER)
    play(sim, until=Phase.TRAINING)
    made = sim.workspace.clusters["gpus"].shown
    assert (made.run, made.size, made.most, made.priority) == (run, SIZE, 1, Priority.DEDICATED)
    assert phases(sim, run)[-1] is Phase.TRAINING


def test_a_cluster_that_is_there_is_used_as_it_is():
    """Its size counts, not the manifest's, and a person is told of both."""
    sim = Simulation()
    sim.workspace.sizes.append(VmSize("Standard_Other", "B", 8, 2))
    sim.limited(instance_types=(SIZE, "Standard_Other"))
    standing(sim, size="STANDARD_OTHER", least=1, priority=Priority.LOW)
    run = drop(sim, GOOD | {"compute": {"cluster": "gpus", "size": SIZE}})
    play(sim, until=Phase.TRAINING)
    facts = sim.run(run).facts
    assert (facts.size, facts.gpus) == ("Standard_Other", 2)
    told = "; ".join(facts.notes)
    assert "compute.size is not used" in told
    assert "keeps at least 1 nodes: they cost money while idle" in told
    assert "low-priority nodes, which may be taken away" in told


@pytest.mark.parametrize(
    ("cluster", "reason"),
    [
        ({"most": 1}, "has at most 1 nodes"),
        ({"provisioning": Provisioning.FAILED, "error": "no network"}, "failed: no network"),
        ({"size": "Standard_Dear"}, "'Standard_Dear' is not allowed here"),
    ],
)
def test_a_cluster_that_cannot_run_the_job_is_refused(cluster, reason):
    """A job on it would wait for ever, fail, or cost more than is allowed."""
    sim = Simulation()
    sim.workspace.sizes.append(VmSize("Standard_Dear", "B", 96, 8))
    standing(sim, **cluster)
    told = rejected(sim, GOOD | {"compute": {"cluster": "gpus", "max_nodes": 2}})
    assert "compute.cluster" in told
    assert reason in told
    assert "gpus" in sim.workspace.clusters, "what Droptune did not make is never deleted"


def test_compute_of_another_kind_is_refused(monkeypatch):
    """A compute instance of that name is no cluster."""
    sim = Simulation()

    def other(_name):
        raise Refused("the compute gpus is of type ComputeInstance, not a cluster")

    monkeypatch.setattr(sim.workspace, "cluster", other)
    assert "ComputeInstance" in rejected(sim, ON_CLUSTER)


@pytest.mark.parametrize(
    ("size", "reason"),
    [
        (VmSize("Standard_CPU", "C", 8, 0), "has no GPU"),
        (VmSize("Standard_NC24r", "C", 24, 4), "K80"),
        ("Standard_NC12", "K80"),
        ("Standard_Nothing", "has no VM size"),
    ],
)
def test_a_size_that_cannot_train_is_refused(size, reason):
    """Where the model has no allow-list, GPUs are counted and the K80's known by name."""
    sim = Simulation()
    name = size if isinstance(size, str) else size.name
    sim.workspace.sizes += [size] if isinstance(size, VmSize) else []
    sim.limited(instance_types=(SIZE, name))
    told = rejected(sim, GOOD | {"compute": {"size": name.lower()}})
    assert reason in told


def test_quota_that_could_never_do_is_refused_with_its_numbers():
    """Family, limit, used and needed are what a request for quota asks for."""
    sim = Simulation()
    limited(sim, limit=12, used=4)
    told = rejected(sim, GOOD)
    assert "family A100, limit 12 cores, used 4, needed 24" in told


def test_quota_that_others_use_is_waited_for_and_then_taken():
    """The job is submitted once there is room, and the run says what it waits for."""
    sim = Simulation()
    limited(sim, limit=24, used=20)
    run = drop(sim)
    play(sim, minutes=30)
    assert sim.run(run).phase is Phase.PREPARED
    assert "family A100, limit 24 cores, used 20, needed 24" in sim.run(run).why
    limited(sim, limit=24, used=0)
    play(sim)
    assert sim.run(run).phase is Phase.SERVING


def test_quota_is_not_waited_for_for_ever():
    """After the longest time the run fails, and its kind and reason are in the record."""
    sim = Simulation()
    limited(sim, limit=24, used=20)
    run = drop(sim)
    play(sim, minutes=60 * 24 + 10)
    assert sim.run(run).phase is Phase.FAILED
    assert sim.run(run).facts.training_failure == "quota-in-use"
    assert "waited 1d" in sim.run(run).why
    assert not sim.workspace.jobs


def test_quota_that_cannot_be_read_is_noted_and_does_not_stop_the_run(monkeypatch):
    """Reading quota takes a role that not every identity has."""
    sim = Simulation()

    def denied(_size, _priority):
        raise Denied("403")

    monkeypatch.setattr(sim.workspace, "quota", denied)
    run = drop(sim)
    play(sim)
    assert sim.run(run).phase is Phase.SERVING
    assert any("quota could not be asked" in note for note in sim.run(run).facts.notes)


def test_nodes_that_the_cluster_has_already_need_no_quota():
    """They are counted in what is used."""
    sim = Simulation()
    standing(sim, nodes=1)
    limited(sim, limit=24, used=24)
    run = drop(sim, ON_CLUSTER)
    play(sim)
    assert Phase.TRAINED in [entry.to for entry in sim.run(run).timeline]


def test_the_next_priority_is_tried_where_the_first_has_no_quota():
    """In the order that the manifest gives."""
    sim = Simulation()
    limited(sim, limit=0)
    run = drop(sim, EITHER)
    play(sim)
    assert Phase.TRAINED in [entry.to for entry in sim.run(run).timeline]
    assert sim.workspace.clusters["gpus"].shown.priority is Priority.LOW


def test_a_cluster_that_fails_is_deleted_and_made_with_the_next_priority():
    """What failed, and why, stays in the record."""
    sim = Simulation()
    sim.workspace.cluster_fates = [Provisioning.FAILED]
    run = drop(sim, EITHER)
    play(sim)
    assert sim.run(run).phase is Phase.SERVING
    assert sim.run(run).facts.tried == {"dedicated": "no machines"}
    assert sim.workspace.clusters["gpus"].shown.priority is Priority.LOW


def test_a_worker_that_dies_after_it_deleted_a_failed_cluster_leads_on_all_the_same():
    """Why it failed is in the record by then: the same is not made again."""
    sim = Simulation()
    sim.workspace.cluster_fates = [Provisioning.FAILED]
    run = drop(sim, EITHER)
    died: list[str] = []

    def dies(call: str) -> None:
        if call == "workspace.delete_cluster" and not died:
            died.append(call)
            raise CrashError

    sim.faults.after = dies
    with pytest.raises(CrashError):
        play(sim)
    reconciler.look(sim.world, Look(run))
    play(sim)
    assert sim.run(run).phase is Phase.SERVING
    assert sim.run(run).facts.tried == {"dedicated": "no machines"}
    assert sim.workspace.clusters["gpus"].shown.priority is Priority.LOW


def test_a_cluster_that_fails_every_way_fails_the_run_with_each_reason():
    """Nothing is left behind of it."""
    sim = Simulation()
    sim.workspace.cluster_fates = [Provisioning.FAILED, Provisioning.FAILED]
    run = drop(sim, EITHER)
    play(sim)
    assert sim.run(run).phase is Phase.FAILED
    assert sim.run(run).facts.training_failure == "cluster-failed"
    assert "dedicated: no machines; low-priority: no machines" in sim.run(run).why
    assert not sim.workspace.clusters


def test_a_cluster_that_azure_refuses_to_make_is_tried_the_next_way(monkeypatch):
    """A refusal comes at once, a failure later: both lead on."""
    sim = Simulation()
    make = sim.workspace.create_cluster

    def create(request):
        if request.priority is Priority.DEDICATED:
            raise Refused("ClusterMinNodesExceedCoreQuota")
        make(request)

    monkeypatch.setattr(sim.workspace, "create_cluster", create)
    run = drop(sim, EITHER)
    play(sim)
    assert sim.run(run).phase is Phase.SERVING
    assert "ClusterMinNodesExceedCoreQuota" in sim.run(run).facts.tried["dedicated"]


def test_a_cluster_that_changed_its_size_since_the_check_fails_the_run():
    """Nobody said that the new size is allowed, or fit for the model."""
    sim = Simulation()
    sim.workspace.sizes.append(VmSize("Standard_Other", "B", 8, 2))
    standing(sim)
    limited(sim, limit=24, used=24)
    run = drop(sim, ON_CLUSTER)
    play(sim, minutes=5)
    assert sim.run(run).phase is Phase.PREPARED
    standing(sim, size="Standard_Other")
    play(sim, minutes=15)
    assert sim.run(run).phase is Phase.FAILED
    assert sim.run(run).facts.training_failure == "cluster-not-usable"
    assert not sim.workspace.jobs


def test_a_model_that_supports_some_sizes_alone_is_trained_and_served_on_those():
    """Compared without case, for training and for serving."""
    sim = Simulation()
    sim.workspace.sizes.append(VmSize("Standard_Other", "B", 8, 2))
    sim.limited(instance_types=(SIZE, "Standard_Other"))
    found = sim.workspace.foundation_model("azureml", "Phi-4", "8")
    sim.workspace.versions["Phi-4"] = [
        replace(found, train_sizes=(SIZE.upper(),), serve_sizes=(SIZE.upper(),))
    ]
    wrong = GOOD | {
        "compute": {"size": "Standard_Other"},
        "deploy": {"instance_type": "STANDARD_OTHER"},
    }
    told = rejected(sim, wrong)
    assert "compute.size: 'Standard_Other' cannot train Phi-4" in told
    assert "deploy.instance_type: 'STANDARD_OTHER' cannot serve Phi-4" in told
    run = drop(sim, GOOD | {"compute": {"size": SIZE.lower()}}, path="good.json")
    sim.clock.advance(timedelta(minutes=1))
    play(sim, until=Phase.TRAINING)
    assert sim.run(run).phase is Phase.TRAINING


def test_what_is_allowed_is_held_against_the_size_that_really_trains():
    """A cluster that is there has its own; one that is made has the manifest's."""
    sim = Simulation()
    sim.workspace.sizes.append(VmSize("Standard_Other", "B", 8, 2))
    sim.limited(instance_types=("Standard_Other",))
    manifest = ON_CLUSTER | {"deploy": {"instance_type": "Standard_Other"}}
    assert f"compute.size: '{SIZE}' is not allowed here" in rejected(sim, manifest)
    standing(sim, size="Standard_Other")
    run = drop(sim, manifest, path="second.json")
    play(sim)
    assert sim.run(run).phase is Phase.SERVING


def test_a_failed_cluster_that_droptune_made_is_made_again():
    """An earlier run left it; nobody else has to mend it."""
    sim = Simulation()
    standing(sim, provisioning=Provisioning.FAILED, run="earlier-g1", error="no machines")
    run = drop(sim, EITHER)
    play(sim)
    assert sim.run(run).phase is Phase.SERVING
    assert sim.workspace.clusters["gpus"].shown.run == run


def test_a_size_that_is_neither_allowed_nor_there_is_told_once():
    """The first reason is enough to mend it."""
    sim = Simulation()
    told = rejected(sim, GOOD | {"compute": {"size": "Standard_Nothing"}})
    assert told.count("compute.size") == 1
    assert "not allowed here" in told
