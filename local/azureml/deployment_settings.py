"""A deployment's request as values: durations in seconds, defaults filled in, all problems at once.

Defaults and bounds follow the YAML reference of managed online deployments and the limits page
(learn.microsoft.com/azure/machine-learning: reference-yaml-deployment-managed-online,
how-to-manage-quotas).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

from pydantic import TypeAdapter, ValidationError

from local.azureml.online_rules import invalid
from local.azureml.wire import ArmError, NotEmulated

if TYPE_CHECKING:
    from collections.abc import Mapping

Shape = Literal["foundation-model-inference", "foundation-model-serve", "mlflow"]
"""Which server answers: it decides the request and answer shapes of `/score`."""
FOUNDATION_SHAPES: tuple[Shape, ...] = ("foundation-model-inference", "foundation-model-serve")

MOST_INSTANCES = 50
LONGEST_REQUEST = 180.0
_DURATION = TypeAdapter(timedelta)
_PROBE = {
    "failureThreshold": 30,
    "successThreshold": 1,
    "timeout": "PT2S",
    "period": "PT10S",
    "initialDelay": "PT10S",
}
_REQUESTS = {
    "maxQueueWait": "PT0S",
    "requestTimeout": "PT5S",
    "maxConcurrentRequestsPerInstance": 1,
}


@dataclass(frozen=True, slots=True)
class Probe:
    """How a container is asked whether it is well.

    Attributes:
        initial_delay, period, timeout: Seconds.
        failure_threshold: Failures in a row that count as ill.
    """

    initial_delay: float = 10.0
    period: float = 10.0
    timeout: float = 2.0
    failure_threshold: int = 30

    @property
    def budget(self) -> float:
        """Seconds that a container has for its start, by this probe."""
        return self.initial_delay + self.period * self.failure_threshold


@dataclass(frozen=True, slots=True)
class Deployment:
    """What a deployment is to run.

    Attributes:
        model: ARM id or registry id of the model version.
        instance_type: VM size.
        instances: How many.
        liveness, readiness: Probes.
        request_timeout: Seconds a request may take, queueing included.
        max_concurrent: Requests that one instance works on at a time.
        environment_id: The environment, empty for MLflow's no-code deployment.
        variables: Environment variables of the container.
    """

    model: str
    instance_type: str
    instances: int = 1
    liveness: Probe = Probe()
    readiness: Probe = Probe()
    request_timeout: float = 5.0
    max_concurrent: int = 1
    environment_id: str = ""
    variables: Mapping[str, str] = field(default_factory=dict)

    @property
    def most_pending(self) -> int:
        """Requests that may be in hand at once; the next one is told 429."""
        return 2 * self.max_concurrent * self.instances

    @property
    def startup_budget(self) -> float:
        """Seconds until a container that does not answer has failed."""
        return max(self.liveness.budget, self.readiness.budget)


def with_defaults(properties: dict[str, Any]) -> dict[str, Any]:
    """The properties as the service shows them: defaults filled in, nothing null that breaks."""
    given = {key: value for key, value in properties.items() if value is not None}
    return {
        "description": given.get("description"),
        "properties": dict(given.get("properties") or {}),
        "codeConfiguration": given.get("codeConfiguration"),
        "environmentId": given.get("environmentId"),
        "environmentVariables": dict(given.get("environmentVariables") or {}),
        "scaleSettings": given.get("scaleSettings") or {"scaleType": "Default"},
        "requestSettings": _filled(_REQUESTS, given.get("requestSettings")),
        "modelMountPath": given.get("modelMountPath"),
        "appInsightsEnabled": bool(given.get("appInsightsEnabled", False)),
        "livenessProbe": _filled(_PROBE, given.get("livenessProbe")),
        "readinessProbe": _filled(_PROBE, given.get("readinessProbe")),
        "instanceType": given.get("instanceType") or "Standard_F4s_v2",
        "model": given.get("model"),
        "egressPublicNetworkAccess": given.get("egressPublicNetworkAccess") or "Enabled",
        "dataCollector": given.get("dataCollector"),
        "endpointComputeType": given.get("endpointComputeType") or "Managed",
    }


def _filled(defaults: dict[str, Any], given: Any) -> dict[str, Any]:
    chosen = given if isinstance(given, dict) else {}
    return {**defaults, **{key: value for key, value in chosen.items() if value is not None}}


def read(properties: dict[str, Any], capacity: Any) -> Deployment:
    """The values of properties that went through `with_defaults`.

    Args:
        properties: The filled-in properties.
        capacity: `sku.capacity`, the number of instances.

    Raises:
        ArmError: 400 with every problem. NotEmulated: What only the real service runs.
    """
    _refuse_unemulated(properties)
    problems: dict[str, list[str]] = {}
    reader = _Reader(problems)
    if not properties["model"]:
        reader.say("Model", "A model is required.")
    requests = properties["requestSettings"]
    made = Deployment(
        model=str(properties["model"]),
        instance_type=str(properties["instanceType"]),
        instances=reader.whole("Capacity", 1 if capacity is None else capacity, MOST_INSTANCES),
        liveness=reader.probe("LivenessProbe", properties["livenessProbe"]),
        readiness=reader.probe("ReadinessProbe", properties["readinessProbe"]),
        request_timeout=reader.seconds(
            "RequestSettings.RequestTimeout", requests["requestTimeout"], LONGEST_REQUEST
        ),
        max_concurrent=reader.whole(
            "RequestSettings.MaxConcurrentRequestsPerInstance",
            requests["maxConcurrentRequestsPerInstance"],
        ),
        environment_id=str(properties["environmentId"] or ""),
        variables={
            str(key): str(value) for key, value in properties["environmentVariables"].items()
        },
    )
    if problems:
        raise invalid(problems)
    return made


def _refuse_unemulated(properties: dict[str, Any]) -> None:
    if properties["endpointComputeType"] != "Managed":
        raise NotEmulated(f"a deployment on {properties['endpointComputeType']!r} compute")
    if properties["codeConfiguration"]:
        raise NotEmulated("a deployment with a scoring script of its own (codeConfiguration)")
    if properties["dataCollector"]:
        raise NotEmulated("a deployment with a data collector")
    if properties["scaleSettings"].get("scaleType") != "Default":
        raise NotEmulated(f"scale settings {properties['scaleSettings'].get('scaleType')!r}")
    environment = str(properties["environmentId"] or "")
    if environment and not any(shape in environment for shape in FOUNDATION_SHAPES):
        raise NotEmulated(
            f"the environment {environment!r} (only MLflow models without one and the registry's "
            f"{' and '.join(FOUNDATION_SHAPES)})"
        )


class _Reader:
    """Reads values and collects what is wrong with them."""

    def __init__(self, problems: dict[str, list[str]]) -> None:
        self._problems = problems

    def say(self, place: str, text: str) -> None:
        self._problems.setdefault(place, []).append(text)

    def whole(self, place: str, value: Any, most: int = 1_000_000) -> int:
        if type(value) is int and 1 <= value <= most:
            return value
        self.say(place, f"must be a whole number from 1 to {most}, not {value!r}.")
        return 1

    def seconds(
        self, place: str, value: Any, most: float = 86_400.0, least: float = 0.001
    ) -> float:
        try:
            found = _DURATION.validate_python(str(value)).total_seconds()
        except ValidationError:
            self.say(place, f"must be an ISO 8601 duration such as PT5S, not {value!r}.")
            return least
        if not least <= found <= most:
            self.say(place, f"must be from {least:g} to {most:g} seconds, not {found:g}.")
        return found

    def probe(self, place: str, given: dict[str, Any]) -> Probe:
        return Probe(
            initial_delay=self.seconds(f"{place}.InitialDelay", given["initialDelay"], least=0),
            period=self.seconds(f"{place}.Period", given["period"]),
            timeout=self.seconds(f"{place}.Timeout", given["timeout"]),
            failure_threshold=self.whole(f"{place}.FailureThreshold", given["failureThreshold"]),
        )


def container_shape(environment_id: str, base_image: str | None) -> Shape:
    """Which server a deployment gets.

    Args:
        environment_id: The deployment's environment, if it names one.
        base_image: `azureml.base_image` of the model's MLmodel metadata.
    """
    for named in (environment_id, base_image or ""):
        for shape in FOUNDATION_SHAPES:
            if shape in named:
                return shape
    return "mlflow"


def bad_model(message: str) -> ArmError:
    """A deployment that failed because of its model, in the service's category BadArgument."""
    return ArmError(400, "BadArgument", message)
