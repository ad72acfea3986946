from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from animals import ANIMALS, SETTINGS, document, found, put, reopened

import index.catalog
from index.catalog import FILE_NAME
from index.collection import LocalCollection
from index.config import IndexSettings
from index.embed import HashEmbedder
from index.errors import (
    CollectionDamaged,
    CollectionError,
    CollectionLocked,
    CollectionNotFound,
    EmbedderMismatch,
    ModelUnsuitable,
    UnknownDocument,
    UsageError,
)
from index.fusion import standardised
from index.putting import embedded_text
from index.types import Change, Collection, Passage, Sentence, Source, Vectors


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "papers"


@pytest.fixture
def collection(folder: Path) -> Iterator[LocalCollection]:
    with LocalCollection.create_or_open(folder, HashEmbedder(), SETTINGS) as opened:
        yield opened


@pytest.fixture
def animals(collection: LocalCollection) -> LocalCollection:
    for uri, text in ANIMALS.items():
        put(collection, uri, text)
    return collection


# Storing and finding


def test_it_is_a_collection(animals: LocalCollection) -> None:
    protocol: Collection = animals
    assert protocol.name == "papers"
    assert animals.embedder.fingerprint == "hash-256"
    assert [info.uris[0] for info in protocol.documents()] == list(ANIMALS)
    stats = animals.stats()
    assert (stats.documents, stats.sources, stats.passages) == (3, 3, 3)
    assert stats.characters == sum(map(len, ANIMALS.values()))
    assert (stats.fingerprint, stats.dimension, stats.passage_tokens) == ("hash-256", 256, 16)
    assert protocol.term_frequency(["barking", "the", "zebra"]) == {"barking": 1, "the": 2, "zebra": 0}


def test_the_best_passage_comes_first_with_its_scores(animals: LocalCollection) -> None:
    hits = animals.search("Why does a cat purr?", 2)
    assert hits[0].text == ANIMALS["file:///cats.txt"]
    assert len(hits) == 2
    best = hits[0]
    assert best.passage.document_id == document(ANIMALS["file:///cats.txt"]).id
    query, stored = HashEmbedder().embed(["Why does a cat purr?", best.text])
    assert best.dense == pytest.approx(float(query @ stored), abs=1e-6)
    assert best.lexical > 0
    assert hits[1].lexical == 0
    assert best.score > hits[1].score


def test_scores_are_sums_of_z_scores_over_the_candidates(animals: LocalCollection) -> None:
    hits = animals.search("ocean songs of the night", 3)
    for name in ("dense", "lexical"):
        assert np.std([getattr(hit, name) for hit in hits]) > 0
    dense = standardised(np.array([hit.dense for hit in hits]))
    lexical = standardised(np.array([hit.lexical for hit in hits]))
    assert [hit.score for hit in hits] == pytest.approx((dense + lexical).tolist())
    assert sum(hit.score for hit in hits) == pytest.approx(0)


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([], []),
        ([3.0], [0.0]),
        ([0.2, 0.2, 0.2 + 1e-9], [0.0, 0.0, 0.0]),
        ([0.0, 0.0], [0.0, 0.0]),
        ([1.0, 3.0], [-1.0, 1.0]),
        ([1e-6, 3e-6], [-1.0, 1.0]),
    ],
)
def test_z_scores(scores: list[float], expected: list[float]) -> None:
    assert standardised(np.array(scores)).tolist() == pytest.approx(expected)


