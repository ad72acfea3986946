"""Both engines under one handle, for the tests that hold both to the same promises."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from animals import SETTINGS

from index.collection import LocalCollection
from index.config import IndexSettings
from index.embed import HashEmbedder
from index.engines.address import address_of
from index.engines.opening import create_or_open_at, open_at, open_recorded_at
from index.types import Collection, Embedder

ENGINES = ("folder", "postgres")


@dataclass
class Engine:
    """Where one collection is, however it is kept; every opening is as from another process."""

    named: str
    make: Callable[[Embedder, IndexSettings], Collection]
    open: Callable[[Embedder], Collection]
    open_recorded: Callable[[], Collection]

    def made(self, embedder: Embedder | None = None, settings: IndexSettings = SETTINGS) -> Collection:
        return self.make(embedder or HashEmbedder(), settings)

    def opened(self, embedder: Embedder | None = None) -> Collection:
        return self.open(embedder or HashEmbedder())


def engine_of(kind: str, request: pytest.FixtureRequest) -> Engine:
    if kind == "folder":
        folder = request.getfixturevalue("tmp_path") / "collection"
        return Engine(
            str(folder),
            lambda embedder, wanted: LocalCollection.create_or_open(folder, embedder, wanted),
            lambda embedder: LocalCollection.open(folder, embedder),
            lambda: LocalCollection.open_recorded(folder),
        )
    url = request.getfixturevalue("collection_url")
    address = address_of(url)
    return Engine(
        url,
        lambda embedder, wanted: create_or_open_at(address, embedder, wanted),
        lambda embedder: open_at(address, embedder),
        lambda: open_recorded_at(address),
    )
