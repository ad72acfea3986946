from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import index.catalog
from index.catalog import APPLICATION_ID, FILE_NAME, MIGRATIONS, MOST_IDLE, Catalog
from index.errors import (
    CollectionDamaged,
    CollectionError,
    CollectionLocked,
    CollectionNotFound,
    SchemaTooNew,
    UnknownDocument,
)
from index.history import Generation
from index.records import Source, Writer
from index.types import Block, Document, Page, Passage, Sentence


def document(text: str, title: str = "Title") -> Document:
    return Document(
        text=text,
        uri="file:///elsewhere",
        title=title,
        media_type="text/plain",
        blocks=(Block(0, len(text), "Over it", is_heading=True),),
        pages=(Page(1, 0, len(text)),),
        metadata={"language": "en"},
    )


def passage(
    doc: Document, start: int = 0, end: int | None = None, ordinal: int = 0, heading: str = ""
) -> Passage:
    end = len(doc.text) if end is None else end
    return Passage(doc.id, ordinal, start, end, heading, (Sentence(start, end),), 3)


def source(uri: str, **other: object) -> Source:
    return replace(Source(uri, "0" * 64, 10, 123_456_789_000_000_001, "readers 1"), **other)  # type: ignore[arg-type]


def put(writer: Writer, doc: Document, uri: str, *passages: Passage) -> None:
    found = passages or (passage(doc),)
    vectors = np.eye(len(found), 4, dtype=np.float32)
    writer.put_document(doc, "made so", found, vectors)
    writer.put_source(source(uri), doc.title, doc.id)


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    opened = Catalog(tmp_path, create=True)
    yield opened
    opened.close()


def test_every_field_of_a_document_comes_back(catalog: Catalog, tmp_path: Path) -> None:
    text = "Line one\r\nCafe\u0301 👩\u200d🚀 \x00 end\r"
    doc = document(text)
    with catalog.writing() as writer:
        put(writer, doc, "file:///a.txt", passage(doc, 10, 15), passage(doc, 16, 19, 1, "Head"))
    catalog.close()
    again = Catalog(tmp_path)
    with again.reading() as reader:
        assert reader.document(doc.id) == replace(doc, uri="file:///a.txt")
        assert reader.text(doc.id) == text
        assert reader.passages(doc.id) == [passage(doc, 10, 15), passage(doc, 16, 19, 1, "Head")]
        stored = reader.stored_passages([2, 1, 99])
        assert [(s.id, s.passage.ordinal, s.vector.tolist()) for s in stored] == [
            (1, 0, [1, 0, 0, 0]),
            (2, 1, [0, 1, 0, 0]),
        ]
        assert reader.source("file:///a.txt") is not None
        (info,) = reader.documents()
        assert (info.id, info.title, info.uris, info.media_type) == (
            doc.id,
            "Title",
            ("file:///a.txt",),
            "text/plain",
        )
        assert (info.sha256, info.characters, info.passages) == (doc.sha256, len(text), 2)
        found = reader.sources()[0]
        assert found.source == source("file:///a.txt")
        assert (found.document_id, found.made, found.title) == (doc.id, "made so", "Title")
    again.close()


def test_the_file_is_durable_and_marked(catalog: Catalog) -> None:
    with catalog.connection() as connection:
        names = ("journal_mode", "synchronous", "foreign_keys", "user_version", "application_id")
        assert [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in names] == [
            "wal",
            2,
            1,
            len(MIGRATIONS),
            APPLICATION_ID,
        ]


def test_each_writing_transaction_is_a_generation(catalog: Catalog) -> None:
    seen = []
    for number in range(3):
        with catalog.reading() as reader:
            seen.append(reader.generation())
        with catalog.writing() as writer:
            writer.set_meta("name", str(number))
    assert [generation.number for generation in seen] == [0, 1, 2]
    assert len({generation.stamp for generation in seen}) == 3


