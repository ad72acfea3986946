"""What is written to a collection in PostgreSQL, within the caller's transaction.

Writers of different documents do not wait for each other. Those of one source or one document do, by locks
on their names that the transaction holds to its end: sources first, then documents, each in one order, so
that no two can wait for one another.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from index import former
from index.engines.address import Address
from index.engines.postgres_bulk import copy_facts, copy_passages, count, described, digest_of
from index.engines.postgres_connections import Connection
from index.engines.postgres_reader import folded_title
from index.engines.postgres_texts import held
from index.engines.terms import Terms
from index.putting import Prepared
from index.types import Document, Passage, Source, StoredFormer, Vectors


@dataclass(frozen=True, slots=True)
class Ready:
    """A document with all that is stored of it; `found` is None where its passages were there already.

    `terms` has an entry for each passage.
    """

    document: Document
    source: Source
    found: Prepared | None
    terms: Sequence[Terms]


def keep_out(connection: Connection, address: Address) -> None:
    """Keep other writers out as long as this connection is there. Raises LockNotAvailable as `enter` does."""
    connection.execute("SELECT pg_advisory_lock(%s)", (_number("writer", address.collection),))


def stay(connection: Connection, address: Address) -> None:
    """As `enter`, as long as this connection is there."""
    connection.execute("SELECT pg_advisory_lock_shared(%s)", (_number("writer", address.collection),))


def enter(connection: Connection, address: Address) -> None:
    """Wait until nobody keeps writers out. Raises LockNotAvailable after `lock_timeout`."""
    connection.execute("SELECT pg_advisory_xact_lock_shared(%s)", (_number("writer", address.collection),))


def lock(connection: Connection, address: Address, kind: str, names: Iterable[str]) -> None:
    """Keep others from changing these "source"s, by URI, or "document"s, by id."""
    numbers = sorted({_number(kind, address.collection, name) for name in names})
    connection.execute("SELECT pg_advisory_xact_lock(n) FROM unnest(%s::bigint[]) n ORDER BY n", (numbers,))


def _number(*names: str) -> int:
    digest = hashlib.blake2b("\0".join(names).encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


def changed(connection: Connection) -> None:
    """Say that the collection is in another state from here on."""
    connection.execute("SELECT nextval('generations')")


def put_document(
    connection: Connection,
    document: Document,
    made: str,
    passages: Sequence[Passage],
    vectors: Vectors,
    terms: Sequence[Terms],
) -> None:
    """Store a document, in place of one with the same id; `vectors`, `terms` have a row for each passage."""
    content = {"id": document.id, "made": made, **described(document)}
    row = connection.execute("SELECT key FROM documents WHERE id = %s", (document.id,)).fetchone()
    data = document.text.encode()
    if row is None:
        row = connection.execute(
            "INSERT INTO documents(id, media_type, text, characters, sha256, blocks, pages, metadata, made,"
            " dated, added_at) VALUES (%(id)s, %(media_type)s, %(text)s, %(characters)s, %(sha256)s,"
            " %(blocks)s, %(pages)s, %(metadata)s, %(made)s, %(dated)s, %(added_at)s) RETURNING key",
            {
                **content,
                "text": data,
                "characters": len(document.text),
                "sha256": document.sha256,
                "added_at": time.time(),
            },
        ).fetchone()
        connection.execute("DELETE FROM former WHERE id = %s", (document.id,))
    else:
        _drop_passages(connection, row[0])
        connection.execute(
            "UPDATE documents SET media_type = %(media_type)s, blocks = %(blocks)s, pages = %(pages)s,"
            " metadata = %(metadata)s, made = %(made)s, dated = %(dated)s WHERE id = %(id)s",
            content,
        )
    assert row is not None
    connection.execute("DELETE FROM facts WHERE document = %s", (row[0],))
    copy_facts(connection, [(row[0], document.metadata)])
    copy_passages(connection, [(row[0], document.text, passages, vectors, terms)])


def _drop_passages(connection: Connection, key: int) -> None:
    row = connection.execute(
        "SELECT count(*), coalesce(sum(w.length), 0)::bigint FROM passages p JOIN words w ON w.passage = p.id"
        " WHERE p.document = %s",
        (key,),
    ).fetchone()
    if row is not None and row[0]:
        count(connection, -row[0], -row[1])
    connection.execute("DELETE FROM passages WHERE document = %s", (key,))


def put_source(connection: Connection, source: Source, title: str, document_id: str) -> None:
    """Point a source at a stored document; a document that then has no source is dropped."""
    digest = digest_of(source.uri)
    row = connection.execute("SELECT document FROM sources WHERE digest = %s", (digest,)).fetchone()
    if row is not None:
        _keep_former(connection, row[0], digest, document_id)
    connection.execute(
        "INSERT INTO sources(digest, uri, document, title, folded, bytes_sha256, size, mtime_ns,"
        " readers_version, root) SELECT %s, %s, key, %s, %s, %s, %s, %s, %s, %s FROM documents WHERE id = %s"
        " ON CONFLICT (digest) DO UPDATE SET document = excluded.document, title = excluded.title,"
        " folded = excluded.folded, bytes_sha256 = excluded.bytes_sha256, size = excluded.size,"
        " mtime_ns = excluded.mtime_ns, readers_version = excluded.readers_version, root = excluded.root",
        (
            digest,
            held(source.uri),
            held(title),
            held(folded_title(title)),
            source.bytes_sha256,
            source.size,
            source.mtime_ns,
            source.readers_version,
            held(source.root),
            document_id,
        ),
    )
    if row is not None:
        _drop_if_unsourced(connection, row[0])


def touch_source(connection: Connection, source: Source, document_id: str) -> bool:
    """Record the size, the time and the root of a source; whether it is still that document's."""
    row = connection.execute(
        "UPDATE sources s SET size = %s, mtime_ns = %s, root = %s FROM documents d WHERE s.digest = %s"
        " AND s.bytes_sha256 = %s AND d.key = s.document AND d.id = %s RETURNING 1",
        (
            source.size,
            source.mtime_ns,
            held(source.root),
            digest_of(source.uri),
            source.bytes_sha256,
            document_id,
        ),
    ).fetchone()
    if row is not None:
        changed(connection)
    return row is not None


