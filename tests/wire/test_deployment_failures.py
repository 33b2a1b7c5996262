"""Each way in which the real service fails a deployment, and what the run's record says at the end."""

from __future__ import annotations

import pytest
from whole_runs import BIG, FAMILY, GPU, Droptune

from shared.runs.deployment_failures import KINDS, UNKNOWN
from shared.runs.phases import Phase

QUOTA = (
    "Not enough quota available for Standard_NC24ads_A100_v4 in SubscriptionId 00000000. Current "
    "usage/limit: 0/6. Additional needed: 24 Please see troubleshooting guide, available here: "
    "https://aka.ms/oe-tsg#error-outofquota"
)

FAILURES = {
    "deployment-quota": ("BadRequest", QUOTA, Phase.FAILED),
    "deployment-no-capacity": (
        "OutOfQuota",
        "The specified VM Size failed to provision due to a lack of Azure Machine Learning capacity.",
        Phase.FAILED,
    ),
    "deployment-image-build": (
        "ResourceNotFound",
        "Deployment failed due to timeout while waiting for Environment Image to become available.",
        Phase.FAILED,
    ),
    "deployment-probe": (
        "BadArgument",
        "User container has crashed or terminated: Liveness probe failed: HTTP status code 502",
        Phase.FAILED,
    ),
    "deployment-crash": (
        "ResourceNotReady",
        "User container has crashed or terminated. Please see troubleshooting guide.",
        Phase.FAILED,
    ),
    "deployment-bad-argument": ("BadArgument", "The request is invalid.", Phase.FAILED),
    "deployment-download": (
        "BadArgument",
        "Failed to download the model from the workspace's storage: authorization permission mismatch",
        Phase.SERVING,
    ),
    "deployment-role-assignments": (
        "OutOfQuota",
        "The role assignment limit of the subscription is reached.",
        Phase.FAILED,
    ),
    "deployment-network": (
        "WorkspaceManagedNetworkNotReady",
        "The managed network of the workspace is not ready yet.",
        Phase.SERVING,
    ),
    "deployment-secrets": (
        "SecretsInjectionError",
        "Secrets could not be injected.",
        Phase.FAILED,
    ),
    "deployment-cancelled": (
        "OperationCanceled",
        "The operation was canceled by one with a higher priority.",
        Phase.SERVING,
    ),
    "deployment-throttled": ("TooManyRequests", "Too many requests.", Phase.SERVING),
    "deployment-service": (
        "InternalServerError",
        "An internal server error occurred.",
        Phase.SERVING,
    ),
    "deployment-endpoint-quota": (
        "InferencingClientCallFailed",
        "Endpoint Quota reached: 300/300 endpoints of the subscription are in use.",
        Phase.FAILED,
    ),
    "deployment-vm-size": (
        "BadArgument",
        "The VM size Standard_NC24ads_A100_v4 is not supported in this region.",
        Phase.FAILED,
    ),
    "deployment-denied": (
        "AuthorizationFailed",
        "The endpoint's identity does not have authorization to pull from the registry of images.",
        Phase.FAILED,
    ),
    "deployment-not-found": ("ResourceNotFound", "A part of it is gone.", Phase.FAILED),
    "deployment-unknown": ("SomethingNew", "Nobody has seen this before.", Phase.FAILED),
}


def test_every_kind_of_failure_is_made_to_happen() -> None:
    """A model that is too large shows in the log alone, and has a test of its own."""
    assert {*FAILURES, "deployment-out-of-memory"} == {kind.name for kind in (*KINDS, UNKNOWN)}


@pytest.mark.parametrize("kind", sorted(FAILURES))
def test_a_failed_deployment_is_classified_and_what_may_be_tried_is_tried(
    droptune: Droptune, kind: str
) -> None:
    """Once, then the next attempt comes up where there is one; the record has kind, words and log."""
    code, message, end = FAILURES[kind]
    droptune.control(
        "POST",
        "deployment-failures",
        {"code": code, "message": message, "log": "loading\nthe end of the log"},
    )
    run = droptune.play(droptune.drop(kind))
    (failure,) = run.facts.failures
    assert (failure.kind, failure.size, failure.attempt) == (kind, GPU, 1)
    assert f"{code}: {message}"[:300] in failure.said
    assert (failure.logs or "").endswith("the end of the log")
    assert run.phase is end, run.why
    if end is Phase.FAILED:
        assert message[:40] in run.why
        assert droptune.workspace.endpoint(run.facts.endpoint or "") is None
    else:
        assert droptune.deployments(run.id) == {run.facts.deployment}


def test_a_crash_for_want_of_memory_is_told_by_its_log(droptune: Droptune) -> None:
    """Azure only says that the container crashed; its log knows why, and a larger size helps."""
    droptune.control(
        "POST",
        "deployment-failures",
        {
            "size": "nc24ads",
            "code": "ResourceNotReady",
            "message": "User container has crashed or terminated.",
            "log": "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB",
        },
    )
    deploy = {"instance_types": [BIG], "keep_old": "0s"}
    run = droptune.play(droptune.drop("wants-memory", deploy=deploy))
    assert run.phase is Phase.SERVING, run.why
    assert [failure.kind for failure in run.facts.failures] == ["deployment-out-of-memory"]
    assert run.facts.instance_type == BIG


