"""What is read of a collection in PostgreSQL, beside searching. Each is one statement, or says so."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterator, Sequence
from typing import Any, LiteralString

import numpy as np
from psycopg import sql

from index.engines.postgres_connections import Connection
from index.engines.postgres_texts import findable, given, held
from index.errors import CollectionDamaged, UnknownDocument
from index.facts import TAGS
from index.former import opened
from index.scopes import scopes_of
from index.types import (
    Block,
    Document,
    DocumentInfo,
    Former,
    ListedDocument,
    Listing,
    Page,
    Passage,
    Scopes,
    Sentence,
    Source,
    StoredDocument,
    StoredFormer,
    StoredSource,
    Vectors,
)

PASSAGE: LiteralString = 'd.id, p.ordinal, p.start, p."end", p.heading, p.sentences, p.tokens'
"""The columns of a passage `p` of a document `d`, as `passage_of` takes them."""

_TITLES: LiteralString = (
    "SELECT DISTINCT ON (s.document) s.document AS key, s.folded FROM sources s ORDER BY s.document, s.number"
)
_LISTED: LiteralString = """
    SELECT d.key, d.id, d.media_type, d.sha256, d.characters, d.added_at,
        (SELECT count(*) FROM passages p WHERE p.document = d.key),
        (SELECT array_agg(s.uri ORDER BY s.number) FROM sources s WHERE s.document = d.key),
        (SELECT s.title FROM sources s WHERE s.document = d.key ORDER BY s.number LIMIT 1)
    FROM documents d"""
_SOURCE_COLUMNS: LiteralString = (
    "s.uri, s.bytes_sha256, s.size, s.mtime_ns, s.readers_version, s.root, s.title, d.id, d.made"
    " FROM sources s JOIN documents d ON d.key = s.document"
)
_SOURCE: LiteralString = "SELECT " + _SOURCE_COLUMNS


_FORMER: LiteralString = (
    "SELECT f.id, f.title, f.uri, f.replaced_at, d.id, f.sha256, f.media_type, f.pages, f.characters, f.text"
    " FROM former f JOIN sources s ON s.digest = f.source JOIN documents d ON d.key = s.document"
)


_AT_ONCE = 64
"""Documents that are read together."""


def folded_title(title: str) -> str:
    """As titles are searched: whatever the case and the form."""
    return unicodedata.normalize("NFKC", title).casefold()


def read_document(connection: Connection, document_id: str, text: str | None) -> Document:
    """`text` is the document's where it is known already. Raises UnknownDocument."""
    row = connection.execute(
        "SELECT CASE WHEN %s THEN NULL ELSE d.text END, s.uri, s.title, d.media_type, d.blocks, d.pages,"
        " d.metadata FROM documents d JOIN sources s ON s.document = d.key WHERE d.id = %s"
        " ORDER BY s.number LIMIT 1",
        (text is not None, held(document_id)),
    ).fetchone()
    if row is None:
        raise unknown(document_id)
    data, uri, title, media_type, blocks, pages, metadata = row
    return Document(
        text=text if text is not None else decoded(data, document_id),
        uri=given(uri),
        title=given(title),
        media_type=media_type,
        blocks=blocks_of(blocks),
        pages=tuple(Page(*page) for page in json.loads(pages)),
        metadata=json.loads(metadata),
    )


def blocks_of(stored: str) -> tuple[Block, ...]:
    return tuple(
        Block(start, end, heading, bool(is_one)) for start, end, heading, is_one in json.loads(stored)
    )


def decoded(data: bytes, document_id: str) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise CollectionDamaged(
            f"The text of the document {document_id} is damaged: restore the database, or index again."
        ) from error


def read_documents(
    connection: Connection, chosen: sql.Composable, values: dict[str, Any]
) -> list[DocumentInfo]:
    """Those that pass, in the order in which they were stored."""
    rows = connection.execute(
        sql.SQL(_LISTED) + sql.SQL(" WHERE {} ORDER BY d.key").format(chosen), values
    ).fetchall()
    return [
        DocumentInfo(row.id, row.title, row.uris, row.media_type, row.sha256, row.characters, row.passages)
        for row in map(_listed, rows)
        if row.uris
    ]


