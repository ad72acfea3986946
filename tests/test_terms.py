"""Texts as terms: the words of SQLite's full-text index, their counts, their order."""

from __future__ import annotations

import sqlite3
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from index import lexical
from index.engines.terms import Terms, Tokenizer
from index.records import WORDS_TABLE

TOKENIZER = Tokenizer()


def words(one: Terms) -> list[int]:
    """The term at each place of the sequence."""
    return [int(one.terms[ord(c) - 0x21 - 0x800 * (ord(c) > 0xD7FF)]) for c in one.sequence if c != " "]


def number(word: str) -> int:
    return TOKENIZER.asked([word])[0].terms[0]


def test_words_are_counted_and_stand_in_order() -> None:
    one, empty = TOKENIZER.terms([("Bridges", "The bridge of U.S. cities"), ("", "")])
    assert one.length == 7
    assert words(one) == [number(word) for word in ("bridge", "the", "bridges", "of", "u", "s", "city")]
    assert one.sequence[1] == " "
    assert one.counts[one.terms.tolist().index(number("bridge"))] == 2
    assert (empty.length, empty.sequence, len(empty.terms), len(empty.counts)) == (0, " ", 0, 0)


def test_phrases_are_asked_as_their_words_and_pairs_of_unspaced_ones_as_one_term() -> None:
    phrase, pair = TOKENIZER.asked(["u s", "東 京"])
    assert phrase.phrase == phrase.terms == (number("u"), number("s"))
    assert pair.phrase == ()
    (tower,) = TOKENIZER.terms([("", "東京タワー")])
    assert pair.terms[0] in tower.terms.tolist()
    assert tower.length == 5
    assert len(tower.terms) == 5 + 4
    assert TOKENIZER.asked(["_", ""]) == []


def test_more_distinct_words_than_there_are_characters_before_the_surrogates() -> None:
    (one,) = TOKENIZER.terms([("", " ".join(f"w{n}" for n in range(60_000)))])
    assert one.length == len(set(one.sequence)) - 1 == 60_000
    assert words(one)[-1] == number("w59999")
    one.sequence.encode()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.text(max_size=20), st.text(max_size=60)), min_size=1, max_size=4))
def test_they_are_the_words_of_the_full_text_index(texts: list[tuple[str, str]]) -> None:
    texts = [tuple(part.encode("utf-8", "replace").decode() for part in text) for text in texts]  # type: ignore[misc]
    index = sqlite3.connect(":memory:")
    index.execute(WORDS_TABLE)
    index.execute("CREATE VIRTUAL TABLE vocabulary USING fts5vocab(passage_words, instance)")
    for heading, body in texts:
        indexed = lexical.indexed(heading), lexical.indexed(body)
        index.execute("INSERT INTO passage_words(heading, body) VALUES (?, ?)", indexed)
    for place, one in enumerate(TOKENIZER.terms(texts), 1):
        rows = index.execute(
            "SELECT term FROM vocabulary WHERE doc = ? ORDER BY col = 'body', offset", (place,)
        ).fetchall()
        expected = [TOKENIZER._number(term) for (term,) in rows]
        assert words(one) == expected
        assert one.length == len(expected)
        counted = dict(zip(one.terms.tolist(), one.counts.tolist(), strict=True))
        assert {term: counted[term] for term in set(expected)} == Counter(expected)
    index.close()
