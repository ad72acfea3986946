"""The application: routers, what stands in front of them, and one shape for errors."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from importlib.metadata import PackageNotFoundError, version

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from server.ask import ask_router
from server.bodies import BodyCheck
from server.chat import chat_router
from server.documented import EVERYWHERE
from server.documents import documents_router
from server.envelope import Errors, handle_errors
from server.frame import Frame
from server.health import health_router
from server.page import page_router
from server.routes import is_served
from server.security import HostCheck, KeyCheck, OriginCheck
from server.state import ServerState


def create_app(state: ServerState) -> FastAPI:
    """The application over a state. While it runs, the state's threads do; it does not close the session."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        warming = asyncio.create_task(state.warm_up())
        try:
            yield
        finally:
            state.close()
            await asyncio.wait([warming])

    app = FastAPI(
        title="Footnote",
        version=_version(),
        description="Answers from your own documents, every sentence with a footnote.",
        docs_url=None,  # their scripts come from elsewhere
        redoc_url=None,
        redirect_slashes=False,
        responses=EVERYWHERE,
        lifespan=lifespan,
    )
    app.include_router(health_router(state))
    app.include_router(ask_router(state))
    app.include_router(chat_router(state))
    app.include_router(documents_router(state))
    app.include_router(page_router(state))
    handle_errors(app)
    _protect(app, state)
    return app


def _protect(app: FastAPI, state: ServerState) -> None:
    """What stands in front of the routes; the last one added is the outermost."""
    server = state.server
    app.add_middleware(
        BodyCheck,
        json_bytes=server.body_bytes,
        upload_bytes=server.upload_bytes,
        is_served=partial(is_served, app),
    )
    app.add_middleware(KeyCheck, key=state.key)
    app.add_middleware(OriginCheck, origins=server.origins)
    app.add_middleware(HostCheck, bind=server.host, hosts=server.hosts)
    app.add_middleware(Errors)  # within CORS: the pages that may read answers may read errors
    if server.origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=server.origins,
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["*"],  # OpenAI's client sends a dozen of its own
            expose_headers=["X-Request-Id", "Retry-After"],
        )
    app.add_middleware(Frame, metrics=state.metrics, is_leaving=lambda: state.is_leaving)


def _version() -> str:
    try:
        return version("footnote")
    except PackageNotFoundError:
        return "0"  # run from the source folder
