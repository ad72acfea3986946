"""What documents say of themselves, one row a value, so that questions can be kept to some of them.

A document's metadata (front matter, an author, a date) stand in `facts` too, where they can be looked up
without reading texts. Tags are a value each.
"""

from __future__ import annotations

import datetime
import re
import sqlite3
from collections.abc import Iterator, Mapping

TAGS = ("tags", "tag", "keywords")
"""Names under which documents list what they are about; all of them are kept as "tags"."""

DATE = "date"

MIGRATION = (
    """CREATE TABLE facts(
        document INTEGER NOT NULL REFERENCES documents(key) ON DELETE CASCADE,
        name TEXT NOT NULL,
        value TEXT NOT NULL,
        PRIMARY KEY(document, name, value)
    ) STRICT, WITHOUT ROWID""",
    "CREATE INDEX facts_by_value ON facts(name, value)",
    # What was stored before: as `facts_of` makes it, but that tags are not cleaned as thoroughly.
    "INSERT OR IGNORE INTO facts SELECT d.key, m.key, m.value FROM documents d, json_each(d.metadata) m"
    f" WHERE m.key NOT IN {TAGS!r}",
    "INSERT OR IGNORE INTO facts SELECT d.key, 'tags', trim(t.value, ' #')"
    " FROM documents d, json_each(d.metadata) m,"
    " json_each('[' || replace(json_quote(m.value), ',', '\",\"') || ']') t"
    f" WHERE m.key IN {TAGS!r} AND trim(t.value, ' #') <> ''",
)

_DATED = re.compile(r"(\d{4})(?:([-/.]?)(\d\d)(?:\2(\d\d))?)?(?=[T\s]|$)", re.ASCII)


def facts_of(metadata: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """(name, value) pairs; a value may come twice."""
    for name, value in metadata.items():
        if name in TAGS:
            tags = (part.strip().lstrip("#").strip() for part in value.split(","))
            yield from ((TAGS[0], tag) for tag in tags if tag)
        else:
            yield name, value


def put_facts(connection: sqlite3.Connection, key: int, metadata: Mapping[str, str]) -> None:
    """In place of what the document with this key said before; they go with it."""
    connection.execute("DELETE FROM facts WHERE document = ?", (key,))
    connection.executemany(
        "INSERT OR IGNORE INTO facts(document, name, value) VALUES (?, ?, ?)",
        ((key, name, value) for name, value in facts_of(metadata)),
    )


def iso_date(written: str) -> str | None:
    """ "2024-03-05", "2024-03" or "2024" of a date that begins with its year; None for any other."""
    match = _DATED.match(written.strip())
    if match is None:
        return None
    year, _, month, day = match.groups()
    try:
        datetime.date(int(year), int(month or 1), int(day or 1))
    except ValueError:
        return None
    return "-".join(part for part in (year, month, day) if part)
