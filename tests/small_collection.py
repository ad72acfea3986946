"""Two small documents in a real collection under the fake embedder: what tests of answering ask about."""

from __future__ import annotations

from pathlib import Path

from index.collection import LocalCollection
from index.config import IndexSettings
from index.embed import HashEmbedder
from index.readers import READERS_VERSION, read_bytes

ZOO = (
    "The zoo of Basel opened in 1874. It keeps a herd of elephants.\n\n"
    "Flamingos breed there every spring. The oldest flamingo is 61 years old.\n"
)
PORT = "Rotterdam has the largest port of Europe. Its cranes move containers day and night.\n"


def put(collection: LocalCollection, name: str, text: str) -> str:
    data = text.encode()
    document = read_bytes(data, name=name, uri=f"file:///{name}")
    collection.put(
        document, document.uri, bytes_sha256=name, size=len(data), mtime_ns=0, readers_version=READERS_VERSION
    )
    return document.id


def small_collection(folder: Path) -> LocalCollection:
    collection = LocalCollection.create_or_open(folder, HashEmbedder(), IndexSettings(passage_tokens=16))
    put(collection, "zoo.txt", ZOO)
    put(collection, "port.txt", PORT)
    return collection
