"""What holds for any bytes that a caller or an endpoint may send, and any number of callers."""

from __future__ import annotations

import asyncio
import itertools
import json
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from shared.runs.endpoints import EndpointRecord, Rest
from shared.serving.answers import Answer, from_endpoint
from shared.serving.api_keys import ApiKeys, digest
from shared.serving.directory import Listed, Resting
from shared.serving.idle import Idle, Measured, decide
from shared.serving.openai import ChatRequest, completion, read_request
from shared.serving.proxy import Proxy
from shared.serving.scoring import Reply, read_reply, scoring_body
from shared.serving.wakes import Gate

untimed = settings(deadline=None)  # other work on the machine is no failure
FIELDS = [*ChatRequest.__struct_fields__, "unknown"]
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(codec=None))
    | st.sampled_from(["user", "assistant", "text", "chat", "stop", 10**400, -(2**63), 2**64])
)


def trees(*keys: str) -> st.SearchStrategy[Any]:
    return st.recursive(
        SCALARS,
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(st.sampled_from(keys) | st.text(), inner, max_size=5)
        ),
        max_leaves=12,
    )


MESSAGES = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["user", "assistant", "system", "developer"])},
        optional={"content": st.text() | trees("type", "text"), "name": st.text()},
    ),
    max_size=4,
)
REQUESTS = trees(*FIELDS, "role", "content") | st.fixed_dictionaries(
    {"model": st.text() | SCALARS, "messages": MESSAGES | trees("role", "content")},
    optional=dict.fromkeys(FIELDS[2:], trees("type")),
)


def dumped(value: Any) -> bytes:
    return json.dumps(value, default=str).encode()


def check_failure(answer: Answer) -> None:
    assert 400 <= answer.status < 600
    error = json.loads(answer.body.decode())["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"]


def check_request(body: bytes) -> None:
    request = read_request(body)
    if isinstance(request, Answer):
        assert request.status == 400
        check_failure(request)
        return
    sent = json.loads(scoring_body(request))
    assert len(sent["input_data"]["input_string"]) == len(request.messages) > 0
    for turn in sent["input_data"]["input_string"]:
        assert turn["role"] in {"system", "user", "assistant"}
        assert isinstance(turn["content"], str)
    said = json.loads(completion(request, Reply("words")))
    assert said["model"] == request.model


@untimed
@given(REQUESTS)
def test_any_json_is_forwarded_whole_or_refused_in_openais_envelope(value: Any) -> None:
    check_request(dumped(value))


@untimed
@given(st.binary())
def test_any_bytes_are_forwarded_whole_or_refused_in_openais_envelope(body: bytes) -> None:
    check_request(body)


ANSWERS = trees(
    "output",
    "error",
    "message",
    "content",
    "0",
    "status_code",
    "body",
    "usage",
    "finish_reason",
    "id",
)

WRAPPED = ANSWERS.map(lambda value: dumped(dumped(value).decode()))
ANSWER_BODIES = st.binary() | ANSWERS.map(dumped) | WRAPPED


@untimed
@given(ANSWER_BODIES)
def test_any_answer_of_an_endpoint_is_a_completion_or_a_failure(body: bytes) -> None:
    reply = read_reply(body)
    if isinstance(reply, Answer):
        check_failure(reply)
        return
    request = read_request(b'{"model": "chat", "messages": [{"role": "user", "content": ""}]}')
    assert isinstance(request, ChatRequest)
    said = json.loads(completion(request, reply))
    assert isinstance(said["choices"][0]["message"]["content"], str)
    assert said["choices"][0]["finish_reason"] in {"stop", "length", "content_filter"}


@untimed
@given(
    st.integers(100, 599).filter(lambda status: status != 200),
    st.dictionaries(
        st.sampled_from(
            ["Retry-After", "ms-azureml-model-error-statuscode", "ms-azureml-model-error-reason"]
        ),
        st.text() | st.integers(-5, 10**12).map(str),
    ),
    ANSWER_BODIES,
)
def test_any_failing_status_of_an_endpoint_is_a_failure_and_never_a_401(
    status: int, headers: dict[str, str], body: bytes
) -> None:
    answer = from_endpoint(status, headers, body)
    check_failure(answer)
    assert answer.status not in {401, 403}
    assert int(answer.headers.get("Retry-After", 1)) >= 1


