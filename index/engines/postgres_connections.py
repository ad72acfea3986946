"""Connections to one collection's database: kept open, used again, replaced when they are lost.

What is read goes where the URL says; what is written goes to a server that takes writes, which of several
hosts is another one than a replica. A read on a connection that was lost while nobody used it is made again
once, on a new one: so nobody notices that the server was started anew in the meantime. No thread runs here,
and a server that cannot be reached is said at once, with its reason.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, LiteralString, TypeVar

import psycopg
from pgvector.psycopg import register_vector
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from index.engines.address import Address
from index.engines.postgres_errors import is_lost, reported
from index.errors import CollectionError

Result = TypeVar("Result")
Connection = psycopg.Connection[tuple[Any, ...]]

MOST_IDLE = 16

_DEFAULTS = {
    "connect_timeout": "5",
    "application_name": "footnote",
    "keepalives_idle": "30",
    "tcp_user_timeout": "20000",
    "client_encoding": "utf8",
}

# The names of the extension's types and operators are found wherever it was installed.
_PATH: LiteralString = (
    "SELECT set_config('search_path', quote_ident(%s) || coalesce((SELECT ', ' || quote_ident(n.nspname)"
    " FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'vector'), ''),"
    " false)"
)
_SETTINGS: LiteralString = (
    # Without iterative scans a filtered search finds fewer than there are; see the README of pgvector. With
    # so many candidates recall@10 was .98 of 100,000 vectors in 384 dimensions; with 200 it was .96.
    "SET hnsw.iterative_scan = 'strict_order'; SET hnsw.ef_search = 600; SET hnsw.max_scan_tuples = 200000;"
    # The planner cannot see which of two branches will run, and would start workers for both.
    " SET max_parallel_workers_per_gather = 0;"
    # Compiling a plan costs more than it gains.
    " SET jit = off; SET lock_timeout = '2s'; SET TimeZone = 'UTC'"
)
# Every question is another one, so a plan for all of them would fit none. Not where rows are written: the
# checks of foreign keys would be planned for each row.
_PLANNED: LiteralString = "SET plan_cache_mode = 'force_custom_plan'"


class Connections:
    """Safe to use from several threads. Every method raises CollectionError for what the database refuses."""

    def __init__(self, address: Address) -> None:
        self._address = address
        with reported(address):
            given = conninfo_to_dict(address.url)
            self._reading = _Kept(address, make_conninfo(address.url, **_missing(given)))
            several = "," in str(given.get("host") or given.get("hostaddr") or "")
            primary = {"target_session_attrs": "read-write"} if several else {}
            written = make_conninfo(address.url, **_missing(given), **primary)
            self._writing = _Kept(address, written, writes=True)
            # A replica may lag behind: who keeps others out to write reads what it has written.
            self._rereading = _Kept(address, written)
        self._writer = 0

    def close(self) -> None:
        self._reading.close()
        self._rereading.close()
        self._writing.close()

    @contextmanager
    def read_where_written(self) -> Iterator[None]:
        """Within it this thread reads where it writes, also where replicas are there to be read."""
        self._writer = threading.get_ident()
        try:
            yield
        finally:
            self._writer = 0

    def _to_read(self) -> _Kept:
        return self._rereading if self._writer == threading.get_ident() else self._reading

    def renew(self) -> None:
        """Use no connection again that was made before the extension or the schema was."""
        self._reading.drop_idle()
        self._rereading.drop_idle()
        self._writing.drop_idle()

    def read(self, work: Callable[[Connection], Result]) -> Result:
        """What `work` returns; it runs again from its start when a kept connection turns out to be lost."""
        with reported(self._address):
            return self._to_read().use(work)

    def reread(self, work: Callable[[Connection], Result]) -> Result:
        """As `read`, where changes go: for what a change depends on."""
        with reported(self._address):
            return self._rereading.use(work)

    def read_once(self, work: Callable[[Connection], Result]) -> Result:
        """As `read`, where `work` makes several statements that have to see one state."""

        def consistent(connection: Connection) -> Result:
            connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            try:
                return work(connection)
            finally:
                _end(connection)

        return self.read(consistent)

    @contextmanager
    def streaming(self) -> Iterator[Connection]:
        """A connection within one state, for what is read bit by bit; it is not tried again."""
        with reported(self._address), self._to_read().fresh() as connection:
            connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            yield connection

    def write(self, work: Callable[[Connection], Result]) -> Result:
        """What `work` returns, committed; nothing of it when it raises."""

        def whole(connection: Connection) -> Result:
            with connection.transaction():
                return work(connection)

        with reported(self._address):
            return self._writing.use(whole, tested=True)

    @contextmanager
    def apart(self) -> Iterator[Connection]:
        """A connection of one's own that writes: for what belongs to a session."""
        with reported(self._address), self._writing.fresh() as connection:
            yield connection


