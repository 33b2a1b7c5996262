"""Online endpoints and deployments as values: what is sent to ARM, and what is read out of its JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from shared.runs.naming import TAG
from shared.runs.ports import Deployment, Endpoint, Provisioning

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import timedelta

    from shared.runs.ports import DeploymentRequest

ATTEMPT: Final = "droptune_attempt"
"""The tag of a deployment that says which of its run's attempts it is."""

PERIOD: Final = 10
PROBE_TIMEOUT: Final = 10
"""Seconds between two questions of a probe, and for its answer."""

FIRST_LOOK: Final = 10
"""Seconds before the first question whether a container is ready."""

ALIVE_FAILURES: Final = 30
"""Failed questions after which a container that was alive counts as dead."""


def probes(startup: timedelta) -> dict[str, dict[str, Any]]:
    """Probes for a model that takes minutes to load.

    The service's defaults give it 310 s in all, a known cause of failed deployments
    (https://github.com/Azure/azureml-examples/issues/3983). Readiness is asked from the start, so that a model
    that loads fast serves early, and may fail for as long as `startup`; liveness, whose failing restarts the
    container, is not asked before.

    >>> probes(timedelta(minutes=15))["readinessProbe"]["failureThreshold"]
    89
    """
    seconds = int(startup.total_seconds())
    usual = {"period": f"PT{PERIOD}S", "timeout": f"PT{PROBE_TIMEOUT}S", "successThreshold": 1}
    alive = max(seconds - ALIVE_FAILURES * PERIOD, FIRST_LOOK)
    return {
        "livenessProbe": {
            **usual,
            "initialDelay": f"PT{alive}S",
            "failureThreshold": min(ALIVE_FAILURES, max(1, (seconds - alive) // PERIOD)),
        },
        "readinessProbe": {
            **usual,
            "initialDelay": f"PT{FIRST_LOOK}S",
            "failureThreshold": max(1, (seconds - FIRST_LOOK) // PERIOD),
        },
    }


_STATES: Final = {
    "creating": Provisioning.WORKING,
    "updating": Provisioning.WORKING,
    "scaling": Provisioning.WORKING,
    "deleting": Provisioning.DELETING,
    "succeeded": Provisioning.SUCCEEDED,
    "failed": Provisioning.FAILED,
    "canceled": Provisioning.FAILED,
}


def run_of(body: Mapping[str, Any]) -> str | None:
    """The run that a resource's ownership tag names; `None`: it is none of ours."""
    return (body.get("tags") or {}).get(TAG) or None


def provisioning_of(state: str | None) -> Provisioning:
    """What matters about Azure's `provisioningState`; one that is not known counts as under way."""
    return _STATES.get((state or "").lower(), Provisioning.WORKING)


def endpoint_from(body: Mapping[str, Any]) -> Endpoint:
    """An endpoint out of ARM's JSON."""
    properties = body.get("properties") or {}
    return Endpoint(
        name=body["name"],
        provisioning=provisioning_of(properties.get("provisioningState")),
        run=run_of(body),
        scoring_uri=properties.get("scoringUri") or None,
        traffic=dict(properties.get("traffic") or {}),
    )


def deployment_from(body: Mapping[str, Any]) -> Deployment:
    """A deployment out of ARM's JSON."""
    properties = body.get("properties") or {}
    return Deployment(
        name=body["name"],
        provisioning=provisioning_of(properties.get("provisioningState")),
        run=run_of(body),
        attempt=_attempt_of(body),
        instance_type=str(properties.get("instanceType") or ""),
    )


def _attempt_of(body: Mapping[str, Any]) -> int:
    """The number in a deployment's tag; one from before there was the tag is the first."""
    text = str((body.get("tags") or {}).get(ATTEMPT) or "")
    return int(text) if text.isdecimal() else 1


def endpoint_body(region: str, run: str) -> dict[str, Any]:
    """The PUT of a new endpoint."""
    return {
        "location": region,
        "kind": "Managed",
        "identity": {"type": "SystemAssigned"},
        "tags": {TAG: run},
        "properties": {"authMode": "Key", "properties": {}, "traffic": {}},
    }


def with_traffic(present: Mapping[str, Any], traffic: Mapping[str, int]) -> dict[str, Any]:
    """The PUT of an endpoint as it was read, with other traffic: what a PUT leaves out, Azure resets."""
    given = present.get("properties") or {}
    kept = ("authMode", "description", "properties", "publicNetworkAccess", "compute")
    properties = {name: given[name] for name in kept if given.get(name) is not None}
    # What the service computes is not its author's to set.
    own = {
        name: value
        for name, value in (properties.get("properties") or {}).items()
        if not name.lower().startswith("azureml.") and name != "AzureAsyncOperationUri"
    }
    body: dict[str, Any] = {
        "location": present["location"],
        "tags": dict(present.get("tags") or {}),
        "properties": {**properties, "properties": own, "traffic": dict(traffic)},
    }
    if present.get("kind"):
        body["kind"] = present["kind"]
    identity = _identity(present.get("identity") or {})
    return {**body, "identity": identity} if identity else body


def _identity(present: Mapping[str, Any]) -> dict[str, Any]:
    """An identity as it may be sent: which users' it is, but nothing that Azure filled in."""
    if not present.get("type"):
        return {}
    identity: dict[str, Any] = {"type": present["type"]}
    assigned = present.get("userAssignedIdentities")
    if assigned:
        identity["userAssignedIdentities"] = {name: {} for name in assigned}
    return identity


def deployment_body(request: DeploymentRequest, workspace: str, region: str) -> dict[str, Any]:
    """The PUT of a new deployment of an MLflow model, without code or environment of its own."""
    model = f"{workspace}/models/{request.model}/versions/{request.model_version}"
    return {
        "location": region,
        "tags": {TAG: request.run, ATTEMPT: str(request.attempt)},
        "sku": {"name": "Default", "capacity": request.instances},
        "properties": {
            "endpointComputeType": "Managed",
            "model": model,
            "instanceType": request.instance_type,
            "appInsightsEnabled": False,
            "environmentVariables": {},
            "properties": {},
            "scaleSettings": {"scaleType": "Default"},
            "requestSettings": {
                "requestTimeout": f"PT{int(request.request_timeout.total_seconds())}S",
                "maxConcurrentRequestsPerInstance": request.concurrent_requests,
            },
            **probes(request.startup),
        },
    }
