"""Questions put to one deployment, and its answers, in the shapes of the servers that may stand behind it.

Which server answers depends on the fine-tuned model's own metadata: `foundation-model-inference` (package
llm-optimized-inference), `foundation-model-serve` (Azure/azureml-assets) or MLflow's scoring script (package
azureml-evaluate-mlflow). All of them take one flat conversation; the fine-tuning notebook sends a list of
one, which only some take. Errors come with status 200 too.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Final

import msgspec

from shared.cloud.arm import pipeline
from shared.cloud.failures import failing, of_status, plain
from shared.errors import Refused, Unavailable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from azure.core import PipelineClient

    from shared.runs.ports import Message

PARAMETERS: Final = {"max_new_tokens": 200, "do_sample": False}
"""The same question shall have the same answer."""

READ_SECONDS: Final = 185
"""A little more than the longest time-out that a deployment may have."""

_ROUTING: Final = "azureml-model-deployment"
_NOT_UP: Final = frozenset({404, 502, 503, 504})
"""The gateway does not know the deployment yet, or its container is being replaced."""

_MODEL_ERROR: Final = 424
_CONTAINER_NOT_UP: Final = frozenset({"502", "503", "504"})
"""The same, told by the gateway as what the container answered."""

_OTHER_FORM: Final = frozenset({400, 415, 422, _MODEL_ERROR})


def flat(messages: Sequence[Message]) -> dict[str, Any]:
    """The documented request: one conversation."""
    return {
        "input_data": {"input_string": list(messages), "parameters": PARAMETERS},
        "params": {},
    }


def nested(messages: Sequence[Message]) -> dict[str, Any]:
    """The notebook's request: a list of conversations."""
    return {
        "input_data": {"input_string": [list(messages)], "parameters": PARAMETERS},
        "params": {},
    }


class _OtherFormError(Exception):
    """The deployment would not take this form of request."""


class Scoring:
    """Asks deployments; keeps its connections for further questions."""

    def __init__(self) -> None:
        self._made: PipelineClient[Any, Any] | None = None
        self._making = threading.Lock()

    def ask(self, uri: str, key: str, deployment: str, messages: Sequence[Message]) -> str:
        """The deployment's answer, whatever traffic it has.

        Args:
            uri: The endpoint's scoring address.
            key: The endpoint's key.
            deployment: The deployment's name.
            messages: A conversation that ends with the user's turn.

        Raises:
            Refused: It answered with an error, or with nothing.
            Unavailable, Throttled: It did not get to answer.
        """
        try:
            return text_in(self._post(uri, key, deployment, flat(messages)))
        except _OtherFormError as first:
            try:
                return text_in(self._post(uri, key, deployment, nested(messages)))
            except _OtherFormError as second:
                raise Refused(str(second)) from first

    def close(self) -> None:
        """Close the connections that are kept open."""
        with self._making:
            if self._made is not None:
                self._made.close()
                self._made = None

    def _client(self) -> PipelineClient[Any, Any]:
        with self._making:
            if self._made is None:
                self._made = pipeline(read_seconds=READ_SECONDS)
            return self._made

    def _post(self, uri: str, key: str, deployment: str, body: dict[str, Any]) -> bytes:
        from azure.core.rest import HttpRequest

        doing = f"asking the deployment {deployment}"
        headers = {"Authorization": f"Bearer {key}", _ROUTING: deployment}
        with failing(doing):
            request = HttpRequest("POST", uri, headers=headers, json=body)
            response: Any = self._client().send_request(request)
            content: bytes = response.read()
        status = response.status_code
        if status < 400:  # noqa: PLR2004
            return content
        reason = response.headers.get("ms-azureml-model-error-reason") or ""
        said = plain(f"{doing}: HTTP {status} {reason} {content[:400].decode(errors='replace')}")
        answered = response.headers.get("ms-azureml-model-error-statuscode")
        if status == _MODEL_ERROR and answered in _CONTAINER_NOT_UP:
            raise Unavailable(said)
        if status in _OTHER_FORM:
            raise _OtherFormError(said)
        if status in _NOT_UP:
            raise Unavailable(said)
        raise of_status(status, said, headers=response.headers)


def text_in(content: bytes) -> str:
    """The answer's text, out of any documented shape.

    Raises:
        Refused: It is an error, empty, or no shape that is known.
    """
    try:
        value = msgspec.json.decode(content)
        if isinstance(value, str):  # a scoring script that returns `json.dumps(…)`
            value = msgspec.json.decode(value)
    except msgspec.DecodeError as error:
        raise Refused(f"the answer is not JSON: {_shown(content)}") from error
    if isinstance(value, dict) and value.get("error") is not None:
        raise Refused(plain(f"the model failed: {value['error']}"))
    if value is None or value in ({}, []):
        raise Refused("the answer is empty: blocked by content safety, or the server failed")
    text = _text(value)
    if text is None or not text.strip():
        raise Refused(f"there is no text in the answer: {_shown(content)}")
    return text


def _text(value: Any) -> str | None:
    match value:
        case str():
            return value
        case [first, *_]:
            return _text(first)
        case dict():
            for key in ("output", "0", "message", "content", "predictions"):
                if value.get(key) is not None:
                    return _text(value[key])
            return None
        case _:
            return None


def _shown(content: bytes) -> str:
    return plain(content[:200].decode(errors="replace"))
