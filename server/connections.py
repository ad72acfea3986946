"""Connections that do nothing, or take nothing, are ended; others go on."""

from __future__ import annotations

import asyncio
import contextlib
import socket

from uvicorn.protocols.http.h11_impl import H11Protocol

from rag.jsonform import dumps
from server.envelope import envelope
from server.errors import InvalidRequest

FIRST_REQUEST_S = 30.0
"""How long a connection may take to send the head of its first request."""


def protocol(slow_reader_s: float) -> type[H11Protocol]:
    """HTTP connections that are cut off when their client takes nothing for so long, in seconds."""

    class Connection(H11Protocol):
        _writing: asyncio.TimerHandle | None = None
        _silent: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._silent = self.loop.call_later(FIRST_REQUEST_S, self._end_if_silent)
            opened = transport.get_extra_info("socket")
            if opened is not None and hasattr(socket, "TCP_USER_TIMEOUT"):
                # What is left in the buffers of a response that has ended is not kept for ever either.
                with contextlib.suppress(OSError):
                    opened.setsockopt(
                        socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(slow_reader_s * 1000)
                    )

        def connection_lost(self, exc: Exception | None) -> None:
            for timer in (self._writing, self._silent):
                if timer is not None:
                    timer.cancel()
            super().connection_lost(exc)

        def pause_writing(self) -> None:
            """The buffers are full: the client has to take something now."""
            super().pause_writing()
            self._writing = self.loop.call_later(slow_reader_s, self.transport.abort)

        def resume_writing(self) -> None:
            if self._writing is not None:
                self._writing.cancel()
                self._writing = None
            super().resume_writing()

        def send_400_response(self, msg: str) -> None:
            """What is no HTTP gets the same envelope as everything else."""
            body = dumps(envelope(InvalidRequest("this is no HTTP that can be read: correct the request")))
            head = (
                f"HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
            )
            if self.cycle is None or self.cycle.response_complete:
                self.transport.write(f"{head}\r\nConnection: close\r\n\r\n{body}".encode())
            self.transport.close()

        def _end_if_silent(self) -> None:
            if self.cycle is None:  # as it is at first, whatever its type says
                self.transport.abort()  # type: ignore[unreachable]

    return Connection
