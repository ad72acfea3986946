"""Listings: pages that stay where they are, searched by title."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from small_collection import put

from index.collection import LocalCollection
from index.config import IndexSettings
from index.embed import HashEmbedder
from index.errors import UnknownDocument
from index.types import Vectors


@pytest.fixture
def many(tmp_path: Path) -> Iterator[LocalCollection]:
    with LocalCollection.create_or_open(tmp_path / "many", HashEmbedder(), IndexSettings()) as opened:
        for number in range(7):
            put(opened, f"note {number}.txt", f"note number {number}.")
        yield opened


def titles(collection: LocalCollection, **asked: int | str) -> list[str]:
    return [document.title for document in collection.listing(**{"limit": 50, **asked}).documents]  # type: ignore[arg-type]


def test_pages_follow_one_another_while_documents_come_and_go(many: LocalCollection) -> None:
    first = many.listing(limit=3)
    assert [document.title for document in first.documents] == ["note 6", "note 5", "note 4"]
    assert first.total == 7
    many.remove("file:///note 4.txt")
    put(many, "later.txt", "Something later.")
    second = many.listing(limit=3, before=first.next)
    assert [document.title for document in second.documents] == ["note 3", "note 2", "note 1"]
    last = many.listing(limit=3, before=second.next)
    assert [document.title for document in last.documents] == ["note 0"]
    assert last.next is None
    assert last.total == 7


def test_a_page_that_is_just_full_is_the_last(many: LocalCollection) -> None:
    assert many.listing(limit=7).next is None


def test_titles_are_searched_in_any_case_and_script(many: LocalCollection) -> None:
    put(many, "Straße.txt", "A road.")
    put(many, "ΟΔΟΣ 100%.txt", "Another road.")
    assert titles(many, title="STRASSE") == ["Straße"]
    assert titles(many, title="οδοσ") == ["ΟΔΟΣ 100%"]
    assert titles(many, title="0%") == ["ΟΔΟΣ 100%"]
    assert titles(many, title="note_") == []
    found = many.listing(limit=2, title=" note ")
    assert (len(found.documents), found.total) == (2, 7)


def test_a_listed_document_says_all_but_its_text(many: LocalCollection) -> None:
    document_id = put(many, "again.txt", "note number 3.")
    found = many.listed(document_id)
    assert (found.id, found.title, found.uris) == (
        document_id,
        "note 3",
        ("file:///note 3.txt", "file:///again.txt"),
    )
    assert (found.characters, found.passages, found.media_type) == (14, 1, "text/plain")
    assert found.sha256.startswith(document_id)
    assert found.added_at > 1_700_000_000
    with pytest.raises(UnknownDocument):
        many.listed("0" * 16)


class SlowEmbedder(HashEmbedder):
    """Says that it has begun, and goes on when it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.begun, self.let = threading.Event(), threading.Event()

    def embed(self, texts: object) -> Vectors:
        self.begun.set()
        assert self.let.wait(30)
        return super().embed(texts)  # type: ignore[arg-type]


def test_a_document_can_be_removed_while_another_is_embedded(tmp_path: Path) -> None:
    embedder = SlowEmbedder()
    with LocalCollection.create_or_open(tmp_path, embedder, IndexSettings()) as collection:
        embedder.let.set()
        put(collection, "old.txt", "An old one.")
        embedder.let.clear()
        embedder.begun.clear()
        adding = threading.Thread(target=put, args=(collection, "new.txt", "A new one."))
        adding.start()
        assert embedder.begun.wait(30)
        assert collection.remove("file:///old.txt")
        embedder.let.set()
        adding.join(30)
        assert titles(collection) == ["new"]
