"""A copy holds all that was copied, says so with a checksum, and goes on where it was interrupted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from animals import ANIMALS, SETTINGS, document, put
from collection_engines import ENGINES, Engine, engine_of
from served import client_of, settings_for
from test_cli import Run, footnote, notes

from index.collection import LocalCollection
from index.config import IndexSettings
from index.copying import Copied, copy_collection
from index.embed import HashEmbedder
from index.errors import CollectionDamaged, CollectionError, EmbedderMismatch, UsageError
from index.types import Block, Collection, Document, Page, StoredDocument

__all__ = ["footnote", "notes"]

TEXT = "A\x00 naïve 東京 text. \U0001f600 It has\r\n two sentences."
ODD = Document(
    TEXT,
    "memory:odd",
    "An \x01odd\x00 title",
    "text/plain",
    (Block(0, len(TEXT), "A › \x00heading"),),
    (Page(1, 0, 10), Page(2, 10, len(TEXT))),
    {"author": "Ö\x00", "tags": "a, b", "date": "2024-03-05"},
)


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> Engine:
    return engine_of(request.param, request)


@pytest.fixture
def origin(tmp_path: Path) -> Iterator[Collection]:
    """Of every kind of thing something."""
    with LocalCollection.create_or_open(tmp_path / "origin", HashEmbedder(), SETTINGS) as collection:
        put(collection, "memory:odd", ODD, mtime_ns=7)
        for text in ("Opened in 1911.", "Opened in 1912.", "Opened in 1913."):
            put(collection, "memory:bridge", text)
        for uri, text in ANIMALS.items():
            put(collection, uri, document(text, title=uri), root="file:///")
        put(collection, "memory:cats again", document(ANIMALS["file:///cats.txt"], title="again"))
        put(collection, "memory:empty", Document(" ", "memory:empty", "empty", "text/plain", ()))
        put(collection, "memory:long", "The first sentence is here. " * 40)
        yield collection


def receiving(engine: Engine, **settings: Any) -> Collection:
    return engine.made(settings=SETTINGS.model_copy(update=settings))


def everything(collection: Collection) -> list[object]:
    return [
        collection.documents(),
        sorted(collection.sources(), key=lambda held: held.source.uri),
        collection.formers(),
        collection.scopes(),
        [collection.listed(info.id).added_at for info in collection.documents()],
        [collection.document(info.id) for info in collection.documents()],
        [collection.passages(info.id) for info in collection.documents()],
        [hit.text for hit in collection.search("text sentence cats opened", 9)],
        collection.term_frequency(["sentence", "東京"]),
    ]


def test_all_of_it_arrives_and_comes_back(origin: Collection, engine: Engine, tmp_path: Path) -> None:
    with receiving(engine) as target:
        there = copy_collection(origin, target)
        assert there == Copied(
            documents=7, sources=8, passages=there.passages, characters=there.characters, sent=7,
            sha256=there.sha256,
        )  # fmt: skip
        assert everything(target) == everything(origin)
        assert len(target.formers()) == 2
        with LocalCollection.create_or_open(tmp_path / "back", HashEmbedder(), SETTINGS) as back:
            assert copy_collection(target, back) == there
            assert everything(back) == everything(origin)
            for one, other in zip(origin.stored(), back.stored(), strict=True):
                assert replace(one, vectors=other.vectors) == other
                assert (one.vectors == other.vectors).all()
        # What was put before is as it was put, for whoever indexes again.
        assert put(target, "memory:odd", ODD, mtime_ns=7) == "unchanged"


class Interrupted(Exception):
    pass


def test_who_is_interrupted_goes_on(
    origin: Collection, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("index.copying._DOCUMENTS", 2)
    settled = 0

    def stop(documents: int) -> None:
        nonlocal settled
        settled += documents
        if settled >= 4:
            raise Interrupted

    with receiving(engine) as target:
        with pytest.raises(Interrupted):
            copy_collection(origin, target, stop)
        assert target.stats().documents == 4
    put(origin, "memory:late", "It came meanwhile.")
    with engine.opened() as target:
        again = copy_collection(origin, target)
        assert (again.sent, again.documents) == (4, 8)
        assert everything(target) == everything(origin)
        once_more = copy_collection(origin, target)
        assert (once_more.sent, once_more.sha256) == (0, again.sha256)


def test_what_changed_since_is_sent_again(origin: Collection, engine: Engine) -> None:
    with receiving(engine) as target:
        copy_collection(origin, target)
        # One document is taken from another of its sources, and one more file has the text of a third.
        origin.remove("memory:cats again")
        put(origin, "memory:dogs again", document(ANIMALS["file:///dogs.txt"], title="again"))
        put(origin, "memory:empty", document(ANIMALS["file:///cats.txt"], title="moved"))
        with pytest.raises(UsageError, match="1 documents that origin has not"):
            copy_collection(origin, target)
        target.remove("memory:empty")
        again = copy_collection(origin, target)
        assert (again.sent, again.documents) == (2, 6)
        assert target.stats().sources == origin.stats().sources
        assert target.former(document(ANIMALS["file:///cats.txt"]).id) is None


def test_the_checksum_is_of_what_is_there(origin: Collection, engine: Engine) -> None:
    with receiving(engine) as target:
        first = copy_collection(origin, target)
        put(origin, "memory:odd", ODD, mtime_ns=8)
        second = copy_collection(origin, target)
        assert (second.sent, second.documents) == (1, first.documents)
        assert second.sha256 != first.sha256
        assert target.unchanged("memory:odd", size=len(ODD.text), mtime_ns=8, readers_version="1")


def test_a_collection_of_other_documents_is_left_alone(origin: Collection, engine: Engine) -> None:
    with receiving(engine) as target:
        put(target, "memory:mine", "My own text.")
        with pytest.raises(UsageError, match="holds 1 documents that origin has not"):
            copy_collection(origin, target)
        assert [info.uris for info in target.documents()] == [("memory:mine",)]


def test_another_embedder_is_refused(origin: Collection, engine: Engine) -> None:
    with engine.made(HashEmbedder(64)) as target, pytest.raises(EmbedderMismatch):
        copy_collection(origin, target)


def test_what_does_not_arrive_is_said(
    origin: Collection, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    with receiving(engine) as target:
        put_stored: Callable[[list[StoredDocument]], None] = target.put_stored

        def damaging(documents: list[StoredDocument]) -> None:
            put_stored([replace(one, added_at=one.added_at + 1) for one in documents])

        monkeypatch.setattr(target, "put_stored", damaging)
        with pytest.raises(CollectionDamaged, match="did not arrive as it was sent"):
            copy_collection(origin, target)


def test_the_command_copies_there_and_back(
    footnote: Run, notes: Path, collection_url: str, tmp_path: Path
) -> None:
    assert footnote("index", "-c", "mine", str(notes))[0] == 0
    uploads = tmp_path / "home" / "uploads" / "mine"
    uploads.mkdir(parents=True)
    (uploads / f"{'a' * 32}.txt").write_text("as it was sent")
    (uploads / "incoming").mkdir()
    code, out, err = footnote("collection", "copy", "mine", collection_url)
    assert (code, err) == (0, "")
    assert out.startswith("copied mine to postgresql://127.0.0.1:")
    assert ": 1 document, 1 passage, 1 uploaded file, 1 sent, checksum " in out
    code, again, _ = footnote("collection", "copy", collection_url, "back")
    assert code == 0
    assert again.rpartition(" ")[2] == out.rpartition(" ")[2]
    assert (tmp_path / "home" / "uploads" / "back" / f"{'a' * 32}.txt").read_text() == "as it was sent"
    asked = ("ask", "--quote", "Who designed the bridge?")
    answers = {footnote(*asked, "-c", name)[:2] for name in ("mine", collection_url, "back")}
    assert len(answers) == 1
    assert "unchanged" in footnote("index", "-c", collection_url, str(notes))[1]


def test_the_command_refuses_what_is_no_copy(footnote: Run, notes: Path, collection_url: str) -> None:
    assert footnote("collection", "copy", "nothere", collection_url)[0] == 3
    assert footnote("index", "-c", "mine", str(notes))[0] == 0
    code, out, err = footnote("collection", "copy", "mine", "mine")
    assert (code, out) == (2, "")
    assert "one and the same collection" in err
    assert footnote("collection", "copy", collection_url, collection_url)[0] == 2


def test_uploads_are_served_from_where_they_were_copied_to(
    footnote: Run, collection_url: str, tmp_path: Path
) -> None:
    settings = settings_for(tmp_path / "home").model_copy(
        update={"index": IndexSettings(embedder="hash", passage_tokens=32)}
    )
    with client_of(settings) as client:
        sent = client.post("/api/documents", files={"files": ("a.txt", b"The canal is deep.")})
        document_id = sent.json()["results"][0]["document"]["id"]
    assert footnote("collection", "copy", "default", collection_url)[0] == 0
    with client_of(settings.model_copy(update={"collection": collection_url})) as client:
        assert client.get(f"/api/documents/{document_id}").json()["has_source"]
        assert client.get(f"/api/documents/{document_id}/source").content == b"The canal is deep."


def test_errors_are_collection_errors() -> None:
    assert issubclass(CollectionDamaged, CollectionError)
