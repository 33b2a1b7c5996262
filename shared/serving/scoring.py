"""Azure ML's scoring shapes: what a chat endpoint takes, and the several shapes in which it answers.

Three servers may stand behind an endpoint, and which one depends on the fine-tuned model's metadata:

- `foundation-model-inference` answers `{"output": "…"}`; its errors come with status 200, as a JSON string
  that holds `{"error", "exception"}`; what content safety blocked is `{}`.
- `foundation-model-serve` answers `{"output", "message", "finish_reason", "usage", "model", "id"}`; errors of
  its engine come with status 200 as `{"output": null, "error": {"status_code", "body"}}`, exceptions as `{}`.
- MLflow without code answers records, `[{"0": "…"}]`.

Sources: the servers' own code, published in the packages `llm-optimized-inference` and
`azureml-evaluate-mlflow` and in the repository azureml-assets.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec

from shared.serving.answers import INVALID, SAID_LIMIT, SERVER, Answer, failure, message_in
from shared.serving.openai import Usage

if TYPE_CHECKING:
    from collections.abc import Mapping

    from shared.serving.openai import ChatRequest


class _Turn(msgspec.Struct, frozen=True, gc=False):
    role: str
    content: str


class _Parameters(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    temperature: float | None = None
    top_p: float | None = None
    do_sample: bool | None = None
    max_new_tokens: int | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None


class _Input(msgspec.Struct, frozen=True):
    input_string: list[_Turn]
    parameters: _Parameters


class _Body(msgspec.Struct, frozen=True):
    input_data: _Input
    params: dict[str, Any]


_encoder: Final = msgspec.json.Encoder()


def scoring_body(request: ChatRequest) -> bytes:
    """The request as Azure ML's chat endpoints take it: one flat conversation.

    Only what the caller gave is sent, so that the model's own defaults hold otherwise. Sampling is switched
    on with a temperature above 0 or a `top_p`, and off with the temperature 0. `developer`, OpenAI's newer
    name of the role, is sent as `system`, which chat templates know.
    """
    sample = None
    if request.temperature is not None:
        sample = request.temperature > 0
    elif request.top_p is not None:
        sample = True
    turns = [
        _Turn("system" if message.role == "developer" else message.role, message.text)
        for message in request.messages
    ]
    longest = request.max_completion_tokens
    parameters = _Parameters(
        temperature=request.temperature,
        top_p=request.top_p,
        do_sample=sample,
        max_new_tokens=request.max_tokens if longest is None else longest,
        stop=request.stops,
        seed=request.seed,
        frequency_penalty=request.frequency_penalty,
        presence_penalty=request.presence_penalty,
    )
    return _encoder.encode(_Body(_Input(turns, parameters), {}))


@dataclass(frozen=True, slots=True)
class Reply:
    """What a model said.

    Attributes:
        text: The answer; may be empty when the model had nothing to say.
        finish_reason: One of OpenAI's; `stop` when the server gave none.
        usage: Tokens, if the server counted them.
        id: The server's name of the answer, if it gave one.
        reasoning: What a reasoning model thought, if the server tells it apart.
    """

    text: str
    finish_reason: str = "stop"
    usage: Usage | None = None
    id: str | None = None
    reasoning: str | None = None


_FINISH: Final[Mapping[object, str]] = {
    "stop": "stop",
    "length": "length",
    "content_filter": "content_filter",
    "max_tokens": "length",
    "max_length": "length",
}
_CALLERS_FAULT: Final = frozenset({400, 413, 422})
_NOTHING: Final = (
    "The model's endpoint answered with nothing: "
    "content safety blocked the answer, or its server failed."
)


def read_reply(body: bytes) -> Reply | Answer:
    """What an endpoint said with status 200, or the failure that hides in it."""
    try:
        return _reply(msgspec.json.decode(body), unwrap=True)
    except (ValueError, RecursionError):
        return _strange("it is not JSON")


def _reply(value: Any, *, unwrap: bool = False) -> Reply | Answer:
    if unwrap and isinstance(value, str):
        # A scoring script that returns `json.dumps(…)` has its answer encoded twice.
        return _reply(msgspec.json.decode(value))
    if value is None or value in ({}, []):
        return _broken(_NOTHING, "empty_answer")
    if isinstance(value, dict) and value.get("error") is not None:
        return _failed(value)
    text = _text(value)
    if text is not None:
        return _detailed(text, value) if isinstance(value, dict) else Reply(text)
    if isinstance(value, dict) and "output" in value and value["output"] is None:
        return _broken(_NOTHING, "empty_answer")
    return _strange("there is no text in it")


def _text(value: Any) -> str | None:
    """The one text in `value`; `None` if there is none or if it is not clear which."""
    if isinstance(value, list):
        return _text(value[0]) if len(value) == 1 else None
    if isinstance(value, dict):
        for key in ("output", "0", "message", "content", "predictions"):
            if value.get(key) is not None:
                return _text(value[key])
        return None
    return value if isinstance(value, str) else None


def _detailed(text: str, value: Mapping[str, Any]) -> Reply:
    try:
        usage = msgspec.convert(value.get("usage"), Usage)
    except msgspec.ValidationError:
        usage = None
    name, thought = value.get("id"), value.get("reasoning_content")
    reason = value.get("finish_reason")
    return Reply(
        text,
        _FINISH.get(reason, "stop") if isinstance(reason, str) else "stop",
        usage,
        name if isinstance(name, str) and name else None,
        thought if isinstance(thought, str) else None,
    )


def _failed(value: Mapping[str, Any]) -> Answer:
    """An error in a 200."""
    error = value["error"]
    status = error.get("status_code") if isinstance(error, dict) else None
    reason = " ".join(message_in(value).split())[:SAID_LIMIT] or "it gave no reason"
    if status in _CALLERS_FAULT:
        return failure(
            400,
            f"The model's endpoint refused the request: {reason}",
            kind=INVALID,
            code="endpoint_refused",
        )
    return _broken(f"The model failed: {reason}", "model_error")


def _broken(message: str, code: str) -> Answer:
    return failure(502, message, kind=SERVER, code=code)


def _strange(why: str) -> Answer:
    return _broken(
        f"The model's endpoint answered in a shape that Droptune does not know: {why}.",
        "unknown_answer",
    )
