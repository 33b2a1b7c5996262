"""From a dropped manifest to an answer, with every part the real one."""

from __future__ import annotations

import json
import urllib.request

import openai
import pytest

from tests.loop.droptune import SMALL, Droptune, eventually

pytestmark = pytest.mark.timeout(1800)

PHASES = [
    "received",
    "prepared",
    "training",
    "trained",
    "approved",
    "registered",
    "deploying",
    "serving",
]


def ask(droptune: Droptune, model: str, **options) -> str:
    with droptune.client(**options) as client:
        answer = client.chat.completions.create(
            model=model, messages=[{"role": "user", "content": "Are you open on Sunday?"}]
        )
    return answer.choices[0].message.content


def test_a_manifest_becomes_an_answer_sleeps_and_wakes(droptune: Droptune):
    """The whole story: served, asleep when idle, 503 with Retry-After, awake again, answered."""
    droptune.drop("story.json", {**SMALL, "name": "story", "idle": {"after": "5s"}})
    run = droptune.wait("story.json", "serving", "asleep")  # five seconds are short
    assert [entry["to"] for entry in run["timeline"]][:8] == PHASES
    assert all(entry["why"] and entry["at"] for entry in run["timeline"])
    assert run["facts"]["rows"]["train"] == 180
    assert run["facts"]["metrics"]["eval_loss"] > 0
    assert all(answer["answer"] for answer in run["facts"]["answers"])
    assert ask(droptune, "story", max_retries=30)
    asleep = droptune.wait("story.json", "asleep")
    assert asleep["facts"]["job"] == run["facts"]["job"]
    with pytest.raises(openai.APIStatusError) as refused:
        ask(droptune, "story", max_retries=0)
    assert refused.value.status_code == 503
    assert int(refused.value.response.headers["retry-after"]) > 0
    assert ask(droptune, "story", max_retries=30)
    woken = droptune.wait("story.json", "serving", "asleep")
    assert [entry["to"] for entry in woken["timeline"]][8:11] == ["asleep", "waking", "serving"]


def test_without_a_single_event_the_run_serves_all_the_same(droptune: Droptune, stack):
    """Every event of storage and of Azure ML is lost; timers alone bring the run to its end."""
    port = stack.kept.ports["event_grid"]
    topics = json.load(urllib.request.urlopen(f"http://127.0.0.1:{port}/topics"))
    names = [topic["name"] for topic in topics["topics"]]

    def lose(share: float) -> None:
        for name in names:
            request = urllib.request.Request(
                f"http://127.0.0.1:{port}/topics/{name}/faults",
                data=json.dumps({"lose": share}).encode(),
                method="PUT",
                headers={"Content-Type": "application/json"},
            )
            urllib.request.urlopen(request).close()

    lose(1.0)
    try:
        droptune.drop("silent.json", {**SMALL, "name": "silent"})
        run = droptune.wait("silent.json", "serving")
    finally:
        lose(0.0)
    assert [entry["to"] for entry in run["timeline"]] == PHASES


def test_the_models_are_listed_and_strangers_are_kept_out(droptune: Droptune):
    """A key that nobody was given gets 401; an unknown model 404 with those that exist."""
    with droptune.client() as client:
        names = [model.id for model in client.models.list()]
    with pytest.raises(openai.NotFoundError):
        ask(droptune, "nobody")
    stranger = openai.OpenAI(
        base_url=f"{droptune.environment['DROPTUNE_URL']}/api/v1", api_key="guessed", max_retries=0
    )
    with stranger, pytest.raises(openai.AuthenticationError):
        stranger.models.list()
    assert isinstance(names, list)


BAD = {
    "not-json.json": (b'{"name": ', {"not-json.json line 1 column 10"}),
    "unknown-key.json": ({**SMALL, "name": "u", "finetuning": {}}, {"finetuning"}),
    "missing-file.json": (
        {"name": "m", "dataset": {"files": ["velora/trian.jsonl"]}},
        {"dataset.files.train"},
    ),
    "three-rows.json": (
        {"name": "t", "dataset": {"files": ["three.jsonl"]}},
        None,
    ),
    "too-long.json": (
        {**SMALL, "name": "l", "limits": {"max_tokens": 1}},
        {"limits.max_tokens"},
    ),
    "many.yaml": (
        (
            b"name: many\ndataset: {files: [velora/train.jsonl]}\n"
            b"finetune: {learning_rate: -1, num_train_epoch: 2}\n"
            b"compute: {size: Standard_NC6, max_nodes: 99}\nmodel: {registry: elsewhere}\n"
        ),
        {
            "finetune.learning_rate",
            "finetune.num_train_epoch",
            "compute.size",
            "compute.max_nodes",
            "model.registry",
        },
    ),
}


def test_each_bad_manifest_is_rejected_with_all_its_problems(droptune: Droptune):
    """Record and report say the same; and the app goes on."""
    row = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}
    three = "\n".join(json.dumps(row | {"n": n}) for n in range(3))
    droptune.upload("data", "three.jsonl", three.encode())
    for path, (manifest, _) in BAD.items():
        droptune.drop(path, manifest)
    for path, (_, places) in BAD.items():
        run = droptune.wait(path, "rejected")
        told = {problem["place"] for problem in run["problems"]}
        assert told
        if places is not None:
            assert places <= told, path
        with droptune.blobs() as blobs:
            report = json.loads(
                blobs.get_blob_client("reports", f"{path}.errors.json").download_blob().readall()
            )
        assert {problem["place"] for problem in report["problems"]} == told
    with droptune.blobs() as blobs:
        page = blobs.get_blob_client("reports", "three-rows.json.data.html").download_blob()
        assert b"Why it was rejected" in page.readall()
    eventually(lambda: isinstance(droptune.api("runs")["runs"], list), "the app answers")


def test_a_run_is_called_off_with_its_job(droptune: Droptune, stack, sdk):
    """Cancelling ends the training process, then the run."""
    droptune.drop("stop.json", {**SMALL, "name": "stop", "finetune": {"num_train_epochs": 500}})
    run = droptune.wait("stop.json", "training")
    droptune.api(f"runs/{run['id']}/cancel", method="POST")
    run = droptune.wait("stop.json", "cancelled")
    job = sdk(stack.environment).jobs.get(f"{run['id']}-a1")
    assert job.status == "Canceled"
