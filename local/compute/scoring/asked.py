"""What a client asks of a model: conversations and how to sample, read from request bodies.

Two bodies exist: Azure ML's (`input_data.input_string` with `parameters`) and OpenAI's chat completion.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Messages = list[dict[str, Any]]

ROLES: Final = ("system", "user", "assistant")
MOST_STOPS: Final = 16


class BadRequest(Exception):
    """The body is not what this server answers; the text says why."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to choose tokens.

    Attributes:
        max_new_tokens: Longest answer in tokens.
        do_sample: False is greedy: the same answer each time.
        temperature: Above 0; lower is more certain.
        top_p: Above 0 and at most 1: sample from the likeliest tokens that hold this much probability.
        top_k: Sample from this many likeliest tokens; 0 for all.
        seed: Repeats a sampled answer.
        stop: Texts that end the answer and are cut off.
    """

    max_new_tokens: int = 256
    do_sample: bool = False
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int | None = None
    stop: tuple[str, ...] = ()

    def with_parameters(self, given: Mapping[str, Any]) -> Sampling:
        """Apply a request's parameters; names that no engine here knows are ignored, as Azure ML does.

        A temperature of 0 means greedy. A temperature or top_p without do_sample means sampling.

        Raises:
            BadRequest: A value has the wrong type or lies outside its range; all are named.
        """
        given = {name: value for name, value in given.items() if value is not None}
        problems: list[str] = []
        changes: dict[str, Any] = {}
        for name, (least, most, whole) in RANGES.items():
            if name in given:
                value = given[name]
                good = isinstance(value, int) if whole else isinstance(value, int | float)
                if not good or isinstance(value, bool) or not least <= value <= most:
                    kind = "a whole number" if whole else "a number"
                    problems.append(f"{name} must be {kind} from {least} to {most}, not {value!r}")
                changes[name] = value
        if "do_sample" in given and not isinstance(given["do_sample"], bool):
            problems.append(f"do_sample must be true or false, not {given['do_sample']!r}")
        stop = given.get("stop", [])
        stops = [stop] if isinstance(stop, str) else stop
        if (
            not isinstance(stops, list)
            or len(stops) > MOST_STOPS
            or not all(isinstance(text, str) and text for text in stops)
        ):
            problems.append(f"stop must be a text or a list of up to {MOST_STOPS} texts")
        if problems:
            raise BadRequest("; ".join(problems))
        changes["stop"] = tuple(stops)
        changes["do_sample"] = given.get(
            "do_sample", self.do_sample or "temperature" in given or "top_p" in given
        )
        if changes.get("temperature") == 0 or changes.get("top_p") == 0:
            changes |= {"do_sample": False, "temperature": 1.0, "top_p": 1.0}
        return replace(self, **changes)


# Least, most, whole number.
RANGES: Final[dict[str, tuple[float, float, bool]]] = {
    "max_new_tokens": (1, 1_000_000, True),
    "temperature": (0.0, 2.0, False),
    "top_p": (0.0, 1.0, False),
    "top_k": (0, 1_000_000, True),
    "seed": (0, 2**63 - 1, True),
}


@dataclass(frozen=True, slots=True)
class Asked:
    """One request: its conversations (more than one only in the MLflow shape) and how to sample."""

    conversations: Sequence[Messages]
    sampling: Sampling


def read_score_body(body: Any, defaults: Sampling, *, nested: bool, strict: bool) -> Asked:
    """Read `{"input_data": {"input_string": [...], "parameters": {...}}}`.

    Args:
        body: Decoded JSON.
        defaults: The model's own sampling.
        nested: Whether `input_string` may be a list of conversations.
        strict: Whether user and assistant must alternate.

    Raises:
        BadRequest: The body has another form, or a conversation does not end with the user.
    """
    data = body.get("input_data") if isinstance(body, dict) else None
    if not isinstance(data, dict) or "input_string" not in data:
        raise BadRequest(
            'the body must be {"input_data": {"input_string": [...], "parameters": {...}}}'
        )
    messages, parameters = data["input_string"], data.get("parameters") or {}
    if not isinstance(parameters, dict):
        raise BadRequest("input_data.parameters must be an object")
    parameters = dict(parameters)
    if "max_gen_len" in parameters:  # the older name
        parameters["max_new_tokens"] = parameters.pop("max_gen_len")
    listed = isinstance(messages, list) and bool(messages) and isinstance(messages[0], list)
    if listed and not nested:
        raise BadRequest(
            "input_string must be one list of messages; this server takes no list of conversations"
        )
    conversations = messages if listed else [messages]
    for conversation in conversations:
        check_conversation(conversation, strict=strict)
    return Asked(conversations, defaults.with_parameters(parameters))


def read_chat_body(body: Any, defaults: Sampling) -> Asked:
    """Read an OpenAI chat completion request.

    Raises:
        BadRequest: The body is not one, or asks for what this server does not do.
    """
    if not isinstance(body, dict) or "messages" not in body:
        raise BadRequest("the body must be an object with messages")
    if body.get("stream"):
        raise BadRequest("stream is not supported here; leave it out or set it to false")
    if body.get("n") not in (None, 1):
        raise BadRequest("n must be 1")
    for name in ("tools", "functions", "logprobs"):
        if body.get(name):
            raise BadRequest(f"{name} is not supported here")
    check_conversation(body["messages"], strict=False)
    parameters = dict(body)
    longest = body.get("max_completion_tokens", body.get("max_tokens"))
    parameters["max_new_tokens"] = longest
    return Asked([body["messages"]], defaults.with_parameters(parameters))


def check_conversation(messages: Any, *, strict: bool) -> None:
    """Check that a conversation can be answered.

    Raises:
        BadRequest: It is not a list of messages with known roles, or its last role is not user.
    """
    if not isinstance(messages, list) or not messages:
        raise BadRequest("a conversation must be a list of messages with at least one")
    for at, message in enumerate(messages):
        if not isinstance(message, dict) or message.get("role") not in ROLES:
            raise BadRequest(f"message {at} must have a role out of {', '.join(ROLES)}")
        if not isinstance(message.get("content"), str):
            raise BadRequest(f"message {at} must have a text as content")
    if messages[-1]["role"] != "user":
        raise BadRequest(f"the last message must have role user, not {messages[-1]['role']}")
    if strict:
        spoken = messages[1:] if messages[0]["role"] == "system" else messages
        for at, message in enumerate(spoken):
            if message["role"] != ("user", "assistant")[at % 2]:
                raise BadRequest("roles must alternate user/assistant/user/assistant/...")
