"""`POST /api/v1/chat/completions`: what an OpenAI client asks."""

from __future__ import annotations

import azure.functions as func

from functions.http import answered
from shared import wiring

blueprint = func.Blueprint()


@blueprint.function_name("chat_completions")
@blueprint.route(
    route="v1/chat/completions", methods=["POST"], auth_level=func.AuthLevel.ANONYMOUS
)
async def chat_completions(req: func.HttpRequest) -> func.HttpResponse:
    """Answer from the model's endpoint, or say when it will be awake."""
    answer = await wiring.proxy().chat(req.headers.get("authorization"), req.get_body())
    return answered(answer)
