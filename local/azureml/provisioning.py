"""How a deployment comes up: its model is fetched, its processes start, its probes pass or fail.

The time a deployment takes on Azure is the least it takes here; loading the model comes on top.
Failing is as on Azure: the operation ends with a code, the deployment stays `Failed` with its logs
until it is deleted, and after a failed change the processes from before go on.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import shutil
from datetime import datetime
from typing import TYPE_CHECKING, Any

import aiohttp

from local.azureml import (
    deployment_settings,
    endpoints,
    misbehaviour,
    model_files,
    operations,
    quota,
)
from local.azureml.clock import Pace, iso
from local.azureml.replicas import Fleet, NotReady, Program, end_leftovers
from local.azureml.transitions import atomically, transitions
from local.azureml.wire import ArmError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from local.azureml.deployment_settings import Deployment
    from local.azureml.plane import Plane

    Body = dict[str, Any]

LOG = logging.getLogger("local.azureml")
MOST_REPLICAS = 2
"""Processes per deployment, however many instances it has: this machine is one machine."""
PROBE_SCALE: dict[Pace, float] = {"instant": 0.5, "seconds": 0.5, "minutes": 1.0}
"""What a second of a probe's settings is worth while a container starts. Loading a model takes
its time at any pace, so this never goes to nothing."""
SLOWEST_POLL = 0.5
SERVER_LOG = "inference-server.log"
STORAGE_LOG = "storage-initializer.log"


def fleet(plane: Plane) -> Fleet:
    """The control plane's scoring processes.

    Raises:
        ArmError: 503; the server has its port and is not done starting, or it ends.
    """
    made = plane.parts.get("fleet")
    if not isinstance(made, Fleet):
        text = "The control plane is starting; try again."
        raise ArmError(503, "ServiceUnavailable", text, headers={"Retry-After": "1"})
    return made


def read(body: Body) -> Deployment:
    """The values of a stored deployment."""
    return deployment_settings.read(body["properties"], body["instances"])


def logs(plane: Plane, body: Body) -> Path:
    """The folder of a deployment's logs."""
    folder = plane.settings.state / "deployments" / str(body["endpoint"]).lower()
    return folder / str(body["name"]).lower()


@contextlib.asynccontextmanager
async def lifespan(plane: Plane) -> AsyncIterator[None]:
    """End what was left behind, start what should run, take up what was under way."""
    left = await asyncio.to_thread(end_leftovers, plane.settings.state)
    model_files.sweep(plane)
    if left:
        LOG.info("ended %d scoring processes that an earlier control plane left", left)
    # Shorter than a server keeps an idle connection (uvicorn: 5 s), so that none is found closed.
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=2.0)
    async with aiohttp.ClientSession(connector=connector, auto_decompress=False) as session:
        plane.parts["fleet"] = Fleet(plane.settings.state, session)
        for document in list(plane.store.each(endpoints.DEPLOYMENT)):
            begin(plane, document.body)
        try:
            yield
        finally:
            await transitions(plane).close()
            running: Fleet = plane.parts.pop("fleet")
            await running.close()


def begin(plane: Plane, body: Body) -> None:
    """Begin, or take up again, what a stored deployment is to go through now."""
    if body["state"] == "Deleting":
        transitions(plane).start(body["id"], functools.partial(_leave, plane, body))
    elif body["operation"]:
        transitions(plane).start(body["id"], functools.partial(_arrive, plane, body))
    elif body["made"]:
        transitions(plane).start(body["id"], functools.partial(_run_again, plane, body))


async def _arrive(plane: Plane, body: Body) -> None:
    """Bring the deployment up as its document says; end its operation either way."""
    if body["made"] and not fleet(plane).serves(body["id"]):  # killed during a change
        await _run_again(plane, body)
    try:
        await _fail_if_told(plane, body)
        await _roll_out(plane, body, read(body))
        await plane.clock.sleep_until(datetime.fromisoformat(body["ends"]))
    except ArmError as problem:
        _end(plane, body, "Failed", problem)
    except NotReady as problem:
        LOG.warning("deployment %s/%s: %s", body["endpoint"], body["name"], problem)
        _end(plane, body, "Failed", ArmError(400, "ResourceNotReady", f"{problem}"))
    else:
        _end(plane, body, "Succeeded", None)


async def _fail_if_told(plane: Plane, body: Body) -> None:
    """Fail as the test control has it, when the deployment's time has come.

    Raises:
        ArmError: The failure of its choice.
    """
    where, size = f"{body['endpoint']}/{body['name']}", str(body["properties"]["instanceType"])
    failure = misbehaviour.failures(plane).of_deployment(where, size)
    if failure is None:
        return
    if failure.log:
        log = logs(plane, body) / SERVER_LOG
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a", encoding="utf-8") as stream:
            stream.write(f"{failure.log}\n")
    await plane.clock.sleep_until(datetime.fromisoformat(body["ends"]))
    raise ArmError(400, failure.code, failure.message)


