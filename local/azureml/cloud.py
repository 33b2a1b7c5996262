"""What the SDK asks before anything else: which cloud is this, and where does a registry live?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from local.azureml.wire import ArmError, answer, open_to_all

if TYPE_CHECKING:
    from collections.abc import Iterable

    from local.azureml.plane import Plane

CLOUD_NAME = "DroptuneLocal"
REGISTRY = "azureml"
REGISTRY_BASE = "/regional"


def routes(plane: Plane) -> Iterable[web.RouteDef]:
    """Health, cloud metadata, registry discovery."""

    @open_to_all
    async def healthz(_request: web.Request) -> web.Response:
        return web.json_response({"status": "ready", "pace": plane.settings.pace})

    @open_to_all
    async def metadata(_request: web.Request) -> web.Response:
        # The portal's host decides the audience that the SDK asks for (`https://ml.azure.com`);
        # the login endpoint has no port because azureml-mlflow refuses an authority with one.
        cloud = {
            "name": CLOUD_NAME,
            "portal": "https://portal.azure.com",
            "resourceManager": f"{plane.url}/",
            "authentication": {
                "loginEndpoint": "https://localhost/",
                "audiences": [f"{plane.url}/"],
                "tenant": "common",
                "identityProvider": "AAD",
            },
            "graph": f"{plane.url}/graph/",
            "suffixes": {"storage": "core.windows.net"},
        }
        return answer([cloud])

    @open_to_all
    async def discovery(request: web.Request) -> web.Response:
        name = request.match_info["registry"]
        if name != REGISTRY:
            raise ArmError(404, "RegistryNotFound", f"Registry {name} was not found.")
        return answer(
            {
                "registryName": name,
                "primaryRegion": plane.region,
                "regions": [plane.region],
                "primaryRegionResourceProviderUri": f"{plane.url}{REGISTRY_BASE}/",
                "resourceGroup": "registries",
                "subscriptionId": plane.settings.subscription,
            }
        )

    return [
        web.get("/healthz", healthz),
        web.get("/metadata/endpoints", metadata),
        web.get("/registrymanagement/v1.0/registries/{registry}/discovery", discovery),
    ]
