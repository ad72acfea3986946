from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from small_collection import put

from index.collection import LocalCollection
from index.config import IndexSettings
from index.embed import HashEmbedder
from rag.config import RagSettings
from rag.errors import GenerationCancelled, QuestionError
from rag.gate import STAGES, Gate
from rag.generate import ExtractiveGenerator
from rag.pipeline import Pipeline
from rag.prompts import NOT_STATED, REFUSAL
from rag.types import AnswerFinished, Choice, EvidenceFound, Piece, Prompt, SentenceVerified, Turn, Usage


def gate(**closed: bool) -> Gate:
    """Open at every stage but those named."""
    return Gate(
        intercept={stage: -1.0 if closed.get(stage) else 1.0 for stage in STAGES},
        weights={stage: {} for stage in STAGES},
        threshold=dict.fromkeys(STAGES, 0.5),
    )


def pipeline(collection: LocalCollection, *drafts: str, **closed: bool) -> Pipeline:
    generator = ExtractiveGenerator(drafts)
    return Pipeline(collection, collection.embedder, generator, RagSettings(), gate(**closed))


def test_a_supported_draft_is_answered_with_exact_citations(collection: LocalCollection) -> None:
    answer = pipeline(collection, "The oldest flamingo is 61 years old.").ask(
        "How old is the oldest flamingo?"
    )
    assert answer.status == "answered"
    assert answer.answer == "The oldest flamingo is 61 years old [1]."
    (citation,) = answer.citations
    document = collection.document(citation.document_id)
    assert document.text[citation.start : citation.end] == citation.cited_text
    assert citation.cited_text == "The oldest flamingo is 61 years old."
    assert citation.sha256 == document.sha256
    assert answer.withheld == ()
    assert answer.nearest == ()


def test_events_come_in_order_and_add_up_to_the_answer(collection: LocalCollection) -> None:
    draft = "The oldest flamingo is 61 years old. Flamingos breed there every spring."
    events = list(pipeline(collection, draft).stream("How old is the oldest flamingo?"))
    assert isinstance(events[0], EvidenceFound)
    assert isinstance(events[-1], AnswerFinished)
    answer = events[-1].answer
    sentences = [event for event in events if isinstance(event, SentenceVerified)]
    assert " ".join(event.text for event in sentences) == answer.answer
    for event in sentences:
        assert answer.answer[event.sentence.start : event.sentence.end] == event.text


def test_a_wrong_number_is_withheld_and_a_sentence_quoted_instead(collection: LocalCollection) -> None:
    answer = pipeline(collection, "The oldest flamingo is 16 years old.").ask(
        "How old is the oldest flamingo?"
    )
    assert answer.answer == "The oldest flamingo is 61 years old [1]."
    (withheld,) = answer.withheld
    assert withheld.text == "The oldest flamingo is 16 years old."
    assert withheld.reason == "the number 16 is not in the cited text"


def test_what_fails_the_check_is_never_an_answer(collection: LocalCollection) -> None:
    answer = pipeline(collection, "The oldest flamingo is called Greta.", verbatim=True).ask(
        "How old is the oldest flamingo?"
    )
    assert answer.status == "unanswerable"
    assert answer.answer == REFUSAL
    assert answer.citations == answer.sentences == ()
    assert "Greta" in answer.withheld[0].reason
    assert len(answer.nearest) == 3


def test_a_model_that_finds_nothing_is_believed(collection: LocalCollection) -> None:
    answer = pipeline(collection, NOT_STATED, verbatim=True).ask("What do the flamingos eat?")
    assert answer.status == "unanswerable"
    assert answer.withheld == ()


def test_a_closed_gate_spares_the_draft(collection: LocalCollection) -> None:
    line = pipeline(collection, "Never written.", before=True)
    answer = line.ask("What do the flamingos eat?")
    assert answer.status == "unanswerable"
    assert answer.usage.completion_tokens == 0
    assert answer.usage.prompt_tokens > 0  # it was asked whether the answer is stated
    assert answer.timings_ms.first_token == 0


def test_every_token_that_the_model_reads_or_writes_is_counted(collection: LocalCollection) -> None:
    class Noting(ExtractiveGenerator):
        spent = Usage()

        def generate(self, prompt: Prompt, **options: Any) -> Iterator[Piece]:
            for piece in super().generate(prompt, **options):
                self.spent += piece.usage or Usage()
                yield piece

        def choose(self, prompt: Prompt, *rest: Any) -> Choice:
            choice = super().choose(prompt, *rest)
            self.spent += choice.usage
            return choice

    generator = Noting()
    history = (Turn("user", "Which flamingo is the oldest?"), Turn("assistant", "One of 61 years."))
    line = Pipeline(collection, collection.embedder, generator, RagSettings(), gate())
    answer = line.ask("How old is it?", history)
    assert len(generator.prompts) == 2  # the rewriting of the question, and the draft
    assert answer.usage == generator.spent
    # The next question begins at nothing.
    spent = generator.spent
    assert line.ask("How old is the oldest flamingo?").usage + spent == generator.spent


def test_a_sentence_cut_off_by_the_limit_is_no_statement(collection: LocalCollection) -> None:
    generator = ExtractiveGenerator(
        ["The oldest flamingo is 61 years old. Flamingos breed there every spring"]
    )
    settings = RagSettings(answer_tokens=9)
    answer = Pipeline(collection, collection.embedder, generator, settings, gate()).ask(
        "How old is the oldest?"
    )
    assert answer.answer == "The oldest flamingo is 61 years old [1]."
    assert [item.reason for item in answer.withheld] == ["it was not finished"]


