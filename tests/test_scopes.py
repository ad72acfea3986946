"""What a question can be kept to is what the collection has."""

from __future__ import annotations

from pathlib import Path

from served import client_of, settings_for

from index.collection import LocalCollection
from index.embed import HashEmbedder
from index.readers import read_bytes
from index.scopes import Scope, Scopes, scopes

FILES = {
    "/home/me/notes/a.md": "---\ntags: [Steel, water]\n---\nA.\n",
    "/home/me/notes/2024/b.md": "---\ntags: water\n---\nB.\n",
    "/home/me/notes/2024/c d/c.txt": "C.\n",
}


def filled(folder: Path) -> LocalCollection:
    collection = LocalCollection.create_or_open(folder, HashEmbedder(), settings_for(folder).index)
    for path, text in FILES.items():
        document = read_bytes(text.encode(), name=path, uri=Path(path).as_uri())
        collection.put(document, document.uri, "x", 1, 1, "1")
    pasted = read_bytes(b"Pasted.", name="p.txt", uri="upload:abc/p.txt")
    collection.put(pasted, pasted.uri, "x", 1, 0, "1")
    return collection


def test_folders_and_tags_the_largest_first(tmp_path: Path) -> None:
    with filled(tmp_path) as collection, collection.connection() as connection:
        assert scopes(connection) == Scopes(
            folders=(
                Scope("/home/me/notes", 3),
                Scope("/home/me/notes/2024", 2),
                Scope("/home/me/notes/2024/c d", 1),
            ),
            tags=(Scope("water", 2), Scope("Steel", 1)),
        )
        assert scopes(connection, words="STEEL") == Scopes((), (Scope("Steel", 1),))
        assert scopes(connection, words="c D").folders == (Scope("/home/me/notes/2024/c d", 1),)
        assert len(scopes(connection, limit=1).folders) == 1


def test_an_empty_collection_has_none(tmp_path: Path) -> None:
    settings = settings_for(tmp_path)
    with client_of(settings) as client:
        assert client.get("/api/scopes").json() == {"folders": [], "tags": []}


def test_they_are_served_and_can_be_asked_for(tmp_path: Path) -> None:
    settings = settings_for(tmp_path)
    filled(settings.collection_folder).close()
    with client_of(settings) as client:
        found = client.get("/api/scopes", params={"q": "2024"}).json()
        assert [one["name"] for one in found["folders"]] == ["/home/me/notes/2024", "/home/me/notes/2024/c d"]
        assert client.get("/api/scopes", params={"q": "x" * 201}).status_code == 400
