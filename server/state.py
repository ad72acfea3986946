"""What the parts of the server share: one object, made once, handed to each router."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, TypeVarTuple

from index.errors import CollectionUnavailable, EndpointFailed, FootnoteError, ModelError
from index.remembered import RememberingEmbedder
from index.types import Collection
from rag.errors import WorkerFailed
from rag.gate import Gate, load_gate
from rag.session import Session
from server.admission import Admission
from server.config import ServerSettings, ServeSettings
from server.envelope import UNEXPECTED
from server.errors import NotReady
from server.keys import ApiKey
from server.metrics import Metrics
from server.model_thread import ModelThread
from server.threads import in_thread

T = TypeVar("T")
Arguments = TypeVarTuple("Arguments")

LOG = logging.getLogger("footnote.server")

BLOCKING_THREADS = 8
SEARCHING_THREADS = 2

LOOK_AGAIN_S = 5.0
"""How often endpoints are looked at that did not answer."""

LOAD_AGAIN_S = (5.0, 60.0)
"""A model whose process died as it was loaded is loaded again after so long; twice as long each time."""

SOON_S = 1.0
"""What is to be done soon is waited for so long."""

REACH_S = 2.0
"""How long the collection may take to answer before it counts as not there."""


@dataclass(slots=True)
class ServerState:
    """Use `make_state`. The session belongs to who opened it; `close` ends the threads made here."""

    settings: ServeSettings
    session: Session
    key: ApiKey | None
    admission: Admission
    quoting: Admission
    model: ModelThread
    metrics: Metrics
    gate: Gate
    cut_off: threading.Event = field(default_factory=threading.Event)
    """Set when the grace time is over: who still answers breaks off."""
    not_ready: FootnoteError | None = field(default_factory=lambda: NotReady("the model is being loaded"))
    """Why the model cannot answer yet; None once it can."""
    is_leaving: bool = False
    """Whether it has been told to stop: who balances should send nobody any more."""
    _warming: asyncio.Task[None] | None = None  # held: the event loop itself does not
    _reaching: asyncio.Task[None] | None = None
    _load_again_s: float = LOAD_AGAIN_S[0]
    _under_way: set[asyncio.Task[None]] = field(default_factory=set)
    _blocking: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(BLOCKING_THREADS, thread_name_prefix="blocking")
    )
    _searching: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(SEARCHING_THREADS, thread_name_prefix="searching")
    )

    @property
    def server(self) -> ServerSettings:
        return self.settings.server

    @property
    def uploads_folder(self) -> Path:
        return self.settings.uploads_folder

    @property
    def evaluations_folder(self) -> Path:
        return self.settings.evaluations_folder

    async def run(self, work: Callable[[*Arguments], T], *arguments: *Arguments) -> T:
        """The result of a call that reads the disk or the database, in a thread: never in the event loop."""
        return await asyncio.get_running_loop().run_in_executor(self._blocking, work, *arguments)

    async def search(
        self,
        work: Callable[[*Arguments], T],
        *arguments: *Arguments,
        give_up: Callable[[], None] | None = None,
    ) -> T:
        """As `run`, for what looks for sources: uploads cannot keep it waiting. See `in_thread`."""
        return await in_thread(self._searching, work, *arguments, give_up=give_up)

    async def reach(self) -> None:
        """Look whether the collection can be read, once for all who want to know at the same time.

        Raises CollectionError, and CollectionUnavailable where it takes longer than `REACH_S`.
        """
        if self._reaching is None or self._reaching.done():
            self._reaching = asyncio.create_task(self.run(self.session.collection.reach))
            # Looked at, so that nobody complains that nobody did.
            self._reaching.add_done_callback(lambda task: task.cancelled() or task.exception())
        looking = self._reaching
        await asyncio.wait([looking], timeout=REACH_S)
        if not looking.done():
            raise CollectionUnavailable(f"the collection has not answered within {REACH_S:g} s: try again")
        looking.result()

    async def soon(self, work: Coroutine[Any, Any, None]) -> None:
        """Have this done, whoever goes away meanwhile; what takes long is not waited for to its end."""
        task = asyncio.create_task(work)
        self._under_way.add(task)
        task.add_done_callback(self._done)
        await asyncio.wait([task], timeout=SOON_S)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None and not self.cut_off.is_set():
            LOG.error("unexpected", exc_info=error)

    async def warm_up(self) -> None:
        """Load what the first question would have to wait for."""
        try:
            await self.model.run(self._load)
        except EndpointFailed as error:
            self.not_ready = error
            asyncio.get_running_loop().call_later(LOOK_AGAIN_S, self._warm_up_again)
        except WorkerFailed as error:
            # Where /ready decides who is asked, no question would ever come that loads it.
            self.not_ready = error
            asyncio.get_running_loop().call_later(self._load_again_s, self._warm_up_again)
            self._load_again_s = min(2 * self._load_again_s, LOAD_AGAIN_S[1])
        except FootnoteError as error:
            self.not_ready = error
        except Exception as error:
            LOG.error("unexpected", exc_info=error)
            self.not_ready = UNEXPECTED
        else:
            self.not_ready = None
            self._load_again_s = LOAD_AGAIN_S[0]

    def _load(self) -> None:
        embedder = self.session.embedder
        # Not out of memory: whether the embedder itself answers is what has to be known.
        (embedder.inner if isinstance(embedder, RememberingEmbedder) else embedder).embed(["ready"])
        if self.session.generator is not None:
            self.session.generator.count_tokens("ready")

    def failed(self, error: ModelError) -> None:
        """The model's process has died, or its endpoints have: it is loaded or looked for again.

        For the event loop's thread.
        """
        self.not_ready = error
        self._warm_up_again()

    def _warm_up_again(self) -> None:
        if not self.cut_off.is_set() and (self._warming is None or self._warming.done()):
            self._warming = asyncio.create_task(self.warm_up())

    def leave(self) -> None:
        """Say that it is no longer ready, and serve on. For the event loop's thread."""
        self.is_leaving = True

    def stop(self) -> None:
        """Let nobody in any more; answers may end within the grace time. For the event loop's thread."""
        self.is_leaving = True
        self.admission.stop()
        self.quoting.stop()
        asyncio.get_running_loop().call_later(self.server.grace_s, self.cut_off.set)

    def close(self) -> None:
        """Waits for the threads made here, the event loop with it: for as long as it takes to break off."""
        self.cut_off.set()
        self.session.let_go()
        self.model.close()
        self._blocking.shutdown()
        self._searching.shutdown()


def make_state(settings: ServeSettings, session: Session, *, key: ApiKey | None = None) -> ServerState:
    """The state of one server; within its event loop or before it."""
    server = settings.server
    admission = Admission(slots=1, queue=server.queue, wait_s=server.queue_wait_s)
    quoting = Admission(slots=SEARCHING_THREADS, queue=server.queue, wait_s=server.queue_wait_s)
    return ServerState(
        settings=settings,
        session=session,
        key=key,
        admission=admission,
        quoting=quoting,
        model=ModelThread(
            session.generator,
            read_ahead=settings.rag.read_ahead,
            is_there=partial(_is_there, session.collection),
        ),
        metrics=Metrics(waiting=lambda: admission.waiting, active=lambda: admission.active),
        gate=load_gate(settings.rag.gate),
    )


def _is_there(collection: Collection, document_id: str) -> bool:
    try:
        collection.listed(document_id)
    except FootnoteError:
        return False
    return True
