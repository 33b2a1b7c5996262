"""What went wrong is told by its kind, and the kind says what comes next."""

from __future__ import annotations

import pytest

from shared.errors import Problem
from shared.runs import failures


@pytest.mark.parametrize(
    ("code", "message", "kind"),
    [
        ("UserError", "CUDA out of memory", "job-user-error"),
        ("UserError", "No assistant tokens found after preprocessing", "job-user-error"),
        ("", "", "job-user-error"),
        ("SystemError", "something", "job-infrastructure"),
        ("", "Node lost during execution", "job-infrastructure"),
        ("UserError", "AllocationFailed: no machines of that size", "job-infrastructure"),
        ("UserError", "The job was preempted by a low priority eviction", "job-preempted"),
        (
            "UserError",
            "AzureMLCompute job failed. PreemptionError: Nodes of this job got pre-empted.",
            "job-preempted",
        ),
        ("SystemError", "Node preempted", "job-preempted"),
    ],
)
def test_a_jobs_failure_is_told_by_message_and_code(code, message, kind):
    """Azure has called a pre-emption a user's error, so the message counts before the code."""
    assert failures.of_job(code, message) == kind


def test_only_what_the_machines_did_is_tried_again():
    """Training the same data again would fail again; a lost node would not be lost again."""
    again = {kind for kind, failure in failures.FAILURES.items() if failure.again}
    assert again == {"job-preempted", "job-infrastructure", "job-not-responding"}


def test_every_mend_reads_as_a_sentence_of_its_own():
    """It follows a reason in reports: capital first, no full stop last."""
    for failure in failures.FAILURES.values():
        assert failure.mend[0].isupper()
        assert not failure.mend.endswith(".")


def test_a_problem_reads_as_sentences_though_its_reason_has_a_full_stop():
    """Azure's own words often end in one."""
    assert str(Problem("model", "it was not found.", "Name another")) == (
        "model: it was not found. Name another"
    )