def test_a_transaction_that_fails_leaves_nothing(catalog: Catalog) -> None:
    doc = document("Some text")

    def stopped() -> None:
        with catalog.writing() as writer:
            put(writer, doc, "file:///a.txt")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    with catalog.reading() as reader:
        assert reader.generation().number == 0
        assert reader.documents() == []
        assert reader.lexical("text", 5) == {}
        assert reader.passage_ids().tolist() == []


def test_a_reader_keeps_its_state_while_another_writes(catalog: Catalog) -> None:
    doc = document("Some text")
    with catalog.reading() as reader:
        before = reader.generation()
        with catalog.writing() as writer:
            put(writer, doc, "file:///a.txt")
        assert reader.generation() == before
        assert reader.documents() == []
    with catalog.reading() as reader:
        assert [info.id for info in reader.documents()] == [doc.id]


def test_two_sources_share_a_document_and_the_last_takes_it_along(catalog: Catalog) -> None:
    doc = document("Shared text", title="First")
    with catalog.writing() as writer:
        put(writer, doc, "file:///a.txt")
        writer.put_source(source("file:///b.txt"), "Second", doc.id)
    with catalog.reading() as reader:
        assert reader.documents()[0].uris == ("file:///a.txt", "file:///b.txt")
        assert reader.document(doc.id).title == "First"
    with catalog.writing() as writer:
        assert writer.remove_source("file:///a.txt")
        assert not writer.remove_source("file:///a.txt")
    with catalog.reading() as reader:
        assert reader.document(doc.id).title == "Second"
        assert reader.document(doc.id).uri == "file:///b.txt"
        assert reader.documents()[0].uris == ("file:///b.txt",)
    with catalog.writing() as writer:
        assert writer.remove_source("file:///b.txt")
    with catalog.reading() as reader:
        totals = reader.totals()
        assert (totals.documents, totals.sources, totals.passages, totals.characters) == (0, 0, 0, 0)
        assert list(reader.words()) == []
        with pytest.raises(UnknownDocument, match=doc.id):
            reader.document(doc.id)
        with pytest.raises(UnknownDocument, match=doc.id):
            reader.passages(doc.id)


def test_pointing_a_source_elsewhere_drops_what_it_left(catalog: Catalog) -> None:
    old, new = document("The old words"), document("The new words")
    with catalog.writing() as writer:
        put(writer, old, "file:///a.txt")
    with catalog.writing() as writer:
        put(writer, new, "file:///a.txt")
    with catalog.reading() as reader:
        assert [info.id for info in reader.documents()] == [new.id]
        assert list(reader.lexical("old", 5)) == []
        assert list(reader.lexical("new", 5)) == [2]
        assert reader.passage_ids().tolist() == [2]


def test_a_passage_number_is_never_used_again(catalog: Catalog) -> None:
    for number in (1, 2, 3):
        with catalog.writing() as writer:
            put(writer, document(f"Text {number}"), "file:///a.txt")
            writer.remove_source("file:///a.txt")
            put(writer, document("Again"), "file:///a.txt")
    with catalog.reading() as reader:
        assert reader.passage_ids().tolist() == [6]


def test_putting_a_stored_document_again_replaces_its_passages(catalog: Catalog) -> None:
    doc = document("Alpha beta. Gamma delta.")
    with catalog.writing() as writer:
        put(writer, doc, "file:///a.txt")
        put(writer, doc, "file:///a.txt", passage(doc, 0, 11), passage(doc, 12, 24, 1))
    with catalog.reading() as reader:
        assert [p.start for p in reader.passages(doc.id)] == [0, 12]
        assert reader.passage_ids().tolist() == [2, 3]
        assert list(reader.lexical("alpha gamma", 5)) == [2, 3]
        ids, rows = reader.vectors_after(2, 9)
        assert ids.tolist() == [3]
        assert np.frombuffer(rows[0], "<f4").tolist() == [0, 1, 0, 0]
        assert reader.vectors_of(np.array([1, 3])) == rows
        assert reader.count_after(2) == 1
        assert reader.dropped_since(Generation(0, "")).tolist() == [1]