def test_quote_mode_runs_no_model(collection: LocalCollection) -> None:
    line = pipeline(collection, "Never written.")
    answer = line.ask("How old is the oldest flamingo?", mode="quote")
    assert answer.answer == "The oldest flamingo is 61 years old [1]."
    assert answer.model == ""
    assert answer.usage.prompt_tokens == 0
    refused = pipeline(collection, quote=True).ask("What is the meaning of life?", mode="quote")
    assert (refused.status, refused.answer) == ("unanswerable", REFUSAL)


def test_an_empty_collection_refuses(tmp_path: Path) -> None:
    with LocalCollection.create_or_open(tmp_path / "empty", HashEmbedder(), IndexSettings()) as empty:
        answer = pipeline(empty, "x").ask("Anything?")
    assert answer.status == "unanswerable"
    assert answer.nearest == ()


@pytest.mark.parametrize("question", ["", "   \n\t "])
def test_an_empty_question(collection: LocalCollection, question: str) -> None:
    with pytest.raises(QuestionError, match="empty"):
        pipeline(collection).ask(question)


@pytest.mark.parametrize("question", ["why " * 500, "x" * 1_000_000])
def test_a_question_too_long_names_the_limit(collection: LocalCollection, question: str) -> None:
    with pytest.raises(QuestionError, match="the limit is 400"):
        pipeline(collection).ask(question)


def test_a_section_is_used_once_it_is_read(collection: LocalCollection) -> None:
    generator = ExtractiveGenerator()
    line = Pipeline(collection, collection.embedder, generator, RagSettings(), gate())
    line.ask("How old is the oldest flamingo?")
    assert line.unread is not None
    assert generator.prompts[-1].document_id == ""
    assert generator.read(line.unread)
    line.ask("How old is the oldest flamingo?")
    assert line.unread is None
    assert "elephants" in generator.prompts[-1].context
    assert generator.prompts[-1].document_id


def test_a_follow_up_is_condensed_and_the_question_kept(collection: LocalCollection) -> None:
    history = [
        Turn("user", "When do the flamingos of Basel breed?"),
        Turn("assistant", "The flamingos of Basel breed every spring."),
    ]
    drafts = ["How old is the oldest flamingo of Basel?", "The oldest flamingo is 61 years old."]
    answer = pipeline(collection, *drafts).ask("And how old is the oldest of them?", history)
    assert answer.question == "And how old is the oldest of them?"
    assert answer.answer == "The oldest flamingo is 61 years old [1]."


def test_a_question_no_longer_wanted(collection: LocalCollection) -> None:
    with pytest.raises(GenerationCancelled):
        pipeline(collection, "x").ask("How old is the oldest flamingo?", cancelled=lambda: True)


@pytest.mark.parametrize("question", ["?!", "🙂", "..."])
def test_a_question_without_words(collection: LocalCollection, question: str) -> None:
    with pytest.raises(QuestionError, match="no words"):
        pipeline(collection).ask(question)


def one_document(folder: Path, text: str) -> LocalCollection:
    collection = LocalCollection.create_or_open(folder, HashEmbedder(), IndexSettings(passage_tokens=16))
    put(collection, "one.txt", text)
    return collection


def test_the_sentence_is_quoted_that_holds_what_a_draft_in_other_words_adds(tmp_path: Path) -> None:
    text = "The old heron nests by the pond. The old heron of the pond has feathers that are white."
    with one_document(tmp_path, text) as found:
        asked = pipeline(found, "The colour of the old heron by the pond is white.", NOT_STATED)
        pointed, unpointed = (asked.ask("What colour is the old heron by the pond?") for _ in range(2))
    assert pointed.withheld
    assert pointed.answer == "The old heron of the pond has feathers that are white [1]."
    # Without such a draft it is the one that is most like the question.
    assert unpointed.answer == "The old heron nests by the pond [1]."


def test_a_sentence_that_denies_what_is_asked_is_quoted_with_a_no(tmp_path: Path) -> None:
    text = "Mayor Vos did not confirm the figures. The harbour was enlarged in 2013."
    with one_document(tmp_path, text) as found:
        answer = pipeline(found, "Yes, Mayor Vos confirmed the figures.").ask(
            "Did Mayor Vos confirm the figures?"
        )
    assert answer.answer == "No: Mayor Vos did not confirm the figures [1]."
    (citation,) = answer.citations
    assert citation.cited_text == "Mayor Vos did not confirm the figures."
    assert answer.answer[: citation.answer_end] == "No: Mayor Vos did not confirm the figures"


@pytest.mark.parametrize(
    ("question", "opening"),
    [
        ("Did Mayor Vos open the harbour?", "Yes: "),
        # Less than sure that it is an answer, or no question of yes or no.
        ("Did Mayor Vos open the harbour for trade with the colonies?", ""),
        ("Who opened the harbour?", ""),
    ],
)
def test_a_sentence_that_is_surely_the_answer_is_quoted_with_a_yes(
    tmp_path: Path, question: str, opening: str
) -> None:
    with one_document(tmp_path, "Mayor Vos opened the harbour in May. The talks failed.") as found:
        answer = pipeline(found, NOT_STATED).ask(question)
    assert answer.answer == f"{opening}Mayor Vos opened the harbour in May [1]."
    assert [citation.cited_text for citation in answer.citations] == ["Mayor Vos opened the harbour in May."]
