"""The list of models, for clients that ask for it first: of OpenAI, vLLM, infinity and Xinference in one shape."""

from __future__ import annotations

from time import time
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Security
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ziprerank.serve.failures import Refused
from ziprerank.serve.routes import ERRORS, AnyService, bearer
from ziprerank.serve.service import Service

_STARTED = int(time())


def _checked(request: Request, service: AnyService) -> Service:
    service.check_key(request.headers)
    return service


models = APIRouter(
    prefix="/v1/models", dependencies=[Security(bearer)], responses={401: ERRORS[401]}, tags=["operations"]
)
Checked = Annotated[Service, Depends(_checked)]


@models.get("", summary="The model, in a list")
async def listed(service: Checked) -> dict[str, Any]:
    """Lists the only model, as OpenAI, vLLM, infinity and Xinference do."""
    return {"object": "list", "data": [_described(service)]}


@models.get("/{model:path}", summary="The model", responses={404: {"model": ERRORS[401]["model"]}})
async def one(model: str, service: Checked) -> dict[str, Any]:
    """Describes the model by its name."""
    if model != service.model_name:
        raise Refused(404, f"no model {model[:100]!r}: the server's only model is {service.model_name!r}")
    return _described(service)


def _described(service: Service) -> dict[str, Any]:
    name = service.model_name
    return {
        **{"id": name, "object": "model", "created": _STARTED, "owned_by": "ziprerank", "root": name},
        **{"model_uid": name, "model_name": name, "model_type": "rerank"},  # Xinference
        **{"backend": "ziprerank", "capabilities": ["rerank"], "stats": {}},  # infinity
    }


class HeadAsGet:
    """ASGI middleware that answers HEAD as GET, without the body."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return

        async def tell(message: Message) -> None:
            await send({**message, "body": b""} if message["type"] == "http.response.body" else message)

        await self._app({**scope, "method": "GET"}, receive, tell)
