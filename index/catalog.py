"""The SQLite file of a collection: the source of truth, from which everything else can be made again.

Readers see one state per transaction and never wait for the writer (WAL). A transaction that has been
committed survives a power cut (`synchronous=FULL`).
"""

from __future__ import annotations

import os
import queue
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from index import facts, former, history
from index.errors import (
    CollectionDamaged,
    CollectionError,
    CollectionLocked,
    CollectionNotFound,
    SchemaTooNew,
)
from index.records import WORDS_TABLE, Reader, Writer

FILE_NAME = "catalog.sqlite"
LOCK_NAME = "writer.lock"

LOCK_SECONDS = 2.0
"""How long a writer waits for another one to end."""

MOST_IDLE = 4
"""So many connections are kept for who comes next; more that a busy moment has opened are closed after it."""

APPLICATION_ID = 0x464E5445
"""In the file's header: "FNTE", so that another program's database is not taken for ours."""

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        "CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT",
        """CREATE TABLE documents(
            key INTEGER PRIMARY KEY,
            id TEXT NOT NULL UNIQUE,
            media_type TEXT NOT NULL,
            text TEXT NOT NULL,
            characters INTEGER NOT NULL,
            sha256 TEXT NOT NULL,
            blocks TEXT NOT NULL,
            pages TEXT NOT NULL,
            metadata TEXT NOT NULL,
            made TEXT NOT NULL,
            added_at REAL NOT NULL
        ) STRICT""",
        # The title stands here because it often is the file's name: the same text under two names has two.
        """CREATE TABLE sources(
            uri TEXT PRIMARY KEY,
            document INTEGER NOT NULL REFERENCES documents(key),
            title TEXT NOT NULL,
            bytes_sha256 TEXT NOT NULL,
            size INTEGER NOT NULL,
            mtime_ns INTEGER NOT NULL,
            readers_version TEXT NOT NULL,
            root TEXT NOT NULL
        ) STRICT""",
        "CREATE INDEX sources_by_document ON sources(document)",
        # AUTOINCREMENT: a number is never used again, so a vector file can be brought up to date by numbers.
        """CREATE TABLE passages(
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            document INTEGER NOT NULL REFERENCES documents(key),
            ordinal INTEGER NOT NULL,
            start INTEGER NOT NULL,
            "end" INTEGER NOT NULL,
            heading TEXT NOT NULL,
            sentences TEXT NOT NULL,
            tokens INTEGER NOT NULL,
            vector BLOB NOT NULL,
            UNIQUE(document, ordinal)
        ) STRICT""",
        WORDS_TABLE,
    ),
    (*facts.MIGRATION, *former.MIGRATION),
    history.MIGRATION,
)
"""One tuple of statements for each step of `user_version`. Steps are added, never changed."""

_BUSY_SECONDS = 5.0


