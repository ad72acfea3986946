"""A collection in PostgreSQL as if some of its documents were not there: the filter is part of each query."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, TypeVar

from psycopg import sql

from index.engines import postgres_reader
from index.engines.postgres_connections import Connection, Connections
from index.engines.postgres_filters import Condition, condition
from index.engines.postgres_texts import held
from index.errors import UnknownDocument
from index.filters import Filter
from index.types import Document, DocumentInfo, Hit, Passage

if TYPE_CHECKING:
    from index.engines.postgres import PostgresCollection

Result = TypeVar("Result")


class PostgresPart:
    """The documents that pass a filter, as the collection is at each call; see `index.types.Part`."""

    def __init__(self, collection: PostgresCollection, connections: Connections, chosen: Filter) -> None:
        self._collection = collection
        self._connections = connections
        self._filter = chosen

    @property
    def name(self) -> str:
        return self._collection.name

    def count(self) -> int:
        def counted(connection: Connection, chosen: Condition) -> int:
            statement = sql.SQL("SELECT count(*) FROM documents d WHERE {}").format(chosen[0])
            row = connection.execute(statement, chosen[1]).fetchone()
            return int(row[0]) if row else 0

        return self._read(counted)

    def search(self, query: str, top: int) -> list[Hit]:
        return self._collection.search_within(query, top, self._filter)

    def document(self, document_id: str) -> Document:
        self._require(document_id)
        return self._collection.document(document_id)

    def passages(self, document_id: str) -> list[Passage]:
        self._require(document_id)
        return self._collection.passages(document_id)

    def documents(self) -> list[DocumentInfo]:
        return self._read(lambda connection, chosen: postgres_reader.read_documents(connection, *chosen))

    def term_frequency(self, terms: Iterable[str]) -> dict[str, int]:
        return self._collection.term_frequency_within(terms, self._filter)

    def _require(self, document_id: str) -> None:
        """Raises UnknownDocument for one that does not pass."""

        def passes(connection: Connection, chosen: Condition) -> bool:
            statement = sql.SQL("SELECT FROM documents d WHERE d.id = %(document)s AND {}").format(chosen[0])
            return (
                connection.execute(statement, {**chosen[1], "document": held(document_id)}).fetchone()
                is not None
            )

        if not self._read(passes):
            raise UnknownDocument(f"No document among those looked at has the id {document_id!r}.")

    def _read(self, work: Callable[[Connection, Condition], Result]) -> Result:
        return self._connections.read(
            lambda connection: work(connection, condition(connection, self._filter))
        )
