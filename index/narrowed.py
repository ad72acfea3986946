"""A collection as if some of its documents were not there.

The filter is applied before the best are chosen, so a question gets as many passages as there are. What BM25
holds for rare is counted over the whole collection.
"""

from __future__ import annotations

import heapq
import json
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from index import lexical
from index.embed import unit_vectors
from index.errors import UnknownDocument, UsageError
from index.filters import Filter, documents_within
from index.fusion import candidates_for
from index.records import Generation, Reader
from index.types import Document, DocumentInfo, Hit, Passage

if TYPE_CHECKING:
    from index.collection import LocalCollection

EXACT = 20_000
"""So many passages at most are compared one by one; of more, the vectors' own search is asked, and again."""

_ROWS = 4096
_INSIDE = "SELECT id FROM passages WHERE document IN (SELECT value FROM json_each(?))"


class Narrowed:
    """The documents of a collection that pass a filter, as the collection is at each call.

    Safe to use from several threads. Every method raises UnknownFilter for metadata that no document has.
    """

    def __init__(self, collection: LocalCollection, chosen: Filter) -> None:
        self._collection = collection
        self._filter = chosen
        self._known: tuple[Generation, str] | None = None  # which documents pass, and when that was so

    @property
    def name(self) -> str:
        return self._collection.name

    def count(self) -> int:
        """How many documents pass."""
        with self._reading() as reader:
            return len(json.loads(reader.keys))

    def search(self, query: str, top: int) -> list[Hit]:
        """As `Collection.search`."""
        if top < 1:
            raise UsageError(f"top is {top}: ask for at least one passage.")
        with self._reading() as reader:
            passages = reader.passages_inside()
        if not query.strip() or not passages:
            return []
        if passages > EXACT:
            return self._further_down(query, top)
        vector = unit_vectors(self._collection.embedder, [query])[0]
        count = candidates_for(top)
        with self._reading() as reader:
            nearest = reader.nearest(vector, count)
            best = reader.lexical_inside(query, count)
            unscored = [number for number in nearest if number not in best]
            bm25 = {**best, **reader.lexical_scores(query, unscored)}
            return self._collection.ranked(reader, vector, nearest, bm25, top)

    def _further_down(self, query: str, top: int) -> list[Hit]:
        """Of a large part of the collection, enough stand among its best."""
        with self._reading() as reader:
            ids = reader.ids()
        count = 4 * top
        while True:
            hits = self._collection.search(query, count)
            kept = [hit for hit in hits if hit.passage.document_id in ids]
            if len(kept) >= top or len(hits) < count:
                return kept[:top]
            count *= 4

    def document(self, document_id: str) -> Document:
        """Raises UnknownDocument for one that does not pass, too."""
        self._require(document_id)
        return self._collection.document(document_id)

    def passages(self, document_id: str) -> list[Passage]:
        """Raises UnknownDocument for a document that does not pass, too."""
        self._require(document_id)
        return self._collection.passages(document_id)

    def documents(self) -> list[DocumentInfo]:
        with self._reading() as reader:
            ids = reader.ids()
        return [info for info in self._collection.documents() if info.id in ids]

    def term_frequency(self, terms: Iterable[str]) -> dict[str, int]:
        with self._reading() as reader:
            return {term: reader.frequency_inside(term) for term in terms}

    def _require(self, document_id: str) -> None:
        with self._reading() as reader:
            if document_id not in reader.ids():
                raise UnknownDocument(f"No document among those looked at has the id {document_id!r}.")

    @contextmanager
    def _reading(self) -> Iterator[_InsideReader]:
        with self._collection.connection() as connection:
            connection.execute("BEGIN")
            try:
                yield _InsideReader(connection, self._keys(connection))
            finally:
                connection.execute("ROLLBACK")

    def _keys(self, connection: sqlite3.Connection) -> str:
        generation = Reader(connection).generation()
        known = self._known
        if known is None or known[0] != generation:
            known = self._known = generation, json.dumps(documents_within(connection, self._filter))
        return known[1]


class _InsideReader(Reader):
    """Reads one state of the catalogue, and only some documents of it. `keys` are theirs, as JSON."""

    def __init__(self, connection: sqlite3.Connection, keys: str) -> None:
        super().__init__(connection)
        self.keys = keys

    def ids(self) -> frozenset[str]:
        rows = self._all("SELECT id FROM documents WHERE key IN (SELECT value FROM json_each(?))", self.keys)
        return frozenset(document_id for (document_id,) in rows)

    def passages_inside(self) -> int:
        row = self._one(f"SELECT count(*) FROM ({_INSIDE})", self.keys)
        return int(row[0])

    def nearest(self, vector: npt.NDArray[np.float32], top: int) -> list[int]:
        """The ids of the `top` nearest passages, best first; among equals the lower ids come first."""
        best: list[tuple[float, int]] = []
        cursor = self._connection.execute(
            "SELECT id, vector FROM passages WHERE document IN (SELECT value FROM json_each(?))", (self.keys,)
        )
        while rows := cursor.fetchmany(_ROWS):
            held = np.frombuffer(b"".join(row for _, row in rows), "<f4").reshape(len(rows), len(vector))
            scores = np.round(held @ vector, 6).tolist()
            found = zip((-score for score in scores), (number for number, _ in rows), strict=True)
            best = heapq.nsmallest(top, [*best, *found])
        return [number for _, number in best]

    def lexical_inside(self, query: str, top: int) -> dict[int, float]:
        """As `Reader.lexical`."""
        match = lexical.question(query)
        if match is None:
            return {}
        # The plus keeps SQLite from asking the full-text index anew for every passage.
        rows = self._all(
            "SELECT rowid, -bm25(passage_words) FROM passage_words WHERE passage_words MATCH ?"
            f" AND +rowid IN ({_INSIDE}) ORDER BY bm25(passage_words), rowid LIMIT ?",
            match,
            self.keys,
            top,
        )
        return dict(rows)

    def frequency_inside(self, term: str) -> int:
        """As `Reader.term_frequency`."""
        sql = f"SELECT count(*) FROM passage_words WHERE passage_words MATCH ? AND +rowid IN ({_INSIDE})"
        row = self._one(sql, lexical.phrase(term), self.keys)
        return int(row[0]) if row else 0