class Catalog:
    """The open catalogue of a collection folder. Safe to use from several threads.

    Raises CollectionNotFound when there is none and `create` is false, CollectionDamaged when the file is
    no catalogue, SchemaTooNew when a newer Footnote wrote it. Every method raises CollectionDamaged for a
    file that SQLite cannot read, CollectionLocked when another process keeps it from writing.
    """

    def __init__(self, folder: Path, *, create: bool = False) -> None:
        self.path = folder / FILE_NAME
        # The last one used is taken first: each has a cache of its own, which those left alone do not fill.
        self._idle: queue.LifoQueue[sqlite3.Connection] = queue.LifoQueue(MOST_IDLE)
        self._lock = FileLock(folder / LOCK_NAME, timeout=LOCK_SECONDS)
        self._closed = False
        if not create and not self.path.is_file():
            raise self.not_found()
        with reported(self.path):
            connection = self._connect()
            try:
                self._migrate(connection, create=create)
            except BaseException:
                connection.close()
                raise
            self._idle.put(connection)

    def close(self) -> None:
        """Close what is idle; a transaction that is still open closes its own when it ends."""
        self._closed = True
        while True:
            try:
                self._idle.get_nowait().close()
            except queue.Empty:
                return

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep every other writer out, threads and processes, for longer than one transaction.

        May be entered again by the thread that holds it. Raises CollectionLocked.
        """
        try:
            self._lock.acquire()
        except Timeout as error:
            raise _busy(self.path) from error
        except OSError as error:
            raise CollectionError(
                f"{self.path.parent} cannot be written ({error.strerror}): check its permissions."
            ) from error
        try:
            yield
        finally:
            self._lock.release()

    @contextmanager
    def reading(self) -> Iterator[Reader]:
        """One state of the catalogue, from the first read on."""
        with reported(self.path), self._borrowed() as connection:
            connection.execute("BEGIN")
            try:
                yield Reader(connection)
            finally:
                connection.execute("ROLLBACK")

    @contextmanager
    def writing(self) -> Iterator[Writer]:
        """A writing transaction: a new generation when the block ends, nothing when it raises."""
        with reported(self.path), self._borrowed() as connection, _transaction(connection):
            writer = Writer(connection)
            yield writer
            writer.begin_generation(int(writer.meta("generation") or 0) + 1)

    @contextmanager
    def connection(self) -> Iterator[sqlite3.Connection]:
        """A bare connection, outside a transaction: for checking and repair."""
        with reported(self.path), self._borrowed() as connection:
            yield connection

    @contextmanager
    def _borrowed(self) -> Iterator[sqlite3.Connection]:
        if self._closed:
            raise CollectionError("The collection has been closed: open it again.")
        try:
            connection = self._idle.get_nowait()
        except queue.Empty:
            connection = self._connect()
        try:
            yield connection
        finally:
            if self._closed or connection.in_transaction:
                connection.close()
            else:
                try:
                    self._idle.put_nowait(connection)
                except queue.Full:
                    connection.close()

    def _mode(self) -> str:
        if os.access(self.path.parent, os.W_OK):
            return ""
        log = self.path.with_name(self.path.name + "-wal")
        return "?mode=ro" if log.exists() else "?mode=ro&immutable=1"

    def _connect(self) -> sqlite3.Connection:
        # As a URI: a folder that may not be written to can still be read from, if SQLite is told so.
        connection = sqlite3.connect(
            self.path.absolute().as_uri() + self._mode(),
            uri=True,
            timeout=_BUSY_SECONDS,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA foreign_keys = ON")
        except BaseException:
            connection.close()
            raise
        return connection

    def _migrate(self, connection: sqlite3.Connection, *, create: bool) -> None:
        version = _pragma(connection, "user_version")
        empty = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0] == 0
        if version == 0 and empty and not create:
            raise self.not_found()
        if not empty and _pragma(connection, "application_id") != APPLICATION_ID:
            raise CollectionDamaged(
                f"{self.path} is another program's database: choose another folder for the collection."
            )
        if version > len(MIGRATIONS):
            raise SchemaTooNew(
                f"{self.path} was written by a newer Footnote (schema {version}, this one knows "
                f"{len(MIGRATIONS)}): update Footnote."
            )
        if version == len(MIGRATIONS):
            return
        connection.execute("PRAGMA journal_mode = WAL")
        with _transaction(connection):
            # Read again: another process may have done it while this one waited for the lock.
            version = _pragma(connection, "user_version")
            for number, statements in enumerate(MIGRATIONS[version:], version + 1):
                for statement in statements:
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {number}")
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            writer = Writer(connection)
            if writer.meta("generation") is None:
                writer.begin_generation(0)

    def not_found(self) -> CollectionNotFound:
        """The error for a folder in which nothing has been indexed."""
        return CollectionNotFound(
            f"There is no collection at {self.path.parent}: make one first with `footnote index PATH`"
        )


@contextmanager
def reported(path: Path) -> Iterator[None]:
    """Turn what SQLite raises into the errors of this program."""
    try:
        yield
    except sqlite3.OperationalError as error:
        code = code_of(error)
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise _busy(path) from error
        if code in (
            sqlite3.SQLITE_FULL,
            sqlite3.SQLITE_READONLY,
            sqlite3.SQLITE_CANTOPEN,
            sqlite3.SQLITE_IOERR,
        ):
            raise CollectionError(
                f"{path} cannot be read or written ({error}): check the disk's space and permissions."
            ) from error
        raise damaged(path, error) from error
    except sqlite3.DatabaseError as error:
        raise damaged(path, error) from error


def code_of(error: sqlite3.Error) -> int:
    """SQLite's primary result code. What Python itself raises, as of a text that is no UTF-8, has none, and
    speaks of damage."""
    code: int = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT)
    return code & 0xFF


def _busy(path: Path) -> CollectionLocked:
    return CollectionLocked(
        f"{path.parent} is being written by another process: try again when it has ended."
    )


def damaged(path: Path, reason: object) -> CollectionDamaged:
    return CollectionDamaged(
        f"{path} is damaged ({reason}): run `footnote check --repair`; if that does not help, delete "
        f"{path.parent} and index the documents again."
    )


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])
