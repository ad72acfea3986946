"""A filter as a condition in SQL: the same documents pass as `index.filters` lets pass."""

from __future__ import annotations

from typing import Any, LiteralString

from psycopg import sql

from index.engines.postgres_connections import Connection
from index.engines.postgres_texts import findable, held
from index.facts import TAGS
from index.filters import Filter, folded, place_of, unknown_filter

Condition = tuple[sql.Composed, dict[str, Any]]
"""On a row `d` of documents, and its parameters."""

# A file system may say anything of a time: what is no day counts as the last of all.
_DAY: LiteralString = """(CASE WHEN d.dated <> '' THEN d.dated ELSE (
    SELECT CASE WHEN max(s.mtime_ns) > 0 AND max(s.mtime_ns) < 253402300800000000000
        THEN to_char(to_timestamp(max(s.mtime_ns) / 1000000000) AT TIME ZONE 'UTC', 'YYYY-MM-DD')
        WHEN max(s.mtime_ns) > 0 THEN '9999'
        ELSE to_char(to_timestamp(d.added_at) AT TIME ZONE 'UTC', 'YYYY-MM-DD') END
    FROM sources s WHERE s.document = d.key) END COLLATE "C")"""


def condition(connection: Connection, chosen: Filter) -> Condition:
    """Raises UnknownFilter for metadata that no document has."""
    parts: list[sql.Composable] = [sql.SQL("true")]
    values: dict[str, Any] = {}
    if chosen.ids:
        parts.append(sql.SQL("d.id = ANY(%(ids)s::text[])"))
        values["ids"] = findable(chosen.ids)
    if chosen.paths:
        parts.append(_at(chosen.paths, values))
    if chosen.titles:
        parts.append(
            sql.SQL(
                "d.key IN (SELECT s.document FROM sources s, unnest(%(titles)s::text[]) wanted"
                " WHERE strpos(s.folded, wanted) > 0)"
            )
        )
        values["titles"] = findable(map(folded, chosen.titles))
    if chosen.tags:
        parts.append(_saying(TAGS[0], [tag.lstrip("#") for tag in chosen.tags], values))
    by_name: dict[str, list[str]] = {}
    for name, value in chosen.metadata:
        by_name.setdefault(name.lower(), []).append(value)
    if by_name:
        known = metadata_names(connection)
        for name, wanted in by_name.items():
            if name not in known:
                raise unknown_filter(name, known)
            parts.append(_saying(name, wanted, values))
    for bound, sign in ((chosen.since, ">="), (chosen.until, "<=")):
        if bound:
            name = f"bound{len(values)}"
            values[name] = bound
            parts.append(_compared(sign, name))
    return sql.SQL("(") + sql.SQL(" AND ").join(parts) + sql.SQL(")"), values


def metadata_names(connection: Connection) -> list[str]:
    """What documents say of themselves: "author", "tags", …; sorted."""
    rows = connection.execute(
        "WITH RECURSIVE names(name) AS ("
        "(SELECT f.name FROM facts f ORDER BY left(f.name, 100), f.name LIMIT 1)"
        " UNION ALL SELECT (SELECT f.name FROM facts f WHERE left(f.name, 100) >= left(names.name, 100)"
        " AND f.name > names.name ORDER BY left(f.name, 100), f.name LIMIT 1) FROM names"
        " WHERE name IS NOT NULL) SELECT name FROM names WHERE name IS NOT NULL"
    )
    return [name for (name,) in rows]


def _saying(name: str, wanted: list[str], values: dict[str, Any]) -> sql.Composable:
    place = str(len(values))
    values[f"name{place}"] = name
    values[f"said{place}"] = findable(map(folded, wanted))
    return sql.SQL(
        "d.key IN (SELECT f.document FROM facts f, unnest({said}::text[]) wanted"
        " WHERE f.name = {name} AND left(f.name, 100) = left({name}, 100)"
        " AND left(f.folded, 200) = left(wanted, 200) AND f.folded = wanted)"
    ).format(said=sql.Placeholder(f"said{place}"), name=sql.Placeholder(f"name{place}"))


def _at(paths: tuple[str, ...], values: dict[str, Any]) -> sql.Composable:
    """Of files or folders."""
    found: list[sql.Composable] = []
    for number, path in enumerate(paths):
        uri, names = place_of(path)
        key = f"path{number}"
        uri = held(uri)
        values[key] = uri or held(names)
        if uri:
            values[f"{key}in"] = inside = uri if uri.endswith("/") else uri + "/"
            values[f"{key}to"] = inside[:-1] + "0"  # the character after "/"
            found.append(
                sql.SQL(
                    "s.uri = {uri} OR (s.uri >= {first} AND s.uri < {last}"
                    " AND left(s.uri, 400) >= left({first}, 400) AND left(s.uri, 400) <= left({last}, 400))"
                ).format(
                    uri=sql.Placeholder(key),
                    first=sql.Placeholder(f"{key}in"),
                    last=sql.Placeholder(f"{key}to"),
                )
            )
        else:
            found.append(sql.SQL("strpos(s.uri || '/', {}) > 0").format(sql.Placeholder(key)))
    return sql.SQL("d.key IN (SELECT s.document FROM sources s WHERE {})").format(sql.SQL(" OR ").join(found))


def _compared(sign: LiteralString, name: str) -> sql.Composable:
    """As far as both are exact: "2024" may lie before and after 2024-03-05."""
    bound = sql.Placeholder(name)
    return sql.SQL("left({day}, length({bound}::text)) {sign} left({bound}::text, length({day}))").format(
        day=sql.SQL(_DAY), bound=bound, sign=sql.SQL(sign)
    )