async def _run_again(plane: Plane, body: Body) -> None:
    """Start the processes of a deployment that was up when the control plane ended."""
    last_good = {**body, **body["serving"]}
    try:
        await _roll_out(plane, last_good, read(last_good))
    except (ArmError, NotReady) as problem:
        # On Azure, too, a deployment is Succeeded while its container crashes: requests tell.
        LOG.warning(
            "deployment %s/%s does not come back: %s", body["endpoint"], body["name"], problem
        )


async def _roll_out(plane: Plane, body: Body, wanted: Deployment) -> None:
    if wanted.instance_type.lower() in quota.read(plane).out_of_capacity:
        raise quota.no_capacity(wanted.instance_type)
    source = model_files.locate(plane, wanted.model)
    if source is None:
        raise deployment_settings.bad_model(f"Model {wanted.model} was not found.")
    folder = logs(plane, body)
    _note(folder / STORAGE_LOG, plane, f"Downloading model {source.name}")
    try:
        model = await model_files.fetch(plane, source)
        image = model_files.base_image(model)
    except ArmError as problem:
        _note(folder / STORAGE_LOG, plane, problem.message)
        raise
    _note(folder / STORAGE_LOG, plane, "Download of the model completed")
    if not plane.settings.score_command:
        raise deployment_settings.bad_model("This control plane was set up without a scorer.")
    shape = deployment_settings.container_shape(wanted.environment_id, image)
    await fleet(plane).roll_out(_program(plane, body, wanted, model, shape))


def _program(plane: Plane, body: Body, wanted: Deployment, model: Path, shape: str) -> Program:
    scale = PROBE_SCALE[plane.settings.pace]
    return Program(
        deployment_id=body["id"],
        command=(
            *plane.settings.score_command,
            *("--model", str(model), "--port", "{port}", "--shape", shape),
        ),
        replicas=min(wanted.instances, MOST_REPLICAS),
        liveness=wanted.liveness,
        poll=min(SLOWEST_POLL, wanted.readiness.period * scale),
        budget=wanted.startup_budget * scale,
        drain=wanted.request_timeout,
        log=logs(plane, body) / SERVER_LOG,
        variables={**wanted.variables, "AZUREML_MODEL_DIR": str(model)},
    )


def _note(log: Path, plane: Plane, text: str) -> None:
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a", encoding="utf-8") as stream:
        stream.write(f"{iso(plane.clock.now())} {text}\n")


def _end(plane: Plane, body: Body, state: str, problem: ArmError | None) -> None:
    """Write how the change under way ended, and end its operation with it."""
    operation = body["operation"]
    body |= {"state": state, "operation": None, "ends": None}
    if problem is None:
        body["made"] = True
        body["serving"] = {"properties": body["properties"], "instances": body["instances"]}
    with atomically(plane.store):
        plane.store.put(endpoints.DEPLOYMENT, body["id"], body)
        if problem is None:
            operations.finish(plane, operation)
        else:
            operations.fail(plane, operation, problem)


async def _leave(plane: Plane, body: Body) -> None:
    """Delete a deployment when its time has come."""
    await fleet(plane).retire(body["id"], drain=read(body).request_timeout)
    await plane.clock.sleep_until(datetime.fromisoformat(body["ends"]))
    with atomically(plane.store):
        plane.store.delete(endpoints.DEPLOYMENT, body["id"])
        operations.finish(plane, body["operation"])
    _clean_up(plane, body)


async def forget(plane: Plane, body: Body) -> None:
    """Delete a deployment at once, whatever it is in the middle of: its endpoint goes."""
    await transitions(plane).cancel(body["id"])
    await fleet(plane).retire(body["id"])
    with atomically(plane.store):
        plane.store.delete(endpoints.DEPLOYMENT, body["id"])
        if body["operation"]:
            operations.cancel(plane, body["operation"])
    _clean_up(plane, body)


def _clean_up(plane: Plane, body: Body) -> None:
    """Remove what a deleted deployment leaves on disk: its logs, its model unless others use it."""
    shutil.rmtree(logs(plane, body), ignore_errors=True)
    others = [each.body for each in plane.store.each(endpoints.DEPLOYMENT)]
    model_files.drop_unused(
        plane, models_of(body), {name for each in others for name in models_of(each)}
    )


def models_of(body: Body) -> set[str]:
    """The model that a deployment is to have, and the one that it has."""
    serving = body["serving"] or body
    return {str(each["properties"]["model"]) for each in (body, serving)}
