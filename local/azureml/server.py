"""The control plane as a server: one HTTPS port for all of Azure ML, one plain port for tokens.

A resource module has `routes(plane)`, the routes that it answers, and may have `lifespan(plane)`,
an async context manager for what it runs in the background. `MODULES` names them all.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import logging
import secrets
import socket
import threading
import time
import weakref
from datetime import timedelta
from typing import TYPE_CHECKING, Self

from aiohttp import web

from local.azureml import identity
from local.azureml.api_versions import check_api_version
from local.azureml.clock import Clock
from local.azureml.faults import Faults
from local.azureml.plane import Plane, Settings
from local.azureml.state import Store
from local.azureml.wire import (
    ArmError,
    NotEmulated,
    error_response,
    is_open,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from types import ModuleType, TracebackType

    from local.azureml.wire import Handler

LOG = logging.getLogger("local.azureml")

MODULES: tuple[str, ...] = (
    "cloud",
    "faults",
    "operations",
    "workspace",
    "sizes",
    "registry",
    "registry_changes",
    "computes",
    "compute_faults",
    "datastores",
    "models",
    "codes",
    "environments",
    "tracking",
    "events",
    "jobs",
    "job_orders",
    "history",
    "quota",
    "deployments",
    "endpoints",
    "misbehaviour",
    "scoring",
    "metrics",
)
"""The resource modules, by their names in this package."""


def modules() -> list[ModuleType]:
    """The resource modules, imported."""
    return [importlib.import_module(f"local.azureml.{name}") for name in MODULES]


def create_app(plane: Plane) -> web.Application:
    """The HTTPS application: every module's routes behind ARM's manners."""
    faults: Faults = plane.parts.setdefault("faults", Faults())
    connections = plane.parts.setdefault("connections", weakref.WeakSet())

    @web.middleware
    async def manners(request: web.Request, handler: Handler) -> web.StreamResponse:
        correlation = request.headers.get("x-ms-correlation-request-id") or secrets.token_hex(16)
        started = time.perf_counter()
        if request.transport is not None:
            connections.add(request.transport)
        try:
            response = await faults.around(request, _checked(plane, handler))
        except ArmError as refusal:
            response = error_response(refusal, plane.clock.now(), correlation)
        except Exception:
            LOG.exception("%s %s broke the emulator", request.method, request.path)
            problem = ArmError(500, "InternalServerError", "The emulator failed; see its log.")
            response = error_response(problem, plane.clock.now(), correlation)
        if not response.prepared:
            response.headers.setdefault("x-ms-request-id", secrets.token_hex(16))
            response.headers.setdefault("x-ms-correlation-request-id", correlation)
        if not request.path.startswith("/healthz"):
            spent = (time.perf_counter() - started) * 1000
            LOG.info("%s %s %d %.0fms", request.method, request.path, response.status, spent)
        return response

    app = web.Application(middlewares=[manners], client_max_size=64 * 2**20)
    for module in modules():
        app.router.add_routes(module.routes(plane))
    return app


def _checked(plane: Plane, handler: Handler) -> Handler:
    """The handler behind the checks that every request of Azure passes."""

    async def checked(request: web.Request) -> web.StreamResponse:
        if request.match_info.http_exception is not None:
            raise NotEmulated(f"{request.method} {request.path}")
        if is_open(request.match_info.handler):
            return await handler(request)
        identity.check_bearer(plane, request)
        if request.path.startswith(("/subscriptions/", "/regional/")):
            check_api_version(request)
        _check_names(plane, request)
        return await handler(request)

    return checked


def _check_names(plane: Plane, request: web.Request) -> None:
    """Refuse another subscription, group or workspace than the one there is, as ARM does."""
    given, names = request.match_info, plane.settings
    if given.get("subscription", names.subscription).lower() != names.subscription.lower():
        wrong = given["subscription"]
        raise ArmError(
            404, "SubscriptionNotFound", f"The subscription '{wrong}' could not be found."
        )
    if "workspace" not in given:
        return
    if given.get("group", names.group).lower() != names.group.lower():
        wrong = given["group"]
        raise ArmError(
            404, "ResourceGroupNotFound", f"Resource group '{wrong}' could not be found."
        )
    if given["workspace"].lower() != names.workspace.lower():
        wrong = f"Microsoft.MachineLearningServices/workspaces/{given['workspace']}"
        raise ArmError(
            404,
            "ResourceNotFound",
            f"The Resource '{wrong}' under resource group '{names.group}' was not found. For more "
            "details please go to https://aka.ms/ARMResourceNotFoundFix",
        )


class ControlPlane:
    """A control plane that runs in a thread of its own while the context is open.

    Args:
        settings: How it is set up.
        port: The HTTPS port; 0 takes a free one.
        identity_port: The plain port of the identity endpoint; 0 takes a free one.

    Example:
        >>> with ControlPlane(settings) as plane:      # doctest: +SKIP
        ...     os.environ.update(plane.environment)
        ...     MLClient(DefaultAzureCredential(), ...)
    """

    def __init__(self, settings: Settings, *, port: int = 0, identity_port: int = 0) -> None:
        self._settings = settings
        self._wanted = (port, identity_port)
        self._ready = threading.Event()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._failure: BaseException | None = None
        self._plane: Plane | None = None
        self._header = ""

    @property
    def url(self) -> str:
        """`https://localhost:PORT`."""
        return self.plane.url

    @property
    def plane(self) -> Plane:
        """The inside, for reading; its store belongs to the server's thread."""
        if self._plane is None:
            raise RuntimeError("The control plane does not run.")
        return self._plane

    @property
    def environment(self) -> dict[str, str]:
        """The variables that point an unmodified Azure SDK at this server, and nothing else."""
        plane, names = self.plane, self._settings
        bundle = str(names.certificates.bundle)
        return {
            "ARM_CLOUD_METADATA_URL": f"{plane.url}/metadata/endpoints?api-version=2019-05-01",
            "REGISTRY_DISCOVERY_ENDPOINT_URL": f"{plane.url}/",
            "REQUESTS_CA_BUNDLE": bundle,
            "SSL_CERT_FILE": bundle,
            "IDENTITY_ENDPOINT": f"http://127.0.0.1:{plane.identity_port}/msi/token",
            "IDENTITY_HEADER": self._header,
            "AZURE_SUBSCRIPTION_ID": names.subscription,
            "AZURE_RESOURCE_GROUP": names.group,
            "AZUREML_WORKSPACE": names.workspace,
        }

    def __enter__(self) -> Self:
        self._ready.clear()
        self._failure = None
        self._thread = threading.Thread(target=self._run, name="control-plane", daemon=True)
        self._thread.start()
        self._ready.wait()
        self._raise_failure()
        return self

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    def __exit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """End the server and what it started; returns when all of it is gone."""
        if self._loop is not None and self._stop is not None and self._loop.is_running():
            self._loop.call_soon_threadsafe(self._stop.set)
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        try:
            asyncio.run(self.serve())
        except BaseException as problem:  # noqa: BLE001  handed to the thread that waits
            self._failure = problem
        finally:
            self._ready.set()

    async def serve(self, stop: asyncio.Event | None = None) -> None:
        """Serve on the running loop until `stop` is set.

        Raises:
            OSError: A port is taken.
        """
        self._loop = asyncio.get_running_loop()
        self._stop = stop or asyncio.Event()
        async with contextlib.AsyncExitStack() as stack:
            plane = await stack.enter_async_context(_serving(self._settings, self._wanted))
            self._plane = plane
            self._header = identity.identity_header(plane)
            for module in modules():
                if hasattr(module, "lifespan"):
                    await stack.enter_async_context(module.lifespan(plane))
            LOG.info("control plane ready at %s, pace %s", plane.url, plane.settings.pace)
            self._ready.set()
            await self._stop.wait()


