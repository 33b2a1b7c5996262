"""The scoring proxy over real sockets: an endpoint behind it, OpenAI's own client before it."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import openai
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer, unused_port

from shared.errors import Throttled, Unavailable
from shared.runs.endpoints import Rest
from shared.serving.answers import Answer
from shared.serving.api_keys import ApiKeys, digest
from shared.serving.directory import Found, Listed, Resting, Target
from shared.serving.options import Options
from shared.serving.proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

KEY = "a key of Droptune's own"
BEARER = f"Bearer {KEY}"
SINCE = datetime(2026, 1, 2, tzinfo=UTC)
HELLO = [{"role": "user", "content": "Hello"}]
PATIENT = Options(doubt_pause=0.0, fresh=3600.0, resting_fresh=0.0, wake_pause=3600.0)


@dataclass
class Endpoint:
    """An online endpoint: answers from a script, and keeps what it was asked."""

    uri: str = ""
    key: str = "endpoint-key"
    script: deque[Callable[[web.Request], Awaitable[web.StreamResponse]]] = field(
        default_factory=deque
    )
    asked: list[tuple[dict[str, str], Any]] = field(default_factory=list)
    peers: set[Any] = field(default_factory=set)

    async def score(self, request: web.Request) -> web.StreamResponse:
        self.asked.append((dict(request.headers), json.loads(await request.read() or b"null")))
        self.peers.add(request.transport.get_extra_info("peername"))
        if request.headers.get("Authorization") != f"Bearer {self.key}":
            return web.json_response({"error": {"message": "key_auth_access_denied"}}, status=401)
        if self.script:
            return await self.script.popleft()(request)
        return web.json_response({"output": "Hi there."})

    def answers(self, body: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        async def answer(_: web.Request) -> web.Response:
            return web.json_response(body, status=status, headers=headers)

        self.script.append(answer)

    def raw(self, answer: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> None:
        self.script.append(answer)

    @property
    def target(self) -> Target:
        return Target(self.uri, self.key, "run-1")


@dataclass
class Records:
    """The proxy's ports in memory: records, wishes and notes."""

    found: dict[str, Found] = field(default_factory=dict)
    looks: int = 0
    wakes: list[str] = field(default_factory=list)
    nudges: list[str] = field(default_factory=list)
    notes: list[tuple[str, datetime]] = field(default_factory=list)
    failing: Exception | None = None
    noted: asyncio.Event = field(default_factory=asyncio.Event)
    looked_thrice: asyncio.Event = field(default_factory=asyncio.Event)

    async def find(self, model: str) -> Found:
        self.looks += 1
        if self.looks == 3:
            self.looked_thrice.set()
        if self.failing is not None:
            raise self.failing
        return self.found.get(model)

    async def models(self) -> list[Listed]:
        if self.failing is not None:
            raise self.failing
        return [
            Listed(name, SINCE, found.rest if isinstance(found, Resting) else Rest.SERVING)
            for name, found in self.found.items()
            if found is not None
        ]

    async def wake(self, model: str) -> None:
        await asyncio.sleep(0)
        self.wakes.append(model)
        if self.failing is not None:
            raise self.failing

    async def nudge(self, model: str) -> None:
        self.nudges.append(model)

    async def note_use(self, model: str, at: datetime) -> None:
        self.notes.append((model, at))
        self.noted.set()
        if self.failing is not None:
            raise self.failing


@pytest.fixture
async def endpoint() -> AsyncIterator[Endpoint]:
    served = Endpoint()
    app = web.Application()
    app.router.add_post("/score", served.score)
    async with TestServer(app) as server:
        served.uri = str(server.make_url("/score"))
        yield served


@pytest.fixture
def records(endpoint: Endpoint) -> Records:
    return Records({"chat": endpoint.target})


@asynccontextmanager
async def proxy_for(records: Records, options: Options = PATIENT) -> AsyncIterator[Proxy]:
    proxy = Proxy(ApiKeys([digest(KEY)]), records, records, records, options)
    try:
        yield proxy
    finally:
        await proxy.close()


@pytest.fixture
async def proxy(records: Records) -> AsyncIterator[Proxy]:
    async with proxy_for(records) as proxy:
        yield proxy


