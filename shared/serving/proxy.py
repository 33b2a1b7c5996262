"""The scoring proxy: from a caller's bytes to an endpoint and back, whatever state the model is in.

The hot path is: key, request, memory of the records, one pooled HTTP hop, answer. It takes no lock, writes no
log line and waits for nothing else. What goes wrong leaves it as an answer in OpenAI's envelope, never as an
exception.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from shared.runs.endpoints import Rest
from shared.serving.answers import (
    INVALID,
    SERVER,
    Answer,
    failure,
    from_endpoint,
    from_error,
    retry_after,
)
from shared.serving.directory import Directory, Found, Resting, Target
from shared.serving.openai import completion, listing, read_request
from shared.serving.options import Options
from shared.serving.scoring import read_reply, scoring_body
from shared.serving.transport import Pool, Reached, Trouble
from shared.serving.wakes import Gate, Notes, Uses, Waker

if TYPE_CHECKING:
    from collections.abc import Mapping

    from shared.serving.api_keys import ApiKeys
    from shared.serving.directory import Source

log = logging.getLogger(__name__)

_TO_ENDPOINT: Final = (
    "Content-Type",
    "Accept",
    "azureml-model-deployment",
    "x-ms-client-request-id",
    "x-ms-request-id",
    "traceparent",
)
_TO_CALLER: Final = (
    "Content-Type",
    "Retry-After",
    "azureml-model-deployment",
    "azureml-model-group",
    "azureml-model-session",
    "ms-azureml-model-error-statuscode",
    "ms-azureml-model-error-reason",
    "ms-azureml-model-time",
    "x-ms-client-request-id",
    "x-ms-request-id",
    "x-ms-run-fn-exec-ms",
    "x-ms-run-function-failed",
    "x-ms-server-version",
)
_ROUTE: Final = "azureml-model-deployment"
_SHOWN: Final = 20
_OK: Final = 200
_CALLERS: Final = frozenset({400, 401, 403, 404, 413, 415, 422})
"""What an endpoint answers whichever deployment it asks."""


class Proxy:
    """Answers the scoring routes. One for the life of the process, on one event loop."""

    def __init__(
        self,
        keys: ApiKeys,
        source: Source,
        waker: Waker,
        notes: Notes,
        options: Options | None = None,
    ) -> None:
        """Opens nothing yet; connections are made at first use."""
        self._options = options or Options()
        self._keys = keys
        self._directory = Directory(source, self._options)
        self._pool = Pool(self._options)
        self._uses = Uses(notes, every=self._options.note_every)
        pause, timeout = self._options.wake_pause, self._options.wake_timeout
        self._wakes = Gate(waker.wake, pause=pause, timeout=timeout)
        self._nudges = Gate(waker.nudge, pause=pause, timeout=timeout)

    async def chat(self, authorization: str | None, body: bytes) -> Answer:
        """`POST /v1/chat/completions`: OpenAI's request and answer.

        Args:
            authorization: The `Authorization` header.
            body: The request's body as it came.
        """
        try:
            refusal = self._keys.refusal(authorization) or self._too_long(body)
            if refusal is not None:
                return refusal
            request = read_request(body)
            if isinstance(request, Answer):
                return request
            reached = await self._ask(request.model, scoring_body(request), {})
            if isinstance(reached, Answer):
                return reached
            if reached.status != _OK:
                return from_endpoint(reached.status, reached.headers, reached.body)
            reply = read_reply(reached.body)
            return reply if isinstance(reply, Answer) else Answer(_OK, completion(request, reply))
        except Exception as error:  # noqa: BLE001 - the last door: callers get an envelope
            return _failed(error)

    async def score(
        self, model: str, authorization: str | None, body: bytes, headers: Mapping[str, str]
    ) -> Answer:
        """`POST /score/{model}`: Azure ML's own schema, passed through in both directions.

        The endpoint's answer keeps its status, body and the headers that matter; what Droptune itself has to
        say (no such model, asleep, …) comes in OpenAI's envelope.

        Args:
            model: The model's name, as the path has it.
            authorization: The `Authorization` header.
            body: The request's body as it came.
            headers: The request's headers; a few that Azure ML documents are passed on.
        """
        try:
            refusal = self._keys.refusal(authorization) or self._too_long(body)
            if refusal is not None:
                return refusal
            reached = await self._ask(model, body, _chosen(headers, _TO_ENDPOINT))
            if isinstance(reached, Answer):
                return reached
            return Answer(reached.status, reached.body, _chosen(reached.headers, _TO_CALLER))
        except Exception as error:  # noqa: BLE001 - the last door: callers get an envelope
            return _failed(error)

    async def models(self, authorization: str | None) -> Answer:
        """`GET /v1/models`: every model there is, asleep or not."""
        try:
            refusal = self._keys.refusal(authorization)
            if refusal is not None:
                return refusal
            return Answer(_OK, listing(await self._directory.models()))
        except Exception as error:  # noqa: BLE001 - the last door: callers get an envelope
            return _failed(error)

    async def close(self) -> None:
        """Close connections and stop what runs beside the requests."""
        await self._uses.close()
        await self._pool.close()

    def _too_long(self, body: bytes) -> Answer | None:
        limit = self._options.request_limit
        if len(body) <= limit:
            return None
        return failure(
            413,
            f"The request is {len(body):,} bytes long; at most {limit:,} are accepted.",
            code="request_too_large",
        )

    async def _ask(self, model: str, body: bytes, headers: dict[str, str]) -> Reached | Answer:
        """The endpoint's answer, of whatever status, or ours when there is none worth passing on."""
        found = await self._directory.find(model)
        if not isinstance(found, Target):
            at_rest = await self._at_rest(model, found)
            if isinstance(at_rest, Answer):
                return at_rest
            found = at_rest
        use = self._uses.began(model)
        try:
            reached = await self._send(found, body, headers)
            if isinstance(reached, Reached):
                if not _is_trusted(reached, found, headers):
                    reached = await self._in_place_of(reached, found, body, headers)
                if reached.status == _OK:
                    return reached
            return await self._second(model, found, reached, body, headers)
        finally:
            self._uses.ended(use)

    async def _send(
        self, target: Target, body: bytes, headers: dict[str, str]
    ) -> Reached | Trouble:
        return await self._pool.post(
            target.scoring_uri,
            body,
            {
                "Content-Type": "application/json",
                **headers,
                "Authorization": f"Bearer {target.key}",
            },
        )

    async def _in_place_of(
        self, reached: Reached, target: Target, body: bytes, headers: dict[str, str]
    ) -> Reached:
        """A canary's answer, or in place of a failure the one of the deployment that is trusted.

        A new deployment that fails its share of the traffic is nothing that callers should notice. A failure
        may come with status 200, so the answer is read. Asking a model twice changes nothing anywhere.
        """
        if reached.status in _CALLERS or (
            reached.status == _OK and not isinstance(read_reply(reached.body), Answer)
        ):
            return reached
        assert target.deployment is not None
        other = await self._send(target, body, {**headers, _ROUTE: target.deployment})
        return other if isinstance(other, Reached) and other.status == _OK else reached

    async def _second(
        self,
        model: str,
        target: Target,
        reached: Reached | Trouble,
        body: bytes,
        headers: dict[str, str],
    ) -> Reached | Answer:
        """Make the best of a first try that failed: at most one more, where it can do no harm.

        It can do none when nothing was sent, when the endpoint did not let us in, and when it said
        that it was too busy and to come back in a moment.
        """
        if reached is Trouble.NOT_CONNECTED or _status(reached) in {401, 403, 404}:
            self._directory.doubt(model, target)
            found = await self._directory.find(model)
            if not isinstance(found, Target):
                at_rest = await self._at_rest(model, found)
                if isinstance(at_rest, Answer):
                    return at_rest
                found = at_rest
            if found != target or reached is Trouble.NOT_CONNECTED:
                reached = await self._send(found, body, headers)
        elif isinstance(reached, Reached) and reached.status in {429, 503}:
            pause = retry_after(reached.headers)
            if pause is not None and pause <= self._options.retry_within:
                await asyncio.sleep(pause)
                reached = await self._send(target, body, headers)
        return await self._last(model, target, reached)

    async def _last(
        self, model: str, target: Target, reached: Reached | Trouble
    ) -> Reached | Answer:
        """What is left to say when there will be no further try."""
        if isinstance(reached, Reached) and reached.status not in {401, 403, 404}:
            return reached
        if reached is Trouble.TIMED_OUT:
            return failure(
                504,
                f"The model '{model}' did not answer within {self._options.total_timeout:g} s.",
                kind=SERVER,
                code="endpoint_timeout",
            )
        self._directory.doubt(model, target)
        if reached is Trouble.NOT_CONNECTED or _status(reached) == 404:  # noqa: PLR2004
            log.warning("The endpoint of %r does not answer, although it should serve.", model)
            await self._nudges.ask(model)
            return failure(
                503,
                f"The endpoint of the model '{model}' does not answer right now; it is being looked into.",
                kind=SERVER,
                code="endpoint_unavailable",
                retry_after=self._options.wake_retry_after,
            )
        if isinstance(reached, Reached):
            log.warning("The endpoint of %r refuses its own key (%d).", model, reached.status)
            await self._nudges.ask(model)
            return from_endpoint(reached.status, reached.headers, b"")
        return failure(
            502,
            f"The endpoint of the model '{model}' {reached.value}.",
            kind=SERVER,
            code="endpoint_error",
        )

    async def _at_rest(self, model: str, found: Resting | None) -> Target | Answer:
        """What to say about a model that does not serve; or where it serves, if it woke while we held on."""
        if found is None or found.rest is Rest.RETIRED:
            return await self._unknown(model, found)
        if found.rest is Rest.ASLEEP:
            await self._wakes.ask(model)
        if found.rest in {Rest.ASLEEP, Rest.WAKING}:
            woken = await self._held(model)
            if isinstance(woken, Target):
                return woken
        code, state = _RESTS.get(found.rest, ("model_unavailable", f"is {found.rest}"))
        pause = self._options.wake_retry_after if found.retry_after is None else found.retry_after
        return failure(
            503, f"The model '{model}' {state}.", kind=SERVER, code=code, retry_after=pause
        )

    async def _held(self, model: str) -> Found:
        """Hold on for as long as the options say, in the hope that the model wakes meanwhile."""
        clock = asyncio.get_running_loop().time
        until = clock() + self._options.hold
        found: Found = None
        while (left := until - clock()) > 0 and not isinstance(found, Target):
            await asyncio.sleep(min(self._options.hold_poll, left))
            found = await self._directory.find(model)
        return found

    async def _unknown(self, model: str, found: Resting | None) -> Answer:
        existing = sorted(
            listed.model
            for listed in await self._directory.models()
            if listed.rest is not Rest.RETIRED
        )
        told = ", ".join(existing[:_SHOWN]) or "there is none yet"
        more = f" and {len(existing) - _SHOWN} more" if len(existing) > _SHOWN else ""
        what = "does not exist" if found is None else "was retired; drop its manifest again"
        return failure(
            404,
            f"The model '{model}' {what}. Models: {told}{more}.",
            kind=INVALID,
            param="model",
            code="model_not_found",
        )


