"""Every metric against values worked out by hand; and a damaged pipeline, whose damage each one must name."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.compose import AnswerBuilder
from rag.metrics import (
    Scores,
    classification,
    mean_defined,
    percentile,
    refusal_scores,
    scores_of_counts,
)
from rag.metrics_answer import (
    contains,
    contains_all,
    exact_match,
    is_correct,
    normalised,
    plain_answer,
    plain_sentences,
    squad2_scores,
    token_f1,
)
from rag.metrics_citation import (
    citation_exactness,
    citation_scores,
    citation_spans,
    citation_support,
    cited_share,
    figures_supported,
)
from rag.metrics_retrieval import (
    CharacterScores,
    best_of,
    character_scores,
    distinct,
    ndcg_at,
    recall_at,
    reciprocal_rank,
    relevance,
    success_at,
)
from rag.spans import Span
from rag.types import Answer, AnswerSentence, Citation, Evidence, Timings, Usage

# -- shared ---------------------------------------------------------------------------------------


def test_mean_leaves_out_what_is_undefined() -> None:
    assert mean_defined([1.0, None, 0.0]) == 0.5
    assert mean_defined([None]) is None
    assert mean_defined([]) is None


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_nan_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="NaN or infinite"):
        mean_defined([1.0, value])
    with pytest.raises(ValueError, match="NaN or infinite"):
        percentile([value], 0.5)


def test_percentiles() -> None:
    assert percentile([4, 1, 3, 2], 0.5) == 2.5
    assert percentile(list(range(101)), 0.95) == 95
    assert percentile([7], 0.95) == 7
    assert percentile([], 0.5) is None


def test_scores_of_counts() -> None:
    assert scores_of_counts(3, 1, 2) == Scores(0.75, 0.6, 6 / 9)
    assert scores_of_counts(0, 0, 2) == Scores(None, 0.0, 0.0)
    assert scores_of_counts(0, 2, 0) == Scores(0.0, None, 0.0)
    assert scores_of_counts(0, 0, 0) == Scores(None, None, None)


# -- retrieval ------------------------------------------------------------------------------------

RANKED = (False, True, False, True)


def test_rank_metrics() -> None:
    assert [recall_at(k, RANKED, 3) for k in (1, 2, 4, 9)] == [0.0, 1 / 3, 2 / 3, 2 / 3]
    assert [success_at(k, RANKED, 3) for k in (1, 2)] == [0.0, 1.0]
    assert reciprocal_rank(RANKED, 3) == 0.5
    gained = 1 / math.log2(3) + 1 / math.log2(5)
    best = 1 + 1 / math.log2(3) + 1 / math.log2(4)
    assert ndcg_at(10, RANKED, 3) == pytest.approx(gained / best)
    assert ndcg_at(2, RANKED, 3) == pytest.approx((1 / math.log2(3)) / (1 + 1 / math.log2(3)))


def test_nothing_retrieved_is_a_miss() -> None:
    assert (
        recall_at(10, (), 1) == success_at(10, (), 1) == reciprocal_rank((), 1) == ndcg_at(10, (), 1) == 0.0
    )


def test_unanswerable_questions_are_no_misses() -> None:
    for nothing in ((), (False, False)):
        assert recall_at(10, nothing, 0) is None
        assert success_at(10, nothing, 0) is None
        assert reciprocal_rank(nothing, 0) is None
        assert ndcg_at(10, nothing, 0) is None
    assert character_scores([Span("a", 0, 9)], []) == CharacterScores(None, None, None)
    assert citation_scores([Span("a", 0, 9)], []) == Scores(None, None, None)


def test_perfect_ranking() -> None:
    assert ndcg_at(10, (True, True, False), 2) == 1.0
    assert recall_at(2, (True, True, False), 2) == reciprocal_rank((True,), 1) == 1.0


def test_relevance_is_a_shared_character() -> None:
    ranked = [Span("a", 0, 10), Span("a", 10, 20), Span("b", 0, 10), Span("a", 20, 30)]
    assert relevance(ranked, [Span("a", 9, 10), Span("a", 29, 40)]) == (True, False, False, True)
    assert relevance(ranked, [Span("a", 10, 10)]) == (False, False, False, False)


def test_documents_count_at_their_best_rank() -> None:
    assert distinct(["b", "a", "b", "c", "a"]) == ("b", "a", "c")


def test_best_alternative() -> None:
    assert best_of([0.25, None, 0.5]) == 0.5
    assert best_of([]) is None


def test_characters_as_chunking_evaluation_counts_them() -> None:
    """Gold 8-12 and 20-25; the two chunks share 8-10, which counts once above and twice below."""
    found = character_scores([Span("a", 0, 10), Span("a", 5, 15)], [Span("a", 8, 12), Span("a", 20, 25)])
    assert found == CharacterScores(precision=4 / 20, recall=4 / 9, iou=4 / 25)


def test_chunks_of_other_documents_cost_precision() -> None:
    found = character_scores([Span("a", 0, 10), Span("b", 0, 10)], [Span("a", 0, 10)])
    assert found == CharacterScores(precision=0.5, recall=1.0, iou=0.5)


def test_no_chunks() -> None:
    assert character_scores([], [Span("a", 0, 4)]) == CharacterScores(0.0, 0.0, 0.0)


_SPANS = st.lists(
    st.builds(lambda name, start, length: Span(name, start, start + length), st.sampled_from("ab"),
              st.integers(0, 30), st.integers(0, 12)),
    max_size=6,
)  # fmt: skip


@given(_SPANS, _SPANS)
def test_characters_against_sets_of_characters(retrieved: list[Span], gold: list[Span]) -> None:
    def characters(spans: Sequence[Span]) -> set[tuple[str, int]]:
        return {(span.document_id, at) for span in spans for at in range(span.start, span.end)}

    shown, wanted = sum(map(len, retrieved)), characters(gold)
    both = characters(retrieved) & wanted
    found = character_scores(retrieved, gold)
    if not wanted:
        assert found == CharacterScores(None, None, None)
        return
    assert found.recall == len(both) / len(wanted)
    assert found.precision == (len(both) / shown if shown else 0.0)
    assert found.iou == len(both) / (shown + len(wanted - both))


# -- answers: SQuAD -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The  Cat's\tpajamas!", "cats pajamas"),
        ("a an the", ""),
        ("Theatre", "theatre"),
        ("U.S.A.", "usa"),
        ("12,000", "12000"),
        ("three-day", "threeday"),
        ("an apple, a day", "apple day"),
        ("“quoted”", "“quoted”"),
        ("", ""),
    ],
)
def test_squad_normalisation(text: str, expected: str) -> None:
    assert normalised(text) == expected


def test_exact_match() -> None:
    assert exact_match("the Norman conquest.", ["Norman Conquest", "1066"]) == 1.0
    assert exact_match("Norman conquest of England", ["Norman Conquest"]) == 0.0
    assert exact_match("3 days", ["three days"]) == 0.0


def test_token_f1() -> None:
    # Shared: "in", "france"; 3 tokens predicted, 2 gold.
    assert token_f1("in northern France", ["in France"]) == pytest.approx(2 * (2 / 3) * 1 / (2 / 3 + 1))
    # A bag: the second "to" finds no partner.
    assert token_f1("to to", ["to be"]) == 0.5
    assert token_f1("in France", ["Paris", "France"]) == pytest.approx(2 / 3)
    assert token_f1("Rome", ["Paris"]) == 0.0


@pytest.mark.parametrize("answers", [[], [""], ["the"]])
def test_without_an_answer_only_nothing_is_right(answers: list[str]) -> None:
    assert exact_match("", answers) == token_f1("", answers) == 1.0
    assert exact_match("France", answers) == token_f1("France", answers) == 0.0


def test_empty_prediction_is_wrong_where_there_is_an_answer() -> None:
    assert exact_match("", ["France"]) == token_f1("", ["France"]) == 0.0


def test_squad2() -> None:
    found = squad2_scores(["France", "the north France", "", "Rome"], [["France"], ["France"], [], []])
    assert (found.has_answer_exact, found.no_answer) == (0.5, 0.5)
    assert found.has_answer_f1 == pytest.approx((1 + 2 / 3) / 2)
    assert found.exact == 0.5
    assert found.f1 == pytest.approx((1 + 2 / 3 + 1 + 0) / 4)
    assert (found.has_answer_count, found.no_answer_count) == (2, 2)


def test_squad2_with_one_class_or_none() -> None:
    assert squad2_scores([""], [[]]).has_answer_f1 is None
    assert squad2_scores(["x"], [["x"]]).no_answer is None
    assert squad2_scores([], []).exact is None
    with pytest.raises(ValueError, match="shorter"):
        squad2_scores(["x"], [])


# -- answers: containment -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prediction", "answer"),
    [
        ("They met in Kazan.", "Kazan"),
        ("It was a three-day summit.", "3 days"),
        ("It lasted 3 days.", "three-day"),
        ("About twelve thousand soldiers came.", "12,000"),
        ("Some 12,000 soldiers came.", "soldiers"),
        ("Some 12,000 soldiers came.", "twelve thousand soldiers"),
        ("The UN Charter was named.", "U.N. Charter"),
        ("Putin’s visit", "Putin"),
        ("the photo by Maxim Shemetov/Reuters", "Reuters"),
        ("“Images — that is something serious”", "images"),
        ("prices rose 3.5%", "3.5 percent"),
        ("twenty-one years", "21 years"),
        ("between 2013–2014", "2013"),
        ("यह हिन्दी है", "हिन्दी"),
        ("the Cafe\u0301 Noir", "Caf\u00e9"),
    ],
)
def test_contained(prediction: str, answer: str) -> None:
    assert contains(prediction, [answer]) is True


@pytest.mark.parametrize(
    ("prediction", "answer"),
    [
        ("Bart left.", "art"),
        ("It cost 35 dollars.", "3.5"),
        ("It cost 3.5 dollars.", "35"),
        ("Some 13,000 soldiers came.", "12,000"),
        ("12,000,000 came", "12,000"),
        ("in 20135", "2013"),
        ("met Kazan in", "in Kazan"),
        ("", "Kazan"),
        ("the dog", "dogs"),
        ("हिन्द", "हिन्दी"),
    ],
)
def test_not_contained(prediction: str, answer: str) -> None:
    assert contains(prediction, [answer]) is False


def test_containment_takes_any_answer_and_needs_one() -> None:
    assert contains("in Kazan", ["Moscow", "Kazan"]) is True
    assert contains("in Kazan", []) is None
    assert contains("in Kazan", ["…", "the"]) is None


@pytest.mark.parametrize(
    ("prediction", "right"),
    [
        ("No, he did not.", True),
        ("no", True),
        ("“No,” he said.", True),
        ("Yes, he did.", False),
        ("He did not.", False),
        ("Nobody did.", False),
        ("", False),
    ],
)
def test_yes_and_no_by_the_first_word(prediction: str, right: bool) -> None:
    assert is_correct(prediction, ["no", "no, he did not"]) is right


def test_other_questions_by_containment() -> None:
    assert is_correct("They met in Kazan.", ["Kazan"]) is True
    assert is_correct("They met in Moscow.", ["Kazan"]) is False
    assert is_correct("They met.", []) is None


@pytest.mark.parametrize(
    ("prediction", "right"),
    [
        ("It was condemned by Kyiv and by Ms. Reed, his widow.", True),
        ("Ms. Reed condemned it, and Kyiv, and Oslo.", True),
        ("It was condemned by Kyiv, Oslo and others.", False),
        ("Ms. Reed condemned it.", False),
        ("Kyiv and Oslo; Ms. Reed was silent.", True),  # what a list says of its parts it cannot see
        ("", False),
    ],
)
def test_of_a_list_all_parts(prediction: str, right: bool) -> None:
    assert is_correct(prediction, ["Kyiv, Oslo and Ms. Bell", "Kyiv and Ms. Reed"], is_list=True) is right
    assert is_correct(prediction, [], is_list=True) is None


def test_a_list_holds_a_phrase_with_and_as_two() -> None:
    assert contains_all("red, blue, and dark green", ["red; blue; dark green"]) is True
    assert contains_all("red, blue, and green", ["red; blue; dark green"]) is False
    assert contains_all("green", ["…", ", "]) is None


# -- a small pipeline, sound and damaged ----------------------------------------------------------

TEXT = "They met in Kazan on Tuesday. Some 12,000 soldiers came. The talks took three days [4]."
TEXTS = {"d": TEXT}
RANGES = [(0, 29), (30, 56), (57, 87)]
GOLD = [[Span("d", *RANGES[0]), Span("d", *RANGES[1])]]
ANSWERS = ["12,000"]


def evidence(number: int, start: int, end: int) -> Evidence:
    return Evidence(number, "d", "T", "file:///t", None, start, end, TEXT[start:end], 1.0, "0" * 64)


def answer_of(*sentences: tuple[str, list[int]]) -> Answer:
    """Made by the program's own builder: sentences, and which ranges each cites."""
    builder = AnswerBuilder()
    for text, sources in sentences:
        builder.add(text, [evidence(i + 1, *RANGES[i]) for i in sources], 1.0)
    return finished(builder.text, builder.sentences, builder.citations)


