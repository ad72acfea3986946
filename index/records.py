"""What is read and written inside one transaction of the catalogue. `index.catalog` opens them."""

from __future__ import annotations

import hashlib
import json
import secrets
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from index import bm25, lexical
from index.bm25 import TOKENIZER
from index.errors import CollectionDamaged, UnknownDocument
from index.facts import put_facts
from index.former import drop_former, is_back, keep_former, put_formers
from index.history import Generation as Generation
from index.history import Ids, dropped_since, is_past, record_dropped, record_generation
from index.types import (
    Block,
    Document,
    DocumentInfo,
    Page,
    Passage,
    Sentence,
    Source,
    StoredDocument,
    StoredFormer,
    StoredSource,
    Vectors,
)

_PASSAGE = "SELECT p.id, d.id, p.ordinal, p.start, p.end, p.heading, p.sentences, p.tokens"


WORDS_TABLE = f"CREATE VIRTUAL TABLE passage_words USING fts5(heading, body, {TOKENIZER})"
"""The full-text index: derived, its row numbers are the passages'."""


@dataclass(frozen=True, slots=True)
class StoredPassage:
    """A passage with its number, which is never used again, and its vector, shape (dimension,)."""

    id: int
    passage: Passage
    vector: Vectors


@dataclass(frozen=True, slots=True)
class Totals:
    documents: int
    sources: int
    passages: int
    characters: int


