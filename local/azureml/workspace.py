"""The workspace itself: where its tracking, its run history and its storage are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiohttp import web

from local.azureml.wire import PROVIDER, WORKSPACE, answer, open_to_all

if TYPE_CHECKING:
    from collections.abc import Iterable

    from local.azureml.plane import Plane


def tracking_uri(plane: Plane) -> str:
    """The `azureml://` address that azureml-mlflow turns into our tracking routes."""
    return f"azureml://localhost:{plane.port}/mlflow/v1.0{plane.workspace_id}"


def shown(plane: Plane) -> dict[str, Any]:
    """The workspace as ARM shows it."""
    names = plane.settings
    group = f"/subscriptions/{names.subscription}/resourceGroups/{names.group}/providers"
    return {
        "id": plane.workspace_id,
        "name": names.workspace,
        "type": f"{PROVIDER}/workspaces",
        "location": plane.region,
        "kind": "Default",
        "sku": {"name": "Basic", "tier": "Basic"},
        "tags": {},
        "identity": {"type": "SystemAssigned"},
        "properties": {
            "friendlyName": names.workspace,
            "description": "",
            "workspaceId": plane.workspace_guid,
            "discoveryUrl": f"{plane.url}/discovery",
            "mlFlowTrackingUri": tracking_uri(plane),
            "storageAccount": f"{group}/Microsoft.Storage/storageAccounts/devstoreaccount1",
            "keyVault": f"{group}/Microsoft.KeyVault/vaults/droptune",
            "applicationInsights": f"{group}/Microsoft.Insights/components/droptune",
            "publicNetworkAccess": "Enabled",
            "hbiWorkspace": False,
            "provisioningState": "Succeeded",
        },
    }


def routes(plane: Plane) -> Iterable[web.RouteDef]:
    """The workspace and the address of its services."""

    async def get(_request: web.Request) -> web.Response:
        return answer(shown(plane))

    @open_to_all  # the SDK asks for it without a token
    async def discovery(_request: web.Request) -> web.Response:
        services = ("api", "history", "experimentation", "modelmanagement", "pipelines")
        return answer(dict.fromkeys(services, plane.url))

    async def subscription(_request: web.Request) -> web.Response:
        name = plane.settings.subscription
        return answer(
            {
                "id": f"/subscriptions/{name}",
                "subscriptionId": name,
                "displayName": "Droptune on this laptop",
                "state": "Enabled",
                "tenantId": "00000000-0000-0000-0000-000000000002",
            }
        )

    return [
        web.get("/subscriptions/{subscription}", subscription),
        web.get(WORKSPACE, get),
        web.get("/discovery", discovery),
    ]
