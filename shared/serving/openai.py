"""OpenAI's chat-completions shapes: requests read at the door, completions and listings written.

The reference is https://platform.openai.com/docs/api-reference/chat. What changes the meaning of an answer
and cannot be honoured (streams, several choices, tools, forced formats, log probabilities) is refused; other
fields that we do not know are ignored, as OpenAI-compatible servers commonly do.
"""

from __future__ import annotations

import random
import time
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from shared.errors import Problem
from shared.serving.answers import Answer, failure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from shared.serving.directory import Listed
    from shared.serving.scoring import Reply

_TOLD: Final = 20
"""Most problems told at once."""


class TextPart(msgspec.Struct, frozen=True, gc=False):
    """A part of a message's content; only text can be handled."""

    type: Literal["text"]
    text: str


class Message(msgspec.Struct, frozen=True):
    """A message of the conversation."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[TextPart]

    @property
    def text(self) -> str:
        """The content as one text; parts stand on lines of their own."""
        if isinstance(self.content, str):
            return self.content
        return "\n".join(part.text for part in self.content)


Tokens = Annotated[int, Meta(ge=1, le=2**31 - 1)]
Penalty = Annotated[float, Meta(ge=-2, le=2)]


class ChatRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A chat-completions request; `None` is what absent means."""

    model: Annotated[str, Meta(min_length=1, max_length=256)]
    messages: Annotated[list[Message], Meta(min_length=1)]
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    max_tokens: Tokens | None = None
    max_completion_tokens: Tokens | None = None
    stop: str | Annotated[list[str], Meta(max_length=4)] | None = None
    n: Annotated[int, Meta(ge=1)] | None = None
    seed: Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | None = None
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    stream: bool | None = None
    logprobs: bool | None = None
    tools: list[Any] | None = None
    functions: list[Any] | None = None
    response_format: dict[str, Any] | None = None

    @property
    def stops(self) -> tuple[str, ...]:
        """The texts at which the answer ends."""
        if self.stop is None:
            return ()
        found = (self.stop,) if isinstance(self.stop, str) else self.stop
        return tuple(text for text in found if text)


_decoder: Final = msgspec.json.Decoder(ChatRequest)


def read_request(body: bytes) -> ChatRequest | Answer:
    """The request in `body`, or a 400 that names every problem at once."""
    try:
        request = _decoder.decode(body)
    except (ValueError, RecursionError):
        return _invalid(body)
    unsupported = _unsupported(partial(getattr, request))
    return _told(unsupported) if unsupported else request


def _unsupported(value: Callable[[str], Any]) -> list[tuple[Problem, str]]:
    """What is asked for that cannot be done; `value` gives a field, of whatever type."""
    n, form = value("n"), value("response_format")
    found = []
    if value("stream") is True:
        found.append(Problem("stream", "streaming is not supported yet", "Send 'stream': false"))
    if isinstance(n, int) and n > 1:
        found.append(Problem("n", "only one choice can be made", "Send 'n': 1"))
    found += [
        Problem(name, f"{words} are not supported")
        for name, words in _ABSENT.items()
        if value(name)
    ]
    if isinstance(form, dict) and form.get("type", "text") != "text":
        found.append(Problem("response_format", "only the type 'text' is supported"))
    return [(problem, "unsupported_value") for problem in found]


_ABSENT: Final = {"tools": "tools", "functions": "functions", "logprobs": "log probabilities"}


def _invalid(body: bytes) -> Answer:
    """Read again what did not fit, field by field, to find everything that is wrong."""
    try:
        fields = msgspec.json.decode(body)
    except (ValueError, RecursionError) as error:
        return failure(400, f"The request's body is not JSON: {error}", code="invalid_json")
    if not isinstance(fields, dict):
        return failure(400, "The request's body is not a JSON object.", code="invalid_type")
    problems: list[Problem] = []
    for field in msgspec.structs.fields(ChatRequest):
        if field.name not in fields:
            if field.required:
                problems.append(Problem(field.name, "is required"))
        elif field.name == "messages":
            problems += _messages(fields["messages"])
        else:
            problems += _misfit(field.name, fields[field.name], field.type)
    unsupported = _unsupported(fields.get)
    return _told([(problem, "invalid_value") for problem in problems] + unsupported)