def chat_body(**fields: Any) -> bytes:
    return json.dumps({"model": "chat", "messages": HELLO, **fields}).encode()


def error_of(answer: Answer) -> dict[str, Any]:
    error = json.loads(answer.body)["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert answer.headers["Content-Type"] == "application/json"
    return error


@asynccontextmanager
async def client_of(proxy: Proxy, **options: Any) -> AsyncIterator[openai.AsyncOpenAI]:
    """OpenAI's client, before a server that hands requests to the proxy as the functions do."""

    def sent(answer: Answer) -> web.Response:
        return web.Response(status=answer.status, body=answer.body, headers=answer.headers)

    async def chat(request: web.Request) -> web.Response:
        return sent(await proxy.chat(request.headers.get("Authorization"), await request.read()))

    async def models(request: web.Request) -> web.Response:
        return sent(await proxy.models(request.headers.get("Authorization")))

    app = web.Application()
    app.router.add_post("/api/v1/chat/completions", chat)
    app.router.add_get("/api/v1/models", models)
    async with (
        TestServer(app) as server,
        openai.AsyncOpenAI(
            **{"api_key": KEY, "max_retries": 0, **options},
            base_url=str(server.make_url("/api/v1")),
        ) as client,
    ):
        yield client


@pytest.mark.parametrize(
    "shape",
    [
        {"output": "Hi."},
        {
            "output": "Hi.",
            "message": {"role": "assistant", "content": "Hi."},
            "finish_reason": "stop",
            "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
            "model": "model",
            "id": "cmpl-1",
        },
        [{"0": "Hi."}],
        json.dumps({"output": "Hi."}),
    ],
    ids=["foundation-model-inference", "foundation-model-serve", "mlflow", "encoded twice"],
)
async def test_openais_client_reads_every_documented_answer(
    proxy: Proxy, endpoint: Endpoint, shape: Any
) -> None:
    endpoint.answers(shape)
    async with client_of(proxy) as client:
        said = await client.chat.completions.create(model="chat", messages=HELLO, temperature=0.5)
    assert said.choices[0].message.content == "Hi."
    assert said.choices[0].finish_reason == "stop"
    assert said.model == "chat"
    counted = isinstance(shape, dict) and "usage" in shape
    assert (said.usage.total_tokens if said.usage else None) == (5 if counted else None)
    _, body = endpoint.asked[0]
    assert body == {
        "input_data": {
            "input_string": HELLO,
            "parameters": {"temperature": 0.5, "do_sample": True},
        },
        "params": {},
    }


async def test_openais_client_lists_models_that_serve_and_that_sleep(
    proxy: Proxy, records: Records
) -> None:
    records.found["sleepy"] = Resting(Rest.ASLEEP)
    async with client_of(proxy) as client:
        listed = [model async for model in client.models.list()]
    assert [(model.id, model.created) for model in listed] == [
        ("chat", int(SINCE.timestamp())),
        ("sleepy", int(SINCE.timestamp())),
    ]


async def test_openais_client_knows_our_refusals_as_its_own(
    proxy: Proxy, endpoint: Endpoint
) -> None:
    async with client_of(proxy) as client, client_of(proxy, api_key="wrong") as stranger:
        with pytest.raises(openai.AuthenticationError, match="Incorrect API key"):
            await stranger.chat.completions.create(model="chat", messages=HELLO)
        with pytest.raises(openai.AuthenticationError):
            await stranger.models.list()
        with pytest.raises(
            openai.NotFoundError, match=r"'other' does not exist\. Models: chat\."
        ) as unknown:
            await client.chat.completions.create(model="other", messages=HELLO)
        with pytest.raises(openai.BadRequestError, match="streaming is not supported yet"):
            await client.chat.completions.create(model="chat", messages=HELLO, stream=True)
    assert unknown.value.code == "model_not_found"
    assert endpoint.asked == []


async def test_the_clients_own_retry_finds_the_model_awake(
    records: Records, endpoint: Endpoint
) -> None:
    records.found["chat"] = Resting(Rest.ASLEEP, retry_after=1)

    async def wake(model: str) -> None:
        records.wakes.append(model)
        records.found[model] = endpoint.target

    records.wake = wake  # type: ignore[method-assign]
    async with proxy_for(records) as proxy, client_of(proxy, max_retries=1) as client:
        said = await client.chat.completions.create(model="chat", messages=HELLO)
    assert said.choices[0].message.content == "Hi there."
    assert records.wakes == ["chat"]


async def test_any_number_of_requests_wakes_a_sleeping_model_once(
    proxy: Proxy, records: Records, endpoint: Endpoint
) -> None:
    records.found["chat"] = Resting(Rest.ASLEEP)
    answers = await asyncio.gather(*(proxy.chat(BEARER, chat_body()) for _ in range(50)))
    assert {answer.status for answer in answers} == {503}
    assert {answer.headers["Retry-After"] for answer in answers} == {"30"}
    assert {error_of(answer)["code"] for answer in answers} == {"model_asleep"}
    assert "phase: asleep" in error_of(answers[0])["message"]
    assert records.wakes == ["chat"]
    assert endpoint.asked == []


async def test_a_waking_model_is_not_asked_to_wake(proxy: Proxy, records: Records) -> None:
    records.found["chat"] = Resting(Rest.WAKING, retry_after=12.2)
    answer = await proxy.chat(BEARER, chat_body())
    assert (answer.status, answer.headers["Retry-After"]) == (503, "13")
    assert error_of(answer)["code"] == "model_waking"
    assert records.wakes == []


async def test_a_model_that_has_not_served_yet_or_no_more_says_so(
    proxy: Proxy, records: Records
) -> None:
    records.found["new"] = Resting(Rest.NEVER_SERVED)
    records.found["old"] = Resting(Rest.RETIRED)
    new = await proxy.chat(BEARER, chat_body(model="new"))
    old = await proxy.chat(BEARER, chat_body(model="old"))
    assert (new.status, error_of(new)["code"]) == (503, "model_not_ready")
    assert (old.status, error_of(old)["code"]) == (404, "model_not_found")
    assert error_of(old)["message"] == (
        "The model 'old' was retired; drop its manifest again. Models: chat, new."
    )
    assert records.wakes == []


async def test_a_held_request_is_answered_when_the_model_wakes(
    records: Records, endpoint: Endpoint
) -> None:
    records.found["chat"] = Resting(Rest.ASLEEP)
    options = Options(hold=30.0, hold_poll=0.001, resting_fresh=0.0)
    async with proxy_for(records, options) as proxy:
        asking = asyncio.create_task(proxy.chat(BEARER, chat_body()))
        await records.looked_thrice.wait()
        assert not asking.done()
        records.found["chat"] = endpoint.target
        answer = await asking
    assert answer.status == 200
    assert records.wakes == ["chat"]


async def test_a_held_request_is_let_go_in_time(records: Records) -> None:
    records.found["chat"] = Resting(Rest.WAKING)
    options = Options(hold=0.02, hold_poll=0.01, resting_fresh=0.0)
    async with proxy_for(records, options) as proxy:
        answer = await proxy.chat(BEARER, chat_body())
    assert (answer.status, error_of(answer)["code"]) == (503, "model_waking")


async def test_a_wake_that_cannot_be_asked_for_is_still_a_503(
    records: Records, caplog: pytest.LogCaptureFixture
) -> None:
    records.found["chat"] = Resting(Rest.ASLEEP)

    async def wake(_: str) -> None:
        raise Unavailable("the storage is down")

    records.wake = wake  # type: ignore[method-assign]
    async with proxy_for(records) as proxy:
        answer = await proxy.chat(BEARER, chat_body())
    assert answer.status == 503
    assert "the storage is down" in caplog.text


async def test_a_key_that_was_changed_is_looked_up_and_the_request_answered(
    proxy: Proxy, records: Records, endpoint: Endpoint
) -> None:
    assert (await proxy.chat(BEARER, chat_body())).status == 200
    endpoint.key = "regenerated"
    records.found["chat"] = endpoint.target
    assert (await proxy.chat(BEARER, chat_body())).status == 200
    assert records.looks == 2
    assert len(endpoint.asked) == 3


async def test_a_key_that_stays_wrong_is_our_fault_not_the_callers(
    proxy: Proxy, records: Records, endpoint: Endpoint
) -> None:
    endpoint.key = "regenerated"
    answer = await proxy.chat(BEARER, chat_body())
    assert (answer.status, error_of(answer)["code"]) == (502, "endpoint_denied")
    assert len(endpoint.asked) == 1
    assert records.nudges == ["chat"]


@pytest.mark.parametrize("how", ["gone", "refused"])
async def test_an_endpoint_that_vanished_is_a_503_and_looked_into(
    proxy: Proxy, records: Records, endpoint: Endpoint, how: str
) -> None:
    if how == "gone":
        endpoint.answers({"error": {"code": "NotFound"}}, status=404)
    else:
        records.found["chat"] = Target(f"http://127.0.0.1:{unused_port()}/score", "k", "run-1")
    answer = await proxy.chat(BEARER, chat_body())
    assert (answer.status, error_of(answer)["code"]) == (503, "endpoint_unavailable")
    assert answer.headers["Retry-After"] == "30"
    assert records.nudges == ["chat"]


@pytest.mark.parametrize("how", ["gone", "refused"])
async def test_an_endpoint_that_fell_asleep_meanwhile_is_woken(
    proxy: Proxy, records: Records, endpoint: Endpoint, how: str
) -> None:
    if how == "refused":
        records.found["chat"] = Target(f"http://127.0.0.1:{unused_port()}/score", "k", "run-1")
    else:
        endpoint.answers({}, status=404)
    await proxy._directory.find("chat")
    records.found["chat"] = Resting(Rest.ASLEEP)
    answer = await proxy.chat(BEARER, chat_body())
    assert (answer.status, error_of(answer)["code"]) == (503, "model_asleep")
    assert records.wakes == ["chat"]


async def test_an_endpoint_that_moved_is_followed(
    proxy: Proxy, records: Records, endpoint: Endpoint
) -> None:
    records.found["chat"] = Target(f"http://127.0.0.1:{unused_port()}/score", "k", "run-1")
    await proxy._directory.find("chat")
    records.found["chat"] = endpoint.target
    assert (await proxy.chat(BEARER, chat_body())).status == 200


async def test_an_endpoint_that_refuses_a_connection_once_is_tried_once_more(
    proxy: Proxy, records: Records
) -> None:
    endpoint = Endpoint()
    app = web.Application()
    app.router.add_post("/score", endpoint.score)
    server = TestServer(app, port=unused_port())
    records.found["chat"] = Target(f"http://127.0.0.1:{server.port}/score", endpoint.key, "run-1")
    await proxy._directory.find("chat")
    find = records.find

    async def find_late(model: str) -> Found:
        await server.start_server()  # it comes up between the two tries
        return await find(model)

    proxy._directory._found._load = find_late
    assert (await proxy.chat(BEARER, chat_body())).status == 200
    await proxy.close()
    await server.close()


@pytest.mark.parametrize("status", [429, 503])
async def test_a_busy_endpoint_is_asked_once_more_if_it_asks_for_a_short_while(
    proxy: Proxy, endpoint: Endpoint, status: int
) -> None:
    endpoint.answers({}, status=status, headers={"Retry-After": "0"})
    assert (await proxy.chat(BEARER, chat_body())).status == 200
    endpoint.answers({}, status=status, headers={"Retry-After": "0"})
    endpoint.answers({}, status=status, headers={"Retry-After": "0"})
    answer = await proxy.chat(BEARER, chat_body())
    assert answer.status == status
    assert len(endpoint.asked) == 4


@pytest.mark.parametrize(("header", "told"), [({"Retry-After": "60"}, "60"), ({}, "1")])
async def test_a_busy_endpoint_that_asks_for_more_or_nothing_is_not_asked_again(
    proxy: Proxy, endpoint: Endpoint, header: dict[str, str], told: str
) -> None:
    endpoint.answers({}, status=429, headers=header)
    answer = await proxy.chat(BEARER, chat_body())
    assert (answer.status, answer.headers["Retry-After"]) == (429, told)
    assert error_of(answer)["code"] == "rate_limit_exceeded"
    assert len(endpoint.asked) == 1


@pytest.mark.parametrize(
    ("status", "headers", "told"),
    [
        (400, {}, (400, "endpoint_refused")),
        (408, {}, (504, "endpoint_timeout")),
        (413, {}, (413, "request_too_large")),
        (424, {"ms-azureml-model-error-statuscode": "400"}, (400, "endpoint_refused")),
        (424, {"ms-azureml-model-error-statuscode": "401"}, (502, "endpoint_error")),
        (424, {"ms-azureml-model-error-statuscode": "500"}, (502, "endpoint_error")),
        (424, {"ms-azureml-model-error-statuscode": "none"}, (502, "endpoint_error")),
        (500, {}, (502, "endpoint_error")),
        (302, {"Location": "/elsewhere"}, (502, "endpoint_error")),
    ],
)
async def test_what_an_endpoint_refuses_is_told_honestly_and_not_repeated(
    proxy: Proxy,
    endpoint: Endpoint,
    status: int,
    headers: dict[str, str],
    told: tuple[int, str],
) -> None:
    endpoint.answers({"error": {"message": "roles must alternate"}}, status, headers)
    answer = await proxy.chat(BEARER, chat_body())
    error = error_of(answer)
    assert (answer.status, error["code"]) == told
    assert "roles must alternate" in error["message"]
    assert len(endpoint.asked) == 1


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (json.dumps({"error": "engine", "exception": "out of memory"}), 502, "model_error"),
        ({"output": None, "error": {"status_code": 500, "body": "broken"}}, 502, "model_error"),
        (
            {"output": None, "error": {"status_code": 400, "body": {"message": "too long"}}},
            400,
            "endpoint_refused",
        ),
        ({}, 502, "empty_answer"),
        (None, 502, "empty_answer"),
        ({"output": None}, 502, "empty_answer"),
        ({"surprise": 1}, 502, "unknown_answer"),
        ("plain words", 502, "unknown_answer"),
    ],
)
async def test_a_failure_that_comes_as_a_200_is_a_failure(
    proxy: Proxy, endpoint: Endpoint, body: Any, status: int, code: str
) -> None:
    endpoint.answers(body)
    answer = await proxy.chat(BEARER, chat_body())
    assert (answer.status, error_of(answer)["code"]) == (status, code)


