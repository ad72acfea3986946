"""One request to one endpoint: waited for within limits, given up at any moment, and never trusted.

Requests run on an event loop in a thread of their own, whatever thread waits for them: a request that is no
longer wanted is cancelled there at once, before the first byte or between two, and its connection closed,
which is how an endpoint learns that it can stop. Nothing goes through a proxy of the environment, no redirect
is followed, and TLS is verified against what the system trusts.
"""

from __future__ import annotations

import asyncio
import contextlib
import email.utils
import json
import queue
import re
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx2

POLL_S = 0.05
"""How soon it is noticed that a request is no longer wanted."""

MOST_BYTES = 64 * 1024**2
"""Of one response. 64 vectors of 4,096 dimensions are 6 MB of JSON."""

MOST_LINE_BYTES = 1024**2
"""Of one event in a stream."""

_SHOWN = 160
"""So many characters of what an endpoint says about an error are passed on."""

Put = Callable[[object], None]


@dataclass(frozen=True, slots=True)
class Patience:
    """How long an endpoint may take to accept a connection, between two bytes, and in all; how often all
    endpoints are tried before it is an error. `check_s` is what a check of its health may take."""

    connect_s: float = 5.0
    silence_s: float = 60.0
    total_s: float = 300.0
    check_s: float = 10.0
    rounds: int = 4


PATIENCE = Patience()


class Fault(Exception):
    """An attempt at one endpoint failed. `is_passing`: the same may go well later."""

    def __init__(self, reason: str, *, is_passing: bool = True, retry_after_s: float | None = None) -> None:
        super().__init__(reason)
        self.is_passing = is_passing
        self.retry_after_s = retry_after_s


