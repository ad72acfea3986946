"""What documents say of themselves is kept a row a value, also of collections older than the table."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

from index.catalog import APPLICATION_ID, MIGRATIONS, Catalog
from index.collection import LocalCollection
from index.config import IndexSettings
from index.embed import HashEmbedder
from index.facts import facts_of, iso_date
from index.readers import read_bytes

FRONT = '---\nauthor: Clara "Z"\ntags: [Bridges, "#steel", a\'b]\ndate: 2024-03-05\n---\nThe bridge is old.\n'
FACTS = {
    ("author", 'Clara "Z"'),
    ("tags", "Bridges"),
    ("tags", "steel"),
    ("tags", "a'b"),
    ("date", "2024-03-05"),
}


def put(collection: LocalCollection, text: str) -> str:
    document = read_bytes(text.encode(), name="bridge.md", uri="file:///bridge.md")
    collection.put(document, document.uri, "x", 1, 1, "1")
    return document.id


def stored(folder: Path) -> set[tuple[str, str]]:
    connection = sqlite3.connect(folder / "catalog.sqlite")
    rows = set(connection.execute("SELECT name, value FROM facts"))
    connection.close()
    return rows


def test_front_matter_becomes_facts_and_goes_with_its_document(tmp_path: Path) -> None:
    with LocalCollection.create_or_open(tmp_path, HashEmbedder(), IndexSettings()) as collection:
        put(collection, FRONT)
        assert stored(tmp_path) == FACTS
        put(collection, FRONT.replace("Bridges, ", "").replace("old", "new"))
        assert stored(tmp_path) == FACTS - {("tags", "Bridges")}
        collection.remove("file:///bridge.md")
        assert stored(tmp_path) == set()


def test_an_older_collection_gets_them_when_it_is_opened(tmp_path: Path) -> None:
    metadata = {"author": 'Clara "Z"', "keywords": "Bridges, #steel,a'b,, ", "date": "2024-03-05"}
    connection = sqlite3.connect(tmp_path / "catalog.sqlite")
    for statement in MIGRATIONS[0]:
        connection.execute(statement)
    connection.execute("PRAGMA user_version = 1")
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(
        "INSERT INTO documents VALUES (1, 'x', 'text/plain', 'x', 1, 'x', '[]', '[]', ?, 'x', 0)",
        (json.dumps(metadata),),
    )
    connection.commit()
    connection.close()
    Catalog(tmp_path).close()
    assert stored(tmp_path) == FACTS


def test_tags_are_one_kind_whatever_they_are_called() -> None:
    assert set(facts_of({"tag": "a, b", "keywords": "#c,, ", "tags": "a"})) == {
        ("tags", "a"),
        ("tags", "b"),
        ("tags", "c"),
    }


@pytest.mark.parametrize(
    ("written", "date"),
    [
        ("2024-03-05", "2024-03-05"),
        ("2024-03-05T10:00:00Z", "2024-03-05"),
        ("2024-03-05 10:00", "2024-03-05"),
        ("2024/03/05", "2024-03-05"),
        ("20240305", "2024-03-05"),
        (" 2024-03 ", "2024-03"),
        ("2024", "2024"),
        ("2024-13-01", None),
        ("2024-12-32", None),
        ("2024-02-30", None),
        ("2024-00", None),
        ("٢٠٢٤", None),  # digits, though not those of a date
        ("2024-03/05", None),
        ("20245", None),
        ("5 March 2024", None),
        ("", None),
    ],
)
def test_dates_are_understood_where_they_begin_with_their_year(written: str, date: str | None) -> None:
    assert iso_date(written) == date
