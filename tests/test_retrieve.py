from __future__ import annotations

from pathlib import Path

from index.collection import LocalCollection
from index.config import IndexSettings
from index.embed import HashEmbedder
from index.types import Passage, Sentence
from rag.retrieve import Retriever, coverage, section_of, sentences_of


def test_the_answering_sentence_is_first_and_exact(collection: LocalCollection) -> None:
    retrieval = Retriever(collection, collection.embedder).retrieve(
        "How old is the oldest flamingo?", passages=4
    )
    best = retrieval.sentences[0]
    assert best.text == "The oldest flamingo is 61 years old."
    assert [sentence.number for sentence in retrieval.sentences] == list(
        range(1, len(retrieval.sentences) + 1)
    )
    for sentence in retrieval.sentences:
        assert collection.document(sentence.document_id).text[sentence.start : sentence.end] == sentence.text
    scores = [sentence.score for sentence in retrieval.sentences]
    assert scores == sorted(scores, reverse=True)
    assert retrieval.coverages[0] == 1.0


def test_words_that_stand_nowhere_are_unknown(collection: LocalCollection) -> None:
    retrieval = Retriever(collection, collection.embedder).retrieve(
        "Does Napoleon feed flamingos?", passages=4
    )
    assert retrieval.unknown == {"Napoleon", "feed"}


def test_a_question_without_words(collection: LocalCollection) -> None:
    retrieval = Retriever(collection, collection.embedder).retrieve("???", passages=4)
    assert retrieval.weights == {}
    assert set(retrieval.coverages) == {0.0}


def test_nothing_indexed(tmp_path: Path) -> None:
    with LocalCollection.create_or_open(tmp_path / "c", HashEmbedder(), IndexSettings()) as empty:
        retrieval = Retriever(empty, empty.embedder).retrieve("Anything?", passages=4)
    assert retrieval.hits == retrieval.sentences == retrieval.cosines == ()


def test_coverage_is_the_weighted_share() -> None:
    assert coverage({"flamingo": 3.0, "spring": 1.0}, "Flamingos breed.") == 0.75
    assert coverage({}, "Flamingos breed.") == 0.0


def passage(ordinal: int, tokens: int) -> Passage:
    return Passage(
        "d", ordinal, ordinal * 10, ordinal * 10 + 9, "", (Sentence(ordinal * 10, ordinal * 10 + 9),), tokens
    )


def test_sections_depend_on_the_document_alone() -> None:
    passages = [passage(ordinal, 40) for ordinal in range(7)]
    sections = {
        tuple(member.ordinal for member in section_of(passages, wanted, max_tokens=100))
        for wanted in passages
    }
    assert sections == {(0, 1), (2, 3), (4, 5), (6,)}


def test_a_passage_longer_than_a_section_is_one_by_itself() -> None:
    passages = [passage(0, 40), passage(1, 400), passage(2, 40)]
    assert section_of(passages, passages[1], max_tokens=100) == (passages[1],)
    assert section_of(passages, passages[2], max_tokens=100) == (passages[2],)


def test_sentences_of_a_document_are_exact_and_in_order(collection: LocalCollection) -> None:
    (info,) = [info for info in collection.documents() if info.title == "zoo"]
    document = collection.document(info.id)
    found = sentences_of(document, collection.passages(info.id))
    assert [sentence.text for sentence in found] == [
        "The zoo of Basel opened in 1874.",
        "It keeps a herd of elephants.",
        "Flamingos breed there every spring.",
        "The oldest flamingo is 61 years old.",
    ]
    assert {sentence.sha256 for sentence in found} == {document.sha256}