class Rejected(Exception):
    """The endpoint is well and does not do what it was asked: `status` 4xx or 501, and why in its words."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message or code or f"status {status}")
        self.status = status
        self.code = code

    @property
    def is_missing(self) -> bool:
        """There is no such path, or no such model."""
        return self.status in {404, 405, 410, 501}


class NoLongerWanted(Exception):
    """Whoever asked has gone, or everything is being closed."""


_END = object()


@dataclass(slots=True)
class Calls:
    """Requests with one key. Safe to use from several threads; the first request starts the loop's."""

    key: str = field(default="", repr=False)
    patience: Patience = Patience()
    _guard: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _loop: asyncio.AbstractEventLoop | None = field(default=None, repr=False)
    _client: httpx2.AsyncClient | None = field(default=None, repr=False)
    _is_closed: bool = False
    _requests: set[asyncio.Task[None]] = field(default_factory=set, repr=False)  # of the loop's thread

    def json(
        self,
        method: str,
        url: str,
        body: Mapping[str, Any] | None,
        *,
        cancelled: Callable[[], bool],
        deadline: float,
        silence_s: float | None = None,
    ) -> Any:
        """The parsed body of a response. Raises Fault, Rejected, NoLongerWanted.

        `deadline` is a reading of `time.monotonic`; `silence_s` is that of `patience` where it is not given.
        """

        async def fetched(put: Put) -> None:
            async with self._response(method, url, body, silence_s) as response:
                put(_parsed(await _whole(response)))

        with contextlib.closing(self._received(fetched, cancelled, deadline)) as items:
            return next(items)

    def events(
        self, url: str, body: Mapping[str, Any], *, cancelled: Callable[[], bool], deadline: float
    ) -> Generator[Any]:
        """The parsed events of a stream; of a response that is none, its body as the only one.

        Ends where the stream does, whole or not. To close the iterator closes the connection. Raises what
        `json` raises.
        """

        async def streamed(put: Put) -> None:
            async with self._response("POST", url, body, None) as response:
                kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
                if kind != "text/event-stream":
                    put(_parsed(await _whole(response)))
                    return
                async for data in _event_data(response.aiter_bytes()):
                    if data.strip() == b"[DONE]":
                        return
                    put(_parsed(data))

        return self._received(streamed, cancelled, deadline)

    def close(self) -> None:
        """End all requests, which raise NoLongerWanted, and the thread. Nothing can be asked afterwards."""
        with self._guard:
            self._is_closed = True
            loop, self._loop = self._loop, None
        if loop is not None:
            asyncio.run_coroutine_threadsafe(self._closed(), loop).result()
            loop.call_soon_threadsafe(loop.stop)

    # -- on the caller's thread -------------------------------------------------------------------

    def _received(
        self, work: Callable[[Put], Awaitable[None]], cancelled: Callable[[], bool], deadline: float
    ) -> Generator[Any]:
        items: queue.SimpleQueue[object] = queue.SimpleQueue()
        with self._guard:  # what is begun before `close` is ended by it
            loop = self._running()
            future = asyncio.run_coroutine_threadsafe(self._guarded(work, items.put, deadline), loop)
        try:
            while True:
                if cancelled():
                    raise NoLongerWanted
                try:
                    item = items.get(timeout=POLL_S)
                except queue.Empty:
                    continue
                if item is _END:
                    return
                if isinstance(item, BaseException):
                    raise item
                yield item
        finally:
            future.cancel()

    def _running(self) -> asyncio.AbstractEventLoop:
        """The loop, in its thread. `_guard` is held."""
        if self._is_closed:
            raise NoLongerWanted
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            # A daemon: whoever is interrupted need not close this first.
            threading.Thread(target=_run, args=(self._loop,), name="endpoints", daemon=True).start()
        return self._loop

    # -- on the loop's thread ---------------------------------------------------------------------

    async def _guarded(self, work: Callable[[Put], Awaitable[None]], put: Put, deadline: float) -> None:
        """Do the work; whatever ends it is put for who waits."""
        left = max(deadline - time.monotonic(), 0.0)
        request = asyncio.current_task()
        assert request is not None
        self._requests.add(request)
        try:
            async with asyncio.timeout(left):
                await work(put)
        except TimeoutError:
            put(Fault("was not done in the time that there was"))
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            put(Fault(self._reason(error)))
        except asyncio.CancelledError:
            put(NoLongerWanted())
            raise
        except Exception as error:
            put(error)
        else:
            put(_END)
        finally:
            self._requests.discard(request)

    @contextlib.asynccontextmanager
    async def _response(
        self, method: str, url: str, body: Mapping[str, Any] | None, silence_s: float | None
    ) -> AsyncGenerator[httpx2.Response]:
        """A response with a status that lets it be read. Raises Fault and Rejected."""
        if self._client is None:
            # Not compressed: what is small on the wire could be anything.
            headers = {"Accept-Encoding": "identity"}
            if self.key:
                headers["Authorization"] = f"Bearer {self.key}"
            self._client = httpx2.AsyncClient(headers=headers, trust_env=False, follow_redirects=False)
        silence = self.patience.silence_s if silence_s is None else silence_s
        timeout = httpx2.Timeout(silence, connect=min(self.patience.connect_s, silence))
        content = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"} if body is not None else {}
        async with self._client.stream(
            method, url, content=content, headers=headers, timeout=timeout
        ) as response:
            if not response.is_success:
                raise self._refusal(response, await _whole(response), content or b"")
            yield response

    def _refusal(self, response: httpx2.Response, data: bytes, sent: bytes) -> Fault | Rejected:
        status = response.status_code
        if 300 <= status < 400:
            return Fault("sends on to another address, which is not followed", is_passing=False)
        if status in {401, 403}:
            # What it says to this may hold the key, or half of it.
            return Fault("refuses the key" if self.key else "wants a key", is_passing=False)
        if status in {408, 425, 429}:
            said = "is too busy" if status == 429 else f"answers with status {status}"
            return Fault(said, retry_after_s=_retry_after(response))
        code, message = _told(data, sent, self.key)
        if status >= 500 and status != 501 and not _TOO_LONG.search(message):
            said = f"answers with status {status}{f' ({message})' if message else ''}"
            return Fault(said, retry_after_s=_retry_after(response))
        return Rejected(status, code, message)

    def _reason(self, error: Exception) -> str:
        if isinstance(error, httpx2.ConnectTimeout):
            return f"accepts no connection within {self.patience.connect_s:g} s"
        if isinstance(error, httpx2.TimeoutException):
            return "says nothing"
        if isinstance(error, httpx2.ConnectError):
            reason = " ".join(str(error).split())[:_SHOWN]
            return f"cannot be reached ({reason})" if reason else "cannot be reached"
        if isinstance(error, httpx2.InvalidURL | httpx2.UnsupportedProtocol):
            return "has an address that cannot be used"
        return "broke off"

    async def _closed(self) -> None:
        # Not the tasks that these have begun, as to make a connection: each ends its own. Such a task that is
        # cancelled before its first step leaves a coroutine behind that was never awaited.
        requests = list(self._requests)
        for request in requests:
            request.cancel()
        await asyncio.gather(*requests, return_exceptions=True)
        if self._client is not None:
            await self._client.aclose()


