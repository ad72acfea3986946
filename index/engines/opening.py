"""Collections at an address, opened. What speaks to databases is imported here, when one is asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from index.check import Finding
from index.config import IndexSettings
from index.engines.address import Address
from index.engines.held import Held
from index.errors import CollectionError
from index.types import Collection, CollectionStats, Embedder

if TYPE_CHECKING:
    from index.engines.postgres import PostgresCollection
    from index.ingest import IngestReport

Ingest = Callable[..., "IngestReport"]
"""As `index.ingest.index_paths`."""

_PARTS = ("psycopg", "pgvector")


def open_at(address: Address, embedder: Embedder) -> Collection:
    """Raises CollectionNotFound, EmbedderMismatch, SchemaTooNew, CollectionUnavailable."""
    return _engine(address).open(address, embedder)


def create_or_open_at(address: Address, embedder: Embedder, settings: IndexSettings) -> Collection:
    """As `open_at`, but that it is made where it is not there."""
    return _engine(address).create_or_open(address, embedder, settings)


def open_recorded_at(address: Address) -> Collection:
    """As `open_at`, without the embedder: nothing can be searched or added."""
    return _engine(address).open_recorded(address)


def check_at(
    address: Address, fingerprint: str | None = None, repair: bool = False
) -> tuple[list[Finding], CollectionStats]:
    """As `index.check.check`, and what the collection holds."""
    with _engine(address).open_recorded(address) as collection:
        return collection.check(fingerprint, repair), collection.stats()


def collections_at(address: Address) -> list[Held]:
    """Every collection of the database that `address` names, by name. Raises CollectionUnavailable."""
    _engine(address)
    from index.engines import postgres_database  # imported as the engine is

    return postgres_database.collections_of(address)


def delete_at(address: Address) -> None:
    """Delete the collection for good. Raises CollectionNotFound, CollectionLocked, CollectionUnavailable."""
    _engine(address)
    from index.engines import postgres_database

    postgres_database.delete(address)


def over_ray(cluster: str, address: Address, open_embedder: Callable[[], Embedder]) -> Ingest:
    """`index.ingest.index_paths` over the machines of a Ray cluster, into the collection at this address.

    `open_embedder` is sent to the machines. Raises UsageError where Ray is not installed, and for an address
    that is none.
    """
    _engine(address)
    from index.engines.ray_ingest import OverRay  # with the drivers, and the readers of files

    return OverRay(cluster, address, open_embedder)


def _engine(address: Address) -> type[PostgresCollection]:
    try:
        from index.engines.postgres import PostgresCollection  # an extra, and heavy
    except ImportError as error:
        # Without libpq, psycopg is there and cannot be imported either.
        if (error.name or "psycopg").partition(".")[0] not in _PARTS:
            raise
        raise CollectionError(
            f"{address} needs the drivers of PostgreSQL: pip install 'footnote[postgres]'"
        ) from None
    return PostgresCollection