_RESTS: Final = {
    Rest.NEVER_SERVED: ("model_not_ready", "has not served yet: its run is still under way"),
    Rest.ASLEEP: ("model_asleep", "was asleep and is being woken (phase: asleep); ask again"),
    Rest.WAKING: ("model_waking", "is waking (phase: waking); ask again"),
}


def _is_trusted(reached: Reached, target: Target, headers: Mapping[str, str]) -> bool:
    """Whether the answer stands: it is of the trusted deployment, or of the one that the caller chose."""
    answered = reached.headers.get(_ROUTE)
    return answered in (None, target.deployment) or target.deployment is None or _ROUTE in headers


def _status(reached: Reached | Trouble) -> int | None:
    return reached.status if isinstance(reached, Reached) else None


def _chosen(headers: Mapping[str, str], names: tuple[str, ...]) -> dict[str, str]:
    """Those of `headers` that have one of `names`, whatever their case."""
    given = {name.lower(): value for name, value in headers.items()}
    return {name: given[name.lower()] for name in names if name.lower() in given}


def _failed(error: Exception) -> Answer:
    answer = from_error(error)
    if answer.status == 500:  # noqa: PLR2004
        log.error("A scoring request failed", exc_info=error)
    else:
        log.warning("A scoring request could not be answered: %s", error)
    return answer
