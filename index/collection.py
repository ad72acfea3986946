"""A folder of documents, searchable: the catalogue, and the vectors in memory that follow it.

The catalogue is the truth. Every search reads one state of it, and brings the vectors to that state first,
so that what another process added is found and what it deleted is not.
"""

from __future__ import annotations

import contextlib
import sqlite3
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from pathlib import Path
from types import TracebackType

import numpy as np
import numpy.typing as npt

from index.catalog import Catalog, damaged
from index.config import IndexSettings
from index.current import KIND, CurrentVectors, kind_of
from index.embed import unit_vectors
from index.errors import CollectionError, EmbedderMismatch, UnknownDocument, UsageError
from index.filters import Filter
from index.former import read_former, stored_formers
from index.fusion import candidates_for, fused
from index.listing import list_documents, listed_document
from index.narrowed import Narrowed
from index.putting import Making, Prepared
from index.recorded import RecordedEmbedder
from index.records import Reader, as_stored
from index.scopes import scopes
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
from index.vector_files import Kind


class LocalCollection:
    """A collection in a folder on this machine. Safe to use from several threads.

    Any number of processes may read; one writes at a time, the others get CollectionLocked. Use `open` or
    `create_or_open`, best in a `with` statement.
    """

    def __init__(
        self,
        folder: Path,
        catalog: Catalog,
        embedder: Embedder,
        passage_tokens: int,
        vectors: Kind | None = None,
    ) -> None:
        self._folder = folder
        self._catalog = catalog
        self._embedder = embedder
        self._making = Making(embedder, passage_tokens)
        self._texts = TextCache()
        self._vectors = CurrentVectors(folder, embedder.fingerprint, embedder.dimension, vectors)

    @classmethod
    def create_or_open(cls, folder: Path, embedder: Embedder, settings: IndexSettings) -> LocalCollection:
        """Raises what `open` does but CollectionNotFound, and CollectionLocked when it has to be written.

        Documents put from now on are split as `settings` say; those that are there, when they are put again.
        """
        folder = folder.absolute()
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CollectionError(
                f"{folder} cannot be made ({error.strerror}): choose another folder for the collection."
            ) from error
        return cls._opened(folder, Catalog(folder, create=True), embedder, settings)

    @classmethod
    def open(cls, folder: Path, embedder: Embedder) -> LocalCollection:
        """Raises CollectionNotFound, EmbedderMismatch, CollectionDamaged and SchemaTooNew."""
        folder = folder.absolute()
        return cls._opened(folder, Catalog(folder), embedder, None)

    @classmethod
    def open_recorded(cls, folder: Path) -> LocalCollection:
        """As `open`, without the embedder: nothing can be searched or added."""
        folder = folder.absolute()
        with closing(Catalog(folder)) as catalog, catalog.reading() as reader:
            stored = _stored_settings(reader)
            if stored is None:
                raise catalog.not_found()
        return cls.open(folder, RecordedEmbedder(*stored[:2]))

    @classmethod
    def _opened(
        cls, folder: Path, catalog: Catalog, embedder: Embedder, settings: IndexSettings | None
    ) -> LocalCollection:
        try:
            with catalog.reading() as reader:
                stored = _stored_settings(reader)
                kind = reader.meta(KIND) or "auto"
            if settings is not None:
                wanted = (
                    *(stored or (embedder.fingerprint, embedder.dimension))[:2],
                    settings.passage_tokens,
                )
            elif stored is not None:
                wanted = stored
            else:  # whoever made it was stopped before anything was put into it
                raise catalog.not_found()
            if wanted[:2] != (embedder.fingerprint, embedder.dimension):
                raise EmbedderMismatch(
                    f"{folder} was made with the embedder {wanted[0]} of {wanted[1]} dimensions, not with "
                    f"{embedder.fingerprint} of {embedder.dimension}: use that one, or another folder."
                )
            if wanted != stored:
                with catalog.locked(), catalog.writing() as writer:
                    for key, value in zip(_SETTINGS, wanted, strict=True):
                        writer.set_meta(key, str(value))
            if settings is not None and settings.vectors != kind:
                kind = settings.vectors
                with catalog.locked(), catalog.writing() as writer:
                    writer.set_meta(KIND, kind)
            return cls(folder, catalog, embedder, wanted[2], kind_of(kind))
        except BaseException:
            catalog.close()
            raise

    def close(self) -> None:
        self._catalog.close()

    def __enter__(self) -> LocalCollection:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def name(self) -> str:
        return self._folder.name

    @property
    def folder(self) -> Path:
        return self._folder

    @property
    def embedder(self) -> Embedder:
        return self._embedder

    # Reading

    def search(self, query: str, top: int) -> list[Hit]:
        """The `top` best passages, best first; ties go to the passage stored earlier.

        Candidates are the nearest by cosine and the best by BM25; each gets both scores, and the fused one
        is the sum of their z-scores over the candidates. Raises UsageError when `top` is less than 1.
        """
        if top < 1:
            raise UsageError(f"top is {top}: ask for at least one passage.")
        if not query.strip():
            return []
        vector = unit_vectors(self._embedder, [query])[0]
        count = candidates_for(top)
        with ExitStack() as stack:
            with self._vectors.lock:
                # The state is taken with the lock held, so that the vectors never are ahead of it.
                reader = stack.enter_context(self._catalog.reading())
                nearest = self._vectors.of(reader).search(vector, count)
            bm25 = reader.lexical(query, count, nearest)
            return self.ranked(reader, vector, nearest, bm25, top)

    def ranked(
        self,
        reader: Reader,
        vector: npt.NDArray[np.float32],
        nearest: Sequence[int],
        bm25: Mapping[int, float],
        top: int,
    ) -> list[Hit]:
        """The `top` best of two lists of candidates, each with both scores.

        `bm25` has the scores of its own candidates, and of those nearest in which a word occurs.
        """
        found = reader.stored_passages({*nearest, *bm25})
        # Rounded to what float32 can tell apart, so that equal passages tie.
        wide = vector.astype(np.float64)
        dense = np.round([float(wide @ stored.vector.astype(np.float64)) for stored in found], 6)
        if not np.all(np.abs(dense) <= _LARGEST):
            raise damaged(self._catalog.path, "a passage's vector is not of unit length")
        lexical = np.array([bm25.get(stored.id, 0.0) for stored in found])
        hits: list[Hit] = []
        for i, score in fused([stored.id for stored in found], dense, lexical, top):
            passage = found[i].passage
            text = self._texts.get(passage.document_id, reader.text)[passage.start : passage.end]
            hits.append(Hit(passage, text, score, float(dense[i]), float(lexical[i])))
        return hits

    def narrowed(self, chosen: Filter) -> Narrowed:
        """See `index.narrowed`."""
        return Narrowed(self, chosen)

    def document(self, document_id: str) -> Document:
        with self._catalog.reading() as reader:
            document = reader.document(document_id)
        as_stored(document_id, document.text)
        return document

    def passages(self, document_id: str) -> list[Passage]:
        with self._catalog.reading() as reader:
            return reader.passages(document_id)

    def documents(self) -> list[DocumentInfo]:
        with self._catalog.reading() as reader:
            return reader.documents()

    def listing(self, *, limit: int, before: int | None = None, title: str = "") -> Listing:
        """A page of documents, the latest first; see `index.listing`."""
        with self._catalog.connection() as connection:
            return list_documents(connection, limit=limit, before=before, title=title)

    def listed(self, document_id: str) -> ListedDocument:
        """Raises UnknownDocument."""
        with self._catalog.connection() as connection:
            return listed_document(connection, document_id)

    @contextmanager
    def connection(self) -> Iterator[sqlite3.Connection]:
        """A bare connection to the catalogue, outside a transaction: for who reads it in another way."""
        with self._catalog.connection() as connection:
            yield connection

    def former(self, document_id: str) -> Former | None:
        """What a document was before its file was edited; see `index.former`."""
        with self._catalog.connection() as connection:
            return read_former(connection, document_id)

    def scopes(self, *, words: str = "") -> Scopes:
        """See `index.scopes`."""
        with self._catalog.connection() as connection:
            return scopes(connection, words=words)

    def source(self, uri: str) -> StoredSource | None:
        with self._catalog.reading() as reader:
            return reader.source(uri)

    def sources(self) -> list[StoredSource]:
        """Every place that a document came from, in the order in which they were first stored."""
        with self._catalog.reading() as reader:
            return reader.sources()

    def term_frequency(self, terms: Iterable[str]) -> dict[str, int]:
        with self._catalog.reading() as reader:
            return {term: reader.term_frequency(term) for term in terms}

    def stats(self) -> CollectionStats:
        with self._catalog.reading() as reader:
            totals, generation = reader.totals(), reader.generation()
        return CollectionStats(
            documents=totals.documents,
            sources=totals.sources,
            passages=totals.passages,
            characters=totals.characters,
            generation=generation.number,
            fingerprint=self._embedder.fingerprint,
            dimension=self._embedder.dimension,
            passage_tokens=self._making.passage_tokens,
        )

    def reach(self) -> None:
        with self._catalog.reading() as reader:
            reader.generation()

    def size(self) -> int:
        """Bytes of all files in the folder; one that goes while we look counts nothing."""
        total = 0
        for path in self._folder.rglob("*"):
            with contextlib.suppress(OSError):
                status = path.stat()
                total += status.st_size if stat.S_ISREG(status.st_mode) else 0
        return total

    # Writing

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Keep other writers out for several changes; each change is still a transaction of its own.

        Every change does this itself. Raises CollectionLocked.
        """
        with self._catalog.locked():
            yield

    def unchanged(self, uri: str, *, size: int, mtime_ns: int, readers_version: str, root: str = "") -> bool:
        """Whether what is stored for `uri` is what would be stored again, going by size and time."""
        return self._making.is_unchanged(
            self.source(uri), size=size, mtime_ns=mtime_ns, readers_version=readers_version, root=root
        )

    def unchanged_bytes(
        self, uri: str, *, bytes_sha256: str, size: int, mtime_ns: int, readers_version: str, root: str = ""
    ) -> bool:
        """As `unchanged`, going by the bytes; records the new time, so that `unchanged` sees it next time."""
        stored = self.source(uri)
        if stored is None or not self._making.has_same_bytes(
            stored, bytes_sha256=bytes_sha256, readers_version=readers_version
        ):
            return False
        with self.writing(), self._catalog.writing() as writer:
            root = root or stored.source.root
            writer.put_source(
                replace(stored.source, size=size, mtime_ns=mtime_ns, root=root),
                stored.title,
                stored.document_id,
            )
        return True

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
        """Put several documents: embedded together, each committed whole in a transaction of its own.

        `on_embedded` is called with the number of passages embedded since the last call. When it raises,
        or Ctrl-C is pressed, what has been committed stays.
        """
        # Embedding takes long and changes nothing, so other writers need not wait for it.
        ready = self._prepared(items, on_embedded)
        with self.writing():
            return [self._commit(document, source, ready) for document, source in items]

    def _prepared(
        self, items: Sequence[tuple[Document, Source]], on_embedded: Callable[[int], None] | None = None
    ) -> dict[str, Prepared]:
        with self._catalog.reading() as reader:
            made = {document.id: reader.made(document.id) for document, _ in items}
        stored = {name: how for name, how in made.items() if how is not None}
        return self._making.prepared(items, stored, on_embedded)

    def _commit(self, document: Document, source: Source, ready: dict[str, Prepared]) -> Change:
        name, how = document.id, self._making.made(source.readers_version)
        with self._catalog.reading() as reader:
            before = reader.source(source.uri)
            is_stored = reader.made(name) == how
        source = replace(source, root=source.root or (before.source.root if before else ""))
        same = (
            before is not None and is_stored and (before.document_id, before.title) == (name, document.title)
        )
        if before is not None and same and before.source == source:
            return Change.UNCHANGED
        if not is_stored and name not in ready:
            # It was stored when they were prepared, and an item before this one dropped it.
            ready = self._prepared([(document, source)])
        with self._catalog.writing() as writer:
            if not is_stored:
                writer.put_document(document, how, *ready[name])
            writer.put_source(source, document.title, name)
        return Change.UNCHANGED if same else Change.ADDED if before is None else Change.UPDATED

    def remove(self, uri: str) -> bool:
        """Forget a source, and its document when it was the last; whether there was one."""
        with self.writing():
            with self._catalog.reading() as reader:
                stored = reader.source(uri)
                if stored is None:
                    return False
            with self._catalog.writing() as writer:
                removed = writer.remove_source(uri)
        self._texts.drop(stored.document_id)
        return removed

    def remove_document(self, document_id: str) -> None:
        """Forget a document and all its sources. Raises UnknownDocument."""
        with self.writing(), self._catalog.writing() as writer:
            uris = [s.source.uri for s in writer.sources() if s.document_id == document_id]
            if not uris:
                raise UnknownDocument(f"No document has the id {document_id!r}: list the documents to see.")
            for uri in uris:
                writer.remove_source(uri)
        self._texts.drop(document_id)

    def stored(self, document_ids: Sequence[str] | None = None) -> Iterator[StoredDocument]:
        """As `Collection.stored`."""
        with self._catalog.reading() as reader:
            yield from reader.stored(document_ids)

    def put_stored(self, documents: Sequence[StoredDocument]) -> None:
        """As `Collection.put_stored`."""
        with self.writing(), self._catalog.writing() as writer:
            for one in documents:
                writer.put_document(one.document, one.made, one.passages, one.vectors, one.added_at)
                for source, title in one.sources:
                    writer.put_source(source, title, one.document.id)

    def formers(self) -> list[StoredFormer]:
        """As `Collection.formers`."""
        with self._catalog.connection() as connection:
            return stored_formers(connection)

    def put_formers(self, formers: Sequence[StoredFormer]) -> None:
        """As `Collection.put_formers`."""
        with self.writing(), self._catalog.writing() as writer:
            writer.put_formers(formers)

    def snapshot(self) -> None:
        """Save the vectors, so that the next process need not gather them from the catalogue.

        Nothing is written while the files lack little: that is read from the catalogue. Searches and
        changes go on meanwhile; where another process is at it, this one leaves it to that.
        """
        try:
            self._vectors.save(self._catalog.reading)
        except OSError as error:
            raise CollectionError(
                f"{self._folder} cannot be written ({error.strerror}): check the disk's space and rights."
            ) from error


_LARGEST = 1.001
"""Unit vectors have an inner product of 1 at most; one whose exponent lost a bit would lead all lists."""

_SETTINGS = ("fingerprint", "dimension", "passage_tokens")


def _stored_settings(reader: Reader) -> tuple[str, int, int] | None:
    fingerprint, dimension, passage_tokens = (reader.meta(key) for key in _SETTINGS)
    if fingerprint is None or dimension is None or passage_tokens is None:
        return None
    return fingerprint, int(dimension), int(passage_tokens)