class Reader:
    """Reads one state of the catalogue, whatever is written meanwhile."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def meta(self, key: str) -> str | None:
        row = self._one("SELECT value FROM meta WHERE key = ?", key)
        return None if row is None else str(row[0])

    def generation(self) -> Generation:
        number, stamp = self.meta("generation"), self.meta("stamp")
        if number is None or stamp is None or not number.isdecimal():
            raise CollectionDamaged("The catalogue does not say its generation: index the documents again.")
        return Generation(int(number), stamp)

    def totals(self) -> Totals:
        row = self._one(
            "SELECT (SELECT count(*) FROM documents), (SELECT count(*) FROM sources),"
            " (SELECT count(*) FROM passages), (SELECT coalesce(sum(characters), 0) FROM documents)"
        )
        return Totals(*map(int, row or (0, 0, 0, 0)))

    def document(self, document_id: str) -> Document:
        """Raises UnknownDocument."""
        row = self._one(
            "SELECT d.text, s.uri, s.title, d.media_type, d.blocks, d.pages, d.metadata"
            " FROM documents d JOIN sources s ON s.document = d.key WHERE d.id = ? ORDER BY s.rowid LIMIT 1",
            document_id,
        )
        if row is None:
            raise _unknown(document_id)
        text, uri, title, media_type, blocks, pages, metadata = row
        return Document(
            text=text,
            uri=uri,
            title=title,
            media_type=media_type,
            blocks=tuple(
                Block(start, end, heading, bool(is_one)) for start, end, heading, is_one in _loads(blocks)
            ),
            pages=tuple(Page(*page) for page in _loads(pages)),
            metadata=_loads(metadata),
        )

    def text(self, document_id: str) -> str:
        """Raises UnknownDocument, and CollectionDamaged when it is not the text that the id belongs to."""
        row = self._one("SELECT text FROM documents WHERE id = ?", document_id)
        if row is None:
            raise _unknown(document_id)
        return as_stored(document_id, str(row[0]))

    def made(self, document_id: str) -> str | None:
        """How the document's passages were made; None when it is not stored."""
        row = self._one("SELECT made FROM documents WHERE id = ?", document_id)
        return None if row is None else str(row[0])

    def documents(self) -> list[DocumentInfo]:
        """In the order in which they were stored."""
        sources: dict[int, list[tuple[str, str]]] = {}
        for key, uri, title in self._all("SELECT document, uri, title FROM sources ORDER BY rowid"):
            sources.setdefault(key, []).append((uri, title))
        return [
            DocumentInfo(
                id=document_id,
                title=sources[key][0][1],
                uris=tuple(uri for uri, _ in sources[key]),
                media_type=media_type,
                sha256=sha256,
                characters=characters,
                passages=passages,
            )
            for key, document_id, media_type, sha256, characters, passages in self._all(
                "SELECT d.key, d.id, d.media_type, d.sha256, d.characters,"
                " (SELECT count(*) FROM passages p WHERE p.document = d.key) FROM documents d ORDER BY d.key"
            )
            if key in sources
        ]

    def passages(self, document_id: str) -> list[Passage]:
        """In reading order. Raises UnknownDocument."""
        rows = self._all(
            f"{_PASSAGE} FROM documents d JOIN passages p ON p.document = d.key"
            " WHERE d.id = ? ORDER BY p.ordinal",
            document_id,
        )
        if not rows and self._one("SELECT 1 FROM documents WHERE id = ?", document_id) is None:
            raise _unknown(document_id)
        return [_passage(row) for row in rows]

    def stored_passages(self, ids: Iterable[int]) -> list[StoredPassage]:
        """Those of `ids` that exist, by id."""
        rows = self._all(
            f"{_PASSAGE}, p.vector FROM passages p JOIN documents d ON d.key = p.document"
            " WHERE p.id IN (SELECT value FROM json_each(?)) ORDER BY p.id",
            json.dumps(list(ids)),
        )
        return [StoredPassage(row[0], _passage(row[:-1]), np.frombuffer(row[-1], "<f4")) for row in rows]

    def stored(self, document_ids: Sequence[str] | None = None) -> Iterator[StoredDocument]:
        """Those documents, or all, whole, in the order in which they were stored."""
        chosen = "" if document_ids is None else " WHERE id IN (SELECT value FROM json_each(?))"
        values = () if document_ids is None else (json.dumps(list(document_ids)),)
        cursor = self._connection.execute(
            f"SELECT key, id, made, added_at FROM documents{chosen} ORDER BY key", values
        )
        for key, document_id, made, added_at in cursor:
            numbers = self._all("SELECT id FROM passages WHERE document = ? ORDER BY ordinal", key)
            found = sorted(self.stored_passages(n for (n,) in numbers), key=lambda one: one.passage.ordinal)
            sources = self._all(f"{_SOURCE} WHERE s.document = ? ORDER BY s.rowid", key)
            if sources:
                yield StoredDocument(
                    self.document(document_id),
                    made,
                    added_at,
                    tuple(one.passage for one in found),
                    np.array([one.vector for one in found], dtype=np.float32),
                    tuple((_stored_source(row).source, row[6]) for row in sources),
                )

    def is_past(self, generation: Generation) -> bool:
        """Whether the catalogue has been in this very state, or is in it."""
        return is_past(self._connection, generation)

    def dropped_since(self, generation: Generation) -> Ids:
        """The numbers of passages that went after a past state."""
        return dropped_since(self._connection, generation.number)

    def vectors_after(self, passage_id: int, limit: int) -> tuple[Ids, list[bytes]]:
        """At most `limit` ids above `passage_id`, rising, and their vectors as little-endian float32."""
        sql = "SELECT id, vector FROM passages WHERE id > ? ORDER BY id LIMIT ?"
        rows = self._all(sql, passage_id, limit)
        return np.array([row[0] for row in rows], dtype=np.int64), [row[1] for row in rows]

    def vectors_of(self, ids: Ids) -> list[bytes]:
        """The vectors of those of `ids` that exist."""
        sql = "SELECT vector FROM passages WHERE id IN (SELECT value FROM json_each(?))"
        return [row[0] for row in self._all(sql, json.dumps(ids.tolist()))]

    def count_after(self, passage_id: int) -> int:
        """How many passages have a number above `passage_id`; time is linear in the answer."""
        row = self._one("SELECT count(*) FROM passages WHERE id > ?", passage_id)
        return int(row[0]) if row else 0

    def passage_ids(self) -> Ids:
        """All numbers, rising."""
        # Unordered for SQLite, which then reads an index in place of the rows with their vectors.
        rows = self._all("SELECT id FROM passages")
        return np.sort(np.array([row[0] for row in rows], dtype=np.int64))

    def sources(self) -> list[StoredSource]:
        return [_stored_source(row) for row in self._all(f"{_SOURCE} ORDER BY s.rowid")]

    def source(self, uri: str) -> StoredSource | None:
        row = self._one(f"{_SOURCE} WHERE s.uri = ?", uri)
        return None if row is None else _stored_source(row)

    def lexical(self, query: str, top: int, also: Iterable[int] = ()) -> dict[int, float]:
        """As `index.bm25.best`."""
        return bm25.best(self._connection, query, top, also)

    def lexical_scores(self, query: str, ids: Iterable[int]) -> dict[int, float]:
        """As `index.bm25.scores`."""
        return bm25.scores(self._connection, query, ids)

    def term_frequency(self, term: str) -> int:
        """In how many passages a term occurs, heading included; a term of several words as a phrase."""
        sql = "SELECT count(*) FROM passage_words WHERE passage_words MATCH ?"
        row = self._one(sql, lexical.phrase(term))
        return int(row[0]) if row else 0

    def words(self) -> Iterator[tuple[int, str, str]]:
        """(number, heading, body) of every row of the full-text index, by number."""
        yield from self._connection.execute("SELECT rowid, heading, body FROM passage_words ORDER BY rowid")

    def expected_words(self) -> Iterator[tuple[int, str, str]]:
        """What `words` has to give, made from the documents."""
        key, text = None, ""
        rows = self._connection.execute(
            'SELECT id, document, heading, start, "end" FROM passages ORDER BY id'
        )
        for number, document, heading, start, end in rows:
            if document != key:
                row = self._one("SELECT text FROM documents WHERE key = ?", document)
                key, text = document, str(row[0]) if row else ""
            yield number, lexical.indexed(heading), lexical.indexed(text[start:end])

    def _one(self, sql: str, *values: object) -> Any:
        return self._connection.execute(sql, values).fetchone()

    def _all(self, sql: str, *values: object) -> list[Any]:
        return self._connection.execute(sql, values).fetchall()


