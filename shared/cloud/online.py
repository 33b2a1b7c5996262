"""Online endpoints and their deployments, by plain REST.

Every change is begun by one request and never waited for: the SDK's pollers each keep a thread for as long
as the operation takes. Only what carries our tag is ever changed or deleted, and it is looked at again just
before.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlsplit

from shared.cloud import arm
from shared.cloud.failures import plain
from shared.cloud.scoring import Scoring
from shared.errors import DroptuneError, Missing, Refused, Unavailable
from shared.runs.naming import TAG
from shared.runs.ports import Deployment, DeploymentRequest, Endpoint, Message, Provisioning

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from shared.cloud.arm import Arm, Place

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

LOG_LINES: Final = 100

_STATES: Final = {
    "creating": Provisioning.WORKING,
    "updating": Provisioning.WORKING,
    "scaling": Provisioning.WORKING,
    "deleting": Provisioning.DELETING,
    "succeeded": Provisioning.SUCCEEDED,
    "failed": Provisioning.FAILED,
    "canceled": Provisioning.FAILED,
}


@dataclass(frozen=True, slots=True)
class Standing:
    """An online endpoint as a listing shows it.

    Attributes:
        name: Azure's name of it.
        run: Its ownership tag's value; `None`: it is none of ours.
        created_at: When it was made, if Azure says so.
        deleting: Whether its deletion is under way.
    """

    name: str
    run: str | None
    created_at: datetime | None
    deleting: bool


class Online:
    """The online endpoints of one workspace.

    Args:
        arm: The cloud's Resource Manager.
        place: The workspace.
        region: The workspace's region, where its endpoints are.
    """

    def __init__(self, arm: Arm, place: Place, region: Callable[[], str]) -> None:
        self._arm = arm
        self._place = place
        self._region = region
        self._scoring = Scoring()

    def close(self) -> None:
        """Close the connections to endpoints."""
        self._scoring.close()

    def _path(self, endpoint: str, deployment: str | None = None) -> str:
        path = f"{self._place.path}/onlineEndpoints/{quote(endpoint)}"
        return path if deployment is None else f"{path}/deployments/{quote(deployment)}"

    def endpoint(self, name: str) -> Endpoint | None:
        """The endpoint, if there is one."""
        body = self._arm.find(self._path(name), f"reading the endpoint {name}")
        return None if body is None else endpoint_from(body)

    def standing(self) -> Iterator[Standing]:
        """Every online endpoint of the workspace, ours or not; a page of the listing at a time."""
        rows = self._arm.each(f"{self._place.path}/onlineEndpoints", "listing the endpoints")
        for body in rows:
            found = endpoint_from(body)
            yield Standing(
                found.name,
                found.run,
                _time((body.get("systemData") or {}).get("createdAt")),
                found.provisioning is Provisioning.DELETING,
            )

    def create_endpoint(self, name: str, run: str) -> None:
        """Begin to make an endpoint with key authentication.

        Raises:
            Refused: There is one already that is not ours, or Azure will not make it.
        """
        doing = f"making the endpoint {name}"
        present = self._arm.find(self._path(name), doing)
        if present is not None:
            _ours(present, doing)
        body = endpoint_body(self._region(), run)
        self._arm.ask("PUT", self._path(name), doing, body=body)

    def delete_endpoint(self, name: str) -> None:
        """Begin to delete the endpoint with all its deployments; nothing happens if there is none."""
        doing = f"deleting the endpoint {name}"
        present = self._arm.find(self._path(name), doing)
        if present is not None:
            _ours(present, doing)
            self._delete(self._path(name), doing)

    def set_traffic(self, name: str, traffic: Mapping[str, int]) -> None:
        """Begin to set the traffic shares, in percent by deployment; who is not named gets none."""
        doing = f"setting the traffic of the endpoint {name}"
        present = self._arm.ask("GET", self._path(name), doing).body
        _ours(present, doing)
        self._arm.ask("PUT", self._path(name), doing, body=with_traffic(present, traffic))

    def deployment(self, endpoint: str, name: str) -> Deployment | None:
        """The deployment, if there is one; of one that failed, also why."""
        doing = f"reading the deployment {name}"
        body = self._arm.find(self._path(endpoint, name), doing)
        return None if body is None else self._deployment_from(body)

    def deployments(self, endpoint: str) -> Sequence[Deployment]:
        """The endpoint's deployments; none when there is no such endpoint."""
        doing = f"listing the deployments of {endpoint}"
        try:
            rows = list(self._arm.each(f"{self._path(endpoint)}/deployments", doing))
        except Missing:
            return []
        return [deployment_from(body) for body in rows]

    def create_deployment(self, request: DeploymentRequest) -> None:
        """Begin to make a deployment; it gets no traffic.

        Raises:
            Refused: There is one already that is not ours, or Azure will not make it.
        """
        doing = f"making the deployment {request.name}"
        path = self._path(request.endpoint, request.name)
        present = self._arm.find(path, doing)
        if present is not None:
            _ours(present, doing)
        body = deployment_body(request, self._place.path, self._region())
        self._arm.ask("PUT", path, doing, body=body)

    def delete_deployment(self, endpoint: str, name: str) -> None:
        """Begin to delete the deployment; nothing happens if there is none."""
        doing = f"deleting the deployment {name}"
        present = self._arm.find(self._path(endpoint, name), doing)
        if present is not None:
            _ours(present, doing)
            self._delete(self._path(endpoint, name), doing)

    def _delete(self, path: str, doing: str) -> None:
        try:
            self._arm.ask("DELETE", path, doing)
        except Missing:
            return

    def logs(self, endpoint: str, deployment: str) -> str:
        """The tail of the deployment's log; empty when there is none."""
        doing = f"reading the log of the deployment {deployment}"
        path = f"{self._path(endpoint, deployment)}/getLogs"
        try:
            body = self._arm.ask("POST", path, doing, body={"tail": LOG_LINES}).body
        except (Missing, Refused):  # Azure refuses while no container has been made
            return ""
        return str(body.get("content") or "")

    def key(self, endpoint: str) -> str:
        """The endpoint's primary key.

        Raises:
            Missing: There is no such endpoint.
        """
        doing = f"reading the keys of the endpoint {endpoint}"
        body = self._arm.ask("POST", f"{self._path(endpoint)}/listKeys", doing).body
        return str(body["primaryKey"])

    def ask(self, endpoint: str, deployment: str, messages: Sequence[Message]) -> str:
        """Put a conversation to one deployment, whatever traffic it has, and return its answer.

        Raises:
            Refused: It answered with an error, or with nothing.
        """
        present = self.endpoint(endpoint)
        if present is None:
            raise Missing(f"asking the deployment {deployment}: there is no endpoint {endpoint}")
        if present.scoring_uri is None:
            raise Unavailable(f"the endpoint {endpoint} has no address yet")
        return self._scoring.ask(present.scoring_uri, self.key(endpoint), deployment, messages)

    def _deployment_from(self, body: Mapping[str, Any]) -> Deployment:
        found = deployment_from(body)
        if found.provisioning is not Provisioning.FAILED:
            return found
        return Deployment(found.name, found.provisioning, found.run, self._why_failed(body))

    def _why_failed(self, body: Mapping[str, Any]) -> str | None:
        """What the operation that failed said: the deployment names its status document."""
        url = _operation_of(body)
        if url is None or urlsplit(url).netloc != urlsplit(self._arm.base).netloc:
            return None
        try:
            status = self._arm.ask("GET", url, "reading why a deployment failed", version="").body
        except DroptuneError:
            return None  # the status documents of old operations are cleared away
        error = status.get("error") if isinstance(status, dict) else None
        return plain(arm.spelled(error)) or None if error else None


def _operation_of(body: Mapping[str, Any]) -> str | None:
    properties = (body.get("properties") or {}).get("properties") or {}
    url = properties.get("AzureAsyncOperationUri")
    return url if isinstance(url, str) and url.startswith("https://") else None


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _ours(body: Mapping[str, Any], doing: str) -> None:
    """Refuse to touch what Droptune did not make.

    Raises:
        Refused: It lacks the ownership tag.
    """
    if not _run_of(body):
        raise Refused(
            f"{doing}: '{body.get('name')}' was not made by Droptune (it has no tag {TAG}) "
            "and is left alone"
        )


def _run_of(body: Mapping[str, Any]) -> str | None:
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
        run=_run_of(body),
        scoring_uri=properties.get("scoringUri") or None,
        traffic=dict(properties.get("traffic") or {}),
    )


def deployment_from(body: Mapping[str, Any]) -> Deployment:
    """A deployment out of ARM's JSON."""
    properties = body.get("properties") or {}
    return Deployment(
        name=body["name"],
        provisioning=provisioning_of(properties.get("provisioningState")),
        run=_run_of(body),
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