def read_passages(connection: Connection, document_id: str) -> list[Passage]:
    """In reading order. Raises UnknownDocument."""
    rows = connection.execute(
        sql.SQL(
            "SELECT {} FROM documents d LEFT JOIN passages p ON p.document = d.key WHERE d.id = %s"
            " ORDER BY p.ordinal"
        ).format(sql.SQL(PASSAGE)),
        (held(document_id),),
    ).fetchall()
    if not rows:
        raise unknown(document_id)
    return [passage_of(row) for row in rows if row[1] is not None]


def passage_of(row: Sequence[Any]) -> Passage:
    document_id, ordinal, start, end, heading, sentences, tokens = row
    found = tuple(Sentence(first, last) for first, last in json.loads(sentences))
    return Passage(document_id, ordinal, start, end, given(heading), found, tokens)


def list_documents(connection: Connection, limit: int, before: int | None, title: str) -> Listing:
    """Two statements, which have to see one state."""
    wanted = held(folded_title(title.strip()))
    values = {"wanted": wanted, "before": before, "limit": limit + 1}
    matching: sql.Composable = sql.SQL("true")
    if wanted:
        matching = sql.SQL(
            "d.key IN (SELECT t.key FROM ({}) t WHERE strpos(t.folded, %(wanted)s) > 0)"
        ).format(sql.SQL(_TITLES))
    row = connection.execute(
        sql.SQL("SELECT count(*) FROM documents d WHERE {}").format(matching), values
    ).fetchone()
    rows = connection.execute(
        sql.SQL(_LISTED)
        + sql.SQL(
            " WHERE {} AND (%(before)s::bigint IS NULL OR d.key < %(before)s)"
            " ORDER BY d.key DESC LIMIT %(limit)s"
        ).format(matching),
        values,
    ).fetchall()
    documents = tuple(_listed(row) for row in rows[:limit])
    return Listing(documents, documents[-1].key if len(rows) > limit else None, int(row[0]) if row else 0)


def listed_document(connection: Connection, document_id: str) -> ListedDocument:
    """Raises UnknownDocument."""
    row = connection.execute(sql.SQL(_LISTED + " WHERE d.id = %s"), (held(document_id),)).fetchone()
    if row is None or not row[7]:
        raise unknown(document_id)
    return _listed(row)


def _listed(row: Sequence[Any]) -> ListedDocument:
    key, document_id, media_type, sha256, characters, added_at, passages, uris, title = row
    return ListedDocument(
        key=key,
        id=document_id,
        title=given(title or ""),
        uris=tuple(map(given, uris or ())),
        media_type=media_type,
        sha256=sha256,
        characters=characters,
        passages=passages,
        added_at=added_at,
    )


def read_source(connection: Connection, digest: bytes) -> StoredSource | None:
    row = connection.execute(sql.SQL(_SOURCE + " WHERE s.digest = %s"), (digest,)).fetchone()
    return None if row is None else stored_source(row)


def read_sources(connection: Connection) -> list[StoredSource]:
    return [stored_source(row) for row in connection.execute(sql.SQL(_SOURCE + " ORDER BY s.number"))]


def stored_source(row: Sequence[Any]) -> StoredSource:
    uri, bytes_sha256, size, mtime_ns, readers_version, root, title, document_id, made = row
    source = Source(given(uri), bytes_sha256, size, mtime_ns, readers_version, given(root))
    return StoredSource(source, given(title), document_id, made)


