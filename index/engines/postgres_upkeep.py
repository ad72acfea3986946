"""What a collection in PostgreSQL needs now and then: counts added up, indexes made and tended."""

from __future__ import annotations

from contextlib import suppress
from typing import LiteralString

from psycopg import errors, sql

from index.engines.address import Address
from index.engines.postgres_connections import Connection, Connections
from index.engines.postgres_search import EXACT

_MOST_ROWS = 256
"""Of totals, before they are added up."""

_CHANGED = 0.2
"""The share of passages that came or went since the planner's statistics were taken, to take them again."""

_LEAST_MEMORY, _MOST_MEMORY = 64, 4096
"""MB that the database may take to make an index, by the number of passages."""

_BEYOND_VECTORS = 500
"""Bytes that a passage takes in the index beside its vector, while it is made."""

_LEFT_ALONE = (
    errors.LockNotAvailable,
    errors.InsufficientPrivilege,
    errors.ReadOnlySqlTransaction,
    errors.ObjectNotInPrerequisiteState,  # of a replica
)

_VALID: LiteralString = (
    "SELECT i.indisvalid FROM pg_index i WHERE i.indexrelid = to_regclass('passages_by_vector')"
)


def counts(connection: Connection) -> tuple[int, int, int, int, int]:
    """Documents, sources, passages, characters, and the number of changes so far."""
    row = connection.execute(
        "SELECT (SELECT count(*) FROM documents), (SELECT count(*) FROM sources),"
        " (SELECT coalesce(sum(passages), 0) FROM totals)::bigint,"
        " (SELECT coalesce(sum(characters), 0) FROM documents)::bigint, (SELECT last_value FROM generations)"
    ).fetchone()
    documents, sources, passages, characters, generation = row or (0, 0, 0, 0, 0)
    return documents, sources, passages, characters, generation


def size(connection: Connection) -> int:
    """Bytes of all tables and indexes."""
    row = connection.execute(
        "SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint FROM pg_class c"
        " WHERE c.relnamespace = (SELECT n.oid FROM pg_namespace n WHERE n.nspname = current_schema())"
        " AND c.relkind IN ('r', 'S')"
    ).fetchone()
    return int(row[0]) if row else 0


def is_index_valid(connection: Connection) -> bool:
    """False where the making of the index over vectors was broken off; true where there is none."""
    return connection.execute(_VALID).fetchone() in (None, (True,))


def tend(connections: Connections, address: Address, dimension: int) -> None:
    """One process at a time does it; the others leave it to that. Who may not, or is in the way, does not."""

    def alone(connection: Connection) -> None:
        name = f"footnote upkeep {address.collection}"
        row = connection.execute("SELECT pg_try_advisory_lock(hashtextextended(%s, 0))", (name,)).fetchone()
        if row != (True,):
            return
        passages = _added_up(connection)
        connection.execute("SELECT gin_clean_pending_list('words_by_term')")
        _analysed(connection, passages)
        if passages > EXACT:
            _indexed(connection, passages, dimension)

    with connections.apart() as connection, suppress(*_LEFT_ALONE):
        alone(connection)


def _added_up(connection: Connection) -> int:
    """The number of passages; the rows that say it are made one, where they are many."""
    row = connection.execute("SELECT count(*), coalesce(sum(passages), 0)::bigint FROM totals").fetchone()
    rows, passages = row or (0, 0)
    if rows > _MOST_ROWS:
        connection.execute(
            "WITH gone AS (DELETE FROM totals RETURNING passages, words)"
            " INSERT INTO totals SELECT sum(passages), sum(words) FROM gone"
        )
    return int(passages)


def _analysed(connection: Connection, passages: int) -> None:
    row = connection.execute("SELECT value FROM meta WHERE key = 'analysed'").fetchone()
    before = int(row[0]) if row else 0
    if passages and abs(passages - before) >= _CHANGED * passages:
        connection.execute("ANALYZE documents, sources, facts, passages, words")
        connection.execute(
            "INSERT INTO meta(key, value) VALUES ('analysed', %s)"
            " ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            (str(passages),),
        )


def _indexed(connection: Connection, passages: int, dimension: int) -> None:
    """Make the index over vectors where it is missing; who reads and writes goes on meanwhile."""
    found = connection.execute(_VALID).fetchone()
    if found == (True,):
        return
    megabytes = passages * (2 * dimension + _BEYOND_VECTORS) * 3 // 2_000_000
    memory = min(max(megabytes, _LEAST_MEMORY), _MOST_MEMORY)
    connection.execute("SET lock_timeout = 0")
    connection.execute(sql.SQL("SET maintenance_work_mem = {}").format(sql.Literal(f"{memory}MB")))
    for workers in (2, 0):  # where the server has little shared memory, without helpers
        if found is not None:
            connection.execute("DROP INDEX CONCURRENTLY IF EXISTS passages_by_vector")
        connection.execute(sql.SQL("SET max_parallel_maintenance_workers = {}").format(sql.Literal(workers)))
        try:
            connection.execute(
                sql.SQL(
                    "CREATE INDEX CONCURRENTLY passages_by_vector ON passages"
                    " USING hnsw ((vector::halfvec({})) halfvec_ip_ops)"
                ).format(sql.Literal(dimension))
            )
            return
        except (errors.DiskFull, errors.OutOfMemory):
            if not workers:
                raise
            found = (False,)
