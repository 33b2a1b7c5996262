"""`GET /api/v1/models`: what there is to ask."""

from __future__ import annotations

import azure.functions as func

from functions.http import answered
from shared import wiring

blueprint = func.Blueprint()


@blueprint.function_name("list_models")
@blueprint.route(route="v1/models", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
async def list_models(req: func.HttpRequest) -> func.HttpResponse:
    """List the models, those that sleep too."""
    return answered(await wiring.proxy().models(req.headers.get("authorization")))
