"""HTTP triggers: from a request to a function's Datum and from its Datum to a response.

What a function sees is what the real host sends: header names in lower case, repeated values
joined with commas, empty query values left out, a body only when Content-Length says that there is
one. A client that hangs up does not stop its function. This path also carries the scoring proxy,
so it does nothing that it can leave out. Source:
https://learn.microsoft.com/azure/azure-functions/functions-bindings-http-webhook-trigger
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl, unquote

from aiohttp import web
from multidict import CIMultiDict

from local.host.functions import AuthLevel, HttpTrigger

if TYPE_CHECKING:
    from collections.abc import Mapping

    from local.host.functions import Function
    from local.host.invocations import Invocations
    from local.host.keys import Keys

_NOT_THE_APPS: Final = ("content-length", "transfer-encoding", "connection", "keep-alive")


class BodyCutShort(Exception):
    """The client hung up before its body was whole."""


async def read_body(request: web.BaseRequest) -> bytes:
    """The body, if Content-Length says that there is one.

    Raises:
        aiohttp.web.HTTPRequestEntityTooLarge: It is larger than the host takes.
        BodyCutShort: The client hung up.
    """
    if not request.content_length:
        return b""
    if request.headers.get("Expect", "").lower() == "100-continue":
        transport = request.transport
        if transport is not None:
            transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    if request.content_length > request.client_max_size:
        raise web.HTTPRequestEntityTooLarge(request.client_max_size, request.content_length)
    try:
        return await request.read()
    except (web.RequestPayloadError, ConnectionError) as error:
        raise BodyCutShort from error


class HttpFunctions:
    """The app's HTTP triggers, found by path and method.

    Args:
        functions: The app's functions.
        invocations: What runs them.
        keys: What callers must show.
        open_to_all: Ask for no keys, as `func start` does.
        most_at_once: Requests in hand before 429; None for no bound.
    """

    def __init__(
        self,
        functions: tuple[Function, ...],
        invocations: Invocations,
        keys: Keys,
        *,
        open_to_all: bool = False,
        most_at_once: int | None = None,
    ) -> None:
        self._invocations = invocations
        self._keys = keys
        self._open = open_to_all
        self._most = most_at_once
        self._at_once = 0
        self._literal: dict[str, list[tuple[Function, HttpTrigger]]] = {}
        self._patterns: list[tuple[Function, HttpTrigger]] = []
        for function in functions:
            trigger = function.trigger
            if not isinstance(trigger, HttpTrigger) or function.disabled:
                continue
            if trigger.route.is_literal:
                path = f"/{trigger.route.text.strip('/')}".lower()
                self._literal.setdefault(path, []).append((function, trigger))
            else:
                self._patterns.append((function, trigger))
        self._patterns.sort(key=lambda pair: pair[1].route.precedence)

    def find(self, method: str, path: str) -> tuple[Function, HttpTrigger, dict[str, str]] | None:
        """The function for a method and a raw path, with its route values."""
        plain = (unquote(path) if "%" in path else path).lower().rstrip("/") or "/"
        for function, trigger in self._literal.get(plain, ()):
            if not trigger.methods or method in trigger.methods:
                return function, trigger, {}
        for function, trigger in self._patterns:
            if not trigger.methods or method in trigger.methods:
                values = trigger.route.match(path)
                if values is not None:
                    return function, trigger, values
        return None

    async def answer(self, request: web.BaseRequest, path: str, query: str) -> web.Response:
        """Answer a request for one of the app's routes."""
        found = self.find(request.method, path)
        if found is None:
            return web.Response(status=404)
        function, trigger, values = found
        params = _joined_query(query) if query else {}
        if trigger.level is not AuthLevel.ANONYMOUS and not self._open:
            shown = request.headers.get("x-functions-key") or params.get("code", "")
            if not self._keys.admit(trigger.level, function.name, shown):
                return web.Response(status=401)
        if self._most is not None and self._at_once >= self._most:
            return web.Response(status=429, text="Too many requests are in hand.")
        self._at_once += 1
        try:
            body = await read_body(request)
            return await self._invoke(function, request, values, params, body)
        except BodyCutShort:
            return web.Response(status=400)
        finally:
            self._at_once -= 1

    async def _invoke(
        self,
        function: Function,
        request: web.BaseRequest,
        values: Mapping[str, str],
        params: Mapping[str, str],
        body: bytes,
    ) -> web.Response:
        datum = self._invocations.runtime.datum
        headers: dict[str, str] = {}
        for name, value in request.headers.items():
            lower = name.lower()
            headers[lower] = f"{headers[lower]},{value}" if lower in headers else value
        content = {
            "method": datum(request.method, "string"),
            "url": datum(f"{request.scheme}://{request.host}{request.raw_path}", "string"),
            "headers": {name: datum(value, "string") for name, value in headers.items()},
            "query": {name: datum(value, "string") for name, value in params.items()},
            "params": {name: datum(value, "string") for name, value in values.items()},
            "body": datum(body, "bytes"),
        }
        result = await self._invocations.run(
            function,
            datum(content, "http"),
            {},
            lambda: {**_fields(body), **params, **values},
        )
        if not result.ok:
            return web.Response(status=500)
        return respond(result.returned)

    async def invoke(self, function: Function, text: str) -> bool:
        """Invoke a function with a body that no client sent, as the admin route does."""
        datum = self._invocations.runtime.datum
        content = {
            "method": datum("POST", "string"),
            "url": datum(f"http://127.0.0.1/admin/functions/{function.name}", "string"),
            "headers": {},
            "query": {},
            "params": {},
            "body": datum(text.encode(), "bytes"),
        }
        result = await self._invocations.run(function, datum(content, "http"), {}, {})
        return result.ok


def respond(returned: Any) -> web.Response:
    """The response that a function's Datum means: `http` in full, a text as 200."""
    if returned is None:
        return web.Response(status=200)
    if returned.type != "http":
        value = returned.value
        if isinstance(value, bytes):
            return web.Response(body=value)
        return web.Response(text=str(value))
    content = returned.value
    headers: CIMultiDict[str] = CIMultiDict()
    for name, value in content["headers"].items():
        if name.lower() not in _NOT_THE_APPS:
            headers.add(name, value.value)
    for cookie in content.get("cookies") or ():
        for morsel in cookie.values():
            headers.add("Set-Cookie", morsel.OutputString())
    return web.Response(
        status=int(content["status_code"].value), body=content["body"].value, headers=headers
    )


def _joined_query(query: str) -> dict[str, str]:
    joined: dict[str, str] = {}
    for name, value in parse_qsl(query):
        joined[name] = f"{joined[name]},{value}" if name in joined else value
    return joined


def _fields(body: bytes) -> dict[str, Any]:
    """The fields of a JSON object, which output paths may name."""
    try:
        content = json.loads(body) if body else None
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}
