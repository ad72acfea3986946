"""A collection seen through a filter: as if the other documents were not there."""

from __future__ import annotations

from collections.abc import Collection as Some
from collections.abc import Iterable

from index.types import Collection, Document, DocumentInfo, Hit, Passage


class OnlyDocuments:
    """The documents of a collection whose ids are given. Scores are those of the whole collection."""

    def __init__(self, collection: Collection, document_ids: Some[str]) -> None:
        self._collection = collection
        self._ids = frozenset(document_ids)

    @property
    def name(self) -> str:
        return self._collection.name

    def search(self, query: str, top: int) -> list[Hit]:
        """As `Collection.search`; looks further down until there are enough."""
        count = 4 * top
        while True:
            hits = self._collection.search(query, count)
            kept = [hit for hit in hits if hit.passage.document_id in self._ids]
            if len(kept) >= top or len(hits) < count:
                return kept[:top]
            count *= 4

    def document(self, document_id: str) -> Document:
        return self._collection.document(document_id)

    def passages(self, document_id: str) -> list[Passage]:
        return self._collection.passages(document_id)

    def documents(self) -> list[DocumentInfo]:
        return [info for info in self._collection.documents() if info.id in self._ids]

    def term_frequency(self, terms: Iterable[str]) -> dict[str, int]:
        return self._collection.term_frequency(terms)
