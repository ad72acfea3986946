"""Calls in threads that the event loop waits for without being held up."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Executor
from typing import TypeVar, TypeVarTuple

T = TypeVar("T")
Arguments = TypeVarTuple("Arguments")


async def in_thread(
    threads: Executor,
    work: Callable[[*Arguments], T],
    *arguments: *Arguments,
    unwanted: threading.Event | None = None,
) -> T:
    """The result of a call in one of `threads`.

    Who is cancelled while it runs sets `unwanted`, and goes on only when the call has ended: nobody may use
    what it used before.
    """
    future = asyncio.get_running_loop().run_in_executor(threads, work, *arguments)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        if unwanted is not None:
            unwanted.set()
        await asyncio.wait([future])
        if not future.cancelled():
            future.exception()  # looked at, so that nobody complains that nobody did
        raise
