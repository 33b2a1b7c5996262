"""Why a deployment failed is told by its message first, and by its code where that says nothing."""

from __future__ import annotations

import pytest

from shared.runs.deployment_failures import KINDS, UNKNOWN, Remedy, classify, named


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        # A lack of quota comes as BadRequest, with the reason packed into JSON.
        (
            "making it: BadRequest: The request is invalid.; VmSize: Not enough quota available for X",
            "quota",
        ),
        ("OutOfQuota: whatever", "quota"),
        ("InferencingClientCallFailed: Endpoint Quota reached: 300/300", "endpoint-quota"),
        ("OutOfQuota: due to a lack of Azure Machine Learning capacity", "no-capacity"),
        ("BadArgument: User container has crashed: Liveness probe failed: 502", "probe"),
        ("ResourceNotReady: Readiness probe failed: GET / within 900 seconds", "probe"),
        ("ResourceNotReady: User container has crashed or terminated", "crash"),
        ("ResourceNotReady: whatever", "crash"),
        ("ImageBuildFailure: whatever", "image-build"),
        ("ResourceNotFound: waiting for Environment Image to become available", "image-build"),
        ("ResourceNotFound: whatever", "not-found"),
        ("BadRequest: VmSize: The VM size 'X' is not supported in region eastus.", "vm-size"),
        ("BadRequest: InferencingClientCallFailed: whatever", "bad-argument"),
        ("OperationCanceled: whatever", "cancelled"),
        ("InternalServerError: whatever", "service"),
        ("Whatever: nobody knows", "unknown"),
        ("", "unknown"),
    ],
)
def test_a_failure_is_told_by_message_and_code(said, kind):
    """The same cause under several codes is one kind; one code with several causes is several."""
    assert classify(said).name == f"deployment-{kind}"


@pytest.mark.parametrize(
    "said", ["ResourceNotReady: User container has crashed", "BadArgument: x"]
)
def test_the_log_knows_of_memory(said):
    """What Azure calls a crash is a lack of memory when the log says so."""
    log = "torch.OutOfMemoryError: CUDA out of memory"
    assert classify(said, log).name == "deployment-out-of-memory"
    assert classify("ImageBuildFailure: x", log).name == "deployment-image-build"


def test_names_lead_back_to_kinds():
    """Records keep names; one that is gone is unknown, and nothing is tried for it."""
    assert all(named(kind.name) is kind for kind in KINDS)
    assert named("of an older Droptune") is UNKNOWN
    assert UNKNOWN.remedy is Remedy.NOTHING
