"""The text of before an edit is kept, said to be no more what the file says, and goes with its file."""

from __future__ import annotations

import sqlite3
import zlib
from pathlib import Path

import pytest
from served import client_of, settings_for
from small_collection import put, small_collection

from index import former
from index.catalog import Catalog
from index.collection import LocalCollection
from index.embed import HashEmbedder
from index.errors import CollectionDamaged
from index.former import Former, read_former

OLD = "The bridge was opened in 1911.\n"
NEW = "The bridge was opened in 1912.\n"


def found(folder: Path, document_id: str) -> Former | None:
    catalog = Catalog(folder)
    with catalog.connection() as connection:
        kept = read_former(connection, document_id)
    catalog.close()
    return kept


def test_an_edit_keeps_the_text_of_before_and_names_what_is_there_now(tmp_path: Path) -> None:
    with small_collection(tmp_path) as collection:
        old = put(collection, "bridge.txt", OLD)
        assert found(tmp_path, old) is None  # it is no former document yet
        new = put(collection, "bridge.txt", NEW)
    kept = found(tmp_path, old)
    assert kept is not None
    assert (kept.id, kept.now, kept.uri, kept.title) == (old, new, "file:///bridge.txt", "bridge")
    assert kept.document is not None
    assert kept.document.text == OLD
    assert kept.document.id == old


def test_an_older_one_names_the_newest(tmp_path: Path) -> None:
    with small_collection(tmp_path) as collection:
        ids = [put(collection, "bridge.txt", f"Opened in {year}.\n") for year in (1911, 1912, 1913)]
    assert [kept and kept.now for kept in (found(tmp_path, name) for name in ids)] == [ids[2], ids[2], None]


def test_a_text_that_comes_back_is_no_former_one(tmp_path: Path) -> None:
    with small_collection(tmp_path) as collection:
        old = put(collection, "bridge.txt", OLD)
        new = put(collection, "bridge.txt", NEW)
        put(collection, "bridge.txt", OLD)
    assert found(tmp_path, old) is None
    kept = found(tmp_path, new)
    assert kept is not None
    assert kept.now == old


def test_a_text_that_stands_in_another_file_too_stays_a_document(tmp_path: Path) -> None:
    with small_collection(tmp_path) as collection:
        old = put(collection, "bridge.txt", OLD)
        put(collection, "copy.txt", OLD)
        put(collection, "bridge.txt", NEW)
        assert collection.document(old).text == OLD
    assert found(tmp_path, old) is None


def test_who_removes_the_file_removes_its_former_texts(tmp_path: Path) -> None:
    with small_collection(tmp_path) as collection:
        old = put(collection, "bridge.txt", OLD)
        put(collection, "bridge.txt", NEW)
        collection.remove("file:///bridge.txt")
    assert found(tmp_path, old) is None
    with sqlite3.connect(tmp_path / "catalog.sqlite") as connection:
        assert connection.execute("SELECT count(*) FROM former").fetchone() == (0,)
    connection.close()


def test_they_follow_a_file_that_is_moved(tmp_path: Path) -> None:
    with small_collection(tmp_path) as collection:
        old = put(collection, "bridge.txt", OLD)
        new = put(collection, "bridge.txt", NEW)
        assert put(collection, "moved.txt", NEW) == new
        collection.remove("file:///bridge.txt")
    kept = found(tmp_path, old)
    assert kept is not None
    assert (kept.now, kept.uri) == (new, "file:///moved.txt")


def test_the_oldest_texts_go_first_and_their_names_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with small_collection(tmp_path) as collection:
        monkeypatch.setattr(former, "KEPT_BYTES", 60)
        ids = [put(collection, "bridge.txt", f"Opened in the year {year}.\n") for year in range(1911, 1915)]
    kept = [found(tmp_path, name) for name in ids[:3]]
    assert [one is not None and one.document is not None for one in kept] == [False, False, True]
    assert [one and one.now for one in kept] == [ids[3]] * 3


def test_no_more_than_so_many_names_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with small_collection(tmp_path) as collection:
        monkeypatch.setattr(former, "KEPT_NAMES", 2)
        ids = [put(collection, "bridge.txt", f"Opened in {year}.\n") for year in range(1911, 1916)]
    assert [found(tmp_path, name) is not None for name in ids] == [False, False, True, True, False]


def test_a_damaged_text_is_never_shown(tmp_path: Path) -> None:
    with small_collection(tmp_path) as collection:
        old = put(collection, "bridge.txt", OLD)
        put(collection, "bridge.txt", NEW)
    other, huge = zlib.compress(b"The bridge was opened in 1921.\n"), zlib.compress(b"a" * 10**7)
    for stored in (b"x", other, huge):
        connection = sqlite3.connect(tmp_path / "catalog.sqlite")
        connection.execute("UPDATE former SET text = ?", (stored,))
        connection.commit()
        connection.close()
        with pytest.raises(CollectionDamaged, match="former text"):
            found(tmp_path, old)


def test_a_link_made_before_an_edit_says_so_and_shows_what_was_cited(tmp_path: Path) -> None:
    settings = settings_for(tmp_path)
    with LocalCollection.create_or_open(
        settings.collection_folder, HashEmbedder(), settings.index
    ) as collection:
        old = put(collection, "bridge.txt", OLD)
        new = put(collection, "bridge.txt", NEW)
    with client_of(settings) as client:
        cited = client.get(f"/api/documents/{old}/text?start=25&end=29").json()
        assert (cited["text"], cited["current"], cited["sha256"][:16]) == ("1911", new, old)
        page = client.get(f"/documents/{old}?start=25&end=29")
        assert page.status_code == 200
        assert '<mark id="passage">1911</mark>' in page.text
        assert "This document has changed since it was cited." in page.text
        assert f'href="/documents/{new}"' in page.text
        assert client.get(f"/api/documents/{new}/text").json()["current"] is None
        assert "has changed" not in client.get(f"/documents/{new}?start=25&end=29").text
        # It is no document: it is not listed, searched or cited.
        assert [one["id"] for one in client.get("/api/documents").json()["documents"]] == [new]
        assert client.get(f"/api/documents/{old}").status_code == 404
        connection = sqlite3.connect(settings.collection_folder / "catalog.sqlite")
        connection.execute("UPDATE former SET text = NULL")
        connection.commit()
        connection.close()
        page = client.get(f"/documents/{old}?start=25&end=29")
        assert page.status_code == 404
        assert "What it said is no longer kept." in page.text
        assert f'href="/documents/{new}"' in page.text
        gone = client.get(f"/api/documents/{old}/text")
        assert gone.status_code == 404
        assert f"{new} stands in its place" in gone.json()["error"]["message"]
        client.delete(f"/api/documents/{new}")
        assert "has been removed, or never was here" in client.get(f"/documents/{old}").text
