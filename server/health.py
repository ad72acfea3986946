"""Whether it lives, whether it can answer, what it answers with, and how much it has done."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import Response

from index.errors import CollectionError, CollectionUnavailable, UnknownModel
from server.documented import errors
from server.errors import NotReady, Stopping
from server.security import is_authorised
from server.state import ServerState

QUOTING = "footnote-quote"
"""As `model`: answer with the documents' own sentences."""


def health_router(state: ServerState) -> APIRouter:
    router = APIRouter(tags=["server"])

    @router.get("/health", summary="Is it alive?")
    async def health() -> dict[str, str]:
        return {"status": "alive"}

    @router.get("/ready", summary="Can it answer?", responses=errors(503))
    async def ready(request: Request) -> dict[str, str]:
        if state.is_leaving:
            raise Stopping("the server is being stopped: ask another one, or again when it is back")
        # Why names files, hosts and what a process said last: not to whoever comes by.
        says_why = is_authorised(request)
        if state.not_ready is not None:
            why = f" ({state.not_ready})" if says_why else ""
            raise NotReady(f"it cannot answer yet{why}: ask again in a moment")
        try:
            await state.reach()
        except CollectionUnavailable as error:
            raise error if says_why else CollectionUnavailable("the database cannot be reached") from None
        except CollectionError as error:
            raise NotReady(f"it cannot answer ({error})" if says_why else "it cannot answer") from error
        return {"status": "ready"}

    @router.get("/metrics", summary="What Prometheus reads", response_class=Response)
    async def metrics() -> Response:
        return Response(state.metrics.page(), media_type=CONTENT_TYPE_LATEST)

    @router.get("/v1/models", summary="The models that a client can name")
    async def models() -> dict[str, Any]:
        return {"object": "list", "data": list(named().values())}

    @router.get("/v1/models/{model:path}", summary="One of them", responses=errors(404))
    async def one_model(model: str) -> dict[str, Any]:
        found = named().get(model)
        if found is None:
            raise UnknownModel(f"there is no model {model} here, but {', '.join(named())}: name one of these")
        return found

    def named() -> dict[str, dict[str, Any]]:
        generator = state.session.generator
        names = ([generator.name] if generator else []) + [QUOTING]
        return {name: {"id": name, "object": "model", "created": 0, "owned_by": "footnote"} for name in names}

    return router
