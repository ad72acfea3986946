"""Who may ask now, who waits, and who is sent away: one model, one queue, both bounded."""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

from server.errors import Stopping, TooBusy


@dataclass(slots=True)
class Place:
    """Held by one question; see `Admission.leave`."""

    has_turn: bool = False
    has_left: bool = False


class Admission:
    """Lets `slots` questions be answered at once and `queue` more wait, in the order in which they came.

    For one event loop.
    """

    def __init__(self, *, slots: int, queue: int, wait_s: float) -> None:
        self._slots = slots
        self._queue = queue
        self._wait_s = wait_s
        self._inside = 0
        self._active = 0
        self._abandoned = 0  # turns of those who have left
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._typical_s = 5.0
        self._stopping = False

    @property
    def active(self) -> int:
        """Questions whose turn it is."""
        return self._active

    @property
    def waiting(self) -> int:
        """Questions that have a place and not yet their turn."""
        return self._inside - self._active + self._abandoned

    @property
    def is_idle(self) -> bool:
        """Whether nobody is answered and nobody waits."""
        return self._inside == self._active == 0

    @property
    def retry_after_s(self) -> int:
        """When a place should be free, going by how long turns have taken lately."""
        return max(1, min(math.ceil(self._typical_s), 120))

    def stop(self) -> None:
        """Let nobody in any more, and none of those who wait have a turn."""
        self._stopping = True
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_exception(_stopped())

    @contextmanager
    def place(self) -> Iterator[Place]:
        """A place in the queue. Raises TooBusy at once where there is none, and Stopping."""
        if self._stopping:
            raise _stopped()
        if self._inside >= self._slots + self._queue:
            raise TooBusy(
                f"{self._inside} questions are being answered or wait, which is the most: ask again later",
                self.retry_after_s,
            )
        self._inside += 1
        place = Place()
        try:
            yield place
        finally:
            self.leave(place)

    def leave(self, place: Place) -> None:
        """Make room for another at once. Who has a turn keeps it until it ends."""
        if not place.has_left:
            place.has_left = True
            self._inside -= 1
            self._abandoned += place.has_turn

    @asynccontextmanager
    async def turn(self, place: Place) -> AsyncIterator[None]:
        """A turn, for whoever has a place. Raises TooBusy where that takes too long, and Stopping."""
        await self._wait()
        place.has_turn = True
        began = time.monotonic()
        try:
            yield
        finally:
            place.has_turn = False
            self._abandoned -= place.has_left
            self._typical_s += 0.2 * (time.monotonic() - began - self._typical_s)
            self._pass_on()

    async def _wait(self) -> None:
        if self._stopping:
            raise _stopped()
        if self._active < self._slots:
            self._active += 1
            return
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            async with asyncio.timeout(self._wait_s):
                await waiter
        except BaseException as error:
            if waiter in self._waiters:
                self._waiters.remove(waiter)
            elif waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self._pass_on()  # it had just become ours
            if isinstance(error, TimeoutError):
                raise TooBusy(
                    f"the model was not free within {self._wait_s:g} s: ask again later", self.retry_after_s
                ) from None
            raise

    def _pass_on(self) -> None:
        """To the next who waits, or to nobody."""
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
        self._active -= 1


def _stopped() -> Stopping:
    return Stopping("the server is being stopped: ask again when it is back")
