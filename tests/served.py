"""A server over a home of its own with the fake models: in this process, or listening at a port."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn
from starlette.testclient import TestClient

from rag.session import open_session
from server.app import create_app
from server.config import ServeSettings
from server.keys import ApiKey
from server.state import ServerState, make_state

BASE = "http://127.0.0.1:8000"


def settings_for(home: Path, **server: Any) -> ServeSettings:
    """Of a server that needs no model."""
    return ServeSettings.model_validate(
        {
            "home": home,
            "offline": True,
            "index": {"embedder": "hash", "passage_tokens": 32},
            "rag": {"model": "extractive"},
            "server": server,
        }
    )


@contextmanager
def state_of(settings: ServeSettings, key: ApiKey | None = None) -> Iterator[ServerState]:
    with open_session(settings, must_exist=False) as session:
        yield make_state(settings, session, key=key)


@contextmanager
def client_of(settings: ServeSettings, key: ApiKey | None = None) -> Iterator[TestClient]:
    """A client of a server in this process, which starts and stops with the block."""
    with state_of(settings, key) as state, TestClient(create_app(state), base_url=BASE) as client:
        yield client


@contextmanager
def listening(settings: ServeSettings) -> Iterator[str]:
    """The address of a server that listens at a free port of loopback."""
    with state_of(settings) as state, socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        config = uvicorn.Config(create_app(state), log_config=None, lifespan="on")
        server = uvicorn.Server(config)
        started = threading.Event()
        startup = server.startup

        async def announced(sockets: list[socket.socket] | None = None) -> None:
            await startup(sockets)
            started.set()

        server.startup = announced  # type: ignore[method-assign]
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            assert started.wait(30)
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(30)


def upload(client: TestClient, *files: tuple[str, bytes]) -> Any:
    """The response to an upload of several files."""
    return client.post("/api/documents", files=[("files", (name, data)) for name, data in files])
