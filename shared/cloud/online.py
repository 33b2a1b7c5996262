"""Online endpoints and their deployments, by plain REST.

Every change is begun by one request and never waited for: the SDK's pollers each keep a thread for as long
as the operation takes. Only what carries our tag is ever changed or deleted, and it is looked at again just
before.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlsplit

from shared.cloud import arm
from shared.cloud.failures import plain
from shared.cloud.online_shapes import (
    deployment_body,
    deployment_from,
    endpoint_body,
    endpoint_from,
    run_of,
    with_traffic,
)
from shared.cloud.scoring import Scoring
from shared.errors import DroptuneError, Missing, Refused, Unavailable
from shared.runs.naming import TAG
from shared.runs.ports import (
    Deployment,
    DeploymentRequest,
    Endpoint,
    Message,
    Provisioning,
    Standing,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from shared.cloud.arm import Arm, Place

LOG_LINES: Final = 100


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
        """Begin to make an endpoint with key authentication; one of ours that is there is left as it is.

        Raises:
            Refused: There is one already that is not ours, or Azure will not make it.
        """
        doing = f"making the endpoint {name}"
        present = self._arm.find(self._path(name), doing)
        if present is not None:
            _ours(present, doing)
            return  # making it again would take its traffic and its tag from it
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
        return replace(found, error=self._why_failed(body))

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
    if not run_of(body):
        raise Refused(
            f"{doing}: '{body.get('name')}' was not made by Droptune (it has no tag {TAG}) "
            "and is left alone"
        )
