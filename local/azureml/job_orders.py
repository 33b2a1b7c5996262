"""Test control: jobs that fail, get stuck or fall silent, as they do on machines that are not this one.

An order waits for a job whose name matches, at a status of its way. `fail` ends it with an error of your
choice, `hold` keeps it there, under another status or with a step that waits if you like, until the order is
taken back or the job is cancelled.
"""

from __future__ import annotations

import asyncio
import re
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aiohttp import web

from local.azureml import job_documents
from local.azureml.clock import iso
from local.azureml.faults import PREFIX
from local.azureml.wire import ArmError, answer, empty, json_body, open_to_all

if TYPE_CHECKING:
    from collections.abc import Iterable

    from local.azureml.plane import Plane

AT = ("NotStarted", "Preparing", "Queued", "Running", "Finalizing")
_KEYS = {"job", "at", "do", "times", "code", "message", "status", "step", "step_status"}


class FailedAsOrdered(Exception):
    """The job is to fail with this code and message."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(slots=True)
class Order:
    """What is to happen to jobs.

    Attributes:
        job: A pattern that is searched in the job's name.
        at: The status at which it happens.
        do: `fail` or `hold`.
        times: To how many jobs.
        code: Of the error, `UserError` or `SystemError`.
        message: Of the error.
        status: What a job on hold shows instead.
        step: A child run that shows `step_status` while the job is held.
        step_status: See there.
    """

    job: re.Pattern[str]
    at: str
    do: str
    times: int = 1
    code: str = "SystemError"
    message: str = "Ordered by /_emulator/job-orders."
    status: str | None = None
    step: str | None = None
    step_status: str = "Queued"
    name: str = field(default_factory=lambda: uuid.uuid4().hex[:8])
    released: asyncio.Event = field(default_factory=asyncio.Event)

    def shown(self) -> dict[str, Any]:
        """The order as JSON."""
        kept = ("name", "at", "do", "times", "code", "message", "status", "step", "step_status")
        return {"job": self.job.pattern, **{key: getattr(self, key) for key in kept}}


def parse(body: dict[str, Any]) -> Order:
    """An order from the JSON of `POST /_emulator/job-orders`.

    Raises:
        ArmError: 400 that names what is wrong.
    """
    if unknown := sorted(set(body) - _KEYS):
        raise ArmError(400, "BadOrder", f"Unknown keys {unknown}; known are {sorted(_KEYS)}.")
    try:
        order = Order(
            **{**body, "job": re.compile(body["job"]), "times": int(body.get("times", 1))}
        )
    except (KeyError, TypeError, ValueError, re.error) as problem:
        raise ArmError(400, "BadOrder", f"A value is missing or malformed: {problem}.") from None
    if order.at not in AT or order.do not in ("fail", "hold") or order.times < 1:
        text = f"at must be one of {AT}, do fail or hold, times at least 1."
        raise ArmError(400, "BadOrder", text)
    return order


def _orders(plane: Plane) -> list[Order]:
    found: list[Order] = plane.parts.setdefault("job-orders", [])
    return found


async def obey(plane: Plane, name: str) -> None:
    """Do to the job, where it is on its way, what was ordered.

    Raises:
        FailedAsOrdered: It is to fail.
    """
    job = job_documents.find(plane, name)
    assert job is not None
    for order in list(_orders(plane)):
        if order.times < 1 or order.at != job["status"] or not order.job.search(name):
            continue
        order.times -= 1
        if order.do == "fail":
            raise FailedAsOrdered(order.code, order.message)
        await _hold(plane, name, order)


async def _hold(plane: Plane, name: str, order: Order) -> None:
    job = job_documents.find(plane, name)
    assert job is not None
    if order.step:
        now = iso(plane.clock.now())
        job_documents.set_child_status(plane, job, order.step, order.step_status, now)
    if order.status:
        job_documents.set_status(plane, job, order.status)
    await order.released.wait()
    held = job_documents.find(plane, name)
    if order.status and held is not None and held["status"] == order.status:
        job_documents.set_status(plane, held, order.at)


def routes(plane: Plane) -> Iterable[web.RouteDef]:
    """`/_emulator/job-orders`: give one, list them, take them back."""

    @open_to_all
    async def add(request: web.Request) -> web.Response:
        order = parse(await json_body(request))
        _orders(plane).append(order)
        return answer(order.shown(), status=201)

    @open_to_all
    async def listed(_request: web.Request) -> web.Response:
        return answer({"value": [order.shown() for order in _orders(plane)]})

    @open_to_all
    async def clear(request: web.Request) -> web.Response:
        wanted = request.match_info.get("name")
        for order in [each for each in _orders(plane) if wanted in (None, each.name)]:
            _orders(plane).remove(order)
            order.released.set()
        return empty(204)

    return [
        web.post(f"{PREFIX}job-orders", add),
        web.get(f"{PREFIX}job-orders", listed),
        web.delete(f"{PREFIX}job-orders", clear),
        web.delete(f"{PREFIX}job-orders/{{name}}", clear),
    ]
