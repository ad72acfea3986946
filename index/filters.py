"""Which documents a question is kept to: by id, path, title, tag, date, or what they say of themselves.

A document has to pass every kind of filter given; of several values of one kind, one is enough. Paths are
compared as files are named; titles, tags and metadata whatever their case.
"""

from __future__ import annotations

import json
import os
import re
import sqlite3
import unicodedata
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import quote

from index.errors import UnknownFilter, UsageError
from index.facts import DATE, TAGS, iso_date

_SCHEME = re.compile(r"[a-z][a-z0-9+.-]+:")

KINDS = ("id", "path", "title", "tag", "since", "until")
"""What there is of them, whatever the documents say of themselves."""


@dataclass(frozen=True, slots=True)
class Filter:
    """Which documents; empty fields keep nobody out.

    A path is a file, or a folder with all that is in it: absolute, the URI of a source, or a run of whole
    names anywhere in a path ("notes/2024"). A title is a part of one. `since` and `until` are days,
    months or years in ISO 8601, both included; a document's day is the date that it names, else the day on
    which its file was changed last, in UTC. `metadata` holds (name, value) pairs.
    """

    ids: frozenset[str] = frozenset()
    paths: tuple[str, ...] = ()
    titles: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    since: str = ""
    until: str = ""
    metadata: tuple[tuple[str, str], ...] = field(default=())

    def __bool__(self) -> bool:
        """Whether it keeps anything out."""
        return self != EVERYTHING

    def __post_init__(self) -> None:
        for name in ("since", "until"):
            written = getattr(self, name)
            if written and iso_date(written) != written:
                error = UsageError(f"{name} is {written!r}: write a date as 2024-03-05, 2024-03 or 2024")
                error.param = name
                raise error


EVERYTHING = Filter()


def documents_within(connection: sqlite3.Connection, chosen: Filter) -> list[int]:
    """The keys of the documents that pass, rising; within the caller's transaction.

    Raises UnknownFilter for metadata that no document has.
    """
    found: set[int] | None = None
    for keys in _each(connection, chosen):
        found = keys if found is None else found & keys
    if found is None:
        found = _keys(connection, "SELECT key FROM documents")
    return sorted(found)


def _each(connection: sqlite3.Connection, chosen: Filter) -> Iterable[set[int]]:
    by_name: dict[str, list[str]] = {}
    for name, value in chosen.metadata:
        by_name.setdefault(name.lower(), []).append(value)
    if by_name:
        known = metadata_names(connection)
        for name in by_name:
            if name not in known:
                raise unknown_filter(name, known)
    if chosen.ids:
        ids = json.dumps(sorted(chosen.ids))
        yield _keys(connection, "SELECT key FROM documents WHERE id IN (SELECT value FROM json_each(?))", ids)
    if chosen.paths:
        yield set().union(*(_at(connection, path) for path in chosen.paths))
    if chosen.titles:
        wanted = [folded(title) for title in chosen.titles]
        rows = connection.execute("SELECT document, title FROM sources")
        yield {key for key, title in rows if any(one in folded(title) for one in wanted)}
    if chosen.tags:
        yield _saying(connection, TAGS[0], [tag.lstrip("#") for tag in chosen.tags])
    for name, values in by_name.items():
        yield _saying(connection, name, values)
    if chosen.since or chosen.until:
        yield {key for key, day in _days(connection) if _lies_within(day, chosen.since, chosen.until)}


def metadata_names(connection: sqlite3.Connection) -> list[str]:
    """What documents say of themselves: "author", "tags", …; sorted."""
    # One look into the index for each name: there may be millions of rows and are few names.
    rows = connection.execute(
        "WITH RECURSIVE names(name) AS (SELECT min(name) FROM facts UNION ALL"
        " SELECT (SELECT min(f.name) FROM facts f WHERE f.name > names.name) FROM names"
        " WHERE name IS NOT NULL) SELECT name FROM names WHERE name IS NOT NULL"
    )
    return [name for (name,) in rows]


def _saying(connection: sqlite3.Connection, name: str, values: Collection[str]) -> set[int]:
    wanted = {folded(value) for value in values}
    said = connection.execute("SELECT DISTINCT value FROM facts WHERE name = ?", (name,))
    matching = [value for (value,) in said if folded(value) in wanted]
    return _keys(
        connection,
        "SELECT document FROM facts WHERE name = ? AND value IN (SELECT value FROM json_each(?))",
        name,
        json.dumps(matching),
    )