class _Kept:
    """Connections of one kind that wait to be used."""

    def __init__(self, address: Address, conninfo: str, *, writes: bool = False) -> None:
        self._address = address
        self._conninfo = conninfo
        self._writes = writes
        self._idle: queue.LifoQueue[Connection] = queue.LifoQueue(MOST_IDLE)
        self._closed = False

    def close(self) -> None:
        self._closed = True
        self.drop_idle()

    def use(self, work: Callable[[Connection], Result], *, tested: bool = False) -> Result:
        """`tested` makes sure that the connection is there before `work` begins, which then runs once."""
        connection, is_kept = self._taken()
        if is_kept and tested:
            try:
                connection.execute("SELECT 1")
            except psycopg.Error:
                connection = self._replaced(connection)
            is_kept = False
        try:
            try:
                return work(connection)
            except psycopg.Error as error:
                if not (is_kept and is_lost(error)):
                    raise
                connection = self._replaced(connection)
                return work(connection)
        except BaseException:
            _end(connection)
            raise
        finally:
            self._give_back(connection)

    @contextmanager
    def fresh(self) -> Iterator[Connection]:
        connection = self._connect()
        try:
            yield connection
        finally:
            with suppress(psycopg.Error):
                connection.close()

    def _taken(self) -> tuple[Connection, bool]:
        if self._closed:
            raise CollectionError("The collection has been closed: open it again.")
        try:
            return self._idle.get_nowait(), True
        except queue.Empty:
            return self._connect(), False

    def _give_back(self, connection: Connection) -> None:
        is_clean = connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
        try:
            if self._closed or not is_clean:
                raise queue.Full
            self._idle.put_nowait(connection)
        except queue.Full:
            with suppress(psycopg.Error):
                connection.close()

    def _replaced(self, connection: Connection) -> Connection:
        """A new one; those that waited are as lost as this one."""
        connection.close()
        self.drop_idle()
        return self._connect()

    def drop_idle(self) -> None:
        """Close the connections that wait."""
        while True:
            try:
                self._idle.get_nowait().close()
            except queue.Empty:
                return

    def _connect(self) -> Connection:
        connection = psycopg.connect(self._conninfo, autocommit=True)
        try:
            connection.execute(_PATH, (self._address.collection,))
            connection.execute(_SETTINGS)
            if not self._writes:
                connection.execute(_PLANNED)
            if self._writes:
                with suppress(psycopg.ProgrammingError):  # before the extension is there
                    register_vector(connection)
        except BaseException:
            connection.close()
            raise
        return connection


def prepare_for_vectors(connection: Connection, address: Address) -> None:
    """After the extension or the schema was made on this very connection."""
    connection.execute(_PATH, (address.collection,))
    register_vector(connection)


def _missing(given: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in _DEFAULTS.items() if given.get(name) is None}


def _end(connection: Connection) -> None:
    """Leave a transaction that nobody needs any more; a lost connection has left it already."""
    with suppress(psycopg.Error):
        if connection.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
            connection.rollback()


def schema_of(address: Address) -> sql.Identifier:
    return sql.Identifier(address.collection)