class Writer(Reader):
    """Writes within one transaction, all of it or nothing."""

    def set_meta(self, key: str, value: str) -> None:
        self._connection.execute("INSERT OR REPLACE INTO meta(key, value) VALUES (?, ?)", (key, value))

    def begin_generation(self, number: int) -> None:
        """Say that the catalogue is in another state from here on."""
        generation = Generation(number, secrets.token_hex(8))
        self.set_meta("generation", str(number))
        self.set_meta("stamp", generation.stamp)
        record_generation(self._connection, generation)

    def put_document(
        self,
        document: Document,
        made: str,
        passages: Sequence[Passage],
        vectors: Vectors,
        added_at: float | None = None,
    ) -> None:
        """Store a document, in place of one with the same id; `vectors` has a row for each passage.

        `made` says with which readers, rules and limit; it is stored as it is. `added_at` is now without it.
        """
        content = (
            document.media_type,
            json.dumps([[b.start, b.end, b.heading, int(b.is_heading)] for b in document.blocks]),
            json.dumps([[page.number, page.start, page.end] for page in document.pages]),
            json.dumps(dict(document.metadata)),
            made,
        )
        row = self._one("SELECT key FROM documents WHERE id = ?", document.id)
        if row is None:
            cursor = self._connection.execute(
                "INSERT INTO documents(media_type, blocks, pages, metadata, made, id, text, characters,"
                " sha256, added_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    *content,
                    document.id,
                    document.text,
                    len(document.text),
                    document.sha256,
                    time.time() if added_at is None else added_at,
                ),
            )
            key = int(cursor.lastrowid or 0)
            is_back(self._connection, document.id)
        else:
            key = row[0]
            self._drop_passages(key)
            self._connection.execute(
                "UPDATE documents SET media_type = ?, blocks = ?, pages = ?, metadata = ?, made = ?"
                " WHERE key = ?",
                (*content, key),
            )
        put_facts(self._connection, key, document.metadata)
        for passage, vector in zip(passages, vectors, strict=True):
            cursor = self._connection.execute(
                'INSERT INTO passages(document, ordinal, start, "end", heading, sentences, tokens, vector)'
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    key,
                    passage.ordinal,
                    passage.start,
                    passage.end,
                    passage.heading,
                    json.dumps([[s.start, s.end] for s in passage.sentences]),
                    passage.tokens,
                    vector.astype("<f4").tobytes(),
                ),
            )
            self._put_words(
                int(cursor.lastrowid or 0),
                lexical.indexed(passage.heading),
                lexical.indexed(document.text[passage.start : passage.end]),
            )

    def put_formers(self, formers: Iterable[StoredFormer]) -> None:
        """In place of all that are there."""
        put_formers(self._connection, formers)

    def rebuild_words(self) -> None:
        """Make the full-text index again from the documents."""
        self._connection.execute("DROP TABLE IF EXISTS passage_words")
        self._connection.execute(WORDS_TABLE)
        for number, heading, body in self.expected_words():
            self._put_words(number, heading, body)

    def _put_words(self, number: int, heading: str, body: str) -> None:
        self._connection.execute(
            "INSERT INTO passage_words(rowid, heading, body) VALUES (?, ?, ?)", (number, heading, body)
        )

    def put_source(self, source: Source, title: str, document_id: str) -> None:
        """Point a source at a stored document; a document that then has no source is dropped."""
        row = self._one("SELECT document FROM sources WHERE uri = ?", source.uri)
        if row is not None and self._is_last_of_another(row[0], document_id):
            keep_former(self._connection, row[0], source.uri)
        self._connection.execute(
            "INSERT INTO sources(uri, document, title, bytes_sha256, size, mtime_ns, readers_version, root)"
            " SELECT ?, key, ?, ?, ?, ?, ?, ? FROM documents WHERE id = ?"
            " ON CONFLICT(uri) DO UPDATE SET document = excluded.document, title = excluded.title,"
            " bytes_sha256 = excluded.bytes_sha256, size = excluded.size, mtime_ns = excluded.mtime_ns,"
            " readers_version = excluded.readers_version, root = excluded.root",
            (
                source.uri,
                title,
                source.bytes_sha256,
                source.size,
                source.mtime_ns,
                source.readers_version,
                source.root,
                document_id,
            ),
        )
        if row is not None:
            self._drop_if_unsourced(row[0])

    def remove_source(self, uri: str) -> bool:
        """Whether there was one. A document that then has no source is dropped."""
        row = self._one("SELECT document FROM sources WHERE uri = ?", uri)
        if row is None:
            return False
        self._connection.execute("DELETE FROM sources WHERE uri = ?", (uri,))
        left = self._one("SELECT uri FROM sources WHERE document = ? ORDER BY rowid DESC", row[0])
        drop_former(self._connection, uri, left[0] if left else None)
        self._drop_if_unsourced(row[0])
        return True

    def _is_last_of_another(self, key: int, document_id: str) -> bool:
        """Whether the document has one source, and another id: it is dropped when the source leaves it."""
        row = self._one(
            "SELECT d.id, (SELECT count(*) FROM sources s WHERE s.document = d.key) FROM documents d"
            " WHERE d.key = ?",
            key,
        )
        return row is not None and row[0] != document_id and row[1] == 1

    def _drop_if_unsourced(self, key: int) -> None:
        if self._one("SELECT 1 FROM sources WHERE document = ?", key) is None:
            self._drop_passages(key)
            self._connection.execute("DELETE FROM documents WHERE key = ?", (key,))

    def _drop_passages(self, key: int) -> None:
        record_dropped(self._connection, key)
        self._connection.execute(
            "DELETE FROM passage_words WHERE rowid IN (SELECT id FROM passages WHERE document = ?)", (key,)
        )
        self._connection.execute("DELETE FROM passages WHERE document = ?", (key,))


