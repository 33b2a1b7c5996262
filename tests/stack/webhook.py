"""A webhook that records what it was sent and answers as a test tells it."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable


class Webhook:
    """Real HTTP on a free port; `received` holds the events, `headers` those of each POST."""

    def __init__(self) -> None:
        self.url = ""
        self.received: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.handshakes = 0
        self.confirms = True
        self.answer: Callable[[int], int] = lambda _: 200
        self._changed = asyncio.Condition()

    async def handle(self, request: web.Request) -> web.Response:
        body = await request.json()
        async with self._changed:
            if request.headers["aeg-event-type"] == "SubscriptionValidation":
                self.handshakes += 1
                self._changed.notify_all()
                if not self.confirms:
                    return web.Response(status=503)
                [event] = body
                return web.json_response({"validationResponse": event["data"]["validationCode"]})
            self.received += body if isinstance(body, list) else [body]
            self.headers.append(dict(request.headers))
            self._changed.notify_all()
            return web.Response(status=self.answer(len(self.received)))

    async def until(self, condition: Callable[[], bool], *, seconds: float = 60) -> None:
        """Wait until `condition` holds; it is looked at after each request."""
        async with asyncio.timeout(seconds), self._changed:
            await self._changed.wait_for(condition)

    @property
    def ids(self) -> list[str]:
        return [event["id"] for event in self.received]


@asynccontextmanager
async def webhook(port: int = 0) -> AsyncIterator[Webhook]:
    hook = Webhook()
    application = web.Application()
    application.router.add_post("/hook", hook.handle)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port)
    await site.start()
    assert runner.addresses
    hook.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook?code=secret"
    try:
        yield hook
    finally:
        await runner.cleanup()
