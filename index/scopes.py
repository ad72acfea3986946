"""What a question can be kept to: the folders and tags that a collection has, with how many documents."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable
from urllib.parse import unquote

from index.facts import TAGS
from index.filters import folded
from index.types import Scope, Scopes

LIMIT = 20
"""Of each kind, at most."""

_FILES = "file://"


def scopes(connection: sqlite3.Connection, *, words: str = "", limit: int = LIMIT) -> Scopes:
    """Those whose name holds `words`, whatever the case, the largest first; at most `limit` of each kind.

    A folder that holds nothing but one other folder is left out, the other is there.
    """
    uris = [uri for (uri,) in connection.execute("SELECT uri FROM sources WHERE uri LIKE 'file:///%'")]
    tags = connection.execute(
        "SELECT value, count(*) FROM facts WHERE name = ? GROUP BY value", (TAGS[0],)
    ).fetchall()
    return scopes_of(uris, tags, words=words, limit=limit)


def scopes_of(
    uris: Iterable[str], tags: Iterable[tuple[str, int]], *, words: str = "", limit: int = LIMIT
) -> Scopes:
    """As `scopes`, from the URIs of files, and tags with how many documents have them."""
    wanted = folded(words)
    return Scopes(_largest(_folders(uris), wanted, limit), _largest(tags, wanted, limit))


def _folders(uris: Iterable[str]) -> list[tuple[str, int]]:
    within: Counter[str] = Counter()
    for uri in uris:
        folder = uri.rpartition("/")[0]
        while folder != _FILES:
            within[folder] += 1
            folder = folder.rpartition("/")[0]
    # Of a chain of folders with the same documents only the innermost says anything.
    chained = {parent for folder in within if within[parent := folder.rpartition("/")[0]] == within[folder]}
    return [(unquote(uri.removeprefix(_FILES)), count) for uri, count in within.items() if uri not in chained]


def _largest(found: Iterable[tuple[str, int]], wanted: str, limit: int) -> tuple[Scope, ...]:
    matching = [Scope(name, count) for name, count in found if wanted in folded(name)]
    return tuple(sorted(matching, key=lambda one: (-one.documents, one.name))[:limit])