def remove_source(connection: Connection, uri: str) -> bool:
    """Whether there was one. A document that then has no source is dropped."""
    digest = digest_of(uri)
    row = connection.execute("DELETE FROM sources WHERE digest = %s RETURNING document", (digest,)).fetchone()
    if row is None:
        return False
    left = connection.execute(
        "SELECT digest, uri FROM sources WHERE document = %s ORDER BY number DESC LIMIT 1", (row[0],)
    ).fetchone()
    if left is None:
        connection.execute("DELETE FROM former WHERE source = %s", (digest,))
    else:
        connection.execute("UPDATE former SET source = %s, uri = %s WHERE source = %s", (*left, digest))
    _drop_if_unsourced(connection, row[0])
    return True


def _drop_if_unsourced(connection: Connection, key: int) -> None:
    if connection.execute("SELECT FROM sources WHERE document = %s LIMIT 1", (key,)).fetchone() is None:
        _drop_passages(connection, key)
        connection.execute("DELETE FROM documents WHERE key = %s", (key,))


def _keep_former(connection: Connection, key: int, digest: bytes, new_id: str) -> None:
    """Keep the text of the document with this key where the source leaves it for another and was its last."""
    row = connection.execute(
        "SELECT d.id, d.sha256, s.title, d.media_type, d.pages, d.characters, s.uri, d.text"
        " FROM documents d JOIN sources s ON s.digest = %s WHERE d.key = %s AND d.id <> %s"
        " AND NOT EXISTS (SELECT FROM sources o WHERE o.document = d.key AND o.digest <> s.digest)",
        (digest, key, new_id),
    ).fetchone()
    if row is None:
        return
    *rest, data = row
    _put_former(connection, (*rest, former.packed(data), digest, time.time()))
    connection.execute(
        "UPDATE former SET text = NULL WHERE text IS NOT NULL AND number IN (SELECT number FROM (SELECT"
        " number, sum(length(text)) OVER (ORDER BY replaced_at DESC, number DESC) AS kept FROM former"
        " WHERE text IS NOT NULL) f WHERE kept > %s)",
        (former.KEPT_BYTES,),
    )
    connection.execute(
        "DELETE FROM former WHERE number IN"
        " (SELECT number FROM former ORDER BY replaced_at DESC, number DESC OFFSET %s)",
        (former.KEPT_NAMES,),
    )


def put_formers(connection: Connection, formers: Iterable[StoredFormer]) -> None:
    """In place of all that are there."""
    connection.execute("DELETE FROM former")
    for f in formers:
        place = (held(f.title), f.media_type, f.pages, f.characters, held(f.uri), f.packed, digest_of(f.uri))
        _put_former(connection, (f.id, f.sha256, *place, f.replaced_at))


def _put_former(connection: Connection, row: tuple[object, ...]) -> None:
    """id, sha256, title, media_type, pages, characters, uri, text, digest of the URI, time."""
    connection.execute(
        "INSERT INTO former(id, sha256, title, media_type, pages, characters, uri, text, source, replaced_at)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT (id) DO UPDATE SET"
        " source = excluded.source, uri = excluded.uri, title = excluded.title, text = excluded.text,"
        " replaced_at = excluded.replaced_at",
        row,
    )
