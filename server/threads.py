"""Calls in threads that the event loop waits for without being held up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from typing import TypeVar, TypeVarTuple

T = TypeVar("T")
Arguments = TypeVarTuple("Arguments")


async def in_thread(
    threads: Executor,
    work: Callable[[*Arguments], T],
    *arguments: *Arguments,
    give_up: Callable[[], None] | None = None,
) -> T:
    """The result of a call in one of `threads`.

    Who is cancelled while it runs calls `give_up`, and goes on only when the call has ended: nobody may use
    what it used before. A call that has not begun never does.
    """
    job = threads.submit(work, *arguments)
    future = asyncio.wrap_future(job)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        if give_up is not None:
            give_up()
        if not job.cancel():
            await asyncio.wait([future])
        if future.done() and not future.cancelled():
            future.exception()  # looked at, so that nobody complains that nobody did
        raise