def finished(text: str, sentences: Sequence[AnswerSentence], citations: Sequence[Citation]) -> Answer:
    status = "answered" if text else "unanswerable"
    return Answer(
        status=status,  # type: ignore[arg-type]
        answer=text or "The documents do not answer this.",
        sentences=tuple(sentences),
        citations=tuple(citations),
        nearest=(),
        withheld=(),
        reason="",
        question="?",
        model="m",
        collection="c",
        usage=Usage(),
        timings_ms=Timings(),
    )


SOUND = answer_of(("They met in Kazan.", [0]), ("Some 12,000 soldiers came.", [1]))
REFUSED = finished("", (), ())


def scores(answer: Answer) -> dict[str, float | bool | None]:
    """All that a report says about one answer."""
    found = citation_scores(citation_spans(answer.citations), GOLD)
    refusals = refusal_scores([answer.status != "answered", answer.status != "answered"], [True, False])
    return {
        "correct": is_correct(plain_answer(answer), ANSWERS),
        "exactness": citation_exactness(answer.citations, TEXTS),
        "precision": found.precision,
        "recall": found.recall,
        "f1": found.f1,
        "cited": cited_share(answer),
        "support": citation_support(answer),
        "figures": figures_supported(answer),
        "refusal_precision": refusals.precision,
        "refusal_recall": refusals.recall,
    }


