"""A file server over https on this machine, which can be told to misbehave."""

from __future__ import annotations

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable

    from local.certificates import Certificates


class Reply:
    """One answer: `promised` more bytes are announced than come, then the connection breaks."""

    def __init__(
        self,
        status: int,
        headers: dict[str, str] | None = None,
        body: bytes = b"",
        promised: int = 0,
    ) -> None:
        self.status = status
        self.headers = headers or {}
        self.body = body
        self.promised = promised


class FileServer:
    """Serves `files` with ranges and ETags, as a context manager.

    Attributes:
        files: Content by path.
        asked: For each request its path with the query, and its headers.
        faults: Taken one for each request, in order; a fault makes its answer of the right one.
        changes: Applied to every answer.
    """

    def __init__(self, certificates: Certificates) -> None:
        self.files: dict[str, bytes] = {}
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.faults: list[Callable[[Reply], Reply]] = []
        self.changes: Callable[[Reply], Reply] = lambda reply: reply
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                server.asked.append((self.path, dict(self.headers)))
                reply = server.changes(server.answer(self.path.partition("?")[0], self.headers))
                if server.faults:
                    reply = server.faults.pop(0)(reply)
                self.send_response(reply.status)
                headers = {
                    "Content-Length": str(len(reply.body) + reply.promised),
                    **reply.headers,
                }
                for key, value in headers.items():
                    if value:
                        self.send_header(key, value)
                self.end_headers()
                self.wfile.write(reply.body)
                self.close_connection = bool(reply.promised)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        class Server(ThreadingHTTPServer):
            def handle_error(self, *_: object) -> None:
                """Clients that do not trust it, or go away, are part of the tests."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self._server.socket = certificates.server_context().wrap_socket(
            self._server.socket, server_side=True, do_handshake_on_connect=False
        )
        self.host = f"localhost:{self._server.server_port}"
        self.url = f"https://{self.host}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, path: str, headers: dict[str, str]) -> Reply:
        body = self.files.get(path)
        if body is None:
            return Reply(404)
        told = {
            "ETag": f'"{hashlib.sha256(body).hexdigest()[:8]}"',
            "Last-Modified": "Sun, 17 May 2026 00:00:00 GMT",
        }
        if headers.get("If-Match", told["ETag"]) != told["ETag"]:
            return Reply(412)
        first, _, last = headers["Range"].removeprefix("bytes=").partition("-")
        start, end = int(first), min(int(last), len(body) - 1)
        if start >= len(body):
            return Reply(416, {**told, "Content-Range": f"bytes */{len(body)}"})
        span = {"Content-Range": f"bytes {start}-{end}/{len(body)}"}
        return Reply(206, {**told, **span}, body[start : end + 1])


def without(*names: str) -> Callable[[Reply], Reply]:
    """A server that does not tell these."""

    def change(reply: Reply) -> Reply:
        return Reply(
            reply.status,
            {name: value for name, value in reply.headers.items() if name not in names},
            reply.body,
        )

    return change


def broken_after(count: int) -> Callable[[Reply], Reply]:
    """A connection that breaks after so many bytes of the answer's body."""

    def fault(reply: Reply) -> Reply:
        return Reply(reply.status, reply.headers, reply.body[:count], len(reply.body) - count)

    return fault


def instead(status: int, **headers: str) -> Callable[[Reply], Reply]:
    """Another answer."""
    return lambda _: Reply(
        status, {name.replace("_", "-"): value for name, value in headers.items()}
    )
