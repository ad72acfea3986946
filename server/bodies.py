"""What a body may be: its content type, its size, declared or sent, and whether it is JSON at all."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from pydantic_core import from_json
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from index.errors import FootnoteError
from server.envelope import error_response
from server.errors import BodyTooLarge, InvalidRequest, UnsupportedMedia
from server.security import WRITES

UPLOADS = "/api/documents"
"""The one path that takes multipart/form-data."""

SLOWEST_CHUNK_S = 30.0
"""A body of which nothing comes for so long is given up."""

LINGER_S = 1.0
"""How long the rest of a body that was refused is taken, and thrown away."""

_TOO_SLOW = "the body did not come: send it in one go"


class BodyCheck:
    """Reads JSON whole before any route sees it; counts uploads while they come.

    What no route takes is passed on as it is: 404 and 405 say more than what is wrong with its body.
    """

    def __init__(
        self, app: ASGIApp, *, json_bytes: int, upload_bytes: int, is_served: Callable[[Scope], bool]
    ) -> None:
        self._app = app
        self._is_served = is_served
        self._json_bytes = json_bytes
        self._upload_bytes = upload_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] not in WRITES or not self._is_served(scope):
            await self._app(scope, receive, send)
            return
        try:
            await self._checked(scope, receive, send)
        except BodyTooLarge as error:
            await _refuse(error, scope, receive, send)

    async def _checked(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        if (packed := headers.get("content-encoding", "identity").strip().lower()) not in {"", "identity"}:
            raise UnsupportedMedia(f"the body is packed with {packed}: send it as it is")
        kind = _media_type(headers.get("content-type", ""))
        if scope["method"] == "DELETE" and kind == "":
            await self._app(scope, _bounded(receive, self._json_bytes), send)
        elif kind == "application/json":
            _refuse_declared(headers, self._json_bytes)
            await self._app(scope, await self._json(receive), send)
        elif kind == "multipart/form-data" and scope["path"] == UPLOADS:
            _refuse_declared(headers, self._upload_bytes)
            await self._upload(scope, receive, send)
        else:
            wanted = "application/json" + (" or multipart/form-data" if scope["path"] == UPLOADS else "")
            raise UnsupportedMedia(f"the content type is {kind or 'not given'}: send {wanted}")

    async def _json(self, receive: Receive) -> Receive:
        bounded = _bounded(receive, self._json_bytes)
        body = bytearray()
        while True:
            message = await bounded()
            if message["type"] == "http.disconnect":
                break
            body += message.get("body", b"")
            if not message.get("more_body", False):
                break
        try:
            # Stricter than json.loads: no NaN, no lone surrogates, no nesting without end.
            from_json(bytes(body), allow_inf_nan=False, cache_strings=False)
        except ValueError as error:
            raise InvalidRequest(f"the body is not JSON: {error}") from None
        whole: list[Message] = [{"type": "http.request", "body": bytes(body), "more_body": False}]

        async def replayed() -> Message:
            return whole.pop() if whole else await receive()

        return replayed

    async def _upload(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The framework turns errors from reading a body into its own: ours is sent in place of that."""
        failure: FootnoteError | None = None
        bounded = _bounded(receive, self._upload_bytes)

        async def counted() -> Message:
            nonlocal failure
            try:
                return await bounded()
            except FootnoteError as error:
                failure = error
                raise

        async def sent(message: Message) -> None:
            if failure is None:
                await send(message)

        try:
            await self._app(scope, counted, sent)
        except Exception:
            if failure is None:
                raise
        if failure is not None:
            raise failure


async def _refuse(error: BodyTooLarge, scope: Scope, receive: Receive, send: Send) -> None:
    """The response, and then for a moment what is still sent: hung up on at once, a client may lose both."""

    async def lingering(message: Message) -> None:
        is_last = message["type"] == "http.response.body"
        await send({**message, "more_body": True} if is_last else message)
        if is_last:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LINGER_S):
                    while (await receive()).get("more_body", False):
                        pass
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    await error_response(error, {"Connection": "close"})(scope, receive, lingering)


def _media_type(sent: str) -> str:
    """Without its parameters; a charset other than UTF-8 makes it another type."""
    kind, *parameters = (part.strip().lower() for part in sent.split(";"))
    charset = next((part[8:].strip('"') for part in parameters if part.startswith("charset=")), "utf-8")
    return kind if charset in {"utf-8", "utf8"} else sent.lower()


def _refuse_declared(headers: Headers, limit: int) -> None:
    declared = headers.get("content-length", "0")
    if not (declared.isascii() and declared.isdigit()):
        raise InvalidRequest("the content length is no number: correct the request")
    if len(declared) > 18 or int(declared) > limit:
        raise _too_large(limit)


def _too_large(limit: int) -> BodyTooLarge:
    return BodyTooLarge(f"the body is larger than {limit} bytes, which is the most: send less")


def _bounded(receive: Receive, limit: int) -> Receive:
    """Raises BodyTooLarge once more than `limit` bytes have come, and InvalidRequest when nothing comes."""
    received = 0
    is_over = False

    async def bounded() -> Message:
        nonlocal received, is_over
        if is_over:
            return await receive()
        try:
            async with asyncio.timeout(SLOWEST_CHUNK_S):
                message = await receive()
        except TimeoutError:
            raise InvalidRequest(_TOO_SLOW) from None
        received += len(message.get("body", b""))
        if received > limit:
            raise _too_large(limit)
        is_over = not message.get("more_body", False)
        return message

    return bounded