async def test_an_endpoint_that_takes_too_long_is_a_504(
    records: Records, endpoint: Endpoint
) -> None:
    done = asyncio.Event()

    async def hang(_: web.Request) -> web.Response:
        await done.wait()
        return web.Response()

    endpoint.raw(hang)
    async with proxy_for(records, Options(total_timeout=1.0)) as proxy:
        answer = await proxy.chat(BEARER, chat_body())
    done.set()
    assert (answer.status, error_of(answer)["code"]) == (504, "endpoint_timeout")
    assert len(endpoint.asked) == 1


async def test_a_connection_broken_after_the_request_was_sent_is_never_repeated(
    proxy: Proxy, endpoint: Endpoint
) -> None:
    async def hang_up(request: web.Request) -> web.Response:
        request.transport.abort()
        return web.Response()

    endpoint.raw(hang_up)
    answer = await proxy.chat(BEARER, chat_body())
    assert (answer.status, error_of(answer)["code"]) == (502, "endpoint_error")
    assert len(endpoint.asked) == 1


@pytest.mark.parametrize("chunked", [False, True])
async def test_sizes_are_bounded_in_both_directions(
    records: Records, endpoint: Endpoint, chunked: bool
) -> None:
    async def long(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        if not chunked:
            response.content_length = 2000
        await response.prepare(request)
        await response.write(b" " * 2000)
        return response

    endpoint.raw(long)
    async with proxy_for(records, Options(request_limit=500, answer_limit=1000)) as proxy:
        much = await proxy.chat(BEARER, chat_body())
        assert (much.status, error_of(much)["code"]) == (502, "endpoint_error")
        for answer in (
            await proxy.chat(BEARER, chat_body(user="x" * 500)),
            await proxy.score("chat", BEARER, b"x" * 501, {}),
        ):
            assert (answer.status, error_of(answer)["code"]) == (413, "request_too_large")
    assert len(endpoint.asked) == 1


async def test_score_passes_azure_mls_schema_through(proxy: Proxy, endpoint: Endpoint) -> None:
    endpoint.answers(
        {"anything": [1]},
        status=424,
        headers={
            "ms-azureml-model-error-statuscode": "500",
            "azureml-model-deployment": "green",
            "Set-Cookie": "a=b",
        },
    )
    sent = {
        "authorization": BEARER,
        "azureml-model-deployment": "green",
        "x-ms-client-request-id": "id-1",
        "x-functions-key": "not for the endpoint",
    }
    answer = await proxy.score("chat", BEARER, b'{"input_data": 1}', sent)
    assert answer.status == 424
    assert json.loads(answer.body) == {"anything": [1]}
    assert answer.headers == {
        "Content-Type": "application/json; charset=utf-8",
        "azureml-model-deployment": "green",
        "ms-azureml-model-error-statuscode": "500",
    }
    headers, body = endpoint.asked[0]
    assert body == {"input_data": 1}
    assert headers["Authorization"] == "Bearer endpoint-key"
    assert headers["azureml-model-deployment"] == "green"
    assert headers["x-ms-client-request-id"] == "id-1"
    assert "x-functions-key" not in headers


async def test_score_wants_a_key_and_a_model_that_exists(
    proxy: Proxy, records: Records, endpoint: Endpoint
) -> None:
    records.found["sleepy"] = Resting(Rest.ASLEEP)
    assert (await proxy.score("chat", None, b"{}", {})).status == 401
    assert (await proxy.score("other", BEARER, b"{}", {})).status == 404
    assert (await proxy.score("sleepy", BEARER, b"{}", {})).status == 503
    endpoint.key = "regenerated"
    assert (await proxy.score("chat", BEARER, b"{}", {})).status == 502
    assert records.wakes == ["sleepy"]


async def test_connections_are_kept_and_looks_are_rare(
    proxy: Proxy, records: Records, endpoint: Endpoint
) -> None:
    for _ in range(10):
        assert (await proxy.chat(BEARER, chat_body())).status == 200
    assert len(endpoint.peers) == 1
    assert records.looks == 1


async def test_use_is_noted_once_for_many_requests(proxy: Proxy, records: Records) -> None:
    before = datetime.now(UTC) - timedelta(seconds=1)
    for _ in range(10):
        await proxy.chat(BEARER, chat_body())
    await records.noted.wait()
    assert proxy._uses._uses["chat"].active == 0
    [(model, at)] = records.notes
    assert model == "chat"
    assert before < at <= datetime.now(UTC)


async def test_a_note_that_fails_hurts_no_request(
    proxy: Proxy, records: Records, caplog: pytest.LogCaptureFixture
) -> None:
    await proxy._directory.find("chat")
    records.failing = Unavailable("the storage is down")
    assert (await proxy.chat(BEARER, chat_body())).status == 200
    await records.noted.wait()
    assert "the storage is down" in caplog.text


async def test_records_that_cannot_be_read_are_a_503_until_they_can(
    proxy: Proxy, records: Records
) -> None:
    records.failing = Throttled("slow down", retry_after=timedelta(seconds=7))
    answer = await proxy.chat(BEARER, chat_body())
    assert (answer.status, answer.headers["Retry-After"]) == (429, "7")
    assert (await proxy.models(BEARER)).status == 429
    records.failing = None
    assert (await proxy.chat(BEARER, chat_body())).status == 200


async def test_a_bug_shows_nothing_of_its_inside(
    proxy: Proxy, records: Records, caplog: pytest.LogCaptureFixture
) -> None:
    records.failing = RuntimeError("secret inside")
    for answer in (
        await proxy.chat(BEARER, chat_body()),
        await proxy.models(BEARER),
        await proxy.score("chat", BEARER, b"{}", {}),
    ):
        assert (answer.status, error_of(answer)["code"]) == (500, "internal_error")
        assert b"secret inside" not in answer.body
    assert "secret inside" in caplog.text


async def test_no_key_reaches_a_log_or_an_answer(
    proxy: Proxy, records: Records, endpoint: Endpoint, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    endpoint.key = "regenerated"
    answer = await proxy.chat(BEARER, chat_body())
    text = caplog.text + answer.body.decode() + repr(records.found)
    assert KEY not in text
    assert "endpoint-key" not in text
