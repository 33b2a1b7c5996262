"""HTTP triggers over real sockets."""

from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from tests.host.conftest import OFFLINE
from tests.host.process import SAMPLE, HostProcess

if TYPE_CHECKING:
    from pathlib import Path


def raw(host: HostProcess, *parts: bytes) -> bytes:
    """Send bytes as they are; the answer until the server closes."""
    address = urlsplit(host.url)
    with socket.create_connection((address.hostname, address.port), timeout=20) as connection:
        for part in parts:
            connection.sendall(part)
        received = b""
        while chunk := connection.recv(65536):
            received += chunk
    return received


def test_a_function_answers_at_its_route(host: HostProcess) -> None:
    reply = host.get("/api/hello")
    assert (reply.status, reply.text) == (200, "hello")
    assert reply.headers["content-type"] == "text/plain; charset=utf-8"


def test_a_text_is_an_answer(host: HostProcess) -> None:
    assert host.get("/api/plain").text == "plain text"


def test_a_function_sees_the_request_as_the_real_host_sends_it(host: HostProcess) -> None:
    reply = host.ask(
        "POST", "/api/ECHO/7/a/b%20c?x=1&x=2&y=&z=%20q", b"body", {"X-Mixed-Case": "Kept"}
    )
    seen = reply.json()
    assert seen["method"] == "POST"
    assert seen["url"] == host.url + "/api/ECHO/7/a/b%20c?x=1&x=2&y=&z=%20q"
    assert seen["route"] == {"id": "7", "rest": "a/b c"}
    assert seen["params"] == {"x": "1,2", "z": " q"}
    assert seen["headers"]["x-mixed-case"] == "Kept"
    assert seen["body"] == "body"
    assert seen["function"] == "echo"


def test_repeated_headers_are_joined(host: HostProcess) -> None:
    answer = raw(
        host,
        b"GET /api/echo/1/x HTTP/1.1\r\nHost: h\r\nA: 1\r\na: 2\r\nConnection: close\r\n\r\n",
    )
    assert b'"a": "1,2"' in answer


def test_a_chunked_body_arrives_empty_as_on_azure(host: HostProcess) -> None:
    head = b"POST /api/echo/1/x HTTP/1.1\r\nHost: h\r\nConnection: close\r\n"
    answer = raw(host, head + b"Transfer-Encoding: chunked\r\n\r\n", b"4\r\nbody\r\n0\r\n\r\n")
    assert b" 200 " in answer
    assert b'"body": ""' in answer


def test_a_client_that_waits_for_100_continue_gets_it(host: HostProcess) -> None:
    head = b"POST /api/echo/1/x HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: 4\r\n"
    answer = raw(host, head + b"Expect: 100-continue\r\n\r\n", b"body")
    assert answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200")
    assert b'"body": "body"' in answer


def test_an_encoded_body_is_passed_on_as_it_is(host: HostProcess) -> None:
    reply = host.ask("POST", "/api/echo/1/x", b"not gzip", {"Content-Encoding": "gzip"})
    assert reply.json()["body"] == "not gzip"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/echo/seven/x"),
        ("POST", "/api/hello"),
        ("GET", "/hello"),
        ("GET", "/api/take_order"),
        ("GET", "/runtime/webhooks/nothing"),
    ],
)
def test_what_has_no_route_is_not_found(host: HostProcess, method: str, path: str) -> None:
    assert host.ask(method, path).status == 404


def test_status_headers_and_cookies_reach_the_client(host: HostProcess) -> None:
    reply = host.get("/api/cookies")
    assert reply.status == 418
    assert reply.headers["x-own"] == "yes"
    assert reply.cookies == ["a=1; Path=/", "b=2; HttpOnly"]


