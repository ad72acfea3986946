"""The server at its port: how it is bound, how it runs, and how it stops."""

from __future__ import annotations

import asyncio
import socket
from types import FrameType

import uvicorn

from index.errors import UsageError
from server.app import create_app
from server.config import ServerSettings
from server.connections import protocol
from server.state import ServerState

_BACKLOG = 1024
_KEEP_ALIVE_S = 15
_AFTER_GRACE_S = 3
"""What an answer that was broken off may take to say so."""


def bind(server: ServerSettings) -> socket.socket:
    """A socket at the address; nobody is let in before the server runs.

    Raises UsageError where the address is taken or not ours.
    """
    try:
        found = socket.getaddrinfo(server.host, server.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, address = found[0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
        except BaseException:
            listener.close()
            raise
    except OSError as error:
        raise UsageError(
            f"cannot listen at {server.host} port {server.port} ({error.strerror or error}): choose another "
            "with --host or --port"
        ) from error
    return listener


def address_of(listener: socket.socket) -> str:
    """As people type it."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class Listening(uvicorn.Server):
    """Tells the state as soon as a signal asks it to stop: who waits in the queue is told at once.

    With `server.drain_s` the first signal only has it say that it is no longer ready; it serves on for so
    long, and a second signal ends that.
    """

    def __init__(self, state: ServerState) -> None:
        server = state.server
        super().__init__(
            uvicorn.Config(
                create_app(state),
                http=protocol(server.slow_reader_s),
                ws="none",
                lifespan="on",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                backlog=_BACKLOG,
                timeout_keep_alive=_KEEP_ALIVE_S,
                timeout_graceful_shutdown=round(server.grace_s) + _AFTER_GRACE_S,
            )
        )
        self._state = state
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_draining = False

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Of a signal, in the main thread, at any moment."""
        if self._drains():
            return
        super().handle_exit(sig, frame)
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._state.stop)

    def stop(self) -> None:
        """As a signal would; from any thread."""
        if not self._drains():
            self._stop()

    def _drains(self) -> bool:
        """Whether it serves on for a while: of the first signal only."""
        drain_s = self._state.server.drain_s
        if self._is_draining or not drain_s or self._loop is None:
            return False
        self._is_draining = True
        self._loop.call_soon_threadsafe(self._state.leave)
        self._loop.call_soon_threadsafe(self._loop.call_later, drain_s, self._stop)
        return True

    def _stop(self) -> None:
        self.should_exit = True
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._state.stop)
