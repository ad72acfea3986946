from __future__ import annotations

from rag.compose import AnswerBuilder
from rag.types import Evidence


def source(start: int, text: str, *, document: str = "d1", number: int = 1) -> Evidence:
    return Evidence(
        number=number,
        document_id=document,
        title="Title",
        uri="file:///a.txt",
        page=None,
        start=start,
        end=start + len(text),
        text=text,
        score=1.0,
        sha256="0" * 64,
    )


KAZAN = source(3260, "He was speaking in Kazan.")
JUNE = source(900, "He visited Pyongyang in June.")


def test_the_number_stands_before_the_final_mark_and_ranges_are_those_of_the_contract() -> None:
    builder = AnswerBuilder()
    added = builder.add("They met in Kazan.", [KAZAN], 0.98)
    assert builder.text == added.text == "They met in Kazan [1]."
    (sentence,) = builder.sentences
    assert (sentence.start, sentence.end, sentence.citations) == (0, 22, (1,))
    (citation,) = builder.citations
    assert (citation.answer_start, citation.answer_end) == (0, 17)
    assert builder.text[citation.answer_start : citation.answer_end] == "They met in Kazan"
    assert (citation.start, citation.end, citation.cited_text) == (3260, 3285, KAZAN.text)


def test_a_range_keeps_its_number_and_stands_once_for_each_sentence() -> None:
    builder = AnswerBuilder()
    builder.add("They met in Kazan.", [KAZAN], 1.0)
    builder.add("He went there in June!", [KAZAN, JUNE], 1.0)
    # Citations of a sentence stand in document order; numbers count in the order of first use.
    assert builder.text == "They met in Kazan [1]. He went there in June [2][1]!"
    assert [citation.number for citation in builder.citations] == [1, 2, 1]
    for citation, words in zip(
        builder.citations,
        ["They met in Kazan", "He went there in June", "He went there in June"],
        strict=True,
    ):
        assert builder.text[citation.answer_start : citation.answer_end] == words
    for sentence in builder.sentences:
        assert builder.text[sentence.start : sentence.end].endswith(("].", "]!"))


def test_marks_inside_quotes_and_abbreviations_stay() -> None:
    builder = AnswerBuilder()
    builder.add("He said “We need peace.”", [KAZAN], 1.0)
    builder.add("It was in the U.S.", [JUNE], 1.0)
    assert builder.text == "He said “We need peace.” [1] It was in the U.S. [2]"


def test_offsets_are_code_points() -> None:
    builder = AnswerBuilder()
    builder.add("🙂 António spoke.", [KAZAN], 1.0)
    builder.add("Он в Казани.", [JUNE], 1.0)
    second = builder.citations[1]
    assert builder.text[second.answer_start : second.answer_end] == "Он в Казани"
