"""The workspace itself: where its tracking, its run history and its storage are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiohttp import web

from local.azureml import datastores, identity
from local.azureml.clock import iso
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
        "etag": None,
        "identity": {
            "type": "SystemAssigned",
            "principalId": identity.PRINCIPAL,
            "tenantId": identity.TENANT,
        },
        "properties": {
            "friendlyName": names.workspace,
            "description": "",
            "workspaceId": plane.workspace_guid,
            "discoveryUrl": f"{plane.url}/discovery",
            "mlFlowTrackingUri": tracking_uri(plane),
            "storageAccount": f"{group}/Microsoft.Storage/storageAccounts/devstoreaccount1",
            "keyVault": f"{group}/Microsoft.KeyVault/vaults/droptune",
            "applicationInsights": f"{group}/Microsoft.Insights/components/droptune",
            "tenantId": identity.TENANT,
            "publicNetworkAccess": "Enabled",
            "hbiWorkspace": False,
            "imageBuildCompute": None,
            "managedNetwork": {"isolationMode": "Disabled"},
            "notebookInfo": None,
            "privateLinkCount": 0,
            "serverlessComputeSettings": None,
            "storageHnsEnabled": False,
            "systemDatastoresAuthMode": "AccessKey",
            "v1LegacyMode": False,
            "enableDataIsolation": False,
            "provisioningState": "Succeeded",
        },
        "systemData": _made(plane),
    }


def _made(plane: Plane) -> dict[str, str]:
    """When and by whom the workspace was made: with its default datastore."""
    made = datastores.find(plane, datastores.DEFAULT)
    at = made["created_at"] if made else iso(plane.clock.now())
    return identity.authored(at, at)


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
                "tenantId": identity.TENANT,
            }
        )

    return [
        web.get("/subscriptions/{subscription}", subscription),
        web.get(WORKSPACE, get),
        web.get("/discovery", discovery),
    ]
