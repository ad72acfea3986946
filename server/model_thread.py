"""The one thread in which the model works: answers one after another, and readings in between."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar, TypeVarTuple

from rag.ahead import ReadAhead
from rag.types import Generator, Prompt
from server.threads import in_thread

T = TypeVar("T")
Arguments = TypeVarTuple("Arguments")


class ModelThread:
    """Runs what needs the model, in order. What is worth reading ahead is read while nobody asks.

    A reading is stopped by the next question and taken up again after it. None is begun of a document of
    which `is_there` says, in the model's thread, that it has gone.
    """

    def __init__(
        self, generator: Generator | None, *, read_ahead: bool, is_there: Callable[[str], bool]
    ) -> None:
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="model")
        self._ahead = ReadAhead(generator) if generator and read_ahead else None
        self._is_there = is_there
        self._unfinished: Prompt | None = None  # of the model's thread

    async def run(
        self,
        work: Callable[[*Arguments], T],
        *arguments: *Arguments,
        give_up: Callable[[], None] | None = None,
    ) -> T:
        """The result of a call in the model's thread; see `in_thread`."""
        return await in_thread(self._threads, work, *arguments, give_up=give_up)

    def hush(self) -> None:
        """Somebody asks: what is being read ahead stops soon. Waits for nothing."""
        if self._ahead is not None:
            self._ahead.hush()

    async def interrupt(self) -> None:
        """Stop to read, for whoever has the turn; returns when the model is free."""
        if self._ahead is not None:
            await self.run(self._stop)

    async def answered(self, unread: Prompt | None, *, idle: bool) -> None:
        """A question has been answered. When nobody else asks, read what it left unread or interrupted."""
        if self._ahead is not None:
            await self.run(self._answered, unread, idle)

    async def forget(self, document_id: str, *, idle: bool) -> None:
        """Do not read a document that has been deleted; returns when it is certain. When nobody asks, go on
        with what was being read of another one."""
        if self._ahead is not None:
            await self.run(self._forget, document_id, idle)

    def close(self) -> None:
        """Waits for what runs."""
        if self._ahead is not None:
            self._threads.submit(self._stop)
        self._threads.shutdown()

    def _stop(self) -> None:
        assert self._ahead is not None
        self._unfinished = self._ahead.stop() or self._unfinished

    def _answered(self, unread: Prompt | None, idle: bool) -> None:
        assert self._ahead is not None
        self._stop()
        self._unfinished = unread or self._unfinished
        if idle and self._unfinished is not None:
            prompt, self._unfinished = self._unfinished, None
            # Removed while the question was answered that left it unread: who removed it looked before.
            if self._is_there(prompt.document_id):
                self._ahead.begin(prompt)

    def _forget(self, document_id: str, idle: bool) -> None:
        self._stop()
        if self._unfinished is not None and self._unfinished.document_id == document_id:
            self._unfinished = None
        self._answered(None, idle=idle)
