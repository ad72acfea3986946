from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import index.catalog
from index.catalog import FILE_NAME
from index.check import Finding, check
from index.collection import LocalCollection
from index.config import IndexSettings
from index.embed import HashEmbedder
from index.errors import CollectionLocked, CollectionNotFound
from index.types import Block, Document, Page
from index.vectors import MANIFEST


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two documents, the second with two passages, and saved vectors."""
    place = tmp_path / "collection"
    settings = IndexSettings.model_validate({"passage_tokens": 16})
    with LocalCollection.create_or_open(place, HashEmbedder(32), settings) as collection:
        for uri, text in (("a", "Cats purr. They sleep."), ("b", "Dogs bark. " * 12)):
            doc = Document(text, uri, uri, "text/plain", (Block(0, len(text)),), (Page(1, 0, len(text)),))
            collection.put(doc, uri, "0" * 64, 1, 1, "1")
        collection.snapshot()
    return place


def change(folder: Path, *statements: str) -> None:
    connection = sqlite3.connect(folder / FILE_NAME)
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()


def answers(folder: Path) -> list[tuple[str, float, float, float]]:
    with LocalCollection.open(folder, HashEmbedder(32)) as collection:
        return [(hit.text, hit.score, hit.dense, hit.lexical) for hit in collection.search("do dogs bark", 9)]


def test_a_sound_collection_has_no_findings(folder: Path) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix != ".lock"}
    assert check(folder) == []
    assert check(folder, "hash-32") == []
    assert check(folder, repair=True) == []
    assert {name: (folder / name).read_bytes() for name in before} == before


UNREPAIRABLE = {
    "text": ("UPDATE documents SET text = text || '!' WHERE id = (SELECT min(id) FROM documents)", "digest"),
    "digest": ("UPDATE documents SET sha256 = replace(sha256, substr(sha256, 40), '0')", "digest"),
    "id": ("UPDATE documents SET id = '0123456789abcdef' WHERE key = 1", "its id does not come"),
    "characters": ("UPDATE documents SET characters = 7 WHERE key = 1", "characters, not 7"),
    "blocks": ('UPDATE documents SET blocks = \'[[0, 9, "", 0], [5, 12, "", 0]]\'', "its blocks"),
    "pages": ("UPDATE documents SET pages = '[[1, 0, 1000]]'", "a page"),
    "json": ("UPDATE documents SET pages = '[['", "cannot be read"),
    "range": ('UPDATE passages SET "end" = 100000 WHERE id = 1', "passages are not in order"),
    "order": ("UPDATE passages SET ordinal = 5 WHERE id = 2", "not numbered in order"),
    "sentences": ("UPDATE passages SET sentences = '[[0, 3]]' WHERE id = 1", "not made of its sentences"),
    "no sentence": ("UPDATE passages SET sentences = '[]' WHERE id = 1", "not made of its sentences"),
    "vector": ("UPDATE passages SET vector = x'0000803f' WHERE id = 1", "has 4 bytes, not 128"),
    "norm": ("UPDATE passages SET vector = zeroblob(128) WHERE id = 1", "unit length"),
    "source": ("DELETE FROM sources WHERE uri = 'a'", "1 documents have no source"),
    "orphan": ("UPDATE passages SET document = 77 WHERE id = 1", "points at nothing"),
    "settings": ("DELETE FROM meta WHERE key = 'dimension'", "does not say"),
    "generation": ("DELETE FROM meta WHERE key = 'stamp'", "generation"),
    "another generation": ("UPDATE meta SET value = '99' WHERE key = 'generation'", "state"),
}


@pytest.mark.parametrize("name", UNREPAIRABLE)
def test_damage_to_the_truth_is_found_and_not_called_repaired(folder: Path, name: str) -> None:
    statement, expected = UNREPAIRABLE[name]
    change(folder, statement)
    for repair in (False, True):
        found = check(folder, repair=repair)
        matches = [finding for finding in found if expected in finding.what]
        assert matches
        assert {(finding.severity, finding.repaired) for finding in matches} == {("truth", False)}
        assert all("\n" not in finding.what for finding in found)


def test_a_vector_that_is_no_number_is_found(folder: Path) -> None:
    connection = sqlite3.connect(folder / FILE_NAME)
    vector = np.full(32, np.nan, dtype="<f4").tobytes()
    connection.execute("UPDATE passages SET vector = ? WHERE id = 2", (vector,))
    connection.commit()
    connection.close()
    assert Finding("Passage 2: its vector is not of unit length", "truth") in check(folder)


def test_another_embedder_is_found(folder: Path) -> None:
    (found,) = check(folder, "other")
    assert found == Finding("The vectors were made with the embedder hash-32, not with other", "truth")


def flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def rewrite(path: Path, key: str, value: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))


DERIVED: dict[str, Callable[[Path], object]] = {
    "manifest": lambda folder: (folder / MANIFEST).unlink(),
    "torn manifest": lambda folder: (folder / MANIFEST).write_bytes(b"{"),
    "vector file": lambda folder: next(folder.glob("*.faiss")).unlink(),
    "flipped byte": lambda folder: flip(next(folder.glob("*.faiss")), -20),
    "another past": lambda folder: rewrite(folder / MANIFEST, "stamp", "0123456789abcdef"),
    "words row": lambda folder: change(folder, "DELETE FROM passage_words WHERE rowid = 2"),
    "words text": lambda folder: change(folder, "UPDATE passage_words SET body = 'other' WHERE rowid = 2"),
    "words extra": lambda folder: change(folder, "INSERT INTO passage_words(rowid, body) VALUES (50, 'x')"),
    "words content": lambda folder: change(folder, "UPDATE passage_words_content SET c1 = 'x' WHERE id = 1"),
    "words index": lambda folder: change(folder, "DELETE FROM passage_words_data WHERE id > 10"),
    "words gone": lambda folder: change(folder, "DROP TABLE passage_words"),
}


@pytest.mark.parametrize("name", DERIVED)
def test_damage_to_what_is_derived_is_found_and_repaired(folder: Path, name: str) -> None:
    expected = answers(folder)
    DERIVED[name](folder)
    found = check(folder)
    assert [finding.severity for finding in found] == ["derived"]
    assert check(folder) == found  # looking changed nothing
    (repaired,) = check(folder, repair=True)
    assert repaired == Finding(found[0].what, "derived", repaired=True)
    assert check(folder) == []
    assert answers(folder) == expected


def test_what_is_derived_is_repaired_beside_damage_that_cannot_be(folder: Path) -> None:
    change(folder, "UPDATE documents SET characters = 7 WHERE key = 1", "DELETE FROM passage_words")
    before = check(folder)
    assert sorted(finding.severity for finding in before) == ["derived", "truth"]
    after = check(folder, repair=True)
    assert {finding.severity: finding.repaired for finding in after} == {"derived": True, "truth": False}


def test_vectors_are_not_gathered_from_rows_that_cannot_be_right(folder: Path) -> None:
    change(folder, "UPDATE passages SET vector = x'00' WHERE id = 1")
    (folder / MANIFEST).unlink()
    after = check(folder, repair=True)
    assert {finding.severity: finding.repaired for finding in after} == {"derived": False, "truth": False}
    assert not (folder / MANIFEST).exists()


def test_a_file_that_is_no_database_is_a_finding(folder: Path) -> None:
    (folder / FILE_NAME).write_bytes(b"garbage" * 1000)
    for repair in (False, True):
        (found,) = check(folder, repair=repair)
        assert (found.severity, found.repaired) == ("truth", False)
        assert "not a database" in found.what


def test_a_page_of_the_database_overwritten_is_a_finding(folder: Path) -> None:
    change(folder, "PRAGMA wal_checkpoint(TRUNCATE)")
    content = bytearray((folder / FILE_NAME).read_bytes())
    content[4096 * 2 : 4096 * 3] = b"\xff" * 4096
    (folder / FILE_NAME).write_bytes(content)
    found = check(folder)
    assert found
    assert {finding.severity for finding in found} == {"truth"}


def test_nothing_there_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(CollectionNotFound):
        check(tmp_path)


def test_repair_waits_for_no_other_writer(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index.catalog, "LOCK_SECONDS", 0.05)
    with LocalCollection.open(folder, HashEmbedder(32)) as collection, collection.writing():
        assert check(folder) == []
        with pytest.raises(CollectionLocked):
            check(folder, repair=True)
