"""Smoke tests, canaries and probes, over the real gateway, metrics and scoring processes."""

from __future__ import annotations

import json

import pytest
import requests
from online import Arm as Plain
from whole_runs import PROMPTS, Droptune

from shared.runs.canary import ENOUGH
from shared.runs.phases import Phase
from shared.runs.record import Run

CANARY = {"rollout": "canary", "canary": {"shares": [20], "bake": "10m"}, "keep_old": "0s"}


def test_the_smoke_tests_answers_are_kept(droptune: Droptune) -> None:
    """Question and answer of each prompt of the test split."""
    run = droptune.play(droptune.drop("smoke"))
    assert run.phase is Phase.SERVING, run.why
    assert [answer.question for answer in run.facts.answers] == [
        prompt[-1]["content"] for prompt in PROMPTS
    ]
    assert {answer.answer for answer in run.facts.answers} == {run.facts.job}


def test_a_server_that_takes_only_nested_conversations_is_asked_so(droptune: Droptune) -> None:
    """Flat first; when that is refused, as the notebook does it."""
    run = droptune.play(droptune.drop("nested", {"serves": {"form": "nested"}}))
    assert run.phase is Phase.SERVING, run.why
    assert len(run.facts.answers) == len(PROMPTS)


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("{}", "the answer is empty"),
        ('{"output": null}', "there is no text in the answer"),
        (
            json.dumps({"output": None, "error": {"status_code": 500, "body": "engine"}}),
            "the model failed",
        ),
        (json.dumps(json.dumps({"error": "boom", "exception": "E"})), "the model failed: boom"),
        ("[]", "the answer is empty"),
    ],
    ids=["nothing", "null output", "error in a 200", "encoded error", "no records"],
)
def test_a_failure_in_a_200_fails_the_smoke_test(droptune: Droptune, body: str, told: str) -> None:
    """The deployment is up and answers with status 200, and is refused and deleted all the same."""
    droptune.control("POST", "scoring-failures", {"status": 200, "body": body})
    run = droptune.play(droptune.drop("hollow"))
    assert run.phase is Phase.FAILED
    assert f"the smoke test failed: {told}" in run.why
    assert run.facts.logs
    assert droptune.workspace.endpoint(run.facts.endpoint or "") is None


@pytest.mark.parametrize(
    "body",
    [
        {"output": "Hi."},
        {"output": "Hi.", "message": {"content": "Hi."}, "finish_reason": "stop"},
        [{"0": "Hi."}],
        json.dumps({"output": "Hi."}),
    ],
    ids=["foundation-model-inference", "foundation-model-serve", "mlflow", "encoded twice"],
)
def test_every_documented_answer_is_understood(droptune: Droptune, body: object) -> None:
    """Which server answers depends on the model's own metadata."""
    failure = {"status": 200, "body": json.dumps(body), "times": len(PROMPTS)}
    droptune.control("POST", "scoring-failures", failure)
    run = droptune.play(droptune.drop("shapes"))
    assert run.phase is Phase.SERVING, run.why
    assert {answer.answer for answer in run.facts.answers} == {"Hi."}


def test_probes_time_outs_and_tags_are_the_manifests(droptune: Droptune) -> None:
    """What Azure is asked for: time to load, time to answer, how many at once."""
    deploy = {"startup": "20m", "request_timeout": "2m", "concurrent_requests": 3}
    run = droptune.play(droptune.drop("probes", deploy=deploy))
    path = f"onlineEndpoints/{run.facts.endpoint}/deployments/{run.facts.deployment}"
    shown = Plain(droptune.plane).ask("GET", path).json()
    properties = shown["properties"]
    assert properties["livenessProbe"]["initialDelay"] == "PT900S"
    assert properties["readinessProbe"]["failureThreshold"] == 119
    assert properties["requestSettings"]["requestTimeout"] == "PT120S"
    assert properties["requestSettings"]["maxConcurrentRequestsPerInstance"] == 3
    assert shown["tags"] == {"droptune_run": run.id, "droptune_attempt": "1"}


# The canary -------------------------------------------------------------------------------------


