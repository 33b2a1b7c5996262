"""The host's life: load the app, start its triggers, serve, drain, end."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import logging
import os
import re
import signal
import sys
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from local.host import blobs as blob_names
from local.host import logs
from local.host.admin import Admin
from local.host.blobs import BlobFunctions
from local.host.eventgrid import EventGridFunctions
from local.host.functions import (
    BlobTrigger,
    EventGridTrigger,
    HttpTrigger,
    QueueTrigger,
    TimerTrigger,
)
from local.host.host_json import LARGEST_BATCH, QueueOptions, read_host_json
from local.host.http import HttpFunctions
from local.host.indexing import check
from local.host.invocations import TIMED_OUT, Invocations
from local.host.keys import load_keys
from local.host.outputs import OutputWriter
from local.host.queues import QueueFunction, QueueListener, poison_name
from local.host.runtime import Runtime
from local.host.server import LARGEST_BODY, Routes, listen
from local.host.storage import Storage
from local.host.timers import BlobStatusStore, TimerListener

if TYPE_CHECKING:
    from pathlib import Path

    from aiohttp import web

    from local.host.functions import Function
    from local.host.host_json import HostJson

DRAIN: Final = timedelta(seconds=1.2)
"""How long running functions may go on after SIGTERM."""
_HOST_ID: Final = "AzureFunctionsWebHost__hostid"

log = logging.getLogger(logs.HOST)


@dataclass(frozen=True, slots=True)
class Options:
    """How to run.

    Attributes:
        app: The app's folder.
        port: On 127.0.0.1; 0 for any free one.
        state: Folder for keys and log.
        drain: See `DRAIN`.
        open_to_all: Ask for no keys.
        check_only: Index the app, tell what is in it, end.
    """

    app: Path
    port: int
    state: Path
    drain: timedelta = DRAIN
    open_to_all: bool = False
    check_only: bool = False


def host_id(app: Path) -> str:
    """Sets this app's receipts and timers apart from others' in the storage account."""
    known = os.environ.get(_HOST_ID) or os.environ.get("WEBSITE_SITE_NAME")
    if known:
        return re.sub(r"[^a-z0-9-]", "-", known.lower())[:32].rstrip("-")
    return "local-" + hashlib.sha256(str(app).encode()).hexdigest()[:16]


async def run(options: Options) -> int:
    """Run until SIGTERM or SIGINT; returns the exit code.

    Raises:
        AppRejected: The app does not load.
        OSError: The port is taken.
    """
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    host_json = read_host_json(options.app / "host.json", os.environ)
    host = Host(options, host_json)
    logs.configure(options.state / "host.log", host_json.log_levels, host.current_function)
    await host.load()
    if options.check_only:
        return 0
    try:
        await host.start()
        # The app's modules stay: the collector need not walk them at every turn.
        gc.collect()
        gc.freeze()
        await host.serve(stopping)
        return await host.stop()
    finally:
        await host.close()


class Host:
    """One app and all that triggers it."""

    def __init__(self, options: Options, host_json: HostJson) -> None:
        self._options = options
        self._json = host_json
        self._storage = Storage(os.environ)
        self._invocations: Invocations | None = None
        self._functions: tuple[Function, ...] = ()
        self._listeners: list[QueueListener] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._runner: web.ServerRunner | None = None

    def current_function(self) -> str | None:
        """The function that the caller runs in, for log lines."""
        return self._invocations.current_function() if self._invocations else None

    async def load(self) -> None:
        """Import and check the app.

        Raises:
            AppRejected: It does not load.
        """
        runtime, indexed = await Runtime.load(self._options.app)
        self._functions = check(indexed, self._json, os.environ)
        outputs = OutputWriter(
            self._storage, base64_messages=self._json.queues.base64, sent=self._sent
        )
        self._invocations = Invocations(runtime, outputs)
        for function in self._functions:
            log.info("%s%s", _told(function), " (disabled)" if function.disabled else "")

    def _sent(self, queue: str) -> None:
        for listener in self._listeners:
            if listener.queue_name == queue:
                listener.wake()

    async def start(self) -> None:
        """Start listeners, timers and the server.

        Raises:
            OSError: The port is taken.
            AppRejected: The kept keys cannot be read.
        """
        invocations, functions = self._invocations, self._functions
        assert invocations is not None
        keys = load_keys(self._options.state / "keys.json", [f.name for f in functions])
        identity = host_id(self._options.app)
        http = HttpFunctions(
            functions,
            invocations,
            keys,
            open_to_all=self._options.open_to_all,
            most_at_once=self._json.max_outstanding_requests,
        )
        events = EventGridFunctions(functions, invocations)
        blobs = BlobFunctions(
            functions,
            invocations,
            self._storage,
            host_id=identity,
            most_tries=self._json.blob_tries,
            sent=self._sent,
        )
        queues = self._queue_functions(invocations)
        store = BlobStatusStore(self._storage, identity)
        timers = {
            function.name: TimerListener(function, invocations, store)
            for function in functions
            if isinstance(function.trigger, TimerTrigger)
        }
        admin = Admin(
            functions,
            identity,
            http=http,
            events=events,
            blobs=blobs,
            queues=queues,
            timers=timers,
        )
        limit = os.environ.get("FUNCTIONS_REQUEST_BODY_SIZE_LIMIT", "")
        self._runner, port = await listen(
            Routes(http, events, blobs, admin, keys),
            self._options.port,
            largest_body=int(limit) if limit.isdecimal() else LARGEST_BODY,
        )
        if blobs:
            self._listeners.append(self._blob_listener(blobs, identity))
        for listener in self._listeners:
            self._tasks.append(asyncio.create_task(listener.run()))
        for name, timer in timers.items():
            if not _named(functions, name).disabled:
                self._tasks.append(asyncio.create_task(timer.run()))
        if self._json.function_timeout is not None:
            invocations.watch(self._json.function_timeout)
        log.info("%d functions at http://127.0.0.1:%d", len(functions), port)

    def _queue_functions(self, invocations: Invocations) -> dict[str, QueueFunction]:
        """Makes the listeners of enabled queue triggers; the functions are for the admin route."""
        options, made = self._json.queues, {}
        for function in self._functions:
            trigger = function.trigger
            if not isinstance(trigger, QueueTrigger):
                continue
            made[function.name] = QueueFunction(function, invocations, options.max_dequeue_count)
            if function.disabled:
                continue
            poison = poison_name(trigger.queue)
            self._listeners.append(
                QueueListener(
                    self._storage.queue(trigger.queue, trigger.connection),
                    None if poison is None else self._storage.queue(poison, trigger.connection),
                    options,
                    made[function.name],
                    owner=function.name,
                )
            )
        return made

    def _blob_listener(self, blobs: BlobFunctions, identity: str) -> QueueListener:
        batch = min(LARGEST_BATCH, self._json.blob_parallelism)
        options = QueueOptions(
            batch_size=batch,
            new_batch_threshold=self._json.blob_parallelism - batch,
            max_dequeue_count=self._json.blob_tries,
            visibility_timeout=self._json.queues.visibility_timeout,
            max_polling_interval=self._json.queues.max_polling_interval,
        )
        return QueueListener(
            self._storage.queue(blob_names.queue_name(identity)),
            self._storage.queue(blob_names.POISON),
            options,
            blobs.handle,
            owner="blobs",
        )

    async def serve(self, stopping: asyncio.Event) -> None:
        """Return when the host is to end: a signal, a time-out, a trigger that broke."""
        assert self._invocations is not None
        waits = [
            asyncio.create_task(stopping.wait()),
            asyncio.create_task(self._invocations.timed_out.wait()),
        ]
        await asyncio.wait([*waits, *self._tasks], return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        for task in self._tasks:
            if task.done() and (error := task.exception()) is not None:
                log.error("a trigger broke: %s", error, exc_info=error)

    async def stop(self) -> int:
        """Stop triggers, drain, give back messages in hand; returns the exit code."""
        invocations = self._invocations
        assert invocations is not None
        broken = any(task.done() and task.exception() for task in self._tasks)
        for listener in self._listeners:
            listener.stop()
        for site in tuple(self._runner.sites) if self._runner else ():
            await site.stop()  # no new connections
        seconds = self._options.drain.total_seconds()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await asyncio.gather(*(listener.drained() for listener in self._listeners))
                await invocations.drained()
        if invocations.count:
            log.warning("%d invocations did not end in %g s", invocations.count, seconds)
        for listener in self._listeners:
            await listener.give_back()
        if invocations.timed_out.is_set():
            return TIMED_OUT
        return 1 if broken else 0

    async def close(self) -> None:
        """Close server and clients."""
        for task in self._tasks:
            task.cancel()
        if self._runner is not None:
            await self._runner.cleanup()
        await self._storage.close()


def _named(functions: tuple[Function, ...], name: str) -> Function:
    return next(function for function in functions if function.name == name)


def _told(function: Function) -> str:
    """One line for the start: what triggers the function."""
    match function.trigger:
        case HttpTrigger(route=route, methods=methods):
            return f"{function.name}: {','.join(sorted(methods)) or 'any method'} /{route.text}"
        case QueueTrigger(queue=queue):
            return f"{function.name}: queue {queue}"
        case BlobTrigger(pattern=pattern):
            return f"{function.name}: blobs {pattern.text}"
        case EventGridTrigger():
            return f"{function.name}: Event Grid"
        case TimerTrigger(expression=expression):
            return f"{function.name}: timer {expression}"


def leave(code: int) -> None:
    """End the process now: functions that still run on the runtime's threads would hold it."""
    logging.shutdown()
    sys.stdout.flush()
    os._exit(code)
