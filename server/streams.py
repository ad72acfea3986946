"""Answers on their way: as a stream of server-sent events, or whole; and what happens when nobody listens."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Coroutine
from typing import Any, TypeVar

from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from index.errors import FootnoteError
from rag.errors import GenerationCancelled
from rag.jsonform import dumps
from server.envelope import UNEXPECTED, envelope, log_unexpected
from server.frame import CLIENT_GONE

T = TypeVar("T")

WAITING_S = 5.0
"""How often a stream without news says that it still waits."""

_LOOKS = 4
"""So many turns of the event loop pass between the end of a connection and our learning of it."""

ONE_EVENT = {
    "type": "object",
    "description": "one server-sent event; its data is JSON, or [DONE]",
    "required": ["data"],
    "properties": {"event": {"type": "string"}, "data": {"type": "string"}},
}
"""For the description at /openapi.json."""


class ClientGone(Exception):
    """Whoever asked is not there any more."""


def frame(data: dict[str, Any], event: str = "") -> bytes:
    """One server-sent event. The data is one line: `dumps` escapes what would end it."""
    name = f"event: {event}\n" if event else ""
    return f"{name}data: {dumps(data)}\n\n".encode()


class EventStream(Response):
    """Sends frames as they are made. Errors before the first are raised, and so become plain responses.

    A later one, the unexpected too, is sent as `fail` writes it, last. When the client goes away the frames
    are closed.
    """

    media_type = "text/event-stream"

    def __init__(
        self, frames: AsyncGenerator[bytes], fail: Callable[[dict[str, Any]], bytes], *, waiting_s: float
    ) -> None:
        super().__init__()
        del self.headers["content-length"]
        # Proxies may neither keep it back nor change it.
        self.headers["X-Accel-Buffering"] = "no"
        self.headers["Cache-Control"] = "no-store, no-transform"
        self._frames = frames
        self._fail = fail
        self._waiting_s = waiting_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with contextlib.suppress(ClientGone):
            await while_connected(receive, self._pump(scope, send))

    async def _pump(self, scope: Scope, send: Send) -> None:
        async with contextlib.aclosing(self._frames) as frames:
            first = await anext(frames)
            await send(
                {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
            )
            await send({"type": "http.response.body", "body": first, "more_body": True})
            try:
                async for data in _with_signs_of_life(frames, self._waiting_s):
                    await send({"type": "http.response.body", "body": data, "more_body": True})
            except GenerationCancelled:
                return
            except FootnoteError as error:
                await send(self._failure(error))
            except Exception as error:
                log_unexpected(error, scope)
                await send(self._failure(UNEXPECTED))
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    def _failure(self, error: FootnoteError) -> Message:
        return {"type": "http.response.body", "body": self._fail(envelope(error)), "more_body": True}


async def _with_signs_of_life(frames: AsyncGenerator[bytes], every_s: float) -> AsyncGenerator[bytes]:
    """The frames, and a comment whenever none has come for a while."""
    while True:
        following = asyncio.ensure_future(anext(frames))
        try:
            while not (await asyncio.wait([following], timeout=every_s))[0]:
                yield b": waiting\n\n"
        finally:
            if not following.done():
                following.cancel()
                await asyncio.wait([following])
        try:
            yield following.result()
        except StopAsyncIteration:
            return


async def while_connected(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`, which is cancelled when the client goes away; then raises ClientGone.

    To be called when the body of the request has been read.
    """
    listening = asyncio.ensure_future(_disconnected(receive))
    working = asyncio.ensure_future(_unless_gone(listening, work))
    try:
        await asyncio.wait([working, listening], return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise ClientGone
    finally:
        for task in (working, listening):
            if not task.done():
                task.cancel()
        await asyncio.wait([working, listening])


async def _unless_gone(listening: asyncio.Future[None], work: Coroutine[Any, Any, T]) -> T:
    """In a crowd that leaves, some have left before anything is begun for them, and nothing should be."""
    try:
        for _ in range(_LOOKS):
            await asyncio.sleep(0)
        if listening.done():
            raise ClientGone
        return await work
    finally:
        work.close()


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def answered_while_connected(receive: Receive, work: Coroutine[Any, Any, Response]) -> Response:
    """A response for whoever still wants it."""
    try:
        return await while_connected(receive, work)
    except (ClientGone, GenerationCancelled):
        return Response(status_code=CLIENT_GONE)
