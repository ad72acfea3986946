from __future__ import annotations

import itertools
import re
import time
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from index.split import WINDOW, passages, sentences
from index.types import Block, Document, Passage

ARTICLE = Path(__file__).parent.parent / "seeds" / "000_ca632847ae230c67.txt"


def words(texts: Sequence[str]) -> list[int]:
    return [len(re.findall(r"\w+", text)) for text in texts]


def document(text: str, *blocks: Block, language: str | None = None) -> Document:
    """One block for each paragraph, where none are given."""
    found = tuple(
        Block(m.start(), m.end()) for m in re.finditer(r"\S(?:.*?\S)??(?=\s*?(?:\n\s*\n|\Z))", text, re.S)
    )
    metadata = {"language": language} if language else {}
    return Document(text, "memory:test", "Test", "text/plain", blocks or found, metadata=metadata)


def one_block(text: str, language: str | None = None) -> Document:
    return document(text, Block(0, len(text)), language=language)


def split(text: str, language: str | None = None) -> list[str]:
    return [text[s.start : s.end] for s in sentences(one_block(text, language))]


def texts(doc: Document, found: Sequence[Passage]) -> list[str]:
    return [doc.text[p.start : p.end] for p in found]


@pytest.fixture
def article() -> Document:
    return document(ARTICLE.read_bytes().decode("utf-8"))


def test_names_with_initials_and_titles_stay_whole(article: Document) -> None:
    found = [article.text[s.start : s.end] for s in sentences(article)]
    for name in ("U.S. Defense Secretary Lloyd J. Austin III", "Aleksei A. Navalny", "Donald J. Trump"):
        assert sum(name in sentence for sentence in found) == 1, name
    assert [s for s in found if s.endswith(("Mr.", "A.", "J.", "V.", "U.S."))] == []
    assert (
        "The Russian president was speaking in Kazan on the final day of a summit, named BRICS after its "
        "members Brazil, Russia, India, China and South Africa." in found
    )
    assert len(found) == 42


def test_quotation_marks_stay_with_the_sentence_they_close(article: Document) -> None:
    found = [article.text[s.start : s.end] for s in sentences(article)]
    assert [s for s in found if s[0] in "”’" or s[-1] in "“‘"] == []
    assert (
        "“I will say directly: These are illusionary calculations, made by those who do not know "
        "Russia’s history.”" in found
    )
    # A mismatched pair, a missing opening mark, and two sentences inside one quotation.
    assert any(
        'called for a “just peace" as he addressed' in s and s.endswith("one-on-one with Mr. Putin.")
        for s in found
    )
    assert (
        "If the United States is open to building normal relations with Russia, then we will do the same,” "
        "he said." in found
    )
    assert (
        "“If they are open, then we will also be open. And if they don’t want it, that’s just fine.”" in found
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("“It is serious,” he said. Then he left.", ["“It is serious,” he said.", "Then he left."]),
        ("“Why?” he asked. Then he left.", ["“Why?” he asked.", "Then he left."]),
        ("“Really?” Mr. Putin asked. Yes.", ["“Really?” Mr. Putin asked.", "Yes."]),
        ("“Really?” asked Mr. Putin. Yes.", ["“Really?” asked Mr. Putin.", "Yes."]),
        ("It was “left to be seen.” He said so.", ["It was “left to be seen.”", "He said so."]),
        ("“Why?” He said nothing.", ["“Why?”", "He said nothing."]),
        ("“Stop!” he said. “Now.”", ["“Stop!” he said.", "“Now.”"]),
        ("It is the boys’ turn. “Open here. And on.", ["It is the boys’ turn.", "“Open here.", "And on."]),
        ("Credit...Maxim Shemetov/Reuters", ["Credit...Maxim Shemetov/Reuters"]),
        ("1. First item. 2. Second item.", ["1. First item.", "2. Second item."]),
        ("How old? He is 5. 7.", ["How old?", "He is 5. 7."]),
        ("He met Dr. No and Ms. Nolan. See Fig. 3.", ["He met Dr. No and Ms. Nolan.", "See Fig. 3."]),
        ("One.\n\nTwo here.", ["One.", "Two here."]),
        ("First line\r\nsecond. Third.\r\n", ["First line\r\nsecond.", "Third."]),
        ("  Padded. \t Twice.  ", ["Padded.", "Twice."]),
        ("これは文です。本当？はい。", ["これは文です。", "本当？", "はい。"]),
        ("😀 Hello. Cafe\u0301 two 👩\u200d🚀.", ["😀 Hello.", "Cafe\u0301 two 👩\u200d🚀."]),
        (
            "Donald\u00a0J.\u00a0Trump left. B\u00a0. Yes.",
            ["Donald\u00a0J.\u00a0Trump left.", "B\u00a0.", "Yes."],
        ),
        (" \n\t ", []),
        ("…", ["…"]),
    ],
)
def test_boundaries(text: str, expected: list[str]) -> None:
    assert split(text) == expected