@untimed
@given(
    st.text(st.characters(codec=None)), st.lists(st.text(st.characters(codec=None)), max_size=3)
)
def test_only_a_known_key_is_let_in(header: str, known: list[str]) -> None:
    scheme, _, key = header.strip().partition(" ")
    admitted = ApiKeys(map(digest, known)).refusal(header) is None
    assert admitted == (scheme.lower() == "bearer" and bool(key.strip()) and key.strip() in known)


@untimed
@given(st.lists(st.tuples(st.floats(0, 20), st.integers(1, 10)), max_size=20))
def test_calls_through_a_gate_start_at_least_a_pause_apart(waves: list[tuple[float, int]]) -> None:
    now, starts = 1000.0, []

    async def call(_: str) -> None:
        starts.append(now)
        await asyncio.sleep(0)

    async def run() -> None:
        nonlocal now
        gate = Gate(call, pause=5, timeout=10, clock=lambda: now)
        for wait, callers in waves:
            now += wait
            assert all(await asyncio.gather(*(gate.ask("chat") for _ in range(callers))))

    asyncio.run(run())
    assert len(starts) >= bool(waves)
    assert all(later - earlier >= 5 for earlier, later in itertools.pairwise(starts))


class Asleep:
    """Records in which every model sleeps, and who is asked to wake them."""

    def __init__(self) -> None:
        self.wakes: list[str] = []

    async def find(self, model: str) -> Resting:
        await asyncio.sleep(0)
        return Resting(Rest.ASLEEP)

    async def models(self) -> list[Listed]:
        return []

    async def wake(self, model: str) -> None:
        await asyncio.sleep(0)
        self.wakes.append(model)

    nudge = wake

    async def note_use(self, model: str, at: datetime) -> None:
        raise AssertionError("nothing was used")


@untimed
@given(st.lists(st.sampled_from("abc"), max_size=60))
def test_simultaneous_requests_wake_each_model_once(models: list[str]) -> None:
    asleep = Asleep()

    async def run() -> list[Answer]:
        proxy = Proxy(ApiKeys([digest("key")]), asleep, asleep, asleep)
        bodies = [
            dumped({"model": model, "messages": [{"role": "user", "content": "Hi"}]})
            for model in models
        ]
        return await asyncio.gather(*(proxy.chat("Bearer key", body) for body in bodies))

    answers = asyncio.run(run())
    assert all((a.status, a.headers["Retry-After"]) == (503, "30") for a in answers)
    assert sorted(asleep.wakes) == sorted(set(models))


NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)
AGES = st.timedeltas(timedelta(minutes=-5), timedelta(days=30))


@untimed
@given(
    st.sampled_from(Rest),
    st.timedeltas(timedelta(seconds=1), timedelta(days=7)),
    AGES,
    st.none() | st.just(Measured.NOT) | AGES,
    st.none() | AGES,
)
def test_idle_means_serving_measured_and_without_a_younger_sign(
    rest: Rest,
    idle_after: timedelta,
    serving: timedelta,
    request: timedelta | Measured | None,
    used: timedelta | None,
) -> None:
    decision = decide(
        NOW,
        EndpointRecord(
            name="a",
            azure_name="b",
            manifest="c",
            claimed_by="d",
            since=NOW,
            idle_after=1,
            rest=rest,
        ),
        idle_after=idle_after,
        since_serving=NOW - serving,
        last_request=NOW - request if isinstance(request, timedelta) else request,
        last_used=None if used is None else NOW - used,
    )
    assert decision.why
    quiet = all(
        age >= idle_after for age in (serving, request, used) if isinstance(age, timedelta)
    )
    assert isinstance(decision, Idle) == (
        rest is Rest.SERVING and quiet and not isinstance(request, Measured)
    )
