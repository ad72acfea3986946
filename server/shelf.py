"""What adds documents to the collection and takes them away, one file after another.

Files are read in one line and embedded in another, so a file that takes long to read keeps nobody from
adding one that was read already; removing waits for neither. Each line has an end: who finds it full is
sent away at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TypeVar

from index.errors import CollectionError, UnknownDocument
from index.readers import READERS_VERSION
from index.titles import clean_title
from index.types import Change, Collection, Document, ListedDocument, Source
from rag.readings import ReadingStore
from server.errors import CollectionBusy, Stopping
from server.parsing import Parser
from server.uploads import Received, UploadFolder

T = TypeVar("T")
Run = Callable[[Callable[[str], None], str], Awaitable[None]]

MOST_WAITING = 16
"""Files that are read or embedded, or wait for it; one request has one of them at a time."""

MOST_BRINGING = 32
"""Requests that bring files at once: each may fill the disk with `server.upload_bytes`."""

SETTLED_S = 2.0
"""After so long without a change the vectors are saved: the next process then need not gather them."""


class Outcome(StrEnum):
    """What became of one file."""

    ADDED = "added"
    UNCHANGED = "unchanged"
    UPDATED = "updated"


@dataclass(frozen=True, slots=True)
class Shelved:
    """A file that is in the collection now."""

    outcome: Outcome
    document: ListedDocument


class _Line:
    """One thread, and at most so many who wait for it or are in it."""

    def __init__(self, name: str, most: int) -> None:
        self._places = threading.BoundedSemaphore(most)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)

    async def run(self, work: Callable[[], T]) -> T:
        """Raises CollectionBusy at once when the line is full. Work that has begun is brought to its end."""
        if not self._places.acquire(blocking=False):
            raise CollectionBusy("many documents are being added already: send this one again later")
        try:
            future = self._thread.submit(work)
        except BaseException:
            self._places.release()
            raise
        future.add_done_callback(lambda _: self._places.release())
        return await asyncio.wrap_future(future)

    def put_last(self, work: Callable[[], None]) -> None:
        """Do this when nobody waits; nobody waits for it."""
        self._thread.submit(work)

    def close(self) -> None:
        self._thread.shutdown(cancel_futures=True)


class Shelf:
    """Safe for many requests at once; for one event loop at a time."""

    def __init__(
        self,
        collection: Collection,
        folder: UploadFolder,
        readings: ReadingStore,
        parser: Parser,
        *,
        max_file_bytes: int,
        cut_off: threading.Event,
    ) -> None:
        """`cut_off` is set when a server that is being stopped waits no longer for what is under way."""
        self.folder = folder
        self._collection = collection
        self._readings = readings
        self._parser = parser
        self._max_file_bytes = max_file_bytes
        self._reading = _Line("reading", MOST_WAITING)
        self._embedding = _Line("embedding", MOST_WAITING)
        self._bringing = 0
        self._saving: asyncio.TimerHandle | None = None
        self._is_saved = True
        self._cut_off = cut_off

    @contextlib.contextmanager
    def receiving(self) -> Iterator[None]:
        """While a request brings files. Raises CollectionBusy at once where too many do."""
        if self._bringing >= MOST_BRINGING:
            raise CollectionBusy("many documents are being sent already: send these again later")
        self._bringing += 1
        try:
            yield
        finally:
            self._bringing -= 1

    async def add(self, file: Received, *, title: str = "") -> Shelved:
        """Read, embed and keep a file. Raises DocumentError, CollectionError, CollectionBusy, Stopping."""
        try:
            return await self._added(file, title)
        except asyncio.CancelledError:
            if self._cut_off.is_set():  # what reads a file does not look up before it has read it
                raise _stopping() from None
            raise

    async def _added(self, file: Received, title: str) -> Shelved:
        source = Source(file.uri, file.sha256, file.size, 0, READERS_VERSION)
        found = await self._reading.run(lambda: self._read(file, source, title))
        if isinstance(found, Shelved):
            return found
        try:
            return await self._embedding.run(lambda: self._put(file, source, found))
        finally:
            self._note_change()

    async def remove(self, document_id: str, run: Run) -> None:
        """Forget a document, and the bytes it was uploaded in. Raises UnknownDocument, CollectionLocked.

        `run` calls in a thread.
        """
        await run(self._remove, document_id)
        self._note_change()

    def _remove(self, document_id: str) -> None:
        # The bytes first: if the power goes in between, the document is still there to be removed again.
        with self._collection.writing():
            for uri in self._collection.listed(document_id).uris:
                self.folder.drop(uri)
            self._collection.remove_document(document_id)

    def drop_readings(self) -> None:
        """Of all documents that are not there any more."""
        self._readings.keep_only({info.id for info in self._collection.documents()})

    def open(self) -> None:
        """Clear up what an earlier process left. Raises nothing that can be gone without."""
        with contextlib.suppress(OSError):
            self.folder.sweep()
            self.drop_readings()

    def close(self) -> None:
        """End what is being read and what is being embedded, and save the vectors."""
        self._cut_off.set()
        if self._saving is not None:
            self._saving.cancel()
        self._parser.close()
        self._reading.close()
        self._embedding.close()
        self._save()

    def _go_on(self, _: int = 0) -> None:
        """Before a file is read, and between two batches of passages. Raises Stopping."""
        if self._cut_off.is_set():
            raise _stopping()

    def _note_change(self) -> None:
        """In the event loop: the vectors are saved once nothing changes any more."""
        self._is_saved = False
        if self._saving is not None:
            self._saving.cancel()
        loop = asyncio.get_running_loop()
        self._saving = loop.call_later(SETTLED_S, self._embedding.put_last, self._save)

    def _save(self) -> None:
        if not self._is_saved:
            self._is_saved = True
            with contextlib.suppress(CollectionError):  # they can be made again from the catalogue
                self._collection.snapshot()

    def _read(self, file: Received, source: Source, title: str) -> Shelved | Document:
        """The document in a file; or what is there already, and need not be read again."""
        self._go_on()
        known = self._known(source, title)
        if known is not None:
            if not self.folder.holds(file.uri):
                self._keep(file)  # the power went before they were kept
            return known
        document = self._parser.read(file.path, name=file.name, uri=file.uri, max_bytes=self._max_file_bytes)
        return replace(document, title=clean_title(title)) if clean_title(title) else document

    def _put(self, file: Received, source: Source, document: Document) -> Shelved:
        was_there = self._is_there(document.id)
        change = self._collection.put_all([(document, source)], self._go_on)[0]
        # The same text under another name is the same document.
        outcome = Outcome.UNCHANGED if was_there and change is Change.ADDED else Outcome(change.value)
        with self._collection.writing():  # what was just written is read, also where replicas are read
            self._keep(file)
            return Shelved(outcome, self._collection.listed(document.id))

    def _keep(self, file: Received) -> None:
        """Under the lock: whoever removes the document meanwhile finds its bytes, or they are not kept."""
        with self._collection.writing():
            if self._collection.source(file.uri) is not None:
                self.folder.keep(file.uri, file.path)

    def _known(self, source: Source, title: str) -> Shelved | None:
        """The document of a source that would be stored again just as it is."""
        stored = self._collection.source(source.uri)
        if stored is None or (title and clean_title(title) != stored.title):
            return None
        if not self._collection.unchanged(
            source.uri, size=source.size, mtime_ns=0, readers_version=READERS_VERSION
        ):
            return None
        return Shelved(Outcome.UNCHANGED, self._collection.listed(stored.document_id))

    def _is_there(self, document_id: str) -> bool:
        try:
            self._collection.listed(document_id)
        except UnknownDocument:
            return False
        return True


def _stopping() -> Stopping:
    return Stopping("the server is being stopped: send the file again when it is back")
