"""What the tests of online endpoints share: models to deploy, endpoints, deployments, requests."""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING, Any

import requests

if TYPE_CHECKING:
    from pathlib import Path

    from azure.ai.ml import MLClient

    from local.azureml.server import ControlPlane

SIZE = "Standard_DS2_v2"
VERSION = {"api-version": "2024-10-01"}
_NUMBERS = itertools.count(1)


def fresh(prefix: str) -> str:
    """A name that no other test has."""
    return f"{prefix}-{next(_NUMBERS)}"


def register(
    client: MLClient, folder: Path, *, base_image: str | None = None, **orders: Any
) -> str:
    """Upload and register an MLflow model whose process follows `orders`; returns its ARM id."""
    from azure.ai.ml.constants import AssetTypes
    from azure.ai.ml.entities import Model

    name = fresh("model")
    source = folder / name
    source.mkdir(parents=True)
    recipe = {"flavors": {}, "metadata": {"azureml.base_image": base_image}}
    (source / "MLmodel").write_text(json.dumps(recipe))
    (source / "orders.json").write_text(json.dumps({"name": name, **orders}))
    asset = Model(name=name, version="1", path=str(source), type=AssetTypes.MLFLOW_MODEL)
    return client.models.create_or_update(asset).id


def make_endpoint(client: MLClient, name: str | None = None, **changed: Any):
    """Make an endpoint and wait for it."""
    from azure.ai.ml.entities import ManagedOnlineEndpoint

    given = ManagedOnlineEndpoint(
        name=name or fresh("endpoint"), **{"auth_mode": "key", **changed}
    )
    return client.online_endpoints.begin_create_or_update(given).result()


def deployment(endpoint: str, model: str, name: str = "blue", **changed: Any):
    """A deployment to be made."""
    from azure.ai.ml.entities import ManagedOnlineDeployment

    usual = {"instance_type": SIZE, "instance_count": 1}
    return ManagedOnlineDeployment(
        name=name, endpoint_name=endpoint, model=model, **{**usual, **changed}
    )


def deploy(client: MLClient, endpoint: str, model: str, name: str = "blue", **changed: Any):
    """Make a deployment and wait for it."""
    made = deployment(endpoint, model, name, **changed)
    return client.online_deployments.begin_create_or_update(made).result()


def set_traffic(client: MLClient, name: str, **traffic: int):
    """Give an endpoint a traffic split and wait for it."""
    endpoint = client.online_endpoints.get(name)
    endpoint.traffic = traffic
    return client.online_endpoints.begin_create_or_update(endpoint).result()


def token(resource: str) -> str:
    """A bearer token from the identity endpoint that the environment names."""
    from azure.identity import ManagedIdentityCredential

    return ManagedIdentityCredential().get_token(f"{resource}/.default").token


class Arm:
    """Plain REST calls to a control plane, for what the SDK has no method for."""

    def __init__(self, plane: ControlPlane) -> None:
        self.plane = plane
        self.session = requests.Session()
        self.session.headers["Authorization"] = f"Bearer {token(plane.url)}"

    def ask(self, method: str, path: str, **more: Any) -> requests.Response:
        """Ask for a path below the workspace, or an absolute one."""
        if not path.startswith("/"):
            path = f"{self.plane.plane.workspace_id}/{path}"
        params = {**VERSION, **more.pop("params", {})}
        return self.session.request(
            method, f"{self.plane.url}{path}", params=params, timeout=30, **more
        )


class Caller:
    """Asks one endpoint's scoring address, as a client of its does."""

    def __init__(self, client: MLClient, endpoint: str) -> None:
        self.url = client.online_endpoints.get(endpoint).scoring_uri
        self.key = client.online_endpoints.get_keys(endpoint).primary_key
        self.session = requests.Session()

    def ask(
        self,
        body: dict | None = None,
        *,
        to: str | None = None,
        key: str | None = None,
        **more: Any,
    ) -> requests.Response:
        """POST a body to `/score`."""
        headers = {"Authorization": f"Bearer {key or self.key}", **more.pop("headers", {})}
        if to:
            headers["azureml-model-deployment"] = to
        url = more.pop("url", self.url)
        return self.session.post(url, json=body or {}, headers=headers, timeout=30, **more)
