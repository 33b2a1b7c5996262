"""The three servers that may stand behind a managed online endpoint, and how each of them answers.

- `foundation-model-inference`: the `score.py` of llm-optimized-inference 0.2.61.
- `foundation-model-serve`: the newer server of the same images (Azure/azureml-assets).
- `mlflow`: MLflow models without own scoring code, under azureml-inference-server-http.
"""

from __future__ import annotations

import json
import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from local.compute.scoring.asked import BadRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from local.compute.scoring.generation import Answer

SCRIPT_FAILED: Final = (
    "An unexpected error occurred in scoring script. Check the logs for more info."
)


@dataclass(frozen=True, slots=True)
class Reply:
    """Status and JSON body of an HTTP answer."""

    status: int
    body: Any


@dataclass(frozen=True, slots=True)
class Shape:
    """One server's manners.

    Attributes:
        nested: Whether it takes a list of conversations.
        strict: Whether user and assistant must alternate.
        chat: Whether it has the OpenAI routes.
        answered: Makes the answer of `/score` from the model's name and one answer per conversation.
        failed: Makes the answer of `/score` to a request that failed.
    """

    nested: bool
    strict: bool
    chat: bool
    answered: Callable[[str, Sequence[Answer]], Reply]
    failed: Callable[[Exception], Reply]


def _inference_answered(_: str, answers: Sequence[Answer]) -> Reply:
    return Reply(200, {"output": answers[0].text})


def _inference_failed(error: Exception) -> Reply:
    # The script returns JSON text, which the server encodes once more: a JSON string with JSON in it.
    return Reply(
        200, json.dumps({"error": "Error in processing request", "exception": str(error)})
    )


def _serve_answered(model: str, answers: Sequence[Answer]) -> Reply:
    completion = chat_completion(model, answers[0])
    choice = completion["choices"][0]
    return Reply(
        200,
        {
            "output": choice["message"]["content"],
            "message": choice["message"],
            "finish_reason": choice["finish_reason"],
            "usage": completion["usage"],
            "model": model,
            "id": completion["id"],
        },
    )


def _serve_failed(error: Exception) -> Reply:
    if not isinstance(error, BadRequest):
        return Reply(200, {})  # what that server answers when its own code raises
    refused = openai_error(error)
    return Reply(
        200,
        {"output": None, "error": {"status_code": refused.status, "body": refused.body}},
    )


def _mlflow_answered(_: str, answers: Sequence[Answer]) -> Reply:
    return Reply(200, [{"0": answer.text} for answer in answers])


def _mlflow_failed(_: Exception) -> Reply:
    return Reply(500, {"message": SCRIPT_FAILED})


SHAPES: Final = {
    "foundation-model-inference": Shape(
        nested=False,
        strict=False,
        chat=True,
        answered=_inference_answered,
        failed=_inference_failed,
    ),
    "foundation-model-serve": Shape(
        nested=False, strict=False, chat=True, answered=_serve_answered, failed=_serve_failed
    ),
    "mlflow": Shape(
        nested=True, strict=True, chat=False, answered=_mlflow_answered, failed=_mlflow_failed
    ),
}


def chat_completion(model: str, answer: Answer) -> dict[str, Any]:
    """An OpenAI `chat.completion` object."""
    return {
        "id": f"chatcmpl-{uuid.uuid4().hex}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": model,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": answer.text},
                "logprobs": None,
                "finish_reason": answer.finish_reason,
            }
        ],
        "usage": {
            "prompt_tokens": answer.prompt_tokens,
            "completion_tokens": answer.completion_tokens,
            "total_tokens": answer.prompt_tokens + answer.completion_tokens,
        },
    }


def openai_error(error: Exception) -> Reply:
    """An OpenAI error: 400 for what the client did, 500 for what the server did."""
    mine = not isinstance(error, BadRequest)
    kind = "server_error" if mine else "invalid_request_error"
    text = "the model failed; see the log" if mine else str(error)
    body = {"error": {"message": text, "type": kind, "param": None, "code": None}}
    return Reply(500 if mine else 400, body)