def changed(change: Callable[[Citation], Citation], answer: Answer = SOUND) -> Answer:
    return dataclasses.replace(answer, citations=tuple(change(citation) for citation in answer.citations))


def moved(answer: Answer) -> set[str]:
    sound, now = scores(SOUND), scores(answer)
    return {name for name in sound if sound[name] != now[name]}


def test_sound_answer() -> None:
    assert SOUND.answer == "They met in Kazan [1]. Some 12,000 soldiers came [2]."
    assert scores(SOUND) == {
        "correct": True, "exactness": 1.0, "precision": 1.0, "recall": 1.0, "f1": 1.0, "cited": 1.0,
        "support": 1.0, "figures": 1.0, "refusal_precision": None, "refusal_recall": 0.0,
    }  # fmt: skip


def test_citations_shifted_by_one_character() -> None:
    damaged = changed(lambda c: dataclasses.replace(c, start=c.start + 1, end=c.end + 1))
    assert citation_exactness(damaged.citations, TEXTS) == 0.0
    # Cited 1-57, of which 30 and 56 are the spaces between the sentences; 29 + 26 characters are gold.
    found = citation_scores(citation_spans(damaged.citations), GOLD)
    assert (found.precision, found.recall) == (53 / 55, 53 / 55)
    assert moved(damaged) == {"exactness", "precision", "recall", "f1"}


