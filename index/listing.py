"""What a catalogue shows of its documents without their texts: page by page, searched by title."""

from __future__ import annotations

import json
import sqlite3
import unicodedata

from index.errors import UnknownDocument
from index.types import ListedDocument, Listing

# The first source gives the title, as in `Reader.document`. With a bare min() SQLite takes the other
# columns from the row that has it.
_TITLES = (
    "SELECT d.key, s.title, min(s.rowid) FROM documents d JOIN sources s ON s.document = d.key"
    " GROUP BY d.key ORDER BY d.key DESC"
)
_DOCUMENTS = (
    "SELECT d.key, d.id, d.media_type, d.sha256, d.characters, d.added_at,"
    " (SELECT count(*) FROM passages p WHERE p.document = d.key) FROM documents d"
)
_SOURCES = "SELECT document, uri, title FROM sources"


def list_documents(
    connection: sqlite3.Connection, *, limit: int, before: int | None = None, title: str = ""
) -> Listing:
    """Documents whose title holds `title`, whatever its case, the latest first; `before` a key.

    A page stays where it is when documents are added or removed meanwhile.
    """
    wanted = _folded(title.strip())
    connection.execute("BEGIN")
    try:
        keys = [key for key, shown, _ in connection.execute(_TITLES) if wanted in _folded(shown)]
        rest = keys if before is None else [key for key in keys if key < before]
        documents = _listed(connection, rest[:limit])
    finally:
        connection.execute("ROLLBACK")
    return Listing(documents, documents[-1].key if len(rest) > limit else None, len(keys))


def listed_document(connection: sqlite3.Connection, document_id: str) -> ListedDocument:
    """Raises UnknownDocument."""
    connection.execute("BEGIN")
    try:
        row = connection.execute("SELECT key FROM documents WHERE id = ?", (document_id,)).fetchone()
        found = _listed(connection, [row[0]]) if row else ()
    finally:
        connection.execute("ROLLBACK")
    if not found:
        raise UnknownDocument(f"No document has the id {document_id!r}: list the documents to see.")
    return found[0]


def _listed(connection: sqlite3.Connection, keys: list[int]) -> tuple[ListedDocument, ...]:
    chosen = "IN (SELECT value FROM json_each(?))"
    sources: dict[int, list[tuple[str, str]]] = {}
    sql = f"{_SOURCES} WHERE document {chosen} ORDER BY rowid"
    for key, uri, title in connection.execute(sql, (json.dumps(keys),)):
        sources.setdefault(key, []).append((uri, title))
    rows = connection.execute(f"{_DOCUMENTS} WHERE d.key {chosen} ORDER BY d.key DESC", (json.dumps(keys),))
    return tuple(
        ListedDocument(
            key=key,
            id=document_id,
            title=sources[key][0][1],
            uris=tuple(uri for uri, _ in sources[key]),
            media_type=media_type,
            sha256=sha256,
            characters=characters,
            passages=passages,
            added_at=added_at,
        )
        for key, document_id, media_type, sha256, characters, added_at, passages in rows
        if key in sources
    )


def _folded(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold()
