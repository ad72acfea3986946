"""Questions asked and scored: which, in which order, and what counts."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from eval_gold import drafting, write_gold

from index.collection import LocalCollection
from index.config import IndexSettings
from index.embed import HashEmbedder
from index.types import Vectors
from rag.config import Settings
from rag.evaluate import (
    OPEN_GATE,
    SEVERAL,
    STAGES,
    Examiner,
    Planned,
    Reading,
    Remembering,
    Seen,
    by_section,
    chosen,
    fill,
    gold_folder,
    learn_questions,
)
from rag.gate import Gate
from rag.gold import GoldSet, load_gold
from rag.gold_types import GoldEvidence, Question
from rag.pipeline import Pipeline
from rag.scoring import is_right, retrieval_scores
from rag.spans import Span
from rag.summary import measures_of
from rag.types import Answer, AnswerSentence, Citation, Prompt, Timings, Turn, Usage


def question(
    *sets: Sequence[tuple[int, int]], answers: tuple[str, ...] = ("52",), kind: str = "fact"
) -> Question:
    evidence = tuple(tuple(GoldEvidence("d", start, end, "") for start, end in one) for one in sets)
    return Question("q", "How many?", answers if sets else (), evidence, bool(sets), kind)


def answer(text: str = "52 sacks [1].", start: int = 0, end: int = 10) -> Answer:
    cited = Citation(1, "d", "", "", None, start, end, "52 sacks", "", 0, 8)
    sentence = AnswerSentence(0, len(text), "supported", 1.0, (1,))
    return Answer(
        "answered", text, (sentence,), (cited,), (), (), "", "", "m", "c", Usage(10, 2), Timings(1, 2, 3, 4)
    )


REFUSED = replace(answer(), status="unanswerable", answer="No.", sentences=(), citations=())


# -- which questions, in which order ------------------------------------------------------------


def test_a_sample_is_drawn_by_chance_and_kept_in_order() -> None:
    items = list(range(100))
    drawn = chosen(items, 10, 1)
    assert drawn == sorted(drawn)
    assert len(set(drawn)) == 10
    assert drawn == chosen(items, 10, 1) != chosen(items, 10, 2)
    assert chosen(items, 10, None) == items[:10]
    assert chosen(items, None, None) == chosen(items, 500, 1) == items


class Sections:
    """Each question's section is its first letter; those with "x" have none."""

    def ask(self, *_: object, **__: object) -> Answer:
        raise AssertionError("nothing is to be asked")

    def section_for(self, question: str, history: Sequence[Turn] = ()) -> Prompt | None:
        return None if question[0] == "x" else Prompt("", question[0], document_id="d")


@pytest.mark.parametrize(
    ("reading", "read"), [("several", ["a"]), ("all", ["a", "b"]), ("none", [])], ids=str
)
def test_questions_of_a_section_are_asked_together(reading: Reading, read: list[str]) -> None:
    asked = [
        replace(question(), question=text) for text in ("a1", "x1", "b1", "a2", "b2", "a3", "x2", "x3", "x4")
    ]
    groups = by_section(asked, Sections(), reading)
    found = [[one.question for one in group.questions] for group in groups]
    assert found == [["a1", "a2", "a3"], ["x1", "x2", "x3", "x4"], ["b1", "b2"]]
    assert [group.section.context for group in groups if group.section and group.is_read] == read
    assert SEVERAL == 3


def test_only_planned_sections_count_as_read() -> None:
    generator = drafting()
    planned = Planned(generator)
    one, other = Prompt("", "one"), Prompt("", "other")
    # As an earlier run may have left it on disk.
    generator.read(other)
    planned.plan([one])
    assert not planned.has_reading(one)
    assert planned.read(one)
    assert planned.has_reading(one)
    assert not planned.has_reading(other)


def test_a_section_that_serves_several_is_read_and_then_used(
    gold: GoldSet, collection: LocalCollection, tmp_path: Path
) -> None:
    generator = drafting()
    planned = Planned(generator)
    pipeline = Pipeline(collection, collection.embedder, planned, Settings(home=tmp_path).rag, OPEN_GATE)
    (group,) = by_section(gold.questions, pipeline, "several")
    assert group.section is not None
    planned.plan([group.section])
    planned.read(group.section)
    pipeline.ask(gold.questions[0].question)
    assert generator.prompts[-1].context == group.section.context


