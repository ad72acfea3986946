"""BM25 that looks at few passages: the same as looking at all, or nearly, and always FTS5's scores."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator

import pytest

from index import bm25, lexical
from index.records import WORDS_TABLE

PASSAGES = 400
SPECIAL = {
    7: ("Of rivers", "snake_case and snake case, rivers and a river: snake_case."),
    8: ("", "北京大学在中国。北京。"),
    9: ("北京", "Naïve cafés; CAFE."),
}


@pytest.fixture(scope="module")
def words() -> Iterator[sqlite3.Connection]:
    """400 passages of 20 to 60 words, w0 in nearly all, w299 in few, and three others."""
    chance = random.Random(5)
    connection = sqlite3.connect(":memory:")
    connection.execute(WORDS_TABLE)
    connection.execute("CREATE TABLE passages(id INTEGER PRIMARY KEY)")
    for number in range(1, PASSAGES + 1):
        body = " ".join(f"w{int(300 ** chance.random()) - 1}" for _ in range(chance.randint(20, 60)))
        heading, text = SPECIAL.get(number, ("", body))
        connection.execute("INSERT INTO passages VALUES (?)", (number,))
        connection.execute(
            "INSERT INTO passage_words(rowid, heading, body) VALUES (?, ?, ?)",
            (number, lexical.indexed(heading), lexical.indexed(text)),
        )
    connection.commit()  # FTS5 keeps its averages then
    yield connection
    connection.close()


def all_scores(words: sqlite3.Connection, query: str) -> dict[int, float]:
    """Of every passage with a word of the query, best first."""
    return bm25._best_of_all(words, [f'"{term}"' for term in lexical.asked(query)], PASSAGES)


def questions(seed: int) -> list[str]:
    chance = random.Random(seed)
    drawn = [[f"w{int(300 ** chance.random()) - 1}" for _ in range(chance.randint(1, 6))] for _ in range(60)]
    return [*map(" ".join, drawn), "w0 w1", "w0", "w299 w0 w1 w2", "w299 nowhere", "nowhere", "rivers w0"]


@pytest.fixture
def few_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bm25, "_FEW", 0)
    monkeypatch.setattr(bm25, "SCORED", 15)


@pytest.mark.usefixtures("few_at_once")
@pytest.mark.parametrize("top", [1, 5, 20, PASSAGES])
def test_where_frequent_words_could_change_the_best_all_are_scored(
    words: sqlite3.Connection, top: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    everything: list[int] = []
    real = bm25._best_of_all

    def counted(connection: sqlite3.Connection, phrases: list[str], top: int) -> dict[int, float]:
        everything.append(top)
        return real(connection, phrases, top)

    asked = questions(top)
    expected = [list(all_scores(words, query).items()) for query in asked]
    monkeypatch.setattr(bm25, "_best_of_all", counted)
    found = [list(bm25.best(words, query, top).items()) for query in asked]
    assert found == [scores[:top] for scores in expected]
    assert len(everything) < len(asked) or top >= 20


@pytest.mark.usefixtures("few_at_once")
@pytest.mark.parametrize("exact", [0, bm25.EXACT])
def test_others_get_their_scores_too(
    words: sqlite3.Connection, exact: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bm25, "EXACT", exact)
    for query in questions(11):
        scores = all_scores(words, query)
        found = bm25.best(words, query, 3, range(100, 140))
        assert {n for n in range(100, 140) if n in scores} <= set(found)
        assert len(found) <= 43


@pytest.mark.usefixtures("few_at_once")
@pytest.mark.parametrize(
    "query",
    [*questions(12), "snake_case w0", "rivers snake w0 w1", "北京大学 w0 w1", "cafe 北京 w0 w1", "中国在 w0"],
)
def test_in_a_large_collection_scores_are_still_those_of_fts5(
    words: sqlite3.Connection, query: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bm25, "EXACT", 0)
    scores = all_scores(words, query)
    found = bm25.best(words, query, 10, range(1, 30))
    assert found == pytest.approx({number: scores[number] for number in found}, abs=1e-9)
    assert set(range(1, 30)) & set(scores) <= set(found)
    first = list(found)[: min(10, len(scores))]
    assert first == sorted(first, key=lambda number: (-round(found[number], 9), number))


@pytest.mark.usefixtures("few_at_once")
def test_in_a_large_collection_the_best_are_nearly_the_same(
    words: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bm25, "EXACT", 0)
    asked = [query for query in questions(13) if len(query.split()) > 2]
    shared = [
        len(set(list(all_scores(words, query))[:5]) & set(list(bm25.best(words, query, 5))[:5])) / 5
        for query in asked
    ]
    assert sum(shared) / len(shared) > 0.8


def test_the_size_is_what_fts5_keeps(words: sqlite3.Connection) -> None:
    size = bm25._size(words)
    assert size.passages == PASSAGES
    assert 30 < size.average < 45
    empty = sqlite3.connect(":memory:")
    empty.execute(WORDS_TABLE)
    assert bm25._size(empty).passages == 0
    assert bm25.best(empty, "anything", 5) == {}
    empty.close()


@pytest.mark.parametrize("word", ["w0", "w1", "w5"])
def test_how_often_a_very_frequent_word_occurs_is_estimated(
    words: sqlite3.Connection, word: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    exact = bm25._holding(words, f'"{word}"', bm25._size(words))
    monkeypatch.setattr(bm25, "_COUNTED", 10)
    monkeypatch.setattr(bm25, "_SAMPLED", 10)
    assert bm25._holding(words, f'"{word}"', bm25._size(words)) == pytest.approx(exact, rel=0.25)


@pytest.mark.parametrize(
    ("block", "values"),
    [
        (b"", []),
        (b"\x05", [5]),
        (b"\x85", []),
        (b"\x05\x01\x02", [5, 1, 2]),
        (b"\x86\x8d\x20\x00\x82\xee\x9b\x00", [100_000, 0, 6_000_000]),
    ],
)
def test_varints(block: bytes, values: list[int]) -> None:
    assert bm25._varints(block) == values
