"""`chat`: ask a model with the official openai client, as any other program would."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from rich.console import Console

from local.stack import running_environment

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from openai import APIStatusError, OpenAI
    from openai.types.chat import ChatCompletionMessageParam

PATIENCE = 1800.0
"""Seconds to wait for a model that wakes."""

DEFAULT_PAUSE = 5.0
"""Seconds between two tries when a 503 names no time."""


class NoAnswer(Exception):
    """The model did not answer; the message says why."""


def chat(state: Path, model: str, question: str | None) -> int:
    """Ask `question`, or talk until end of input; returns the exit code.

    Raises:
        NotRunning: No stack runs.
    """
    environment = running_environment(state)
    notes = Console(stderr=True, highlight=False, soft_wrap=True)
    from openai import OpenAI

    with OpenAI(
        base_url=f"{environment['DROPTUNE_URL']}/api/v1",
        api_key=environment["DROPTUNE_API_KEY"],
        max_retries=0,  # waiting for a model to wake is told, below
        timeout=300,
    ) as client:
        try:
            if question is None:
                return _talk(client, model, notes)
            print(ask(client, model, [{"role": "user", "content": question}], notes.print))
        except NoAnswer as error:
            print(error, file=sys.stderr)
            return 1
    return 0


def _talk(client: OpenAI, model: str, notes: Console) -> int:
    """A conversation that the model sees whole."""
    notes.print(f"Talking with {model}. Ctrl-D ends.")
    messages: list[ChatCompletionMessageParam] = []
    while True:
        try:
            line = input("> " if sys.stdin.isatty() else "")
        except EOFError:
            return 0
        if not line.strip():
            continue
        messages.append({"role": "user", "content": line})
        answer = ask(client, model, messages, notes.print)
        messages.append({"role": "assistant", "content": answer})
        print(answer, flush=True)


def ask(
    client: OpenAI,
    model: str,
    messages: list[ChatCompletionMessageParam],
    tell: Callable[[str], None],
    *,
    patience: float = PATIENCE,
) -> str:
    """The model's answer; while it sleeps, wait as long as its 503 asks, and tell.

    Raises:
        NoAnswer: It refused, cannot be reached, or did not wake within `patience` seconds.
    """
    from openai import APIConnectionError, APIStatusError

    deadline = time.monotonic() + patience
    while True:
        try:
            answer = client.chat.completions.create(model=model, messages=messages)
            return answer.choices[0].message.content or ""
        except APIStatusError as error:
            pause = _pause(error)
            if pause is None or time.monotonic() + pause > deadline:
                raise NoAnswer(f"{model}: {_message(error)}") from None
            tell(f"{_message(error)} Asking again in {pause:g} s.")
            time.sleep(pause)
        except APIConnectionError as error:
            raise NoAnswer(f"Droptune cannot be reached: {error}") from None


def _pause(error: APIStatusError) -> float | None:
    """Seconds after which the server wants to be asked again; None when asking again is no use."""
    if error.status_code not in (429, 503):
        return None
    try:
        return max(0.0, float(error.response.headers.get("Retry-After", DEFAULT_PAUSE)))
    except ValueError:
        return DEFAULT_PAUSE


def _message(error: APIStatusError) -> str:
    body = error.body
    if isinstance(body, dict) and isinstance(body.get("message"), str):
        return str(body["message"])
    return f"HTTP {error.status_code}"