def test_language_is_taken_from_the_metadata() -> None:
    text = "Er wohnt in der Hauptstr. 5 seit Jahren. Sie auch."
    assert split(text, "de-CH") == ["Er wohnt in der Hauptstr. 5 seit Jahren.", "Sie auch."]
    assert split("A cat sat. It ran.", "not a language") == ["A cat sat.", "It ran."]


def test_no_sentence_crosses_a_block() -> None:
    text = "no stop here\nnor here"
    doc = document(text, Block(0, 12), Block(13, 21))
    assert [text[s.start : s.end] for s in sentences(doc)] == ["no stop here", "nor here"]


ALPHABET = [
    *" .!?\"'“”‘’()[]\n\r\t,aBZ1文。é😀\u200d\u0301\u2028\x00\x85¿«»-…:;\u00a0\u3000\ufeff",
    "Mr",
    "U.S.",
    "said",
]
TEXTS = st.lists(st.sampled_from(ALPHABET), max_size=60).map("".join) | st.text(max_size=60)


@settings(max_examples=300, deadline=None)
@given(TEXTS, st.sampled_from(["en", "de", "ja", "hi", "ar", "xx"]), st.integers(1, 6))
def test_every_character_is_in_one_sentence_and_every_sentence_in_one_passage(
    text: str, language: str, limit: int
) -> None:
    doc = one_block(text, language)
    found = sentences(doc)
    previous = 0
    for s in found:
        assert s.end > s.start >= previous
        assert text[s.start : s.end] == text[s.start : s.end].strip()
        assert text[previous : s.start].strip() == ""
        previous = s.end
    assert text[previous:].strip() == ""

    made = passages(doc, count_tokens=words, max_tokens=limit)
    covered = [s for p in made for s in p.sentences]
    assert (
        "".join(text[s.start : s.end] for s in covered).split()
        == "".join(text[s.start : s.end] for s in covered).split()
    )
    assert {i for s in covered for i in range(s.start, s.end) if not text[i].isspace()} == {
        i for i, c in enumerate(text) if not c.isspace()
    }
    assert all(a.end <= b.start for a, b in itertools.pairwise(covered))
    assert all(p.start == p.sentences[0].start and p.end == p.sentences[-1].end for p in made)
    assert [p.ordinal for p in made] == list(range(len(made)))


def test_passages_of_the_article_are_full_and_keep_sentences_whole(article: Document) -> None:
    made = passages(article, count_tokens=words, max_tokens=100)
    assert [s for p in made for s in p.sentences] == sentences(article)
    assert all(0 < p.tokens <= 100 for p in made)
    assert all(p.tokens == words([article.text[p.start : p.end]])[0] for p in made)
    assert all(a.tokens + b.tokens > 75 for a, b in itertools.pairwise(made))
    assert {p.document_id for p in made} == {article.id}


def test_small_paragraphs_are_merged_and_a_half_full_passage_ends_with_its_paragraph() -> None:
    text = "One two. Three.\n\nFour five. Six.\n\nSeven eight nine. Ten eleven twelve."
    doc = document(text)
    assert texts(doc, passages(doc, count_tokens=words, max_tokens=10)) == [
        "One two. Three.\n\nFour five. Six.",
        "Seven eight nine. Ten eleven twelve.",
    ]
    assert texts(doc, passages(doc, count_tokens=words, max_tokens=12)) == [text]
    # Less than half full: the next paragraph's first sentences fill it up.
    short = document("One two.\n\nThree four five. Six seven eight. Nine ten.")
    assert texts(short, passages(short, count_tokens=words, max_tokens=8)) == [
        "One two.\n\nThree four five. Six seven eight.",
        "Nine ten.",
    ]