@contextlib.asynccontextmanager
async def _serving(settings: Settings, ports: tuple[int, int]) -> AsyncIterator[Plane]:
    """Both ports open, until the context ends."""
    secure, plain = _bind(ports[0]), _bind(ports[1])
    store = Store(settings.state / "control-plane.sqlite")
    saved = store.get("setting", "clock")
    offset = timedelta(seconds=saved.body["offset"]) if saved else timedelta()
    plane = Plane(
        settings=settings,
        store=store,
        clock=Clock(offset),
        port=secure.getsockname()[1],
        identity_port=plain.getsockname()[1],
    )
    connections: weakref.WeakSet[asyncio.BaseTransport] = weakref.WeakSet()
    plane.parts["connections"] = connections
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(store.close)
        stack.push_async_callback(_abort, connections)
        context = settings.certificates.server_context()
        await _site(stack, web.SockSite, create_app(plane), secure, context)
        await _site(stack, web.SockSite, identity.create_identity_app(plane), plain, None)
        yield plane


async def _abort(connections: weakref.WeakSet[asyncio.BaseTransport]) -> None:
    """Drop the connections that clients keep open; a polite end would wait for each of them."""
    for each in list(connections):
        if isinstance(each, asyncio.WriteTransport):
            each.abort()
    await asyncio.sleep(0.01)


async def _site(
    stack: contextlib.AsyncExitStack,
    kind: type[web.SockSite],
    app: web.Application,
    bound: socket.socket,
    context: object,
) -> None:
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    await kind(runner, bound, ssl_context=context).start()  # type: ignore[arg-type]


def _bind(port: int) -> socket.socket:
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind(("127.0.0.1", port))
    except OSError:
        bound.close()
        raise
    return bound