TEXTS = [
    "The president met the treaty's authors in Kazan.",
    "Treaties are signed; the treaty of Kazan was ratified by treaty makers.",
    "Caf\u00e9 owners drank coffee (NEAR the - harbour): 100% good.",
    "北京大学在中国。",
]


@pytest.fixture
def filled(catalog: Catalog) -> Catalog:
    with catalog.writing() as writer:
        for number, text in enumerate(TEXTS):
            doc = document(text)
            put(
                writer,
                doc,
                f"file:///{number}.txt",
                passage(doc, heading="Eastern news" if number == 0 else ""),
            )
    return catalog


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("treaties", [2, 1]),
        ("Who ratified it?", [2]),
        ("cafe", [3]),
        ("CAFÉ", [3]),
        ("eastern", [1]),
        ("北京", [4]),
        ("京北", []),
        ("zebra", []),
        ("", []),
        ("?!", []),
        ("the", [1, 2, 3]),
    ],
)
def test_words_are_found_stemmed_folded_and_under_headings(
    filled: Catalog, query: str, expected: list[int]
) -> None:
    with filled.reading() as reader:
        found = reader.lexical(query, 10)
    assert sorted(found) == sorted(expected)
    assert list(found) == expected or query == "the"
    assert all(score > 0 for score in found.values())


@pytest.mark.parametrize(
    "query",
    [
        '" OR *',
        "NEAR(",
        "-",
        ":",
        "body: treaty",
        "treaty*",
        "^treaty",
        "a AND NOT",
        '""',
        "{heading} : x",
        "\x00",
        "'",
    ],
)
def test_no_question_is_syntax(filled: Catalog, query: str) -> None:
    with filled.reading() as reader:
        found = reader.lexical(query, 10)
        assert found == reader.lexical_scores(query, [1, 2, 3, 4])
    assert ("treaty" in query) == (list(found) == [2, 1])


def test_scores_of_chosen_passages_are_those_of_the_search(filled: Catalog) -> None:
    with filled.reading() as reader:
        found = reader.lexical("treaty coffee", 10)
        assert len(found) == 3
        assert reader.lexical_scores("treaty coffee", [3, 1, 4]) == {key: found[key] for key in (3, 1)}
        assert reader.lexical("treaty coffee", 1) == dict([next(iter(found.items()))])


def test_how_often_a_term_occurs(filled: Catalog) -> None:
    with filled.reading() as reader:
        terms = ("treaty", "Treaties", "eastern", "in Kazan", "cafe", "北京", "zebra", "?!", '"')
        assert [reader.term_frequency(term) for term in terms] == [2, 2, 1, 1, 1, 1, 0, 0, 0]


def test_the_full_text_index_can_be_made_again(filled: Catalog) -> None:
    with filled.reading() as reader:
        before, scores = list(reader.words()), reader.lexical("treaty", 5)
        assert before == list(reader.expected_words())
    with filled.connection() as connection:
        connection.execute("DELETE FROM passage_words WHERE rowid = 2")
    with filled.writing() as writer:
        assert list(writer.words()) != before
        writer.rebuild_words()
    with filled.reading() as reader:
        assert list(reader.words()) == before
        assert reader.lexical("treaty", 5) == scores


def test_nothing_there_is_not_found_and_nothing_is_made(tmp_path: Path) -> None:
    with pytest.raises(CollectionNotFound, match=r"footnote index PATH`$") as caught:
        Catalog(tmp_path)
    assert str(tmp_path) in str(caught.value)
    (tmp_path / FILE_NAME).touch()  # as a crash right after the start leaves it
    with pytest.raises(CollectionNotFound):
        Catalog(tmp_path)
    Catalog(tmp_path, create=True).close()
    Catalog(tmp_path).close()