class Counting(HashEmbedder):
    """Remembers what it was asked to embed."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.calls = 0

    def embed(self, texts: Sequence[str]) -> Vectors:
        self.texts += texts
        self.calls += 1
        return super().embed(texts)


def test_each_text_is_embedded_once() -> None:
    counting = Counting()
    remembering = Remembering(counting)
    assert remembering.fingerprint == counting.fingerprint
    expected = HashEmbedder().embed(["a mill", "a sack", "a mill", "an owner"])
    assert np.array_equal(remembering.embed(["a mill", "a sack", "a mill"]), expected[:3])
    assert np.array_equal(remembering.embed(["an owner", "a sack"]), expected[[3, 1]])
    assert counting.texts == ["a mill", "a sack", "an owner"]
    assert remembering.embed([]).shape == (0, counting.dimension)


def test_questions_are_embedded_many_at_once_as_they_stand_alone() -> None:
    counting, counts = Counting(), list[int]()
    remembering = Remembering(counting)
    asked = [replace(question(), question=f"How many sacks in {year}?") for year in range(1800, 1950)]
    leaning = replace(question(), question="And who owned it?", history=(Turn("user", "What is a mill?"),))
    learn_questions([*asked, leaning, asked[0]], remembering, counts.append)
    assert sum(counts) == 152
    assert counting.calls == 3
    remembering.embed(["How many sacks in 1850?", "What is a mill? And who owned it?"])
    assert counting.calls == 3


# -- the collection and the examiner ------------------------------------------------------------


@pytest.fixture
def gold(tmp_path: Path) -> GoldSet:
    return load_gold(write_gold(tmp_path))


@pytest.fixture
def collection(gold: GoldSet, tmp_path: Path) -> Iterator[LocalCollection]:
    settings = IndexSettings(passage_tokens=16)
    with LocalCollection.create_or_open(tmp_path / "collection", HashEmbedder(), settings) as opened:
        fill(opened, gold, lambda _: None)
        yield opened


def test_the_documents_are_put_once(gold: GoldSet, collection: LocalCollection) -> None:
    counts: list[int] = []
    before = collection.stats()
    fill(collection, gold, counts.append)
    assert counts == [1]
    assert before.documents == 1
    assert collection.stats().generation == before.generation
    assert collection.document(gold.documents[0].id).text == gold.documents[0].text


def test_long_documents_are_put_a_few_at_a_time(tmp_path: Path) -> None:
    texts = ["A mill ground flour. " * 1500, "A mill ground oats. " * 1500, "A short one.", "Another one."]
    paragraphs = [
        {"title": f"t{n}", "paragraphs": [{"context": text, "qas": []}]} for n, text in enumerate(texts)
    ]
    asked = {"id": "1", "question": "What?", "answers": [{"text": "A mill", "answer_start": 0}]}
    paragraphs[0]["paragraphs"][0]["qas"].append(asked)  # type: ignore[index]
    (tmp_path / "gold.json").write_text(json.dumps({"data": paragraphs}))
    gold = load_gold(tmp_path / "gold.json", "squad")
    counts: list[int] = []
    with LocalCollection.create_or_open(tmp_path / "c", HashEmbedder(), IndexSettings()) as opened:
        fill(opened, gold, counts.append)
        assert opened.stats().documents == 4
    assert counts == [2, 2]


def test_the_folder_changes_with_what_is_in_it(gold: GoldSet, tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    folder = gold_folder(gold, HashEmbedder(), settings)
    assert folder.parent == tmp_path / "eval"
    assert folder == gold_folder(gold, HashEmbedder(), settings)
    smaller = settings.model_copy(update={"index": IndexSettings(passage_tokens=16)})
    others = {
        gold_folder(replace(gold, sha256="x"), HashEmbedder(), settings),
        gold_folder(gold, HashEmbedder(), smaller),
    }
    assert folder not in others
    assert len(others) == 2


def examiner(gold: GoldSet, collection: LocalCollection, gate: Gate, **options: object) -> Examiner:
    settings = Settings()
    pipeline = Pipeline(collection, collection.embedder, None, settings.rag, gate)
    return Examiner(gold, collection, pipeline, gate, settings, **{"asking": "quote", **options})  # type: ignore[arg-type]


GATE = Gate(
    dict.fromkeys(STAGES, 0.0),
    {stage: {"unknown": -9.0, "coverage": 1.0} for stage in STAGES},
    dict.fromkeys(STAGES, 0.5),
)


def test_a_question_is_scored(gold: GoldSet, collection: LocalCollection) -> None:
    found = examiner(gold, collection, GATE).passed(gold.questions[0])
    assert found.answer is not None
    assert found.answer["status"] == "answered"
    assert found.scores["correct"] == found.scores["right_when_answerable"] == 1.0
    assert found.scores["citation_exactness"] == 1.0
    assert found.scores["passage_recall@10"] == 1.0
    assert found.stages == {"quote": found.signals}
    assert found.confidence == GATE.probability("quote", found.signals) > 0.5
    assert found.gold == (tuple((e.document_id, e.start, e.end) for e in gold.questions[0].evidence),)


def test_an_unanswerable_question_is_no_miss_of_retrieval(gold: GoldSet, collection: LocalCollection) -> None:
    found = examiner(gold, collection, GATE).passed(gold.questions[1])
    assert found.scores["refused"] == found.scores["correct"] == found.scores["noans"] == 1.0
    retrieval = {measure.name for measure in measures_of(["retrieval"])}
    assert not retrieval & found.scores.keys()
    assert not {"right_when_answerable", "citation_recall", "citation_f1", "hasans_f1"} & found.scores.keys()


def test_retrieval_alone(gold: GoldSet, collection: LocalCollection) -> None:
    alone = examiner(gold, collection, GATE, asking="retrieval").passed(gold.questions[0])
    quoted = examiner(gold, collection, GATE).passed(gold.questions[0])
    assert alone.answer is alone.confidence is None
    assert alone.scores == {name: quoted.scores[name] for name in alone.scores}
    assert {measure.name for measure in measures_of(["retrieval"])} == alone.scores.keys()


def test_calibrating_sees_what_was_refused(gold: GoldSet, collection: LocalCollection) -> None:
    settings = Settings()
    pipeline = Pipeline(collection, collection.embedder, drafting(), settings.rag, OPEN_GATE)
    calibrating = Examiner(gold, collection, pipeline, GATE, settings, asking="compose", calibrating=True)
    found = calibrating.passed(gold.questions[0])
    assert set(found.stages) == {"before", "after", "quote"}
    assert found.scores["quote_right"] == found.scores["correct"] == 1.0
    assert {"cosine", "stated", "score"} <= found.signals.keys()
    # As the gate had them then, and not what was learnt afterwards.
    assert "stated" not in found.stages["quote"]
    assert "stated" in found.stages["before"]
    assert "score" not in found.stages["before"]
    assert found.stages["before"].items() <= found.stages["after"].items()
    missing = calibrating.passed(gold.questions[1])
    assert missing.scores["refused"] == missing.scores["quote_right"] == 0.0


def test_confidence_is_that_of_the_last_stage() -> None:
    gate = Gate(
        {"before": 0.0, "after": 1.0},
        {"before": {"a": 1.0}, "after": {"a": 1.0, "b": 1.0}},
        {"before": 0, "after": 0},
    )
    seen = Seen()
    assert seen.confidence(gate) is None
    seen.gated("before", {"a": 2.0})
    assert seen.confidence(gate) == gate.probability("before", {"a": 2.0})
    seen.gated("after", {"a": 2.0, "b": 3.0})
    assert seen.confidence(gate) == gate.probability("after", {"a": 2.0, "b": 3.0})


# -- scores -------------------------------------------------------------------------------------


def test_of_alternative_evidence_the_best_found_counts() -> None:
    passages = [Span("d", start, start + 10) for start in range(0, 100, 10)]
    ranked = [passages[4], passages[0]]
    found = retrieval_scores(question([(0, 5)], [(40, 50)]), ranked, ranked, lambda _: passages)
    assert found["passage_recall@1"] == found["passage_mrr"] == 1.0
    assert found["character_recall@5"] == 1.0
    assert found["character_precision@5"] == 0.5
    all_needed = retrieval_scores(question([(0, 5), (90, 95)]), ranked, ranked, lambda _: passages)
    assert all_needed["passage_recall@10"] == 0.5
    assert all_needed["document_recall@1"] == 1.0
    assert retrieval_scores(question(), ranked, ranked, lambda _: passages) == {}


def test_gold_that_no_passage_holds_is_a_miss() -> None:
    passages = [Span("d", 0, 10)]
    found = retrieval_scores(question([(50, 60)]), passages, passages, lambda _: passages)
    assert found["passage_recall@10"] == found["passage_mrr"] == found["passage_ndcg@10"] == 0.0
    assert found["document_recall@1"] == 1.0


@pytest.mark.parametrize(
    ("asked", "given", "right"),
    [
        (question([(0, 5)]), answer(), True),
        (question([(0, 5)], answers=("53",)), answer(), False),
        (question([(0, 5)]), REFUSED, False),
        (question(), REFUSED, True),
        (question(), answer(), False),
        # No short gold answer to look for: the citation has to meet the evidence.
        (question([(0, 5)], answers=()), answer(), True),
        (question([(50, 55)], answers=()), answer(), False),
        (question([(5, 9)], answers=("Quite another wording.",), kind="long_answer"), answer(), True),
        (question([(10, 12)], answers=("52",), kind="long_answer"), answer(), False),
        (question([(0, 5)], answers=("sacks and 52",)), answer(), False),
        (question([(0, 5)], answers=("sacks and 52",), kind="list"), answer(), True),
        (question([(0, 5)], answers=("sacks, 52 and a bell",), kind="list"), answer(), False),
    ],
)
def test_what_counts_as_right(asked: Question, given: Answer, right: bool) -> None:
    assert is_right(asked, given) is right
