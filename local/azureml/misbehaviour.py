"""Test control: deployments that fail to come up, and deployments that answer badly.

`/_emulator/deployment-failures` lets the next deployments fail with a code, a message and a log of your choice:
each way in which the real service fails one, without its cause. `/_emulator/scoring-failures` lets a
deployment that is up answer with errors, with nothing, or late: a model that is bad in use.
"""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, TypeVar

from aiohttp import web

from local.azureml.faults import PREFIX
from local.azureml.wire import ArmError, answer, empty, json_body, open_to_all

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from local.azureml.plane import Plane

    Body = dict[str, Any]

_MOST = 1_000_000


@dataclass(slots=True)
class DeploymentFailure:
    """How a deployment fails to come up.

    Attributes:
        name: Its id, for taking it back.
        deployment: A pattern of `ENDPOINT/DEPLOYMENT`.
        size: A pattern of VM sizes, without case.
        times: How many deployments it still meets.
        code, message: What the operation ends with.
        log: Lines that the container's log ends with.
    """

    name: str
    deployment: re.Pattern[str]
    size: re.Pattern[str]
    times: int = 1
    code: str = "InternalServerError"
    message: str = "Injected by /_emulator/deployment-failures."
    log: str = ""


@dataclass(slots=True)
class ScoringFailure:
    """How a deployment answers badly.

    Attributes:
        name: Its id, for taking it back.
        deployment: A pattern of `ENDPOINT/DEPLOYMENT`.
        times: How many requests it still meets.
        status: What the caller gets; 200 for an error or a nothing in the body.
        model_status: What the container is said to have answered, where the status is 424.
        body: The answer's body.
        delay: Seconds before the answer.
    """

    name: str
    deployment: re.Pattern[str]
    times: int = _MOST
    status: int = 424
    model_status: int = 500
    body: str = "Injected by /_emulator/scoring-failures."
    delay: float = 0.0


Failure = TypeVar("Failure", DeploymentFailure, ScoringFailure)


class Failures:
    """The failures that are set, older ones first."""

    def __init__(self) -> None:
        self.deployments: list[DeploymentFailure] = []
        self.scoring: list[ScoringFailure] = []

    def of_deployment(self, where: str, size: str) -> DeploymentFailure | None:
        """The failure that this deployment meets, counted down."""
        return _take(
            self.deployments,
            lambda each: each.deployment.search(where) and each.size.search(size),
        )

    def of_scoring(self, where: str) -> ScoringFailure | None:
        """The failure that this request meets, counted down."""
        return _take(self.scoring, lambda each: each.deployment.search(where))


def _take(failures: list[Failure], meets: Callable[[Failure], object]) -> Failure | None:
    for each in failures:
        if meets(each):
            each.times -= 1
            if each.times == 0:
                failures.remove(each)
            return each
    return None


def failures(plane: Plane) -> Failures:
    """What is set on this control plane."""
    made = plane.parts.get("misbehaviour")
    if not isinstance(made, Failures):
        made = plane.parts["misbehaviour"] = Failures()
    return made


def parse(kind: type[Failure], body: Body) -> Failure:
    """A failure from the JSON of the test control.

    Raises:
        ArmError: 400 that names what is wrong.
    """
    known = {each.name for each in fields(kind)} - {"name"}
    if unknown := sorted(set(body) - known):
        raise ArmError(400, "BadFailure", f"Unknown keys {unknown}; known are {sorted(known)}.")
    values: Body = {"deployment": ".*", **({"size": ".*"} if "size" in known else {}), **body}
    try:
        for key in ("deployment", "size"):
            if key in values:
                values[key] = re.compile(values[key], re.IGNORECASE)
        made = kind(name=uuid.uuid4().hex[:8], **values)
    except (TypeError, re.error) as problem:
        raise ArmError(400, "BadFailure", f"A value is malformed: {problem}.") from None
    if type(made.times) is not int or made.times < 1:
        raise ArmError(400, "BadFailure", "times must be a whole number of at least 1.")
    return made


def shown(failure: DeploymentFailure | ScoringFailure) -> Body:
    """The failure as JSON."""
    values = {each.name: getattr(failure, each.name) for each in fields(failure)}
    return {
        key: value.pattern if isinstance(value, re.Pattern) else value
        for key, value in values.items()
    }


def routes(plane: Plane) -> Iterable[web.RouteDef]:
    """`/_emulator/deployment-failures` and `/_emulator/scoring-failures`."""
    found = failures(plane)
    return [
        *_routes_of("deployment-failures", DeploymentFailure, found.deployments),
        *_routes_of("scoring-failures", ScoringFailure, found.scoring),
    ]


def _routes_of(path: str, kind: type[Failure], listed: list[Failure]) -> Iterable[web.RouteDef]:
    @open_to_all
    async def add(request: web.Request) -> web.Response:
        made = parse(kind, await json_body(request))
        listed.append(made)
        return answer(shown(made), 201)

    @open_to_all
    async def show(_request: web.Request) -> web.Response:
        return answer({"value": [shown(each) for each in listed]})

    @open_to_all
    async def clear(request: web.Request) -> web.Response:
        name = request.match_info.get("name")
        listed[:] = [each for each in listed if name is not None and each.name != name]
        return empty(204)

    return [
        web.post(f"{PREFIX}{path}", add),
        web.get(f"{PREFIX}{path}", show),
        web.delete(f"{PREFIX}{path}", clear),
        web.delete(f"{PREFIX}{path}/{{name}}", clear),
    ]