def test_a_change_of_heading_ends_a_passage_and_the_heading_goes_with_what_follows() -> None:
    text = "Intro text.\n\nCats\n\nCats purr.\n\nAt night\n\nThey hunt.\n\nMice.\n\nEnd"
    at = {name: text.index(name) for name in ("Cats", "Cats purr", "At night", "They hunt", "Mice", "End")}
    doc = document(
        text,
        Block(0, 11),
        Block(at["Cats"], at["Cats"] + 4, "", is_heading=True),
        Block(at["Cats purr"], at["Cats purr"] + 10, "Cats"),
        Block(at["At night"], at["At night"] + 8, "Cats", is_heading=True),
        Block(at["They hunt"], at["They hunt"] + 10, "Cats › At night"),
        Block(at["Mice"], at["Mice"] + 5, "Cats › At night"),
        Block(at["End"], at["End"] + 3, "", is_heading=True),
    )
    made = passages(doc, count_tokens=words, max_tokens=32)
    assert [(p.heading, text[p.start : p.end]) for p in made] == [
        ("", "Intro text."),
        ("Cats", "Cats\n\nCats purr."),
        ("Cats › At night", "At night\n\nThey hunt.\n\nMice."),
        ("", "End"),
    ]
    first = made[1].sentences[0]
    assert text[first.start : first.end] == "Cats"


def test_the_heading_counts_towards_the_limit() -> None:
    text = "One two three. Four five six. Seven eight nine."
    plain = document(text, Block(0, len(text)))
    headed = document(text, Block(0, len(text), "A heading of four"))
    endless = document(text, Block(0, len(text), "word " * 50))
    assert len(passages(plain, count_tokens=words, max_tokens=9)) == 1
    assert texts(headed, passages(headed, count_tokens=words, max_tokens=10)) == [
        "One two three. Four five six.",
        "Seven eight nine.",
    ]
    assert len(passages(endless, count_tokens=words, max_tokens=6)) == 3


def test_a_sentence_beyond_the_limit_breaks_at_the_best_white_space() -> None:
    text = "alpha beta gamma delta, epsilon zeta eta theta iota kappa"
    doc = one_block(text)
    made = passages(doc, count_tokens=words, max_tokens=6)
    assert [text[s.start : s.end] for p in made for s in p.sentences] == [
        "alpha beta gamma delta,",
        "epsilon zeta eta theta iota kappa",
    ]
    assert [p.tokens for p in made] == [4, 6]


def characters(texts: Sequence[str]) -> list[int]:
    return [sum(not c.isspace() for c in text) for text in texts]


@pytest.mark.parametrize("cluster", ["e\u0301", "👩\u200d🚀", "🇺🇳", "क्षि", "👍🏽"])
def test_a_string_without_white_space_breaks_between_graphemes(cluster: str) -> None:
    doc = one_block(cluster * 40)
    pieces = [
        doc.text[s.start : s.end]
        for p in passages(doc, count_tokens=characters, max_tokens=16)
        for s in p.sentences
    ]
    assert "".join(pieces) == doc.text
    assert len(pieces) > 3
    assert all(piece == cluster * (len(piece) // len(cluster)) for piece in pieces)
    assert all(len(piece) <= 16 for piece in pieces)


def test_a_grapheme_larger_than_a_passage_is_cut_all_the_same() -> None:
    doc = one_block("a" + "\u0301" * 100)
    made = passages(doc, count_tokens=characters, max_tokens=16)
    assert "".join(texts(doc, made)) == doc.text
    assert max(p.tokens for p in made) <= 16
    assert unicodedata.combining(doc.text[made[1].start]) != 0


def test_a_string_that_counts_as_one_token_is_bounded_all_the_same() -> None:
    doc = one_block("x" * 50_000)
    made = passages(doc, count_tokens=lambda found: [1] * len(found), max_tokens=64)
    assert "".join(texts(doc, made)) == doc.text
    assert max(p.end - p.start for p in made) <= 64 * 17


@pytest.mark.parametrize(
    "text",
    [
        "word\n" * 100_000,
        "word " * 2_000_000,
        "x" * 2_000_000,
        "文。" * 100_000,
        "“Hi there. " * 100_000,
        "1. " * 100_000,
        "Is it so? " * 100_000,
    ],
    ids=["lines", "words", "unbroken", "chinese", "unclosed", "numbers", "questions"],
)
def test_time_is_linear_in_the_length(text: str) -> None:
    """A quadratic step would take minutes here, on any machine."""
    doc = one_block(text)
    started = time.process_time()
    made = passages(doc, count_tokens=words, max_tokens=128)
    assert time.process_time() - started < 30
    assert max(s.end - s.start for p in made for s in p.sentences) <= WINDOW
    assert "".join(texts(doc, made)).split() == text.split() or " " in text or "\n" in text
