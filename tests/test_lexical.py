from __future__ import annotations

import pytest

from index.lexical import MAX_TERMS, indexed, phrase, question


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Who met Putin in Kazan?", '"met" OR "Putin" OR "Kazan"'),
        ("What is it?", '"What" OR "is" OR "it"'),
        ("Is the WHO right about IT?", '"WHO" OR "right" OR "IT"'),
        ("Russia’s law, Russia's war", '"Russia" OR "law" OR "war"'),
        ('" OR * NEAR(a b) -x :y {z} ^q', '"OR" OR "NEAR" OR "b" OR "x" OR "y" OR "z" OR "q"'),
        ("", None),
        (" —?! ", None),
        ("北京大学 in 2024", '"北 京" OR "京 大" OR "大 学" OR "2024"'),
        ("我", '"我"'),
        ("ab中文cd", '"ab" OR "中 文" OR "cd"'),
        ("हिन्दी वाक्य", '"हिन्दी" OR "वाक्य"'),
    ],
)
def test_a_question_becomes_quoted_words(text: str, expected: str | None) -> None:
    assert question(text) == expected


def test_a_long_question_is_bounded() -> None:
    query = question(" ".join(f"w{i}" for i in range(10_000)))
    assert query is not None
    assert query.count('"') == 2 * MAX_TERMS


def test_text_of_a_script_without_spaces_is_indexed_by_character() -> None:
    assert indexed("plain text") == "plain text"
    assert indexed("中文 and café").split() == ["中", "文", "and", "café"]


def test_a_term_is_one_phrase() -> None:
    assert phrase("Kazan") == '"Kazan"'
    assert phrase('three-day "x') == '"three day x"'
    assert phrase("北京") == '"北 京"'
    assert phrase("?!") == '""'
