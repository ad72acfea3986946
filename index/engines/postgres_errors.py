"""What PostgreSQL and its driver raise, as the errors of this program: one line, and nothing secret in it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import errors

from index.engines.address import Address
from index.errors import (
    CollectionDamaged,
    CollectionError,
    CollectionLocked,
    CollectionNotFound,
    CollectionUnavailable,
)

_DENIED = (errors.InvalidPassword, errors.InvalidAuthorizationSpecification)
_NOT_THERE = (errors.UndefinedTable, errors.InvalidSchemaName)
_IN_THE_WAY = (errors.LockNotAvailable, errors.DeadlockDetected, errors.SerializationFailure)
_READ_ONLY = "read-only"
_DENIED_REASON = re.compile(r"password|no pg_hba\.conf entry|authentication failed|role does not exist")


@contextmanager
def reported(address: Address) -> Iterator[None]:
    """Turns what the driver raises into CollectionError and its kinds."""
    try:
        yield
    except psycopg.Error as error:
        # Not as its cause: a message of the driver's may repeat the URL.
        raise _translated(address, error) from None


def is_lost(error: psycopg.Error) -> bool:
    """Whether the connection is gone, and nothing is known against the statement."""
    return isinstance(error, psycopg.OperationalError) and (
        error.sqlstate is None or error.sqlstate.startswith(("08", "57P"))
    )


def not_found(address: Address) -> CollectionNotFound:
    return CollectionNotFound(
        f"There is no collection at {address}: make one first with `footnote index -c URL PATH`"
    )


def _translated(address: Address, error: psycopg.Error) -> CollectionError:
    reason = _reason(error)
    if isinstance(error, _DENIED) or _DENIED_REASON.search(reason):
        return CollectionUnavailable(
            f"{address} does not let us in: check the user and the password "
            "(in the URL, PGPASSWORD, or ~/.pgpass)."
        )
    if isinstance(error, errors.ReadOnlySqlTransaction) or _READ_ONLY in reason:
        if "," in address.hosts:
            return CollectionUnavailable(
                f"{address} has no host that takes changes now: try again when its primary is back."
            )
        return CollectionUnavailable(
            f"{address} is a replica that is only read: name the primary's host too, then changes go there."
        )
    if reason.startswith("database ") and reason.endswith(" does not exist"):
        return CollectionNotFound(f"There is no database at {address}: make it with createdb.")
    if isinstance(error, _NOT_THERE):
        return not_found(address)
    if isinstance(error, errors.InsufficientPrivilege):
        return CollectionError(f"{address} does not allow this ({reason}): ask who runs the database.")
    if isinstance(error, _IN_THE_WAY):
        return CollectionLocked(
            f"{address} is being written by another process: try again when it has ended."
        )
    if isinstance(error, errors.DiskFull):
        return CollectionError(f"{address} has no room left ({reason}): make room on its disk.")
    if isinstance(error, psycopg.OperationalError):
        return CollectionUnavailable(f"{address} cannot be reached ({reason}): try again when it is back.")
    if isinstance(error, psycopg.ProgrammingError) and error.sqlstate is None:
        return CollectionError(f"{address} is a URL that libpq does not understand: check its parameters.")
    if isinstance(error, (errors.DataCorrupted, errors.IndexCorrupted)):
        return CollectionDamaged(f"{address} is damaged ({reason}): restore the database from its backup.")
    return CollectionError(f"{address} cannot do this ({type(error).__name__}: {reason}).")


def _reason(error: psycopg.Error) -> str:
    """The first line of what the server or libpq says, without the connection that it is about."""
    said = error.diag.message_primary or (str(error).splitlines() or [""])[0]
    said = said.rpartition("failed: ")[2] or said
    said = re.sub(r'(user|role) "[^"]*"', r"\1", said)
    return " ".join(said.replace("FATAL:", "").split()).rstrip(".")