def as_stored(document_id: str, text: str) -> str:
    """The text, when the id is its own: SQLite notices no byte that has changed. Raises CollectionDamaged."""
    if not hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest().startswith(document_id):
        raise CollectionDamaged(
            f"The text of document {document_id} is not the one that was stored: restore the collection, or "
            "delete it and index the documents again."
        )
    return text


_SOURCE = (
    "SELECT s.uri, s.bytes_sha256, s.size, s.mtime_ns, s.readers_version, s.root, s.title, d.id, d.made"
    " FROM sources s JOIN documents d ON d.key = s.document"
)


def _stored_source(row: Any) -> StoredSource:
    return StoredSource(Source(*row[:6]), *row[6:])


def _passage(row: Any) -> Passage:
    _, document_id, ordinal, start, end, heading, sentences, tokens = row
    found = tuple(Sentence(first, last) for first, last in _loads(sentences))
    return Passage(document_id, ordinal, start, end, heading, found, tokens)


def _loads(stored: str) -> Any:
    try:
        return json.loads(stored)
    except ValueError as error:
        raise CollectionDamaged(
            "The catalogue holds a row that cannot be read: delete the collection and index again."
        ) from error


def _unknown(document_id: str) -> UnknownDocument:
    return UnknownDocument(
        f"No document has the id {document_id!r}: list the documents to see which there are."
    )