_TOO_LONG = re.compile(r"too (?:large|long)|context (?:length|size|window)|batch size", re.IGNORECASE)


def is_too_long(rejected: Rejected) -> bool:
    """Whether it was asked to read more than it can."""
    known = {"context_length_exceeded", "exceed_context_size_error"}
    return rejected.code in known or rejected.status == 413 or bool(_TOO_LONG.search(str(rejected)))


def _run(loop: asyncio.AbstractEventLoop) -> None:
    try:
        loop.run_forever()
    finally:
        loop.close()


async def _whole(response: httpx2.Response) -> bytes:
    data = bytearray()
    async for part in response.aiter_bytes():
        data += part
        if len(data) > MOST_BYTES:
            raise Fault(f"sends more than {MOST_BYTES} bytes", is_passing=False)
    return bytes(data)


async def _event_data(parts: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
    """The data of each server-sent event. Cut at line ends, so that no character is ever torn."""
    buffer, data, total = bytearray(), bytearray(), 0
    async for part in parts:
        total += len(part)
        buffer += part
        *lines, rest = buffer.split(b"\n")
        buffer = bytearray(rest)
        if total > MOST_BYTES or len(buffer) > MOST_LINE_BYTES or len(data) > MOST_LINE_BYTES:
            raise Fault("sends an event without an end", is_passing=False)
        for raw in lines:
            line = raw.removesuffix(b"\r")
            name, _, value = line.partition(b":")
            if name == b"data":
                data += (b"\n" if data else b"") + value.removeprefix(b" ")
            elif name == b"error":  # llama.cpp's own
                data += b'{"error":' + value + b"}"
            elif not line and data:
                yield bytes(data)
                data.clear()
    if data:
        yield bytes(data)


def _parsed(data: bytes) -> Any:
    """JSON, or a Fault; one too where it is an error that came with a status of success."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        raise Fault("does not speak OpenAI's protocol", is_passing=False) from None
    if isinstance(found, dict) and found.get("error"):
        raise Fault("ended with an error of its own")
    return found


def _told(data: bytes, sent: bytes, key: str) -> tuple[str, str]:
    """The code and the words of an error, where they can be shown: not the key, and nothing that was sent."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return "", ""
    if not isinstance(found, dict):
        return "", ""
    error = found.get("error", found)
    if isinstance(error, str):
        error = {"message": error}
    if not isinstance(error, dict):
        return "", ""
    code = next((str(error[name]) for name in ("type", "code") if isinstance(error.get(name), str)), "")
    if isinstance(error.get("code"), str):
        code = error["code"]
    message = " ".join(str(error.get("message", "")).split())
    if not re.fullmatch(r"[\w.-]{1,64}", code) or (key and key in code):
        code = ""
    text = sent.decode("ascii", "replace")
    pieces = (json.dumps(message[at : at + 24])[1:-1] for at in range(0, max(len(message) - 23, 1), 8))
    if (key and key in message) or (len(message) >= 24 and any(piece in text for piece in pieces)):
        message = ""
    return code, message[:_SHOWN] if message.isprintable() else ""


def _retry_after(response: httpx2.Response) -> float | None:
    """Seconds, from either form of the header."""
    given = response.headers.get("retry-after", "").strip()
    if re.fullmatch(r"\d{1,9}(?:\.\d{1,9})?", given):
        return float(given)
    try:
        date = email.utils.parsedate_to_datetime(given)
    except (TypeError, ValueError):
        return None
    return max(date.timestamp() - time.time(), 0.0)