def _at(connection: sqlite3.Connection, path: str) -> set[int]:
    """The documents of a file or a folder."""
    uri, names = place_of(path)
    if uri:
        inside = uri if uri.endswith("/") else uri + "/"
        # "0" comes after "/": all that begins with `inside`.
        sql = "SELECT document FROM sources WHERE uri = ? OR (uri >= ? AND uri < ?)"
        return _keys(connection, sql, uri, inside, inside[:-1] + "0")
    return _keys(connection, "SELECT document FROM sources WHERE instr(uri || '/', ?) > 0", names)


def place_of(path: str) -> tuple[str, str]:
    """What a path stands for: a URI and nothing, or nothing and a run of whole names, with slashes around."""
    is_uri = _SCHEME.match(path) is not None
    if is_uri or path.startswith("/"):
        uri = path.encode("utf-8", "replace").decode() if is_uri else "file://" + _quoted(path)
        return uri.rstrip("/") if uri != "file:///" else uri, ""
    return "", "/" + _quoted(path.strip("/")) + "/"


def _quoted(path: str) -> str:
    try:
        return quote(os.fsencode(path))  # as files are named: undecodable bytes are surrogates
    except UnicodeEncodeError:
        return quote(path.encode("utf-8", "replace"))


def _days(connection: sqlite3.Connection) -> Iterable[tuple[int, str]]:
    """(key, day) of every document."""
    dated: dict[int, str] = {}
    for key, written in connection.execute("SELECT document, value FROM facts WHERE name = ?", (DATE,)):
        if day := iso_date(written):
            dated[key] = day
    undated: list[int] = []
    for key, changed in connection.execute("SELECT document, max(mtime_ns) FROM sources GROUP BY document"):
        if key in dated:
            yield key, dated[key]
        elif changed > 0:
            yield key, _day(changed / 1e9)
        else:
            undated.append(key)
    # What was uploaded or pasted has no file. Looked up last: it stands behind the text.
    rows = "SELECT key, added_at FROM documents WHERE key IN (SELECT value FROM json_each(?))"
    for key, added in connection.execute(rows, (json.dumps(undated),)) if undated else ():
        yield key, _day(added)


def _day(seconds: float) -> str:
    try:
        return datetime.fromtimestamp(seconds, UTC).date().isoformat()
    except (ValueError, OverflowError, OSError):  # a file system may say anything
        return "9999"


def _lies_within(day: str, since: str, until: str) -> bool:
    """Compared as far as both are exact: "2024" may lie before and after 2024-03-05."""
    after = min(len(day), len(since))
    before = min(len(day), len(until))
    return day[:after] >= since[:after] and day[:before] <= until[:before]


def _keys(connection: sqlite3.Connection, sql: str, *values: object) -> set[int]:
    return {key for (key,) in connection.execute(sql, values)}


def unknown_filter(name: str, known: Iterable[str]) -> UnknownFilter:
    """The error for a name that no document has, of those that there are."""
    said = [one for one in known if one != TAGS[0]][:20]
    own = f", and these documents have {', '.join(said)}" if said else ""
    error = UnknownFilter(f"there is no filter {name!r}: there are {', '.join(KINDS)}{own}")
    error.param = f"metadata.{name}"
    return error


def folded(text: str) -> str:
    """As it is compared: whatever its case and its form."""
    return unicodedata.normalize("NFKC", text).casefold().strip()


def filter_of(given: Iterable[str]) -> Filter:
    """From "KEY=VALUE" texts. Raises UsageError for what is none, UnknownFilter never."""
    ids: set[str] = set()
    paths: list[str] = []
    titles: list[str] = []
    tags: list[str] = []
    days: dict[str, str] = {}
    metadata: list[tuple[str, str]] = []
    for text in given:
        name, equals, value = (part.strip() for part in text.partition("="))
        if not (name and equals and value):
            raise UsageError(f"the filter {text!r} is not of the form KEY=VALUE, as in tag=letters")
        if name in days:
            raise UsageError(f"the filter {name} was given twice: once is enough")
        if name == "id":
            ids.add(value)
        elif name == "path":
            paths.append(value)
        elif name == "title":
            titles.append(value)
        elif name == "tag":
            tags.append(value)
        elif name in ("since", "until"):
            days[name] = value
        else:
            metadata.append((name, value))
    return Filter(frozenset(ids), tuple(paths), tuple(titles), tuple(tags), **days, metadata=tuple(metadata))
