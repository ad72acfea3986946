"""A collection of three animals, and how the tests of collections put and find things."""

from __future__ import annotations

import hashlib
from pathlib import Path

from index.collection import LocalCollection
from index.config import IndexSettings
from index.embed import HashEmbedder
from index.types import Block, Change, Document

SETTINGS = IndexSettings.model_validate({"passage_tokens": 16})


def document(text: str, title: str = "Title", heading: str = "") -> Document:
    """One block for each paragraph."""
    blocks, at = [], 0
    for part in text.split("\n\n"):
        if part.strip():
            blocks.append(Block(at, at + len(part), heading))
        at += len(part) + 2
    return Document(text, "memory:test", title, "text/plain", tuple(blocks))


def put(collection: LocalCollection, uri: str, doc: Document | str, **other: object) -> Change:
    doc = document(doc) if isinstance(doc, str) else doc
    values: dict[str, object] = {
        "bytes_sha256": hashlib.sha256(doc.text.encode()).hexdigest(),
        "size": len(doc.text),
        "mtime_ns": 1,
        "readers_version": "1",
    }
    return collection.put(doc, uri, **{**values, **other})  # type: ignore[arg-type]


def found(collection: LocalCollection, query: str, top: int = 5) -> list[str]:
    return [hit.text for hit in collection.search(query, top)]


ANIMALS = {
    "file:///cats.txt": "Cats purr when they are content.",
    "file:///dogs.txt": "Dogs bark at strangers in the night.",
    "file:///whales.txt": "Whales sing songs across the ocean.",
}


def reopened(folder: Path) -> LocalCollection:
    return LocalCollection.open(folder, HashEmbedder())
