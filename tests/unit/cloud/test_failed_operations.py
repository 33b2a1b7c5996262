"""Why a deployment failed: read from the status document that the deployment itself names."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from shared.cloud.arm import Answer, Place
from shared.cloud.jobs import Jobs
from shared.cloud.metrics import Requests
from shared.cloud.online import Online
from shared.errors import Missing, Refused
from shared.runs.ports import Provisioning

PLACE = Place("s", "g", "w")
STATUS = "https://arm.test/status/1?api-version=x"
HISTORY = f"https://region.test/history/v1.0{PLACE.path}/runs"


class Scripted:
    """An ARM that answers from a table, and notes what it was asked."""

    base = "https://arm.test"

    def __init__(self, answers):
        self.answers = answers
        self.asked = []

    def ask(self, method, path, doing, **options):
        self.asked.append(path)
        if path not in self.answers:
            raise Missing(path)
        return Answer(200, {}, self.answers[path])

    def find(self, path, doing, **options):
        try:
            return self.ask("GET", path, doing).body
        except Missing:
            return None


def deployment(uri, state="Failed"):
    own = {"AzureAsyncOperationUri": uri} if uri else {}
    return {
        "name": "d",
        "tags": {},
        "properties": {"provisioningState": state, "properties": own},
    }


def looked_up(uri, answers=None, state="Failed"):
    path = f"{PLACE.path}/onlineEndpoints/e/deployments/d"
    arm = Scripted({path: deployment(uri, state), **(answers or {})})
    return Online(arm, PLACE, lambda: "eastus").deployment("e", "d"), arm


def test_the_operations_own_words_are_told():
    """Code, message and detail of what went wrong."""
    error = {"code": "OutOfQuota", "message": "no cores", "details": [{"message": "needed 24"}]}
    found, _ = looked_up(STATUS, {STATUS: {"status": "Failed", "error": error}})
    assert found.error == "OutOfQuota: no cores; needed 24"
    assert found.provisioning is Provisioning.FAILED


@pytest.mark.parametrize("uri", [None, STATUS, "http://arm.test/status/1", "https://evil.test/x"])
def test_without_a_document_of_azures_nothing_is_told_and_no_token_is_sent(uri):
    """An old document is gone; an address elsewhere is never asked."""
    found, arm = looked_up(uri)
    assert found.error is None
    assert not [path for path in arm.asked if "evil" in path or path.startswith("http://")]


def test_a_deployment_that_works_is_not_questioned():
    """One request, no second one."""
    found, arm = looked_up(STATUS, state="Succeeded")
    assert found.error is None
    assert len(arm.asked) == 1


def a_history(own, children):
    return Scripted(
        {
            PLACE.path: {"properties": {"discoveryUrl": "https://region.test/discovery"}},
            "https://region.test/discovery": {"api": "https://region.test/"},
            f"{HISTORY}/job/details": {"error": {"error": own}},
            **{f"{HISTORY}/{run}/children": {"value": rows} for run, rows in children.items()},
        }
    )


def test_a_pipelines_failure_is_that_of_the_step_that_failed():
    """The pipeline only says that a step failed; the step, two levels down, says why."""
    arm = a_history(
        {"code": "UserError", "message": "Pipeline has failed child jobs."},
        {
            "job": [
                {"runId": "ok", "status": "Completed"},
                {
                    "runId": "inner",
                    "status": "Failed",
                    "error": {"error": {"message": "failed step"}},
                },
            ],
            "inner": [
                {
                    "runId": "finetune",
                    "status": "Failed",
                    "error": {"error": {"code": "UserError", "message": "CUDA out of memory"}},
                }
            ],
        },
    )
    assert Jobs(arm, PLACE)._reason("job") == ("UserError", "CUDA out of memory")


def test_a_failure_that_says_enough_is_not_searched_further():
    """The job's own reason stands when it is one."""
    arm = a_history({"code": "UserError", "message": "learning_rate must be positive"}, {})
    assert Jobs(arm, PLACE)._reason("job") == ("UserError", "learning_rate must be positive")
    assert not [path for path in arm.asked if path.endswith("/children")]


def test_a_history_without_children_leaves_the_jobs_own_words():
    """Vague as they are, they are all there is."""
    arm = a_history({"code": "UserError", "message": "Pipeline has failed child jobs."}, {})
    assert Jobs(arm, PLACE)._reason("job")[1] == "Pipeline has failed child jobs."


class Measuring:
    """A metrics service that refuses any batch with a certain endpoint in it."""

    base = "https://arm.test"

    def __init__(self, gone):
        self.gone = gone
        self.batches = []

    def ask(self, method, path, doing, *, body, **options):
        names = [each.rpartition("/")[2] for each in body["resourceids"]]
        self.batches.append(names)
        if self.gone in names:
            raise Refused("a resource was not found")
        rows = [
            {"resourceid": each, "value": [{"name": {"value": "RequestsPerMinute"}}]}
            for each in body["resourceids"]
        ]
        return Answer(200, {}, {"values": rows})


def test_an_endpoint_that_is_gone_spoils_no_others_measurement():
    """A refused batch is asked in halves; only the culprit stays unmeasured, in few calls."""
    now = datetime(2026, 1, 5, tzinfo=UTC)
    arm = Measuring("e-33")
    names = [f"e-{number}" for number in range(50)]
    requests = Requests(arm, PLACE, "https://metrics.test", lambda: "eastus", lambda: now)
    found = requests.last(names, now - timedelta(hours=2))
    assert found == {name: None for name in names if name != "e-33"}
    assert len(arm.batches) <= 14
