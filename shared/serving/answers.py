"""Answers as plain values, and every failure in OpenAI's envelope.

OpenAI clients read `{"error": {"message", "type", "param", "code"}}` whatever the status
(https://platform.openai.com/docs/guides/error-codes), so everything that goes wrong ends here: our own
error tree by one table, an endpoint's HTTP status by another (statuses:
https://learn.microsoft.com/azure/machine-learning/how-to-troubleshoot-online-endpoints).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final

import msgspec

from shared.errors import (
    Busy,
    Denied,
    DroptuneError,
    Missing,
    Refused,
    Rejected,
    SettingsError,
    StaleRecord,
    Throttled,
    Transient,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

JSON: Final = "application/json"
SAID_LIMIT: Final = 500
"""Most characters of an endpoint's own words that are passed on."""

INVALID: Final = "invalid_request_error"
SERVER: Final = "server_error"


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer: what a door turns into its framework's response."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=lambda: {"Content-Type": JSON})


class _Error(msgspec.Struct, frozen=True):
    message: str
    type: str
    param: str | None
    code: str | None


class _Envelope(msgspec.Struct, frozen=True):
    error: _Error


def sendable(text: str) -> str:
    """`text` with what UTF-8 cannot hold replaced: JSON may escape half a surrogate pair."""
    return text.encode("utf-8", "replace").decode()


def failure(
    status: int,
    message: str,
    *,
    kind: str = INVALID,
    param: str | None = None,
    code: str | None = None,
    retry_after: float | None = None,
) -> Answer:
    """A failure in OpenAI's envelope; `retry_after` in seconds becomes the header, rounded up."""
    body = msgspec.json.encode(_Envelope(_Error(sendable(message), kind, param, code)))
    headers = {"Content-Type": JSON}
    if retry_after is not None:
        headers["Retry-After"] = str(max(1, math.ceil(retry_after)))
    return Answer(status, body, headers)


_TREE: Final[Sequence[tuple[type[DroptuneError], int, str, str]]] = (
    (Rejected, 400, INVALID, "invalid_value"),
    (Throttled, 429, "requests", "rate_limit_exceeded"),
    (Busy, 503, SERVER, "busy"),
    (Transient, 503, SERVER, "unavailable"),
    (Denied, 502, SERVER, "denied"),
    (Missing, 404, INVALID, "not_found"),
    (Refused, 502, SERVER, "refused"),
    (StaleRecord, 503, SERVER, "busy"),
    (SettingsError, 500, SERVER, "misconfigured"),
)
"""The error tree, most special first: status, type and code."""


def from_error(error: Exception) -> Answer:
    """Whatever was raised, as an answer; what is none of ours shows nothing of its inside."""
    for kind, status, type_, code in _TREE:
        if isinstance(error, kind):
            asked = error.retry_after if isinstance(error, Transient) else None
            pause = asked.total_seconds() if asked is not None else 5.0
            return failure(
                status,
                str(error) or "The service cannot answer right now.",
                kind=type_,
                code=code,
                retry_after=pause if status in {429, 503} else None,
            )
    if isinstance(error, TimeoutError):
        return failure(
            503,
            "Looking the model up took too long.",
            kind=SERVER,
            code="unavailable",
            retry_after=5.0,
        )
    return failure(500, "Droptune failed; its log says how.", kind=SERVER, code="internal_error")


_ENDPOINT: Final[Mapping[int, tuple[int, str, str, str]]] = {
    400: (400, INVALID, "endpoint_refused", "The model's endpoint refused the request"),
    401: (502, SERVER, "endpoint_denied", "The model's endpoint does not take Droptune's key"),
    403: (502, SERVER, "endpoint_denied", "The model's endpoint does not let Droptune in"),
    408: (504, SERVER, "endpoint_timeout", "The model took longer than its endpoint allows"),
    413: (413, INVALID, "request_too_large", "The request is longer than the endpoint takes"),
    422: (400, INVALID, "endpoint_refused", "The model's endpoint refused the request"),
    429: (429, "requests", "rate_limit_exceeded", "The model's endpoint is at its limit"),
    503: (503, SERVER, "endpoint_busy", "The model's endpoint is busy or has just been restarted"),
}
"""What the status of an endpoint means to an OpenAI client: status, type, code and message.

A 401 of the endpoint is about our key, never about the caller's, hence no 401.
"""

_FAILED: Final = (502, SERVER, "endpoint_error", "The model's endpoint failed")
_MODEL_STATUS: Final = "ms-azureml-model-error-statuscode"
_MODEL_REASON: Final = "ms-azureml-model-error-reason"


def from_endpoint(status: int, headers: Mapping[str, str], body: bytes) -> Answer:
    """A failing HTTP answer of an endpoint, in OpenAI's words.

    424 means that the model's own server failed; its status and reason are in headers.
    """
    reason = said(body)
    meant = status
    if status == 424:  # noqa: PLR2004 - Failed Dependency: Azure ML's "the model answered with"
        model_status = headers.get(_MODEL_STATUS, "")
        meant = int(model_status) if model_status.isdecimal() else 424
        reason = headers.get(_MODEL_REASON) or reason
        if meant in {401, 403}:
            meant = 424
    outer, kind, code, message = _ENDPOINT.get(meant, _FAILED)
    pause = retry_after(headers) if outer in {429, 503} else None
    if outer in {429, 503} and pause is None:
        pause = 1.0
    text = f"{message} ({status}): {reason}" if reason else f"{message} ({status})."
    return failure(outer, text, kind=kind, code=code, retry_after=pause)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that a `Retry-After` header asks for, given as a number or as a date."""
    value = headers.get("Retry-After", "").strip()
    if value.isdecimal():
        return float(value[:9])
    try:
        at = parsedate_to_datetime(value)
    except ValueError:
        return None
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    return max(0.0, (at - datetime.now(UTC)).total_seconds())


def said(body: bytes) -> str:
    """What a failing body says in words: the message in its JSON, or the start of its text."""
    try:
        value = msgspec.json.decode(body)
        text = message_in(value)
    except (ValueError, RecursionError):
        text = body[: SAID_LIMIT * 4].decode("utf-8", "replace")
    return " ".join(text.split())[:SAID_LIMIT]


def message_in(value: Any) -> str:
    """The message inside an error object, however deep its makers wrapped it; empty if there is none."""
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        parts = [
            message_in(value[key])
            for key in ("error", "message", "body", "exception", "detail")
            if value.get(key) is not None
        ]
        return ": ".join(part for part in parts if part)
    return ""