def read_stored(connection: Connection, document_ids: Sequence[str] | None) -> Iterator[StoredDocument]:
    """Those documents, or all, in the order in which they were stored; within the caller's transaction."""
    chosen = sql.SQL("true") if document_ids is None else sql.SQL("d.id = ANY(%(ids)s::text[])")
    with connection.cursor(name="stored") as documents:
        documents.itersize = _AT_ONCE
        documents.execute(
            sql.SQL(
                "SELECT d.key, d.id, d.text, d.media_type, d.blocks, d.pages, d.metadata, d.made, d.added_at"
                " FROM documents d WHERE {} ORDER BY d.key"
            ).format(chosen),
            {"ids": findable(document_ids or ())},
        )
        while rows := documents.fetchmany(_AT_ONCE):
            keys = [row[0] for row in rows]
            passages: dict[int, list[tuple[Any, ...]]] = {}
            for key, *passage in connection.execute(
                sql.SQL(
                    "SELECT p.document, vector_send(p.vector), {} FROM passages p"
                    " JOIN documents d ON d.key = p.document WHERE p.document = ANY(%s)"
                    " ORDER BY p.document, p.ordinal"
                ).format(sql.SQL(PASSAGE)),
                (keys,),
            ):
                passages.setdefault(key, []).append(tuple(passage))
            sources: dict[int, list[StoredSource]] = {}
            for key, *source in connection.execute(
                sql.SQL("SELECT d.key, " + _SOURCE_COLUMNS + " WHERE d.key = ANY(%s) ORDER BY s.number"),
                (keys,),
            ):
                sources.setdefault(key, []).append(stored_source(source))
            for row in rows:
                if row[0] in sources:
                    yield _stored(row, passages.get(row[0], []), sources[row[0]])


def _stored(
    row: Sequence[Any], passages: Sequence[Sequence[Any]], sources: Sequence[StoredSource]
) -> StoredDocument:
    _, document_id, data, media_type, blocks, pages, metadata, made, added_at = row
    document = Document(
        decoded(data, document_id),
        sources[0].source.uri,
        sources[0].title,
        media_type,
        blocks_of(blocks),
        tuple(Page(*page) for page in json.loads(pages)),
        json.loads(metadata),
    )
    return StoredDocument(
        document,
        made,
        added_at,
        tuple(passage_of(passage[1:]) for passage in passages),
        vectors_of([passage[0] for passage in passages]),
        tuple((one.source, one.title) for one in sources),
    )


def vectors_of(sent: Sequence[bytes]) -> Vectors:
    """From pgvector's binary form: two shorts, then big-endian single precision."""
    rows = [np.frombuffer(one, ">f4", offset=4) for one in sent]
    return np.array(rows, dtype=np.float32)


def read_made(connection: Connection, document_ids: Sequence[str]) -> dict[str, str]:
    """How the passages of those documents that are there were made, by id."""
    sql_text = "SELECT d.id, d.made FROM documents d WHERE d.id = ANY(%s)"
    rows = connection.execute(sql_text, (list(document_ids),)).fetchall()
    return dict(rows)


def uris_of(connection: Connection, document_id: str) -> list[str]:
    """Of all sources of a document."""
    rows = connection.execute(
        "SELECT s.uri FROM sources s JOIN documents d ON d.key = s.document WHERE d.id = %s"
        " ORDER BY s.number",
        (held(document_id),),
    ).fetchall()
    return [given(uri) for (uri,) in rows]


def read_scopes(connection: Connection, words: str) -> Scopes:
    """Two statements, which have to see one state."""
    tags = connection.execute(
        "SELECT value, count(*) FROM facts WHERE left(name, 100) = %(name)s AND name = %(name)s"
        " GROUP BY value",
        {"name": TAGS[0]},
    ).fetchall()
    uris = connection.execute("SELECT uri FROM sources WHERE uri LIKE 'file:///%'")
    return scopes_of((uri for (uri,) in uris), [(given(tag), count) for tag, count in tags], words=words)


def read_former(connection: Connection, document_id: str) -> Former | None:
    """Raises CollectionDamaged for a text that is not the one that was kept."""
    row = connection.execute(sql.SQL(_FORMER + " WHERE f.id = %s"), (held(document_id),)).fetchone()
    return None if row is None else opened(_former(row))


def read_formers(connection: Connection) -> list[StoredFormer]:
    """The oldest first."""
    return [
        _former(row) for row in connection.execute(sql.SQL(_FORMER + " ORDER BY f.replaced_at, f.number"))
    ]


def _former(row: Sequence[Any]) -> StoredFormer:
    former_id, title, uri, *rest = row
    return StoredFormer(former_id, given(title), given(uri), *rest)


def unknown(document_id: str) -> UnknownDocument:
    return UnknownDocument(
        f"No document has the id {document_id!r}: list the documents to see which there are."
    )