def _messages(value: object) -> list[Problem]:
    if not isinstance(value, list):
        return [Problem("messages", "must be a list of messages")]
    if not value:
        return [Problem("messages", "needs at least one message")]
    problems: list[Problem] = []
    for place, message in enumerate(value):
        if not isinstance(message, dict):
            problems.append(Problem(f"messages[{place}]", "must be an object"))
            continue
        for field in msgspec.structs.fields(Message):
            name = f"messages[{place}].{field.name}"
            if field.name in message:
                problems += _misfit(name, message[field.name], field.type)
            else:
                problems.append(Problem(name, "is required"))
        if len(problems) > _TOLD:
            break
    return problems


def _misfit(name: str, value: object, wanted: Any) -> list[Problem]:
    """What msgspec says against `value`, in words of JSON."""
    try:
        msgspec.convert(value, wanted)
    except msgspec.ValidationError as error:
        reason, _, path = str(error).partition(" - at `$")
        return [Problem(name + path.rstrip("`"), reason[:1].lower() + reason[1:])]
    return []


def _told(problems: Sequence[tuple[Problem, str]]) -> Answer:
    """A 400 with all `problems`; `param` and `code` are the first one's."""
    told = "; ".join(str(problem) for problem, _ in problems[:_TOLD])
    if len(problems) > _TOLD:
        told += f"; and {len(problems) - _TOLD} more"
    first, code = problems[0]
    return failure(400, told, param=first.place, code=code)


class Usage(msgspec.Struct, frozen=True):
    """Tokens spent, as the model's server counted them."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class _Said(msgspec.Struct, frozen=True):
    role: str
    content: str
    refusal: None = None
    reasoning_content: str | UnsetType = UNSET


class _Choice(msgspec.Struct, frozen=True):
    index: int
    message: _Said
    finish_reason: str
    logprobs: None = None


class _Completion(msgspec.Struct, frozen=True):
    id: str
    object: str
    created: int
    model: str
    choices: tuple[_Choice]
    usage: Usage | UnsetType


_encoder: Final = msgspec.json.Encoder()


def completion(request: ChatRequest, reply: Reply) -> bytes:
    """OpenAI's chat completion of what the endpoint replied.

    `usage` is left out when the endpoint did not count (an estimate would be billed as a fact by those who
    add it up), and `finish_reason` is `stop` when it gave none. A stop text that the endpoint ignored ends
    the answer here.
    """
    text, reason = reply.text, reply.finish_reason
    for stop in request.stops:
        before, found, _ = text.partition(stop)
        if found:
            text, reason = before, "stop"
    usage: Usage | UnsetType = UNSET if reply.usage is None else reply.usage
    thought: str | UnsetType = UNSET if reply.reasoning is None else reply.reasoning
    said = _Said("assistant", text, reasoning_content=thought)
    return _encoder.encode(
        _Completion(
            # A name and no secret: a generator in the process, where uuid4 asks the kernel each time.
            reply.id or f"chatcmpl-{random.getrandbits(96):024x}",
            "chat.completion",
            int(time.time()),
            request.model,
            (_Choice(0, said, reason),),
            usage,
        )
    )


class _Model(msgspec.Struct, frozen=True):
    id: str
    created: int
    state: str
    object: str = "model"
    owned_by: str = "droptune"


class _Models(msgspec.Struct, frozen=True):
    data: list[_Model]
    object: str = "list"


def listing(models: Iterable[Listed]) -> bytes:
    """OpenAI's list of models, with each one's `state` (serving, asleep, …) beside it."""
    return _encoder.encode(
        _Models([_Model(m.model, int(m.since.timestamp()), str(m.rest)) for m in models])
    )
