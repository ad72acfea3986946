"""A collection in PostgreSQL with pgvector: for more documents, or more users, than one machine serves.

What a search finds, and in which order, is what `index.collection` would find: the same passages, the same
words, the same BM25, scores fused by the same function. Any number of processes on any machines read and
write at the same time.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import Self, TypeVar

from psycopg import sql

from index import lexical
from index.check import Finding
from index.config import IndexSettings
from index.embed import unit_vectors
from index.engines import (
    postgres_bulk,
    postgres_check,
    postgres_reader,
    postgres_search,
    postgres_upkeep,
    postgres_writer,
)
from index.engines.address import Address
from index.engines.postgres_connections import Connection, Connections
from index.engines.postgres_filters import Condition, condition
from index.engines.postgres_part import PostgresPart
from index.engines.postgres_schema import (
    STEPS,
    Stored,
    make,
    require_server,
    set_meta,
    stored_settings,
    version_of,
)
from index.engines.postgres_writer import Ready
from index.engines.terms import Terms, Tokenizer
from index.errors import CollectionLocked, EmbedderMismatch, UnknownDocument, UsageError
from index.filters import EVERYTHING, Filter
from index.fusion import candidates_for
from index.putting import Making
from index.recorded import RecordedEmbedder
from index.texts import TextCache
from index.types import (
    Change,
    CollectionStats,
    Document,
    DocumentInfo,
    Embedder,
    Former,
    Hit,
    ListedDocument,
    Listing,
    Passage,
    Scopes,
    Source,
    StoredDocument,
    StoredFormer,
    StoredSource,
)

Result = TypeVar("Result")

LOCK_SECONDS = 2.0
"""How long a writer waits for another one to end, as `index.catalog` does."""


class PostgresCollection:
    """A collection in a schema of a database. Safe to use from several threads.

    Use `open` or `create_or_open`, best in a `with` statement. Every method raises CollectionUnavailable when
    the database cannot be reached; the next call tries again.
    """

    def __init__(
        self, address: Address, connections: Connections, embedder: Embedder, passage_tokens: int
    ) -> None:
        self._address = address
        self._connections = connections
        self._embedder = embedder
        self._making = Making(embedder, passage_tokens)
        self._tokenizer = Tokenizer()
        self._texts = TextCache()
        self._alone = threading.RLock()
        self._holder = 0  # the thread that keeps others out

    @classmethod
    def open(cls, address: Address, embedder: Embedder) -> PostgresCollection:
        """Raises CollectionNotFound, EmbedderMismatch, SchemaTooNew and CollectionUnavailable."""
        return cls._opened(address, embedder, None)

    @classmethod
    def create_or_open(
        cls, address: Address, embedder: Embedder, settings: IndexSettings
    ) -> PostgresCollection:
        """Raises what `open` does but CollectionNotFound; nothing is written where all is as it should be.

        Documents put from now on are split as `settings` say; those that are there, when they are put again.
        """
        return cls._opened(address, embedder, settings)

    @classmethod
    def open_recorded(cls, address: Address) -> PostgresCollection:
        """As `open`, without the embedder: nothing can be searched or added."""
        connections = Connections(address)
        try:
            stored = connections.read(lambda connection: _looked_at(connection, address, True))
            assert stored is not None
            return cls(address, connections, RecordedEmbedder(*stored[:2]), stored[2])
        except BaseException:
            connections.close()
            raise

    @classmethod
    def _opened(
        cls, address: Address, embedder: Embedder, settings: IndexSettings | None
    ) -> PostgresCollection:
        connections = Connections(address)
        try:
            stored = connections.read(lambda connection: _looked_at(connection, address, settings is None))
            made_with = (embedder.fingerprint, embedder.dimension)
            is_ours = stored is None or stored[:2] == made_with
            if settings is not None and is_ours and (stored is None or stored[2] != settings.passage_tokens):
                wanted = (*made_with, settings.passage_tokens)
                stored = connections.write(lambda connection: _made(connection, address, wanted))
                connections.renew()
            assert stored is not None
            if stored[:2] != made_with:
                raise EmbedderMismatch(
                    f"{address} was made with the embedder {stored[0]} of {stored[1]} dimensions, not with "
                    f"{embedder.fingerprint} of {embedder.dimension}: use that one, or another collection."
                )
            return cls(address, connections, embedder, stored[2])
        except BaseException:
            connections.close()
            raise

    def close(self) -> None:
        self._connections.close()
        self._tokenizer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def name(self) -> str:
        return self._address.collection

    @property
    def embedder(self) -> Embedder:
        return self._embedder

    # Reading

    def search(self, query: str, top: int) -> list[Hit]:
        """As `Collection.search`, in one round trip."""
        return self.search_within(query, top, EVERYTHING)

    def search_within(self, query: str, top: int, chosen: Filter) -> list[Hit]:
        """As `search`, among the documents that pass. Raises UnknownFilter."""
        if top < 1:
            raise UsageError(f"top is {top}: ask for at least one passage.")
        if not query.strip():
            return []
        vector = unit_vectors(self._embedder, [query])[0]
        asked = self._tokenizer.asked(lexical.asked(query))
        return self._connections.read(
            lambda connection: postgres_search.search(
                connection,
                vector=vector,
                asked=asked,
                chosen=_condition(connection, chosen),
                count=candidates_for(top),
                top=top,
            )
        )

    def narrowed(self, chosen: Filter) -> PostgresPart:
        return PostgresPart(self, self._connections, chosen)

    def document(self, document_id: str) -> Document:
        known = self._texts.held(document_id)
        document = self._connections.read(
            lambda connection: postgres_reader.read_document(connection, document_id, known)
        )
        if known is None:
            self._texts.get(document_id, lambda _: document.text)
        return document

    def passages(self, document_id: str) -> list[Passage]:
        return self._connections.read(
            lambda connection: postgres_reader.read_passages(connection, document_id)
        )

    def documents(self) -> list[DocumentInfo]:
        return self._connections.read(
            lambda connection: postgres_reader.read_documents(connection, sql.SQL("true"), {})
        )

    def term_frequency(self, terms: Iterable[str]) -> dict[str, int]:
        return self.term_frequency_within(terms, EVERYTHING)

    def term_frequency_within(self, terms: Iterable[str], chosen: Filter) -> dict[str, int]:
        """As `term_frequency`, in the documents that pass. Raises UnknownFilter."""
        found = dict.fromkeys(terms, 0)
        asked = {term: self._tokenizer.asked([lexical.words_of(term)]) for term in found}
        wanted = {term: one[0] for term, one in asked.items() if one}
        counts = self._connections.read(
            lambda connection: postgres_search.term_frequencies(
                connection, list(wanted.values()), _condition(connection, chosen)
            )
        )
        return {**found, **dict(zip(wanted, counts, strict=True))}

    def listing(self, *, limit: int, before: int | None = None, title: str = "") -> Listing:
        return self._connections.read_once(
            lambda connection: postgres_reader.list_documents(connection, limit, before, title)
        )

    def listed(self, document_id: str) -> ListedDocument:
        return self._connections.read(
            lambda connection: postgres_reader.listed_document(connection, document_id)
        )

    def former(self, document_id: str) -> Former | None:
        return self._connections.read(lambda connection: postgres_reader.read_former(connection, document_id))

    def scopes(self, *, words: str = "") -> Scopes:
        return self._connections.read_once(lambda connection: postgres_reader.read_scopes(connection, words))

    def source(self, uri: str) -> StoredSource | None:
        digest = postgres_bulk.digest_of(uri)
        return self._connections.read(lambda connection: postgres_reader.read_source(connection, digest))

    def sources(self) -> list[StoredSource]:
        return self._connections.read(postgres_reader.read_sources)

    def stats(self) -> CollectionStats:
        counts = self._connections.read(postgres_upkeep.counts)
        return CollectionStats(
            *counts,
            fingerprint=self._embedder.fingerprint,
            dimension=self._embedder.dimension,
            passage_tokens=self._making.passage_tokens,
        )

    def reach(self) -> None:
        self._connections.read(lambda connection: stored_settings(connection, self._address))

    def size(self) -> int:
        return self._connections.read(postgres_upkeep.size)

    # Writing

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Keep other writers out for several changes, on every machine.

        A connection of its own holds the lock: it is free again when this process ends, however it does.
        Raises CollectionLocked.
        """
        if not self._alone.acquire(timeout=LOCK_SECONDS):
            raise self._locked()
        try:
            if self._holder:
                yield
                return
            with self._connections.apart() as connection:
                postgres_writer.keep_out(connection, self._address)
                self._holder = threading.get_ident()
                try:
                    with self._connections.read_where_written():
                        yield
                finally:
                    self._holder = 0
        finally:
            self._alone.release()

    @contextmanager
    def among_writers(self) -> Iterator[None]:
        """Keep those out who would keep others out, in this process or another; who writes goes on.

        Raises CollectionLocked.
        """
        with self._connections.apart() as connection:
            postgres_writer.stay(connection, self._address)
            yield

    def _locked(self) -> CollectionLocked:
        return CollectionLocked(
            f"{self._address} is being written by another process: try again when it has ended."
        )

    def unchanged(self, uri: str, *, size: int, mtime_ns: int, readers_version: str, root: str = "") -> bool:
        return self._making.is_unchanged(
            self.source(uri), size=size, mtime_ns=mtime_ns, readers_version=readers_version, root=root
        )

    def unchanged_bytes(
        self, uri: str, *, bytes_sha256: str, size: int, mtime_ns: int, readers_version: str, root: str = ""
    ) -> bool:
        stored = self.source(uri)
        if stored is None or not self._making.has_same_bytes(
            stored, bytes_sha256=bytes_sha256, readers_version=readers_version
        ):
            return False
        source = replace(stored.source, size=size, mtime_ns=mtime_ns, root=root or stored.source.root)
        return self._change(
            lambda connection: postgres_writer.touch_source(connection, source, stored.document_id)
        )

    def put(
        self,
        document: Document,
        uri: str,
        bytes_sha256: str,
        size: int,
        mtime_ns: int,
        readers_version: str,
        root: str = "",
    ) -> Change:
        """Store a document under `uri`, in place of what was stored there, in one transaction."""
        source = Source(uri, bytes_sha256, size, mtime_ns, readers_version, root)
        return self.put_all([(document, source)])[0]

    def put_all(
        self, items: Sequence[tuple[Document, Source]], on_embedded: Callable[[int], None] | None = None
    ) -> list[Change]:
        return [self.put_ready(one) for one in self.made_ready(items, on_embedded)]

    def made_ready(
        self, items: Sequence[tuple[Document, Source]], on_embedded: Callable[[int], None] | None = None
    ) -> list[Ready]:
        """What `put_ready` takes, here or in another process: embedded, and nothing written."""
        ids = [document.id for document, _ in items]
        stored = self._connections.reread(lambda connection: postgres_reader.read_made(connection, ids))
        return self._ready(items, stored, on_embedded)

    def put_ready(self, one: Ready) -> Change:
        """Store a document whole, in one transaction; again and again, if need be, to the same end."""
        while (change := self._change(partial(self._commit, one=one))) is None:
            # It was stored when this was made ready, and has been dropped since.
            (one,) = self._ready([(one.document, one.source)], {})
        return change

    def _ready(
        self,
        items: Sequence[tuple[Document, Source]],
        stored: Mapping[str, str],
        on_embedded: Callable[[int], None] | None = None,
    ) -> list[Ready]:
        found = self._making.prepared(items, stored, on_embedded)
        terms = {
            document.id: self._terms(document, found[document.id][0])
            for document, _ in items
            if document.id in found
        }
        return [
            Ready(document, source, found.get(document.id), terms.get(document.id, []))
            for document, source in items
        ]

    def _terms(self, document: Document, passages: Sequence[Passage]) -> list[Terms]:
        return self._tokenizer.terms([(p.heading, document.text[p.start : p.end]) for p in passages])

    def _commit(self, connection: Connection, one: Ready) -> Change | None:
        """None where the passages are needed and not there."""
        document, source = one.document, one.source
        name, how = document.id, self._making.made(source.readers_version)
        postgres_writer.lock(connection, self._address, "source", [source.uri])
        before = postgres_reader.read_source(connection, postgres_bulk.digest_of(source.uri))
        names = {name, before.document_id} if before else {name}
        postgres_writer.lock(connection, self._address, "document", names)
        is_stored = postgres_reader.read_made(connection, [name]).get(name) == how
        source = replace(source, root=source.root or (before.source.root if before else ""))
        same = (
            before is not None and is_stored and (before.document_id, before.title) == (name, document.title)
        )
        if before is not None and same and before.source == source:
            return Change.UNCHANGED
        if not is_stored:
            if one.found is None:
                return None
            postgres_writer.put_document(connection, document, how, *one.found, one.terms)
        postgres_writer.put_source(connection, source, document.title, name)
        postgres_writer.changed(connection)
        return Change.UNCHANGED if same else Change.ADDED if before is None else Change.UPDATED

    def remove(self, uri: str) -> bool:
        def removed(connection: Connection) -> bool:
            postgres_writer.lock(connection, self._address, "source", [uri])
            stored = postgres_reader.read_source(connection, postgres_bulk.digest_of(uri))
            if stored is None:
                return False
            postgres_writer.lock(connection, self._address, "document", [stored.document_id])
            postgres_writer.changed(connection)
            return postgres_writer.remove_source(connection, uri)

        return self._change(removed)

    def remove_document(self, document_id: str) -> None:
        def removed(connection: Connection) -> bool:
            uris = postgres_reader.uris_of(connection, document_id)
            if not uris:
                raise UnknownDocument(f"No document has the id {document_id!r}: list the documents to see.")
            postgres_writer.lock(connection, self._address, "source", uris)
            postgres_writer.lock(connection, self._address, "document", [document_id])
            if postgres_reader.uris_of(connection, document_id) != uris:
                return False
            for uri in uris:
                postgres_writer.remove_source(connection, uri)
            postgres_writer.changed(connection)
            return True

        while not self._change(removed):
            pass  # a source came or went while its lock was waited for
        self._texts.drop(document_id)

    def stored(self, document_ids: Sequence[str] | None = None) -> Iterator[StoredDocument]:
        with self._connections.streaming() as connection:
            yield from postgres_reader.read_stored(connection, document_ids)

    def put_stored(self, documents: Sequence[StoredDocument]) -> None:
        parts = postgres_bulk.divided(documents)
        # Words are taken apart while the database takes in the rows of the documents before.
        with ThreadPoolExecutor(1, thread_name_prefix="terms") as thread:
            coming = [thread.submit(self._terms_of, part) for part in parts]

            def put(connection: Connection) -> None:
                uris = [source.uri for one in documents for source, _ in one.sources]
                postgres_writer.lock(connection, self._address, "source", uris)
                names = [one.document.id for one in documents]
                postgres_writer.lock(connection, self._address, "document", names)
                for part, terms in zip(parts, coming, strict=True):
                    postgres_bulk.copy_stored(connection, part, terms.result())
                postgres_writer.changed(connection)

            if documents:
                self._change(put)

    def _terms_of(self, documents: Sequence[StoredDocument]) -> list[list[Terms]]:
        texts = [(p.heading, one.document.text[p.start : p.end]) for one in documents for p in one.passages]
        found = iter(self._tokenizer.terms(texts))
        return [[next(found) for _ in one.passages] for one in documents]

    def formers(self) -> list[StoredFormer]:
        return self._connections.read(postgres_reader.read_formers)

    def check(self, fingerprint: str | None = None, repair: bool = False) -> list[Finding]:
        """See `index.engines.postgres_check`. With `repair`, raises CollectionLocked."""
        with self.writing() if repair else nullcontext():
            return postgres_check.check(
                self._connections,
                self._address,
                self._tokenizer,
                stored=(self._embedder.fingerprint, self._embedder.dimension),
                fingerprint=fingerprint,
                repair=repair,
            )

    def put_formers(self, formers: Sequence[StoredFormer]) -> None:
        self._change(lambda connection: postgres_writer.put_formers(connection, formers))

    def snapshot(self) -> None:
        """Add up totals, and make or tend the indexes that searches of many passages need."""
        postgres_upkeep.tend(self._connections, self._address, self._embedder.dimension)

    def _change(self, work: Callable[[Connection], Result]) -> Result:
        """In a transaction, unless another writer keeps this one out."""

        def entered(connection: Connection) -> Result:
            if self._holder != threading.get_ident():
                postgres_writer.enter(connection, self._address)
            return work(connection)

        return self._connections.write(entered)


def _condition(connection: Connection, chosen: Filter) -> Condition | None:
    return condition(connection, chosen) if chosen else None


def _looked_at(connection: Connection, address: Address, must_exist: bool) -> Stored | None:
    """What is there; None where it has to be made, or brought to the last step."""
    require_server(connection, address, extension=must_exist)
    version = version_of(connection, address)
    if not must_exist and version < len(STEPS):
        return None
    return stored_settings(connection, address)


def _made(connection: Connection, address: Address, wanted: Stored) -> Stored:
    make(connection, address, wanted)
    stored = stored_settings(connection, address)
    if stored[:2] == wanted[:2] and stored[2] != wanted[2]:
        set_meta(connection, "passage_tokens", str(wanted[2]))
        return wanted
    return stored
