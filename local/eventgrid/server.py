"""The HTTP face of the topics, and everything that runs behind it."""

from __future__ import annotations

import asyncio
import hmac
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Self

import aiohttp
from aiohttp import web

from local.eventgrid.broker import Broker
from local.eventgrid.delivery import Courier
from local.eventgrid.events import MOST_BYTES, BadEvents, read_events
from local.eventgrid.faults import BadFaults, Faults
from local.eventgrid.retries import PACES
from local.eventgrid.storage_topic import ContainerWatcher
from local.eventgrid.store import Store

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable
    from pathlib import Path
    from types import TracebackType

    from local.eventgrid.configuration import Topic


class EventGrid:
    """Topics that take and deliver events; an async context manager.

    Args:
        state: Folder for what must not be forgotten and for dead letters.
        topics: What there is.
        port: Port on 127.0.0.1.
        pace: Seconds here for each second of Azure's retry schedule.
        connection_string: Of the storage account that topics with storage containers watch.
    """

    def __init__(
        self,
        state: Path,
        topics: Iterable[Topic],
        *,
        port: int,
        pace: float = PACES["seconds"],
        connection_string: str | None = None,
    ) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._state = state
        self._topics = tuple(topics)
        self._port = port
        self._pace = pace
        self._connection_string = connection_string
        self._couriers: dict[tuple[str, str], Courier] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._leave = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            store = Store(self._state / "eventgrid.sqlite")
            stack.callback(store.close)
            self._broker = Broker(self._topics, store)
            session = aiohttp.ClientSession(trust_env=False)
            await stack.enter_async_context(session)
            stack.push_async_callback(self._cancel)
            self._start_couriers(session)
            self._start_watchers()
            runner = web.AppRunner(self._application(), access_log=None, shutdown_timeout=1.0)
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            await web.TCPSite(runner, "127.0.0.1", self._port).start()
            self._leave = stack.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._leave.aclose()

    async def until_broken(self) -> None:
        """Wait for ever; raises what a part raised that should never end."""
        done, _ = await asyncio.wait(self._tasks, return_when=asyncio.FIRST_EXCEPTION)
        for task in done:
            task.result()

    def _start_couriers(self, session: aiohttp.ClientSession) -> None:
        for topic in self._topics:
            for subscription in topic.subscriptions:
                courier = Courier(
                    self._broker,
                    topic,
                    subscription,
                    session=session,
                    address=self.url,
                    pace=self._pace,
                    dead_letters=self._state
                    / "dead-letters"
                    / topic.name
                    / f"{subscription.name}.jsonl",
                )
                self._couriers[topic.name, subscription.name] = courier
                self._start(courier.run())

    def _start_watchers(self) -> None:
        for topic in self._topics:
            for container in topic.storage_containers:
                if self._connection_string is None:
                    raise ValueError(
                        f"Topic {topic.name} watches containers: a connection string is needed."
                    )
                watcher = ContainerWatcher(self._broker, topic, container, self._connection_string)
                self._start(watcher.run())

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.append(asyncio.create_task(work))

    async def _cancel(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # HTTP.

    def _application(self) -> web.Application:
        application = web.Application(client_max_size=MOST_BYTES)
        application.add_routes(
            [
                web.get("/healthz", self._healthz),
                web.get("/topics", self._list_topics),
                web.get("/topics/{topic}", self._get_topic),
                web.post("/topics/{topic}/api/events", self._publish),
                web.get("/topics/{topic}/faults", self._get_faults),
                web.put("/topics/{topic}/faults", self._put_faults),
                web.get("/topics/{topic}/subscriptions/{name}/validate", self._validate),
            ]
        )
        return application

    def _topic(self, request: web.Request) -> Topic:
        name = request.match_info["topic"]
        if (topic := self._broker.topics.get(name)) is not None:
            return topic
        raise _problem(web.HTTPNotFound, "ResourceNotFound", f"There is no topic {name!r}.")

    async def _healthz(self, _: web.Request) -> web.Response:
        return web.json_response({"status": "ready"})

    async def _list_topics(self, _: web.Request) -> web.Response:
        return web.json_response(
            {"topics": [self._broker.describe(topic) for topic in self._topics]}
        )

    async def _get_topic(self, request: web.Request) -> web.Response:
        return web.json_response(self._broker.describe(self._topic(request)))

    async def _publish(self, request: web.Request) -> web.Response:
        topic = self._topic(request)
        key = request.headers.get("aeg-sas-key", "")
        if not hmac.compare_digest(key.encode(), topic.key.encode()):
            raise _problem(
                web.HTTPUnauthorized,
                "Unauthorized",
                "The request's aeg-sas-key is missing or is not the key of this topic.",
            )
        try:
            events = read_events(await request.read(), source=topic.source)
        except web.HTTPRequestEntityTooLarge:
            raise _problem(
                web.HTTPBadRequest, "RequestEntityTooLarge", "A request may hold 1 MB of events."
            ) from None
        except BadEvents as error:
            raise _problem(web.HTTPBadRequest, "BadRequest", str(error)) from None
        self._broker.publish(topic, events)
        for event in events:
            kind = event.get("eventType") or event.get("type")
            print(f"{topic.name}: took {kind} {event.get('subject', '')}", flush=True)
        return web.Response()

    async def _get_faults(self, request: web.Request) -> web.Response:
        return web.json_response(self._broker.faults(self._topic(request)).as_json())

    async def _put_faults(self, request: web.Request) -> web.Response:
        topic = self._topic(request)
        try:
            faults = Faults.parse(await request.json())
        except BadFaults as error:
            raise _problem(web.HTTPBadRequest, "BadRequest", str(error)) from None
        except ValueError:
            raise _problem(web.HTTPBadRequest, "BadRequest", "The body is not JSON.") from None
        self._broker.set_faults(topic, faults)
        print(f"{topic.name}: from now on {faults}", flush=True)
        return web.json_response(faults.as_json())

    async def _validate(self, request: web.Request) -> web.Response:
        courier = self._couriers.get((self._topic(request).name, request.match_info["name"]))
        if courier is None or not courier.confirms(request.query.get("code", "")):
            raise _problem(web.HTTPNotFound, "ResourceNotFound", "Nothing waits for this code.")
        return web.json_response({"status": "confirmed"})


def _problem(kind: type[web.HTTPException], code: str, message: str) -> web.HTTPException:
    """An error in Azure's shape."""
    body = web.json_response({"error": {"code": code, "message": message}})
    arguments: dict[str, Any] = {"text": body.text, "content_type": "application/json"}
    return kind(**arguments)