def test_dense_only_candidates_get_their_exact_words_score(
    collection: LocalCollection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("index.fusion.LEAST_CANDIDATES", 1)
    put(collection, "a", "zebra stripes")
    put(collection, "b", "zebra zebra stripes and a long tail of other words here")
    for number in range(8):
        put(collection, f"other{number}", f"unrelated matter {number}")
    wide = {hit.text: hit for hit in collection.search("zebra stripes", 5)}
    narrow = collection.search("zebra stripes", 1)
    assert narrow[0].lexical == wide[narrow[0].text].lexical > 0
    assert narrow[0].dense == wide[narrow[0].text].dense


def test_ties_go_to_the_passage_stored_earlier(collection: LocalCollection) -> None:
    # 130 equal passages: more than the candidates of either kind.
    text = "\n\n".join(["The same ten words stand here in every single passage."] * 130)
    put(collection, "a", "An unrelated beginning.")
    put(collection, "b", text)
    hits = collection.search("same words in passage", 20)
    assert [hit.passage.ordinal for hit in hits] == list(range(20))
    assert len({(hit.score, hit.dense, hit.lexical) for hit in hits}) == 1


@pytest.mark.parametrize(
    "query", ['" OR *', "NEAR(", "-", ":", "cats AND", "*", "^", "{a}:b", "\x00", "'; DROP"]
)
def test_no_question_is_syntax(animals: LocalCollection, query: str) -> None:
    assert len(animals.search(query, 9)) == 3


def test_nothing_asked_and_nothing_there(collection: LocalCollection) -> None:
    assert collection.search("anything", 3) == []
    put(collection, "a", "Some text.")
    assert collection.search(" \n", 3) == []
    with pytest.raises(UsageError, match="at least one"):
        collection.search("some", 0)


EXACT = [
    "Line one.\r\nLine two.\r\rThird\tline.",
    "Cafe\u0301 and caf\u00e9. \u1e9b\u0323 stays. A\u030angstro\u0308m!",
    "👩\u200d🚀 flew. 🇺🇳 met 👍🏽. \U0001d518nicode 😀.",
    "中文没有空格。これは文です。",
    "Nul \x00 inside. Then\u2028separator\u00a0B\u00a0. End\x85.",
    "  leading and trailing  \n\n ",
]


@pytest.mark.parametrize("text", EXACT)
def test_every_range_is_exact_after_reopening(folder: Path, collection: LocalCollection, text: str) -> None:
    doc = document(text)
    put(collection, "file:///a.txt", doc)
    collection.snapshot()
    collection.close()
    with reopened(folder) as again:
        stored = again.document(doc.id)
        assert stored.text == text
        assert replace(stored, uri=doc.uri) == doc
        hits = again.search(text, 50)
        assert sorted(hit.passage.ordinal for hit in hits) == [p.ordinal for p in again.passages(doc.id)]
        for hit in hits:
            assert hit.text == text[hit.passage.start : hit.passage.end] != ""
            for sentence in hit.passage.sentences:
                assert (
                    text[sentence.start : sentence.end].strip() == text[sentence.start : sentence.end] != ""
                )


def test_the_heading_is_embedded_and_searched_with_its_passage(collection: LocalCollection) -> None:
    put(collection, "a", document("It was signed there.", heading="Treaty of Kazan"))
    put(collection, "b", document("It was eaten there."))
    assert found(collection, "Kazan treaty", 1) == ["It was signed there."]
    hit = collection.search("Kazan treaty", 1)[0]
    query, stored = HashEmbedder().embed(["Kazan treaty", "Treaty of Kazan\nIt was signed there."])
    assert hit.dense == pytest.approx(float(query @ stored), abs=1e-6)
    passage = Passage("x", 0, 1, 3, "", (Sentence(1, 3),), 1)
    assert embedded_text(passage, "abcd") == "bc"


def test_the_limit_of_a_passage_is_kept(collection: LocalCollection) -> None:
    doc = document("One two three four five six. " * 20)
    put(collection, "a", doc)
    found = collection.passages(doc.id)
    assert len(found) == 10
    assert {p.tokens for p in found} == {12}


# Putting, updating, removing


def test_put_tells_what_changed(collection: LocalCollection) -> None:
    assert put(collection, "a", "First text.") is Change.ADDED
    generation = collection.stats().generation
    assert put(collection, "a", "First text.") is Change.UNCHANGED
    assert collection.stats().generation == generation
    assert put(collection, "a", "First text.", mtime_ns=2) is Change.UNCHANGED
    assert put(collection, "a", "Second text.") is Change.UPDATED
    assert found(collection, "first second text") == ["Second text."]
    assert put(collection, "a", document("Second text.", title="Renamed")) is Change.UPDATED
    assert collection.documents()[0].title == "Renamed"
    assert put(collection, "a", "Second text.", readers_version="2") is Change.UPDATED
    assert collection.stats().passages == 1


def test_the_same_text_under_two_names_is_one_document(collection: LocalCollection) -> None:
    doc = document("Shared words.")
    assert put(collection, "a", doc) is Change.ADDED
    assert put(collection, "b", doc) is Change.ADDED
    assert found(collection, "shared words") == ["Shared words."]
    assert [(info.id, info.uris) for info in collection.documents()] == [(doc.id, ("a", "b"))]
    assert collection.remove("a")
    assert not collection.remove("a")
    assert collection.document(doc.id).uri == "b"
    assert found(collection, "shared words") == ["Shared words."]
    assert collection.remove("b")
    assert collection.documents() == []
    assert collection.search("shared words", 3) == []
    with pytest.raises(UnknownDocument):
        collection.document(doc.id)
    with pytest.raises(UnknownDocument):
        collection.passages(doc.id)


def test_a_renamed_file_keeps_its_id_and_is_not_embedded_again(folder: Path) -> None:
    embedder = Counting()
    with LocalCollection.create_or_open(folder, embedder, SETTINGS) as collection:
        put(collection, "old name", document("The text.", title="old"))
        put(collection, "new name", document("The text.", title="new"))
        collection.remove("old name")
        (info,) = collection.documents()
        assert (info.id, info.title, info.uris) == (document("The text.").id, "new", ("new name",))
        assert embedder.embedded == 1


def test_a_document_is_removed_with_all_its_names(animals: LocalCollection) -> None:
    doc = document(ANIMALS["file:///cats.txt"])
    put(animals, "copy", doc)
    animals.remove_document(doc.id)
    assert doc.text not in found(animals, "cats purr")
    assert [info.uris for info in animals.documents()] == [("file:///dogs.txt",), ("file:///whales.txt",)]
    with pytest.raises(UnknownDocument, match=doc.id):
        animals.remove_document(doc.id)


def test_unchanged_goes_by_time_and_size_then_by_bytes(collection: LocalCollection) -> None:
    doc = document("Some text.")
    sha = hashlib.sha256(doc.text.encode()).hexdigest()
    seen = {"size": 10, "mtime_ns": 1, "readers_version": "1"}
    put(collection, "a", doc)
    assert collection.unchanged("a", size=10, mtime_ns=1, readers_version="1")
    assert not collection.unchanged("b", size=10, mtime_ns=1, readers_version="1")
    assert not collection.unchanged("a", size=11, mtime_ns=1, readers_version="1")
    assert not collection.unchanged("a", size=10, mtime_ns=2, readers_version="1")
    assert not collection.unchanged("a", size=10, mtime_ns=1, readers_version="2")
    assert not collection.unchanged("a", size=10, mtime_ns=1, readers_version="1", root="file:///folder")
    assert not collection.unchanged_bytes("a", bytes_sha256="0" * 64, **seen)  # type: ignore[arg-type]
    assert not collection.unchanged_bytes("b", bytes_sha256=sha, **seen)  # type: ignore[arg-type]
    assert not collection.unchanged_bytes("a", bytes_sha256=sha, size=10, mtime_ns=1, readers_version="2")
    assert collection.unchanged_bytes(
        "a", bytes_sha256=sha, size=10, mtime_ns=5, readers_version="1", root="r"
    )
    assert collection.unchanged("a", size=10, mtime_ns=5, readers_version="1", root="r")
    assert collection.sources()[0].source.root == "r"
    assert collection.sources()[0].title == "Title"


def test_other_settings_split_again_what_is_put_again(folder: Path, collection: LocalCollection) -> None:
    doc = document("One two three four five six. " * 10)
    put(collection, "a", doc)
    assert len(collection.passages(doc.id)) == 5
    collection.close()
    with LocalCollection.create_or_open(
        folder, HashEmbedder(), IndexSettings.model_validate({"passage_tokens": 30})
    ) as wide:
        assert not wide.unchanged("a", size=len(doc.text), mtime_ns=1, readers_version="1")
        assert put(wide, "a", doc) is Change.UPDATED
        assert len(wide.passages(doc.id)) == 2
    with reopened(folder) as again:
        assert again.stats().passage_tokens == 30
        assert put(again, "a", doc) is Change.UNCHANGED


def test_an_item_may_need_what_an_earlier_item_of_the_batch_dropped(collection: LocalCollection) -> None:
    first, second = document("First text."), document("Second text.")
    put(collection, "a", first)
    source = Source("a", "0" * 64, 1, 1, "1")
    changes = collection.put_all([(second, source), (first, replace(source, uri="b"))])
    assert changes == [Change.UPDATED, Change.ADDED]
    assert sorted(found(collection, "text")) == ["First text.", "Second text."]


def test_a_batch_is_embedded_together_with_progress(folder: Path) -> None:
    embedder = Counting()
    steps: list[int] = []
    with LocalCollection.create_or_open(folder, embedder, SETTINGS) as collection:
        items = [(document(f"Text number {i}."), Source(f"u{i}", "0" * 64, 1, 1, "1")) for i in range(70)]
        items.append((items[0][0], replace(items[0][1], uri="copy")))
        assert collection.put_all(items, steps.append) == [Change.ADDED] * 71
        # With 0 it is called while texts are split, so that whoever wants to stop need not wait for that.
        assert (embedder.embedded, [step for step in steps if step]) == (70, [64, 6])
        assert 0 in steps
        assert collection.stats().documents == 70
        assert found(collection, "number 42", 1) == ["Text number 42."]
        assert collection.put_all([]) == []


class Counting(HashEmbedder):
    """Counts the texts that it embeds, and can be told to stop at one."""

    embedded = 0
    stop_at: str | None = None

    def embed(self, texts: Sequence[str]) -> Vectors:
        if self.stop_at is not None and any(self.stop_at in text for text in texts):
            raise KeyboardInterrupt
        self.embedded += len(texts)
        return super().embed(texts)


def test_an_interruption_keeps_what_was_committed(folder: Path) -> None:
    embedder = Counting()
    with LocalCollection.create_or_open(folder, embedder, SETTINGS) as collection:
        put(collection, "a", "Kept text.")
        embedder.stop_at = "fatal"
        with pytest.raises(KeyboardInterrupt):
            put(collection, "a", "A fatal text.")
        embedder.stop_at = None
        assert found(collection, "text") == ["Kept text."]
        put(collection, "b", "The lock was released.")
    with reopened(folder) as again:
        assert again.stats().documents == 2


class Broken(HashEmbedder):
    def embed(self, texts: Sequence[str]) -> Vectors:
        return np.zeros((len(texts), self.dimension), dtype=np.float32)


def test_an_embedder_that_gives_no_unit_vectors_stores_nothing(folder: Path) -> None:
    with LocalCollection.create_or_open(folder, Broken(), SETTINGS) as collection:
        with pytest.raises(ModelUnsuitable):
            put(collection, "a", "Some text.")
        assert collection.stats().generation == 1  # that of its creation
        assert collection.documents() == []


# Opening


def test_nothing_there_is_not_found_and_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(CollectionNotFound, match=r"`footnote index PATH`$"):
        LocalCollection.open(tmp_path / "none", HashEmbedder())
    assert not (tmp_path / "none").exists()


def test_a_creation_that_was_cut_short_is_not_found_and_can_be_repeated(tmp_path: Path) -> None:
    index.catalog.Catalog(tmp_path, create=True).close()
    with pytest.raises(CollectionNotFound):
        LocalCollection.open(tmp_path, HashEmbedder())
    with LocalCollection.create_or_open(tmp_path, HashEmbedder(), SETTINGS) as collection:
        put(collection, "a", "Some text.")
    with reopened(tmp_path) as again:
        assert again.stats().passages == 1


@pytest.mark.parametrize("create", [True, False])
def test_another_embedder_is_refused_naming_both(
    folder: Path, animals: LocalCollection, create: bool
) -> None:
    def open_with(embedder: HashEmbedder) -> LocalCollection:
        if create:
            return LocalCollection.create_or_open(folder, embedder, SETTINGS)
        return LocalCollection.open(folder, embedder)

    with pytest.raises(EmbedderMismatch, match=r"hash-256 of 256 .* hash-64 of 64"):
        open_with(HashEmbedder(64))

    class Other(HashEmbedder):
        @property
        def fingerprint(self) -> str:
            return "other"

    with pytest.raises(EmbedderMismatch, match=r"hash-256.*other"):
        open_with(Other())
    assert len(animals.search("cats", 3)) == 3


def test_a_damaged_catalogue_is_named(folder: Path, animals: LocalCollection) -> None:
    animals.close()
    (folder / FILE_NAME).write_bytes(b"\x00garbage" * 2000)
    with pytest.raises(CollectionDamaged, match="footnote check"):
        reopened(folder)


def test_a_place_that_cannot_be_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CollectionError, match="cannot be made"):
        LocalCollection.create_or_open(tmp_path / "file", HashEmbedder(), SETTINGS)


