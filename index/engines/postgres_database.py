"""The collections of one database: which there are, and taking one away."""

from __future__ import annotations

from dataclasses import replace
from typing import LiteralString

from psycopg import errors, sql

from index.engines.address import Address
from index.engines.held import Held
from index.engines.postgres_connections import Connection, Connections, schema_of
from index.engines.postgres_errors import not_found
from index.engines.postgres_schema import stored_settings, version_of
from index.engines.postgres_upkeep import counts, size
from index.engines.postgres_writer import keep_out
from index.errors import CollectionError

TABLES = ("words", "passages", "facts", "former", "sources", "documents", "totals", "meta")
"""Of one collection; each before those that it refers to."""

SEQUENCE = "generations"

_SCHEMAS: LiteralString = (
    "SELECT schemaname FROM pg_tables WHERE tablename = ANY(%(tables)s) GROUP BY schemaname"
    ' HAVING count(*) = cardinality(%(tables)s::text[]) ORDER BY schemaname COLLATE "C"'
)


def collections_of(address: Address) -> list[Held]:
    """Raises CollectionUnavailable. One that cannot be read is among them, with the reason."""
    connections = Connections(address)
    try:
        names = connections.read(_names)
    finally:
        connections.close()
    return [_held(replace(address, collection=name)) for name in names]


def _names(connection: Connection) -> list[str]:
    """Of all schemas that have every table of a collection."""
    return [name for (name,) in connection.execute(_SCHEMAS, {"tables": list(TABLES)})]


def _held(address: Address) -> Held:
    connections = Connections(address)

    def looked_at(connection: Connection) -> Held:
        stored_settings(connection, address)
        documents, _, passages, *_ = counts(connection)
        return Held(address.collection, size(connection), documents, passages)

    try:
        return connections.read(looked_at)
    except CollectionError as error:
        return Held(address.collection, error=str(error))
    finally:
        connections.close()


def delete(address: Address) -> None:
    """Its tables, and its schema where nothing of anybody else is in it, in one transaction.

    Raises CollectionNotFound; CollectionLocked while it is being written, or read for long.
    """
    connections = Connections(address)

    def deleted(connection: Connection) -> None:
        if address.collection not in _names(connection) or version_of(connection, address) == 0:
            raise not_found(address)
        for table in TABLES:
            name = sql.Identifier(address.collection, table)
            connection.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(name))
        name = sql.Identifier(address.collection, SEQUENCE)
        connection.execute(sql.SQL("DROP SEQUENCE IF EXISTS {}").format(name))
        try:
            with connection.transaction():
                connection.execute(sql.SQL("DROP SCHEMA {}").format(schema_of(address)))
        except (errors.DependentObjectsStillExist, errors.InsufficientPrivilege):
            pass  # somebody else keeps something in it

    try:
        with connections.apart() as alone:
            keep_out(alone, address)
            connections.write(deleted)
    finally:
        connections.close()
