"""The host's one port: the app's routes, the extensions' webhooks, the admin routes."""

from __future__ import annotations

import asyncio
import functools
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from local.host import keys as key_names
from local.host.eventgrid import Answer, handshake
from local.host.http import BodyCutShort, read_body

if TYPE_CHECKING:
    from local.host.admin import Admin
    from local.host.blobs import BlobFunctions
    from local.host.eventgrid import EventGridFunctions
    from local.host.http import HttpFunctions
    from local.host.keys import Keys

LARGEST_BODY: Final = 104_857_600
"""Bytes; FUNCTIONS_REQUEST_BODY_SIZE_LIMIT sets another bound."""
_LAST_WORDS: Final = 0.2
"""Seconds for answers under way once the host has drained."""


class Routes:
    """Hands each request to whom it is for."""

    def __init__(
        self,
        http: HttpFunctions,
        events: EventGridFunctions,
        blobs: BlobFunctions,
        admin: Admin,
        keys: Keys,
    ) -> None:
        self._http = http
        self._keys = keys
        self._admin = admin
        self._webhooks: dict[str, tuple[str, EventGridFunctions | BlobFunctions]] = {
            "eventgrid": (key_names.EVENT_GRID, events),
            "blobs": (key_names.BLOBS, blobs),
        }

    async def answer(self, request: web.BaseRequest) -> web.Response:
        """Answer any request."""
        target = request.raw_path
        if not target.startswith("/"):
            target = request.rel_url.raw_path_qs
        path, _, query = target.partition("?")
        try:
            if path.startswith(("/runtime/", "/admin/", "/healthz")) or path == "/":
                return _response(await self._own(request, path))
            return await self._http.answer(request, path, query)
        except web.HTTPRequestEntityTooLarge:
            return web.Response(status=413, text="The request's body is too large.")
        except BodyCutShort:
            return web.Response(status=400)

    async def _own(self, request: web.BaseRequest, path: str) -> Answer:
        """A route of the host itself, unless the app has one there."""
        if path == "/healthz":
            return Answer(200, {"status": "ready"})
        if path == "/":
            return Answer(200, text="This Functions host is running.")
        if path == "/admin/host/ping":
            return Answer(200)
        shown = request.headers.get("x-functions-key") or request.query.get("code", "")
        if path.startswith("/admin/"):
            if not self._keys.admit_master(shown):
                return Answer(401)
            body = await read_body(request)
            address = f"{request.scheme}://{request.host}"
            return await self._admin.answer(
                request.method, path.removeprefix("/admin/"), body, address
            )
        return await self._webhook(request, path, shown)

    async def _webhook(self, request: web.BaseRequest, path: str, shown: str) -> Answer:
        known = self._webhooks.get(path.removeprefix("/runtime/webhooks/").strip("/").lower())
        if known is None:
            return Answer(404)
        key, extension = known
        if not self._keys.admit_system(key, shown):
            return Answer(401)
        name = request.query.get("functionName", "")
        if request.method == "OPTIONS" and "WebHook-Request-Origin" in request.headers:
            return handshake(request.headers["WebHook-Request-Origin"])
        if request.method != "POST":
            return Answer(405, headers={"Allow": "POST, OPTIONS"})
        kind = request.headers.get("aeg-event-type", "")
        return await extension.post(name, kind, await read_body(request))


def _response(answer: Answer) -> web.Response:
    if answer.json is not None:
        return web.json_response(answer.json, status=answer.status, headers=answer.headers)
    return web.Response(
        status=answer.status, text=answer.text or None, headers=dict(answer.headers)
    )


async def listen(
    routes: Routes, port: int, *, largest_body: int = LARGEST_BODY
) -> tuple[web.ServerRunner, int]:
    """Serve on 127.0.0.1; returns what to clean up and the port (of the system's choice for 0).

    Raises:
        OSError: The port is taken.
    """

    def request(  # aiohttp's own default has no way to set the bound
        message: Any, payload: Any, protocol: Any, writer: Any, task: Any, *, loop: Any
    ) -> web.BaseRequest:
        return web.BaseRequest(
            message, payload, protocol, writer, task, loop, client_max_size=largest_body
        )

    loop = asyncio.get_running_loop()
    server = web.Server(
        routes.answer,
        request_factory=functools.partial(request, loop=loop),
        access_log=None,
        auto_decompress=False,  # the real host leaves encoded bodies as they are
    )
    runner = web.ServerRunner(server, shutdown_timeout=_LAST_WORDS)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port)
    await site.start()
    return runner, int(runner.addresses[0][1])
