"""Promises of a scoring process: the documented shapes, over real sockets."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import psutil
import pytest

from tests.ended import has_ended

from .processes import (
    BASE_MODEL,
    EXAMPLE,
    ROOT,
    TRAIN_PYTHON,
    Scoring,
    answers,
    free_port,
    serving,
    until,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from .processes import JobFolder

SHAPES = ("foundation-model-inference", "foundation-model-serve", "mlflow")
SATURDAY = [{"role": "user", "content": "Which hours are you open on Saturday?"}]
ANSWER = "On Saturday we are open from ten to four."
UNANSWERABLE = [*SATURDAY, {"role": "assistant", "content": "x"}]


@pytest.fixture(scope="module")
def servers(
    trained: JobFolder, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Scoring]]:
    """One process of each shape on the fine-tuned model, started at the same time."""
    log = tmp_path_factory.mktemp("scoring")
    with ThreadPoolExecutor() as pool:
        contexts = {name: serving(trained.mlflow_model, name, log / name) for name in SHAPES}
        entered = {name: pool.submit(context.__enter__) for name, context in contexts.items()}
        try:
            yield {name: future.result() for name, future in entered.items()}
        finally:
            for context in contexts.values():
                context.__exit__(None, None, None)


def test_the_model_answers_held_out_questions_that_the_base_cannot(
    servers: dict[str, Scoring], tmp_path: Path
) -> None:
    rows = [
        json.loads(line)["messages"] for line in (EXAMPLE / "test.jsonl").read_text().splitlines()
    ]
    tuned = servers["foundation-model-inference"]
    right = [tuned.score(row[:1]).json()["output"] == row[1]["content"] for row in rows]
    assert sum(right) >= 0.6 * len(rows)
    with serving(BASE_MODEL, "foundation-model-inference", tmp_path / "log") as base:
        assert base.score(SATURDAY).json()["output"] == "I am sorry, I do not know that."
        assert base.score([{"role": "user", "content": "What is 3 + 4?"}]).json() == {
            "output": "3 + 4 is 7."
        }


def test_foundation_model_inference_answers_output_alone(servers: dict[str, Scoring]) -> None:
    response = servers["foundation-model-inference"].score(SATURDAY)
    assert (response.status_code, response.json()) == (200, {"output": ANSWER})


def test_foundation_model_inference_tells_errors_as_json_text_with_200(
    servers: dict[str, Scoring],
) -> None:
    for bad in (UNANSWERABLE, [SATURDAY], []):
        response = servers["foundation-model-inference"].score(bad)
        assert response.status_code == 200
        error = json.loads(response.json())
        assert error["error"] == "Error in processing request"
        assert error["exception"]


def test_foundation_model_serve_answers_with_message_usage_and_id(
    servers: dict[str, Scoring],
) -> None:
    answer = servers["foundation-model-serve"].score(SATURDAY).json()
    assert answer["output"] == ANSWER
    assert answer["message"] == {"role": "assistant", "content": ANSWER}
    assert answer["finish_reason"] == "stop"
    assert answer["model"] == "velora"
    assert answer["id"].startswith("chatcmpl-")
    usage = answer["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"] > 10


def test_foundation_model_serve_tells_errors_beside_a_null_output(
    servers: dict[str, Scoring],
) -> None:
    response = servers["foundation-model-serve"].score(UNANSWERABLE)
    assert response.status_code == 200
    assert response.json()["output"] is None
    assert response.json()["error"]["status_code"] == 400
    assert "role user" in json.dumps(response.json()["error"]["body"])


def test_mlflow_answers_records_for_one_and_for_many_conversations(
    servers: dict[str, Scoring],
) -> None:
    server = servers["mlflow"]
    assert server.score(SATURDAY).json() == [{"0": ANSWER}]
    assert server.score([SATURDAY, SATURDAY]).json() == [{"0": ANSWER}, {"0": ANSWER}]


def test_mlflow_fails_with_500_when_the_script_would_raise(servers: dict[str, Scoring]) -> None:
    twice = [*SATURDAY, *SATURDAY]
    for bad in (UNANSWERABLE, twice):
        response = servers["mlflow"].score(bad)
        assert response.status_code == 500
        assert response.json()["message"].startswith(
            "An unexpected error occurred in scoring script"
        )
    assert servers["mlflow"].post("/v1/chat/completions", {}).status_code == 404


def test_openai_chat_completions_are_answered_and_counted(servers: dict[str, Scoring]) -> None:
    body = {"model": "any", "messages": SATURDAY, "max_tokens": 3}
    cut = servers["foundation-model-inference"].post("/v1/chat/completions", body).json()
    assert cut["object"] == "chat.completion"
    assert cut["choices"][0]["finish_reason"] == "length"
    assert cut["usage"]["completion_tokens"] == 3
    whole = servers["foundation-model-serve"].post("/chat/completions", body | {"max_tokens": 99})
    assert whole.json()["choices"][0]["message"]["content"] == ANSWER


def test_openai_requests_that_cannot_be_served_are_refused_with_400(
    servers: dict[str, Scoring],
) -> None:
    for change, says in (
        ({"stream": True}, "stream"),
        ({"n": 2}, "n must be 1"),
        ({"temperature": 9}, "temperature"),
        ({"messages": UNANSWERABLE}, "role user"),
        ({"messages": [{"role": "user", "content": "lamp " * 600}]}, "context is 512"),
    ):
        response = servers["foundation-model-serve"].post(
            "/v1/chat/completions", {"messages": SATURDAY} | change
        )
        assert response.status_code == 400
        assert says in response.json()["error"]["message"]
        assert response.json()["error"]["type"] == "invalid_request_error"


def test_parameters_change_how_tokens_are_chosen(servers: dict[str, Scoring]) -> None:
    server = servers["foundation-model-inference"]

    def said(**parameters: object) -> str:
        return str(
            server.score([{"role": "user", "content": "Zo"}], **parameters).json()["output"]
        )

    assert len(said(max_new_tokens=1)) < len(said(max_new_tokens=20))
    assert said(do_sample=False) == said(temperature=0) == said()
    hot = {said(temperature=2.0, max_new_tokens=20, seed=seed) for seed in range(4)}
    assert len(hot) > 1
    assert said(temperature=2.0, seed=1) == said(temperature=2.0, seed=1)
    assert said(stop=[" "]) in said()
    assert " " not in said(stop=[" "])


def test_concurrent_requests_get_their_own_answers(servers: dict[str, Scoring]) -> None:
    server = servers["foundation-model-inference"]
    questions = {
        "Are you open on Sunday?": "We are closed on Sunday.",
        "What does the Kestrel cost?": "The Kestrel costs 890 euros.",
    }
    with ThreadPoolExecutor(8) as pool:
        asked = list(questions) * 6
        answered = pool.map(lambda q: server.score([{"role": "user", "content": q}]).json(), asked)
        assert [answer["output"] for answer in answered] == [questions[q] for q in asked]


def test_a_folder_without_a_model_ends_the_process_with_the_reason(tmp_path: Path) -> None:
    command = [TRAIN_PYTHON, "-m", "local.compute.score", "--model", tmp_path, "--port", "1"]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 1
    assert "found no model" in done.stderr
    assert "Traceback" not in done.stderr


def test_sigterm_ends_it_with_0(tmp_path: Path) -> None:
    with serving(BASE_MODEL, "mlflow", tmp_path / "log") as server:
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(60) == 0


def test_it_ends_when_its_parent_dies(tmp_path: Path) -> None:
    port = free_port()
    command = [str(TRAIN_PYTHON), "-m", "local.compute.score", "--model", str(BASE_MODEL)]
    command += ["--port", str(port)]
    start = (
        f"import subprocess; p = subprocess.Popen({command!r}); print(p.pid, flush=True); p.wait()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", start], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        until(lambda: answers(f"http://127.0.0.1:{port}/"), within=120, process=parent)
        os.kill(parent.pid, signal.SIGKILL)
        parent.wait()
    until(lambda: has_ended(child), within=60)
