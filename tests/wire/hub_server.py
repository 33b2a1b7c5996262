"""As much of a dataset hub as reading a public dataset takes, for tests: it serves one folder at one commit.

The routes are those of the Hugging Face hub's public API (`/api/datasets/…`, `/datasets/…/resolve/…`).
"""

from __future__ import annotations

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"
BREAKABLE = 1 << 16
"""Bytes of an answer that may break off."""


class Hub:
    """A hub with one dataset, as a context manager; `url` is its address.

    With a `token` the dataset is private: whoever does not send it is told that there is no such dataset. One that is
    `gated` shows what it is to everybody, and its files to nobody who does not send the token. While `breaking` is not
    0, an answer of many bytes counts it down and breaks off in the middle.
    """

    def __init__(
        self, name: str, files: dict[str, bytes], token: str = "", *, gated: bool = False
    ) -> None:
        self.asked: list[str] = []
        self.sent: dict[str, int] = {}
        self.token = token
        self.gated = gated
        self.breaking = 0
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                hub.asked.append(f"{self.command} {self.path}")
                status, headers, body = hub.answer(urlsplit(self.path), self.headers)
                self.send_response(status)
                for key, value in {"Content-Length": str(len(body)), **headers}.items():
                    self.send_header(key, value)
                self.end_headers()
                if self.command == "HEAD":
                    return
                if hub.breaking and len(body) > BREAKABLE:
                    hub.breaking -= 1
                    body, self.close_connection = body[: len(body) // 2], True
                self.wfile.write(body)

            def do_HEAD(self) -> None:
                self.do_GET()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self.name = name
        self.files = files
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()

    def _entry(self, path: str) -> dict:
        body = self.files[path]
        return {
            "type": "file",
            "path": path,
            "size": len(body),
            "oid": hashlib.sha1(body).hexdigest(),
        }

    def answer(self, url, headers):
        path = unquote(url.path)
        known = not self.token or headers.get("Authorization") == f"Bearer {self.token}"
        if not known and not self.gated:
            return self.missing("RepoNotFound", 401)
        if not known and "/resolve/" in path:
            return self.missing("GatedRepo", 403)
        api, resolve = f"/api/datasets/{self.name}", f"/datasets/{self.name}/resolve/"
        if path.startswith(api):
            return self.api(path.removeprefix(api))
        if path.startswith(resolve):
            revision, _, file = path.removeprefix(resolve).partition("/")
            if revision not in (COMMIT, "main"):
                return self.missing("RevisionNotFound")
            return self.file(file, headers)
        return self.missing("RepoNotFound", 401)

    def api(self, rest: str):
        if rest in ("", "/revision/main", f"/revision/{COMMIT}"):
            siblings = [
                {"rfilename": name, "size": len(body)} for name, body in self.files.items()
            ]
            facts = {"id": self.name, "sha": COMMIT, "siblings": siblings, "tags": []}
            facts |= {"private": bool(self.token) and not self.gated, "downloads": 0, "likes": 0}
            return self.json({**facts, "gated": "manual" if self.gated else False})
        if rest.startswith("/revision/"):
            return self.missing("RevisionNotFound")
        for revision in (COMMIT, "main"):
            prefix = f"/tree/{revision}"
            if rest.startswith(prefix):
                folder = rest.removeprefix(prefix).strip("/")
                if folder:
                    return self.missing("EntryNotFound")
                return self.json([self._entry(name) for name in self.files])
        return self.missing("EntryNotFound")

    def file(self, name: str, headers):
        if name not in self.files:
            return self.missing("EntryNotFound")
        body = self.files[name]
        etag = {"ETag": f'"{hashlib.sha1(body).hexdigest()}"', "X-Repo-Commit": COMMIT}
        asked = headers.get("Range")
        if asked:
            first, _, last = asked.removeprefix("bytes=").partition("-")
            start, end = int(first), min(int(last or len(body) - 1), len(body) - 1)
            self.sent[name] = self.sent.get(name, 0) + end + 1 - start
            span = {"Content-Range": f"bytes {start}-{end}/{len(body)}"}
            return 206, {**etag, **span, "Accept-Ranges": "bytes"}, body[start : end + 1]
        return 200, {**etag, "Accept-Ranges": "bytes"}, body

    def json(self, value):
        return 200, {"Content-Type": "application/json"}, json.dumps(value).encode()

    def missing(self, code: str, status: int = 404):
        return status, {"X-Error-Code": code, "X-Error-Message": code}, b"{}"
