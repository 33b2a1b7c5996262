"""An Event Grid topic that keeps what is published to it."""

from __future__ import annotations

import asyncio
import threading

from aiohttp import web


class TopicServer:
    """A topic's publish address that counts what it takes, and refuses while `away`."""

    def __init__(self) -> None:
        self.away = False
        self.refused = 0
        self.events: list[dict] = []
        self._came = threading.Condition()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)

    def __enter__(self):
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(self, *_):
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def until(self, enough, within: float = 60.0) -> None:
        """Return once the events that came are `enough`."""
        with self._came:
            assert self._came.wait_for(lambda: enough(list(self.events)), within), self.events

    async def _serve(self):
        async def take(request):
            assert request.headers["aeg-sas-key"] == "key"
            if self.away:
                self.refused += 1
                return web.Response(status=503)
            published = await request.json()
            with self._came:
                self.events += published
                self._came.notify_all()
            return web.Response()

        app = web.Application()
        app.router.add_post("/topics/{topic}/api/events", take)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.port = runner.addresses[0][1]
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        self._ready.set()
        await self._stop.wait()
        await runner.cleanup()
