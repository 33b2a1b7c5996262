"""The HTTP face of a scoring process, as an ASGI app."""

from __future__ import annotations

import asyncio
import json
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.requests import Request  # noqa: TC002 - starlette looks at annotations
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from local.compute.scoring.asked import Asked, BadRequest, read_chat_body, read_score_body
from local.compute.scoring.shapes import SHAPES, Reply, chat_completion, openai_error

if TYPE_CHECKING:
    from collections.abc import Callable

    from local.compute.scoring.generation import Answer, ChatModel

CLIENT_LEFT = 499  # nobody reads this answer; it only shows in the log


class ClientLeft(Exception):
    """The client closed its connection while it waited for its turn."""


class ScoringServer:
    """Answers requests with one model, one request after the other.

    Args:
        model: The loaded model.
        name: What answers call it.
        shape: A key of `SHAPES`.
    """

    def __init__(self, model: ChatModel, name: str, shape: str) -> None:
        self._model = model
        self._name = name
        self._shape = SHAPES[shape]
        self._turn = asyncio.Lock()
        self._thread = ThreadPoolExecutor(1, "generation")

    def app(self) -> Starlette:
        """The routes of the chosen server."""
        routes = [
            Route("/", self._health),
            Route("/healthz", self._health),
            Route("/score", self._score, methods=["POST"]),
        ]
        if self._shape.chat:
            chats = ("/v1/chat/completions", "/chat/completions")
            routes.extend(Route(path, self._chat, methods=["POST"]) for path in chats)
            routes.append(Route("/v1/models", self._models))
        return Starlette(routes=routes)

    async def _health(self, _: Request) -> Response:
        return JSONResponse({"status": "Healthy", "model": self._name})

    async def _models(self, _: Request) -> Response:
        card = {"id": self._name, "object": "model", "created": 0, "owned_by": "azureml"}
        return JSONResponse({"object": "list", "data": [card]})

    async def _score(self, request: Request) -> Response:
        shape, defaults = self._shape, self._model.defaults
        return await self._reply(
            request,
            lambda body: read_score_body(body, defaults, nested=shape.nested, strict=shape.strict),
            lambda answers: shape.answered(self._name, answers),
            shape.failed,
        )

    async def _chat(self, request: Request) -> Response:
        return await self._reply(
            request,
            lambda body: read_chat_body(body, self._model.defaults),
            lambda answers: Reply(200, chat_completion(self._name, answers[0])),
            openai_error,
        )

    async def _reply(
        self,
        request: Request,
        read: Callable[[Any], Asked],
        answered: Callable[[list[Answer]], Reply],
        failed: Callable[[Exception], Reply],
    ) -> Response:
        begun, note = time.monotonic(), ""
        try:
            answers = await self._answer(request, read(_decoded(await request.body())))
            reply = answered(answers)
            prompt, made = (
                sum(a.prompt_tokens for a in answers),
                sum(a.completion_tokens for a in answers),
            )
            note = f"{prompt} + {made} tokens"
        except ClientLeft:
            reply, note = Reply(CLIENT_LEFT, None), "the client left"
        except BadRequest as error:
            reply, note = failed(error), str(error)
        except Exception as error:  # noqa: BLE001 - a server answers, whatever happens; the log keeps the cause
            traceback.print_exc()
            reply, note = failed(error), type(error).__name__
        took = time.monotonic() - begun
        print(f"POST {request.url.path} {reply.status}  {took:.2f} s  {note}", flush=True)
        return JSONResponse(reply.body, status_code=reply.status)

    async def _answer(self, request: Request, asked: Asked) -> list[Answer]:
        """Answer each conversation in its turn; skip what nobody waits for any more."""
        answers = []
        for conversation in asked.conversations:
            async with self._turn:
                if await request.is_disconnected():
                    raise ClientLeft
                loop = asyncio.get_running_loop()
                answers.append(
                    await loop.run_in_executor(
                        self._thread, self._model.answer, conversation, asked.sampling
                    )
                )
        return answers


def _decoded(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError as error:
        raise BadRequest(f"the body is not JSON: {error}") from error