def test_a_failing_function_answers_500_and_is_told_on_one_line(host: HostProcess) -> None:
    reply = host.get("/api/broken")
    assert (reply.status, reply.body) == (500, b"")
    line = host.says("[broken]")
    assert "ERROR: failed" in line
    assert "ValueError: AccountKey=***; this broke" in line
    assert not any(line.startswith(("Traceback", "  File")) for line in host.lines)
    kept = (host.state / "host.log").read_text()
    assert 'raise ValueError("' in kept
    assert "hush" not in kept.replace('raise ValueError("AccountKey=hush', "")


def test_returning_nothing_is_a_failure_as_on_azure(host: HostProcess) -> None:
    assert host.get("/api/nothing").status == 500
    assert "TypeError" in host.says("[nothing]")


def test_what_a_function_logs_is_one_line_with_its_name(host: HostProcess) -> None:
    host.get("/api/echo/99/x")
    assert host.says("echoing 99") == "[echo] echoing 99"


def test_keys_are_asked_for_by_level(host: HostProcess) -> None:
    keys = host.keys
    assert host.get("/api/guarded").status == 401
    assert host.get("/api/guarded?code=wrong").status == 401
    for key in (keys["host"], keys["functions"]["guarded"], keys["master"]):
        assert host.get(f"/api/guarded?code={key}").status == 200
    assert host.get(f"/api/guarded?code={keys['functions']['locked']}").status == 401
    assert host.get(f"/api/locked?code={keys['host']}").status == 401
    assert host.get(f"/api/locked?code={keys['master']}").status == 200


def test_the_header_beats_the_query(host: HostProcess) -> None:
    key = host.keys["host"]
    assert host.get(f"/api/guarded?code={key}", **{"x-functions-key": "wrong"}).status == 401
    assert host.get("/api/guarded?code=wrong", **{"x-functions-key": key}).status == 200


def test_sync_functions_run_side_by_side(host: HostProcess) -> None:
    with ThreadPoolExecutor(3) as pool:
        try:
            waiting = [pool.submit(host.get, "/api/held/together") for _ in range(3)]
            host.sees("held", 3)
            assert host.get("/api/hello").text == "hello"
        finally:
            host.let_go("together")
        assert all(reply.result().text == "let go" for reply in waiting)


def test_async_functions_share_one_loop(host: HostProcess) -> None:
    assert {host.get("/api/loops").text for _ in range(3)} == {"1"}


def test_a_client_that_hangs_up_does_not_stop_its_function(host: HostProcess) -> None:
    address = urlsplit(host.url)
    with socket.create_connection((address.hostname, address.port)) as connection:
        connection.sendall(b"GET /api/asleep/0.5 HTTP/1.1\r\nHost: h\r\n\r\n")
    assert host.sees("asleep")[0]["asleep"] == "0.5"


def test_a_disabled_function_is_not_found_but_listed(tmp_path: Path) -> None:
    environment = {**OFFLINE, "AzureWebJobs.hello.Disabled": "1"}
    with HostProcess(SAMPLE, tmp_path, environment) as process:
        assert process.get("/api/hello").status == 404
        listed = process.get("/admin/functions", **{"x-functions-key": process.keys["master"]})
        assert {f["name"]: f["isDisabled"] for f in listed.json()}["hello"] is True


def test_bounds_prefix_and_open_routes_are_settings(tmp_path: Path) -> None:
    environment = {
        **OFFLINE,
        "FUNCTIONS_REQUEST_BODY_SIZE_LIMIT": "10",
        "AzureFunctionsJobHost__extensions__http__routePrefix": "",
        "AzureFunctionsJobHost__extensions__http__maxOutstandingRequests": "1",
    }
    with HostProcess(SAMPLE, tmp_path, environment, "--no-keys") as process:
        assert process.get("/guarded").status == 200
        assert process.ask("POST", "/echo/1/x", b"0123456789").status == 200
        assert process.ask("POST", "/echo/1/x", b"0123456789a").status == 413
        with ThreadPoolExecutor(1) as pool:
            try:
                first = pool.submit(process.get, "/held/alone")
                process.sees("held")
                assert process.get("/hello").status == 429
            finally:
                process.let_go("alone")
            assert first.result().status == 200