@pytest.mark.parametrize("content", [b"not a database at all" * 100, b"SQLite format 3\0" + b"\xff" * 4080])
@pytest.mark.parametrize("create", [True, False])
def test_a_file_that_is_no_database_is_named(tmp_path: Path, content: bytes, create: bool) -> None:
    (tmp_path / FILE_NAME).write_bytes(content)
    with pytest.raises(CollectionDamaged, match="footnote check --repair") as caught:
        Catalog(tmp_path, create=create)
    assert str(tmp_path / FILE_NAME) in str(caught.value)
    assert (tmp_path / FILE_NAME).read_bytes() == content


def test_another_programs_database_is_left_alone(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / FILE_NAME)
    connection.execute("CREATE TABLE theirs(x)")
    connection.close()
    with pytest.raises(CollectionDamaged, match="another program"):
        Catalog(tmp_path, create=True)
    connection = sqlite3.connect(tmp_path / FILE_NAME)
    assert connection.execute("SELECT name FROM sqlite_schema").fetchall() == [("theirs",)]
    connection.close()


def test_a_newer_schema_is_refused_naming_both_versions(catalog: Catalog, tmp_path: Path) -> None:
    with catalog.connection() as connection:
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 4}")
    with pytest.raises(
        SchemaTooNew, match=rf"schema {len(MIGRATIONS) + 4}, this one knows {len(MIGRATIONS)}"
    ):
        Catalog(tmp_path)


def test_an_older_schema_is_brought_up_in_order_and_whole(
    catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with catalog.writing() as writer:
        put(writer, document("Kept text"), "file:///a.txt")
    catalog.close()
    steps = (*MIGRATIONS, ("CREATE TABLE later(x)",), ("ALTER TABLE later ADD COLUMN y",))
    monkeypatch.setattr(index.catalog, "MIGRATIONS", (*steps, ("NOT SQL",)))
    with pytest.raises(CollectionDamaged):
        Catalog(tmp_path)
    monkeypatch.setattr(index.catalog, "MIGRATIONS", steps)
    opened = Catalog(tmp_path)
    with opened.connection() as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (len(steps),)
        assert [row[1] for row in connection.execute("PRAGMA table_info(later)")] == ["x", "y"]
    with opened.reading() as reader:
        assert reader.totals().documents == 1
        assert reader.generation().number == 1
    opened.close()


def test_a_damaged_row_is_reported(catalog: Catalog) -> None:
    doc = document("Some text")
    with catalog.writing() as writer:
        put(writer, doc, "file:///a.txt")
    with catalog.connection() as connection:
        connection.execute("UPDATE documents SET blocks = '[['")
        connection.execute("DELETE FROM meta WHERE key = 'stamp'")
    with catalog.reading() as reader, pytest.raises(CollectionDamaged):
        reader.document(doc.id)
    with catalog.reading() as reader, pytest.raises(CollectionDamaged):
        reader.generation()


def test_a_writer_keeps_others_out_but_not_itself(
    catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index.catalog, "LOCK_SECONDS", 0.05)
    other = Catalog(tmp_path)
    with catalog.locked(), catalog.locked():
        with pytest.raises(CollectionLocked, match=str(tmp_path)), other.locked():
            pass
        with other.reading() as reader:
            assert reader.documents() == []
    with other.locked():
        pass
    other.close()


def test_a_closed_catalogue_says_so(catalog: Catalog) -> None:
    catalog.close()
    with pytest.raises(CollectionError, match="closed"), catalog.reading():
        pass


def test_connections_that_a_busy_moment_opened_are_closed_after_it(tmp_path: Path) -> None:
    catalog = Catalog(tmp_path, create=True)
    with ExitStack() as busy:
        for _ in range(3 * MOST_IDLE):
            busy.enter_context(catalog.reading())
    assert catalog._idle.qsize() == MOST_IDLE
    with catalog.connection() as last:
        pass
    with catalog.connection() as again:
        assert again is last  # its cache is warm; those of the others stay empty
    catalog.close()
    assert catalog._idle.qsize() == 0
