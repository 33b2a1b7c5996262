"""Test control: moving time, breaking answers, looking inside. All of it under `/_emulator/`.

A fault answers requests that match a method and a path pattern with an error of your choice,
resets the connection, or does the work and loses the answer: the ways in which a cloud call fails.
"""

from __future__ import annotations

import contextlib
import re
import uuid
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from aiohttp import web

from local.azureml.clock import iso
from local.azureml.wire import ArmError, answer, empty, json_body, open_to_all

if TYPE_CHECKING:
    from collections.abc import Iterable

    from local.azureml.plane import Plane
    from local.azureml.wire import Handler

PREFIX = "/_emulator/"
_FIELDS = {"method", "path", "times", "status", "code", "message", "retry_after", "reset", "after"}


@dataclass(slots=True)
class Fault:
    """What to break.

    Attributes:
        name: Its id, for taking it back.
        method: The HTTP method, or `*`.
        path: A pattern that is searched in the request's path (no query).
        times: How many requests it still meets.
        status, code, message, retry_after: The answer.
        reset: Reset the connection instead of answering.
        after: Do the work first, then break: the caller's answer is lost.
    """

    name: str
    method: str
    path: re.Pattern[str]
    times: int
    status: int
    code: str
    message: str
    retry_after: str | None
    reset: bool
    after: bool

    def shown(self) -> dict[str, Any]:
        """The fault as JSON."""
        return {
            "name": self.name,
            "method": self.method,
            "path": self.path.pattern,
            "times": self.times,
            "status": self.status,
            "code": self.code,
            "message": self.message,
            "retry_after": self.retry_after,
            "reset": self.reset,
            "after": self.after,
        }


def parse_fault(body: dict[str, Any]) -> Fault:
    """A fault from the JSON of `POST /_emulator/faults`.

    Raises:
        ArmError: 400 that names what is wrong.
    """
    unknown = sorted(set(body) - _FIELDS)
    if unknown:
        raise ArmError(400, "BadFault", f"Unknown keys {unknown}; known are {sorted(_FIELDS)}.")
    try:
        fault = Fault(
            name=uuid.uuid4().hex[:8],
            method=str(body.get("method", "*")).upper(),
            path=re.compile(body["path"]),
            times=int(body.get("times", 1)),
            status=int(body.get("status", 500)),
            code=str(body.get("code", "InternalServerError")),
            message=str(body.get("message", "Injected by /_emulator/faults.")),
            retry_after=str(body["retry_after"]) if "retry_after" in body else None,
            reset=bool(body.get("reset", False)),
            after=bool(body.get("after", False)),
        )
    except KeyError as missing:
        raise ArmError(400, "BadFault", f"The key {missing} is missing.") from None
    except (ValueError, TypeError, re.error) as problem:
        raise ArmError(400, "BadFault", f"A value is malformed: {problem}.") from None
    if fault.times < 1 or fault.status // 100 not in (4, 5):
        raise ArmError(400, "BadFault", "times must be at least 1 and status within 400..599.")
    return fault


class Faults:
    """The faults that are set, and the count of requests by method and route."""

    def __init__(self) -> None:
        self._set: list[Fault] = []
        self.requests: Counter[str] = Counter()

    def add(self, fault: Fault) -> None:
        """Set a fault; older ones are met first."""
        self._set.append(fault)

    def clear(self, name: str | None = None) -> None:
        """Take back one fault, or all."""
        self._set = [each for each in self._set if name is not None and each.name != name]

    def listed(self) -> list[dict[str, Any]]:
        """The faults still to be met."""
        return [each.shown() for each in self._set]

    def take(self, method: str, path: str) -> Fault | None:
        """The first fault that this request meets, counted down."""
        for fault in self._set:
            if fault.method in ("*", method) and fault.path.search(path):
                fault.times -= 1
                if fault.times == 0:
                    self._set.remove(fault)
                return fault
        return None

    async def around(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer through `handler`, or as a fault has it."""
        if request.path.startswith(PREFIX):
            return await handler(request)
        resource = request.match_info.route.resource
        route = resource.canonical if resource else "(not emulated)"
        self.requests[f"{request.method} {route}"] += 1
        fault = self.take(request.method, request.path)
        if fault is None:
            return await handler(request)
        if fault.after:
            with contextlib.suppress(ArmError):  # a refusal is lost as any other answer
                await handler(request)
        if fault.reset:
            if request.transport is not None:
                request.transport.abort()
            return web.Response(status=fault.status)
        headers = {"Retry-After": fault.retry_after} if fault.retry_after is not None else {}
        raise ArmError(fault.status, fault.code, fault.message, headers=headers)


def clock_routes(plane: Plane) -> Iterable[web.RouteDef]:
    """`/_emulator/clock`: read it, set it, let time pass, stop it."""

    def shown() -> web.Response:
        return answer({"now": iso(plane.clock.now()), "frozen": plane.clock.frozen})

    @open_to_all
    async def read(_request: web.Request) -> web.Response:
        return shown()

    @open_to_all
    async def change(request: web.Request) -> web.Response:
        body = await json_body(request)
        try:
            change_clock(plane, body)
        except (ValueError, TypeError) as problem:
            raise ArmError(400, "BadClock", f"{problem}") from None
        return shown()

    return [web.get(f"{PREFIX}clock", read), web.put(f"{PREFIX}clock", change)]


def change_clock(plane: Plane, body: dict[str, Any]) -> None:
    """Apply `{"frozen": bool, "now": ISO 8601, "advance": seconds}`, in this order.

    Raises:
        ValueError: A key is unknown or a value is malformed.
    """
    unknown = sorted(set(body) - {"frozen", "now", "advance"})
    if unknown:
        raise ValueError(f"Unknown keys {unknown}; known are frozen, now, advance.")
    if "frozen" in body:
        (plane.clock.freeze if body["frozen"] else plane.clock.release)()
    if "now" in body:
        moment = datetime.fromisoformat(body["now"])
        plane.clock.set(moment if moment.tzinfo else moment.replace(tzinfo=UTC))
    if "advance" in body:
        plane.clock.advance(timedelta(seconds=float(body["advance"])))
    plane.store.put("setting", "clock", {"offset": plane.clock.offset.total_seconds()})


def routes(plane: Plane) -> Iterable[web.RouteDef]:
    """Everything under `/_emulator/`. None of it asks for a token: it binds 127.0.0.1 only."""
    faults: Faults = plane.parts["faults"]

    @open_to_all
    async def add(request: web.Request) -> web.Response:
        fault = parse_fault(await json_body(request))
        faults.add(fault)
        return answer(fault.shown(), status=201)

    @open_to_all
    async def listed(_request: web.Request) -> web.Response:
        return answer({"value": faults.listed()})

    @open_to_all
    async def clear(request: web.Request) -> web.Response:
        faults.clear(request.match_info.get("name"))
        return empty(204)

    @open_to_all
    async def counts(_request: web.Request) -> web.Response:
        return answer({"requests": dict(faults.requests), "documents": plane.store.kinds()})

    @open_to_all
    async def forget(_request: web.Request) -> web.Response:
        faults.requests.clear()
        return empty(204)

    return [
        *clock_routes(plane),
        web.post(f"{PREFIX}faults", add),
        web.get(f"{PREFIX}faults", listed),
        web.delete(f"{PREFIX}faults", clear),
        web.delete(f"{PREFIX}faults/{{name}}", clear),
        web.get(f"{PREFIX}counts", counts),
        web.delete(f"{PREFIX}counts", forget),
    ]
