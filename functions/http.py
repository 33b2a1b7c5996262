"""How values of the core become HTTP answers; the one thing that the HTTP doors share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import azure.functions as func
import msgspec

if TYPE_CHECKING:
    from shared.serving.answers import Answer


def answered(answer: Answer) -> func.HttpResponse:
    """The scoring path's answer as the platform's response."""
    headers = dict(answer.headers)
    mimetype = headers.pop("Content-Type", "application/json")
    return func.HttpResponse(
        answer.body, status_code=answer.status, headers=headers, mimetype=mimetype
    )


def as_json(value: Any, status: int = 200) -> func.HttpResponse:
    """Any value that msgspec can encode, as JSON."""
    return func.HttpResponse(
        msgspec.json.encode(value), status_code=status, mimetype="application/json"
    )


def problem(status: int, message: str) -> func.HttpResponse:
    """An error that a person can read."""
    return as_json({"error": {"message": message}}, status)
