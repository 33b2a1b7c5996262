"""Online endpoints and deployments as values: what is sent to ARM, and what is read out of its JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from shared.runs.naming import TAG
from shared.runs.ports import Deployment, Endpoint, Provisioning

if TYPE_CHECKING:
    from collections.abc import Mapping

    from shared.runs.ports import DeploymentRequest

REQUEST_TIMEOUT: Final = "PT90S"
"""The service's default of 5 s is too short for an answer of some hundred tokens; 180 s is its limit
(https://learn.microsoft.com/azure/machine-learning/how-to-manage-quotas)."""

MAX_CONCURRENT: Final = 8
"""Requests that an instance works on at once; its server batches them. Twice as many per instance get in, the
rest is told 429."""

PROBE: Final = {
    "initialDelay": "PT600S",
    "period": "PT10S",
    "timeout": "PT10S",
    "successThreshold": 1,
    "failureThreshold": 30,
}
"""A language model takes minutes to load; the default of 310 s in all is a known cause of failed deployments
(https://github.com/Azure/azureml-examples/issues/3983)."""

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
    )


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
        "tags": {TAG: request.run},
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
                "requestTimeout": REQUEST_TIMEOUT,
                "maxConcurrentRequestsPerInstance": MAX_CONCURRENT,
            },
            "livenessProbe": dict(PROBE),
            "readinessProbe": dict(PROBE),
        },
    }