def baking(droptune: Droptune, name: str) -> tuple[Run, Run]:
    """A run that serves, and one whose canary has its first share."""
    old = droptune.play(droptune.drop(name))
    assert old.phase is Phase.SERVING, old.why
    new = droptune.drop(name, deploy=CANARY)
    found = droptune.until(lambda: droptune.run(new), lambda run: run.facts.shares)
    assert droptune.traffic(new) == {old.facts.deployment: 80, found.facts.deployment: 20}
    return old, found


def ask(droptune: Droptune, run: Run, least: int) -> list[int]:
    """Ask the endpoint by its traffic until the run's deployment has answered so often; gives all statuses.

    Each request's deployment is drawn: of a fixed number, too few may fall to one with a small share.
    """
    key = droptune.workspace.key(run.facts.endpoint or "")
    uri = droptune.workspace.endpoint(run.facts.endpoint or "").scoring_uri
    headers = {"Authorization": f"Bearer {key}"}
    statuses, own = [], 0
    with requests.Session() as session:
        while own < least:
            answer = session.post(uri, json={}, headers=headers, timeout=30)
            statuses.append(answer.status_code)
            own += answer.headers["azureml-model-deployment"] == run.facts.deployment
    return statuses


def test_a_good_canary_gets_all_after_its_time(droptune: Droptune) -> None:
    """Measured by Azure Monitor's counts, on the clock that the record's due time is kept in."""
    old, new = baking(droptune, "canary")
    assert set(ask(droptune, new, ENOUGH)) == {200}
    for _ in range(10):
        droptune.deliver()
    assert droptune.run(new.id).phase is Phase.DEPLOYING
    droptune.advance(minutes=11)
    new = droptune.play(new.id)
    droptune.settle(old.id, new.id)
    assert (new.phase, droptune.run(old.id).phase) == (Phase.SERVING, Phase.SUPERSEDED), new.why
    (stage,) = new.facts.shares
    assert stage.share == 20
    assert "0 of " in stage.verdict[0]
    assert droptune.traffic(new.id) == {new.facts.deployment: 100}
    assert droptune.deployments(new.id) == {new.facts.deployment}


def test_a_canary_whose_requests_fail_is_taken_back_by_itself(droptune: Droptune) -> None:
    """Before its time is over; the record says how many failed, the old deployment has all again."""
    old, new = baking(droptune, "ill-canary")
    failure = {"deployment": f"/{new.facts.deployment}$", "status": 424}
    droptune.control("POST", "scoring-failures", failure)
    ask(droptune, new, ENOUGH)
    found = droptune.play(new.id)
    assert (found.phase, droptune.run(old.id).phase) == (Phase.FAILED, Phase.SERVING)
    assert "the canary is taken back at 20 % of the traffic" in found.why
    assert "more than 5.0% of its requests fail" in found.facts.shares[-1].verdict
    assert droptune.traffic(old.id) == {old.facts.deployment: 100}
    assert droptune.deployments(old.id) == {old.facts.deployment}


def test_a_canary_that_is_slow_is_taken_back_by_itself(droptune: Droptune) -> None:
    """The 90th percentile of its latency against the old deployment's."""
    old, new = baking(droptune, "slow-canary")
    failure = {
        "deployment": f"/{new.facts.deployment}$",
        "status": 200,
        "body": '{"output": "late"}',
        "delay": 0.5,
    }
    droptune.control("POST", "scoring-failures", failure)
    ask(droptune, new, ENOUGH)
    found = droptune.play(new.id)
    assert found.phase is Phase.FAILED, found.why
    assert "it is more than 2 times as slow" in found.facts.shares[-1].verdict
    assert droptune.traffic(old.id) == {old.facts.deployment: 100}


def test_metrics_that_cannot_be_read_hold_a_canary_up(droptune: Droptune) -> None:
    """Not measured is not good: it waits, and goes on when there are numbers again."""
    old, new = baking(droptune, "blind-canary")
    ask(droptune, new, ENOUGH)
    droptune.advance(minutes=11)
    droptune.control(
        "POST", "faults", {"method": "POST", "path": "getBatch", "status": 503, "times": 4}
    )
    held = droptune.until(lambda: droptune.run(new.id), lambda run: run.failures)
    assert held.phase is Phase.DEPLOYING
    found = droptune.play(new.id)
    assert found.phase is Phase.SERVING, found.why
    droptune.settle(old.id)
