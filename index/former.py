"""Texts of before an edit, so that what was cited from them can still be shown as it was.

A document's id comes from its text, so an edited file is another document, and an older citation names one
that is no more. The former text stays, compressed, as long as its source is there and all of them fit into
`KEPT_BYTES`; of what was dropped for lack of room, it is still known what took its place. Whoever removes
the source removes its former texts too.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import time
import zlib
from collections.abc import Iterable

from index.errors import CollectionDamaged
from index.types import Document, Former, Page, StoredFormer

KEPT_BYTES = 64 * 1024 * 1024
"""Of all former texts of a collection, compressed; the oldest go first."""

KEPT_NAMES = 10_000
"""So many former documents are known by name at most."""

MIGRATION = (
    """CREATE TABLE former(
        id TEXT PRIMARY KEY,
        sha256 TEXT NOT NULL,
        uri TEXT NOT NULL,
        title TEXT NOT NULL,
        media_type TEXT NOT NULL,
        pages TEXT NOT NULL,
        characters INTEGER NOT NULL,
        text BLOB,
        replaced_at REAL NOT NULL
    ) STRICT""",
    "CREATE INDEX former_by_uri ON former(uri)",
)


def keep_former(connection: sqlite3.Connection, key: int, uri: str) -> None:
    """Called before the document with this key, whose last source is `uri`, is dropped for another text."""
    row = connection.execute(
        "SELECT d.id, d.sha256, s.title, d.media_type, d.pages, d.characters, d.text"
        " FROM documents d, sources s WHERE d.key = ? AND s.uri = ?",
        (key, uri),
    ).fetchone()
    if row is None:
        return
    connection.execute(
        "INSERT OR REPLACE INTO former(id, sha256, title, media_type, pages, characters, text, uri,"
        " replaced_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (*row[:-1], packed(row[-1].encode("utf-8")), uri, time.time()),
    )
    _make_room(connection)


def _make_room(connection: sqlite3.Connection) -> None:
    kept = 0
    rows = connection.execute(
        "SELECT rowid, length(text) FROM former WHERE text IS NOT NULL ORDER BY replaced_at DESC, rowid DESC"
    )
    for number, size in rows.fetchall():
        kept += size
        if kept > KEPT_BYTES:
            connection.execute("UPDATE former SET text = NULL WHERE rowid = ?", (number,))
    connection.execute(
        "DELETE FROM former WHERE rowid IN"
        " (SELECT rowid FROM former ORDER BY replaced_at DESC, rowid DESC LIMIT -1 OFFSET ?)",
        (KEPT_NAMES,),
    )


def is_back(connection: sqlite3.Connection, document_id: str) -> None:
    """The text is a document's again."""
    connection.execute("DELETE FROM former WHERE id = ?", (document_id,))


def drop_former(connection: sqlite3.Connection, uri: str, moved_to: str | None) -> None:
    """The source is gone; its document may stand elsewhere now."""
    if moved_to is None:
        connection.execute("DELETE FROM former WHERE uri = ?", (uri,))
    else:
        connection.execute("UPDATE former SET uri = ? WHERE uri = ?", (moved_to, uri))


def packed(data: bytes) -> bytes | None:
    """A text in UTF-8 as it is kept; None where it is too large."""
    made = zlib.compress(data, level=1)
    return made if len(made) <= KEPT_BYTES else None


def opened(kept: StoredFormer) -> Former:
    """Raises CollectionDamaged for a text that is not the one that was kept."""
    document = None
    if kept.packed is not None:
        try:
            # At most four bytes a character: a row that was tampered with does not fill the memory.
            data = zlib.decompressobj().decompress(kept.packed, 4 * kept.characters + 1)
            if hashlib.sha256(data).hexdigest() != kept.sha256:
                raise ValueError("another digest")
            found = tuple(Page(*page) for page in json.loads(kept.pages))
        except (ValueError, TypeError, zlib.error) as error:
            raise CollectionDamaged(
                f"The former text {kept.id} is damaged: run `footnote check`, then index again."
            ) from error
        document = Document(data.decode("utf-8"), kept.uri, kept.title, kept.media_type, (), found)
    return Former(kept.id, kept.title, kept.uri, document, kept.now, kept.replaced_at)


_STORED = (
    "SELECT f.id, f.title, f.uri, f.replaced_at, d.id, f.sha256, f.media_type, f.pages, f.characters,"
    " f.text FROM former f JOIN sources s ON s.uri = f.uri JOIN documents d ON d.key = s.document"
)


def read_former(connection: sqlite3.Connection, document_id: str) -> Former | None:
    """What was the document with this id; None where nothing is known of it.

    Raises CollectionDamaged for a text that is not the one that was kept.
    """
    row = connection.execute(_STORED + " WHERE f.id = ?", (document_id,)).fetchone()
    return None if row is None else opened(StoredFormer(*row))


def stored_formers(connection: sqlite3.Connection) -> list[StoredFormer]:
    """All, the oldest first."""
    return [StoredFormer(*row) for row in connection.execute(_STORED + " ORDER BY f.replaced_at, f.rowid")]


def put_formers(connection: sqlite3.Connection, formers: Iterable[StoredFormer]) -> None:
    """In place of all that are there."""
    connection.execute("DELETE FROM former")
    connection.executemany(
        "INSERT INTO former(id, sha256, title, media_type, pages, characters, text, uri, replaced_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            (f.id, f.sha256, f.title, f.media_type, f.pages, f.characters, f.packed, f.uri, f.replaced_at)
            for f in formers
        ),
    )