def test_citations_shifted_with_their_text() -> None:
    """Exact again, but no longer what the gold set names."""
    damaged = changed(
        lambda c: dataclasses.replace(
            c, start=c.start + 1, end=c.end + 1, cited_text=TEXT[c.start + 1 : c.end + 1]
        )
    )
    assert citation_exactness(damaged.citations, TEXTS) == 1.0
    assert {"precision", "recall", "f1"} <= moved(damaged)


def test_swapped_citations() -> None:
    one, two = SOUND.citations
    places = {"answer_start", "answer_end", "number"}
    damaged = dataclasses.replace(
        SOUND,
        citations=tuple(
            dataclasses.replace(source, **{name: getattr(target, name) for name in places})
            for source, target in ((two, one), (one, two))
        ),
    )
    assert moved(damaged) == {"support", "figures"}
    assert figures_supported(damaged) == 0.0


def test_one_wrong_number() -> None:
    damaged = answer_of(("They met in Kazan.", [0]), ("Some 13,000 soldiers came.", [1]))
    assert moved(damaged) == {"correct", "figures", "support"}
    assert figures_supported(damaged) == 0.0


def test_always_refuses() -> None:
    assert moved(REFUSED) >= {"correct", "recall", "f1", "refusal_recall", "refusal_precision"}
    assert scores(REFUSED) == {
        "correct": False, "exactness": None, "precision": None, "recall": 0.0, "f1": 0.0, "cited": None,
        "support": None, "figures": None, "refusal_precision": 0.5, "refusal_recall": 1.0,
    }  # fmt: skip


def test_citation_taken_away() -> None:
    damaged = dataclasses.replace(SOUND, citations=SOUND.citations[:1])
    assert cited_share(damaged) == 0.5
    assert citation_support(damaged) == pytest.approx(0.5)
    assert citation_scores(citation_spans(damaged.citations), GOLD).recall == 29 / 55


def test_sentence_needs_the_number_and_the_citation_at_its_own_place() -> None:
    one, two = SOUND.sentences
    nameless = dataclasses.replace(SOUND, sentences=(dataclasses.replace(one, citations=()), two))
    assert cited_share(nameless) == 0.5
    twice = answer_of(("They met in Kazan.", [0]), ("It was Kazan.", [0]))
    assert cited_share(twice) == 1.0
    assert cited_share(dataclasses.replace(twice, citations=twice.citations[:1])) == 0.5