def test_a_size_that_the_region_has_no_machine_of_is_followed_by_the_next(
    droptune: Droptune,
) -> None:
    """The next size in the manifest's list, and the record says which one serves."""
    droptune.control("PUT", "quota", {"out_of_capacity": [GPU]})
    deploy = {"instance_types": [BIG], "keep_old": "0s"}
    run = droptune.play(droptune.drop("no-machine", deploy=deploy))
    assert run.phase is Phase.SERVING, run.why
    assert [(failure.kind, failure.size) for failure in run.facts.failures] == [
        ("deployment-no-capacity", GPU)
    ]
    assert run.facts.instance_type == BIG


def test_attempts_end_and_the_failed_deployment_is_gone(droptune: Droptune) -> None:
    """Azure's own trouble is tried again as often as attempts are allowed, and no more."""
    failure = {"code": "InternalServerError", "message": "Try again later.", "times": 9}
    droptune.control("POST", "deployment-failures", failure)
    run = droptune.play(droptune.drop("again-and-again"))
    assert run.phase is Phase.FAILED
    assert [each.attempt for each in run.facts.failures] == [1, 2]
    assert droptune.workspace.endpoint(run.facts.endpoint or "") is None


def test_what_served_before_serves_on_when_the_next_fails(droptune: Droptune) -> None:
    """A failed rollout leaves endpoint, traffic and the deployment before as they were."""
    old = droptune.play(droptune.drop("serves-on"))
    failure = {"code": "ResourceNotReady", "message": "User container has crashed."}
    droptune.control("POST", "deployment-failures", failure)
    new = droptune.play(droptune.drop("serves-on"))
    assert (new.phase, droptune.run(old.id).phase) == (Phase.FAILED, Phase.SERVING)
    assert droptune.traffic(old.id) == {old.facts.deployment: 100}
    assert droptune.deployments(old.id) == {old.facts.deployment}
    name = old.facts.deployment or ""
    said = droptune.workspace.ask(
        old.facts.endpoint or "", name, [{"role": "user", "content": "x"}]
    )
    assert said == old.facts.job


def test_a_container_that_really_crashes_is_told_with_its_own_last_words(
    droptune: Droptune,
) -> None:
    """Not injected: the process ends by itself, Azure's words come by the operation's address."""
    run = droptune.play(droptune.drop("crashes", {"serves": {"start": "crash"}}))
    assert run.phase is Phase.FAILED
    (failure,) = run.facts.failures
    assert failure.kind == "deployment-crash"
    assert failure.said.startswith("ResourceNotReady: User container has crashed or terminated")
    assert "cannot load the model" in (failure.logs or "")


def test_an_endpoint_name_of_somebody_elses_fails_the_run_and_touches_nothing(
    droptune: Droptune,
) -> None:
    """Names are unique in a region; Azure's words say so."""
    from shared.runs import naming

    name = naming.endpoint_name("taken", droptune.workspace.place)
    droptune.control("PUT", f"endpoint-names/{name}")
    run = droptune.play(droptune.drop("taken"))
    assert run.phase is Phase.FAILED
    assert "There is already an endpoint with this name" in run.why


def test_quota_for_a_second_deployment_is_asked_before_it_is_made(droptune: Droptune) -> None:
    """Family, limit, used and needed; no deployment was asked for, and the old one serves on."""
    droptune.control("PUT", "quota", {"limits": {FAMILY: 24}})
    old = droptune.play(droptune.drop("no-second"))
    droptune.control("DELETE", "counts")
    new = droptune.play(droptune.drop("no-second"))
    assert (new.phase, droptune.run(old.id).phase) == (Phase.FAILED, Phase.SERVING)
    assert f"1 x {GPU} needs 24 cores of {FAMILY}, and of its 24 cores 24 are in use" in new.why
    asked = droptune.control("GET", "counts")["requests"]
    assert not [route for route in asked if route.startswith("PUT") and "deployments" in route]


def test_short_of_quota_the_manifest_may_have_the_old_one_replaced(droptune: Droptune) -> None:
    """The old deployment goes first, the new one takes its cores, and the record says why."""
    droptune.control("PUT", "quota", {"limits": {FAMILY: 24}})
    old = droptune.play(droptune.drop("replaced"))
    deploy = {"short_of_quota": "direct", "keep_old": "0s"}
    new = droptune.play(droptune.drop("replaced", deploy=deploy))
    droptune.settle(old.id, new.id)
    assert (new.phase, droptune.run(old.id).phase) == (Phase.SERVING, Phase.SUPERSEDED)
    assert (new.facts.fallback or "").startswith("rolled out direct, for want of quota")
    assert droptune.deployments(new.id) == {new.facts.deployment}


def test_a_direct_rollout_that_fails_brings_the_old_model_back(droptune: Droptune) -> None:
    """It had to go for the new one, and serves again after it."""
    old = droptune.play(droptune.drop("comes-back"))
    failure = {"code": "ResourceNotReady", "message": "User container has crashed."}
    droptune.control("POST", "deployment-failures", failure)
    new = droptune.play(
        droptune.drop("comes-back", deploy={"rollout": "direct", "keep_old": "0s"})
    )
    droptune.settle(old.id, new.id)
    assert new.phase is Phase.FAILED
    assert droptune.run(old.id).phase is Phase.SERVING
    assert [entry.to for entry in droptune.run(old.id).timeline][-3:] == [
        Phase.ASLEEP,
        Phase.WAKING,
        Phase.SERVING,
    ]
    assert droptune.traffic(old.id) == {old.facts.deployment: 100}
