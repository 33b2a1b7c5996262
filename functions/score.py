"""`POST /api/score/{model}`: Azure ML's own scoring schema, passed through."""

from __future__ import annotations

import azure.functions as func

from functions.http import answered
from shared import wiring

blueprint = func.Blueprint()


@blueprint.function_name("score")
@blueprint.route(route="score/{model}", methods=["POST"], auth_level=func.AuthLevel.ANONYMOUS)
async def score(req: func.HttpRequest) -> func.HttpResponse:
    """Pass the request on to the model's endpoint and its answer back."""
    answer = await wiring.proxy().score(
        req.route_params.get("model", ""),
        req.headers.get("authorization"),
        req.get_body(),
        req.headers,
    )
    return answered(answer)
