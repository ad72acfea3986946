"""Connections that do nothing, or take nothing, are ended; others go on."""

from __future__ import annotations

import asyncio
import contextlib
import socket

from uvicorn.protocols.http.h11_impl import H11Protocol

from rag.jsonform import dumps
from server.envelope import envelope
from server.errors import InvalidRequest

REQUEST_S = 30.0
"""How long a connection may take to send the head of a request, from its first byte or its opening."""


def protocol(slow_reader_s: float) -> type[H11Protocol]:
    """HTTP connections that are cut off when their client takes nothing for so long, in seconds."""

    class Connection(H11Protocol):
        _writing: asyncio.TimerHandle | None = None
        _silent: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._expect()
            opened = transport.get_extra_info("socket")
            if opened is not None and hasattr(socket, "TCP_USER_TIMEOUT"):
                # What is left in the buffers of a response that has ended is not kept for ever either.
                with contextlib.suppress(OSError):
                    opened.setsockopt(
                        socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(slow_reader_s * 1000)
                    )

        def connection_lost(self, exc: Exception | None) -> None:
            self._forget()
            if self._writing is not None:
                self._writing.cancel()
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self._is_asking():
                self._forget()
            elif self._silent is None:
                self._expect()  # the head of the next request has begun

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

        def _is_asking(self) -> bool:
            """Whether a request has come and has not been answered; the cycle is None at first."""
            return self.cycle is not None and not self.cycle.response_complete

        def _expect(self) -> None:
            self._silent = self.loop.call_later(REQUEST_S, self.transport.abort)

        def _forget(self) -> None:
            if self._silent is not None:
                self._silent.cancel()
                self._silent = None

    return Connection