def test_citation_of_another_document_or_of_nothing_is_not_exact() -> None:
    for change in (
        {"document_id": "e"},
        {"start": 5, "end": 5, "cited_text": ""},
        {"start": -87, "end": -58},
        {"end": 900},
    ):
        one = dataclasses.replace(SOUND.citations[0], **change)
        assert citation_exactness([one, SOUND.citations[1]], TEXTS) == 0.5


def test_citation_that_is_no_range_covers_nothing() -> None:
    damaged = changed(lambda c: dataclasses.replace(c, start=-1) if c.number == 1 else c)
    assert citation_spans(damaged.citations) == (Span("d", 30, 56),)
    assert moved(damaged) == {"exactness", "recall", "f1"}


def test_figures_are_compared_by_value() -> None:
    assert figures_supported(answer_of(("Some twelve thousand soldiers came.", [1]))) == 1.0
    assert figures_supported(answer_of(("They met in Kazan.", [0]))) is None
    # The footnote number of the sentence is not a number of the answer; that of another sentence's
    # source is no support.
    assert figures_supported(answer_of(("They met in Kazan.", [0]), ("Then 3 days passed.", [0]))) == 0.0


def test_answer_without_footnote_numbers() -> None:
    answer = answer_of(("They met in Kazan.", [0, 1]), ("The talks took three days [4].", [2]))
    assert answer.answer == "They met in Kazan [1][2]. The talks took three days [4] [3]."
    assert plain_answer(answer) == "They met in Kazan. The talks took three days [4]."
    assert plain_sentences(answer) == ("They met in Kazan.", "The talks took three days [4].")
    assert plain_answer(REFUSED) == ""


# -- citations against gold -----------------------------------------------------------------------


def test_needed_ranges_are_needed_together() -> None:
    found = citation_scores([Span("d", 0, 10)], [[Span("d", 0, 10), Span("d", 20, 30)]])
    assert found == Scores(1.0, 0.5, 2 / 3)


def test_one_alternative_is_enough_and_both_are_not_too_much() -> None:
    sets = [[Span("d", 0, 10)], [Span("d", 20, 30)]]
    assert citation_scores([Span("d", 20, 30)], sets) == Scores(1.0, 1.0, 1.0)
    assert citation_scores([Span("d", 0, 10), Span("d", 20, 30)], sets) == Scores(1.0, 1.0, 1.0)


def test_overlapping_citations_count_once() -> None:
    cited = [Span("d", 0, 10), Span("d", 5, 20), Span("d", 0, 10)]
    assert citation_scores(cited, [[Span("d", 0, 10)]]) == Scores(0.5, 1.0, 2 / 3)


def test_citation_beside_the_gold() -> None:
    assert citation_scores([Span("d", 50, 60)], [[Span("d", 0, 10)]]) == Scores(0.0, 0.0, 0.0)


# -- refusals and claims --------------------------------------------------------------------------


def test_refusals() -> None:
    # Refused: one rightly, one wrongly; one unanswerable question was answered.
    found = refusal_scores([True, True, False, False, False], [False, True, False, True, True])
    assert found == Scores(0.5, 0.5, 0.5)


def test_never_and_always_refusing() -> None:
    answerable = [True, True, True, False]
    assert refusal_scores([False] * 4, answerable) == Scores(None, 0.0, 0.0)
    assert refusal_scores([True] * 4, answerable) == Scores(0.25, 1.0, 0.4)
    assert refusal_scores([False] * 2, [True, True]) == Scores(None, None, None)
    assert refusal_scores([], []) == Scores(None, None, None)
    with pytest.raises(ValueError, match="shorter"):
        refusal_scores([True], [])


def test_classification() -> None:
    predicted = ["yes", "yes", "no", "yes", "no"]
    actual = ["yes", "no", "no", "yes", "partly"]
    found = classification(predicted, actual)
    assert found.accuracy == 0.6
    yes, no, partly = (found.classes[label] for label in ("yes", "no", "partly"))
    assert (yes.precision, yes.recall, yes.f1, yes.count) == (2 / 3, 1.0, 0.8, 2)
    assert (no.precision, no.recall, no.f1, no.count) == (0.5, 0.5, 0.5, 2)
    assert (partly.precision, partly.recall, partly.f1, partly.count) == (None, 0.0, 0.0, 1)
    assert found.macro_f1 == pytest.approx((0.8 + 0.5 + 0.0) / 3)


def test_classification_of_nothing() -> None:
    found = classification([], [])
    assert (found.accuracy, dict(found.classes), found.macro_f1) == (None, {}, None)