def test_one_writer_at_a_time_and_readers_go_on(
    folder: Path, animals: LocalCollection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index.catalog, "LOCK_SECONDS", 0.05)
    with reopened(folder) as other, animals.writing():
        for change in (
            lambda: put(other, "x", "New text."),
            lambda: other.remove("file:///cats.txt"),
            lambda: other.remove_document("0" * 16),
        ):
            with pytest.raises(CollectionLocked):
                change()
        assert len(other.search("cats", 3)) == 3
        put(animals, "y", "Zebras have stripes.")
        assert found(other, "zebra stripes", 1) == ["Zebras have stripes."]


@pytest.mark.parametrize(
    "damage",
    [
        # An exponent that lost or won a bit, and what no number is.
        lambda vector: (np.frombuffer(vector, np.float32) * 2.0**16).tobytes(),
        lambda vector: np.full(len(vector) // 4, np.nan, np.float32).tobytes(),
    ],
)
def test_a_vector_that_is_none_leads_no_list(
    animals: LocalCollection, folder: Path, damage: Callable[[bytes], bytes]
) -> None:
    with closing(sqlite3.connect(folder / FILE_NAME)) as connection:
        number, vector, text = connection.execute(
            "SELECT p.id, p.vector, d.text FROM passages p JOIN documents d ON d.key = p.document"
        ).fetchone()
        connection.execute("UPDATE passages SET vector = ? WHERE id = ?", (damage(vector), number))
        connection.commit()
    with pytest.raises(CollectionDamaged, match=r"unit length.*footnote check"):
        animals.search(text, 20)


def test_a_text_that_is_no_text_is_damage(animals: LocalCollection, folder: Path) -> None:
    with closing(sqlite3.connect(folder / FILE_NAME)) as connection:
        connection.execute("UPDATE sources SET title = CAST(x'54e9ff' AS TEXT)")
        connection.commit()
    with pytest.raises(CollectionDamaged, match="footnote check"):
        animals.documents()
