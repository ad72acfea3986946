"""The gold set is only worth what its annotations are worth: these tests hold it to its promises."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

SEEDS = Path(__file__).resolve().parent.parent / "seeds"
ARTICLE = "000_ca632847ae230c67.txt"
ARTICLE_SHA256 = "2b0ce98bfba3267ff1bdd3b09a342f126813dbf6be85f7f76753707cf00abccb"

REQUIRED = {"id", "question", "answers", "evidence", "answerable", "kind"}
OPTIONAL = {"history", "note"}
ANSWERABLE_KINDS = {
    "fact", "paraphrase", "number", "yes_no", "quotation", "two_passage", "list", "follow_up",
}  # fmt: skip
UNANSWERABLE_KINDS = {"missing", "wrong_fact", "false_premise", "outside", "follow_up"}

Question = dict[str, Any]


def load() -> list[Question]:
    lines = (SEEDS / "gold.jsonl").read_bytes().decode("utf-8").splitlines()
    return [json.loads(line) for line in lines]


QUESTIONS = load()
EACH = pytest.mark.parametrize("question", QUESTIONS, ids=[str(q.get("id")) for q in QUESTIONS])


@pytest.fixture(scope="module")
def article() -> str:
    # Bytes, not text mode: offsets and quotes are those of the file as it is, newlines included.
    return (SEEDS / ARTICLE).read_bytes().decode("utf-8")


def quotes(question: Question) -> list[str]:
    return [evidence["quote"] for evidence in question["evidence"]]


def test_article_is_unchanged() -> None:
    assert hashlib.sha256((SEEDS / ARTICLE).read_bytes()).hexdigest() == ARTICLE_SHA256


def test_file_is_one_object_a_line() -> None:
    data = (SEEDS / "gold.jsonl").read_bytes()
    assert data.endswith(b"\n")
    assert b"\r" not in data
    assert b"\n\n" not in data
    assert data.count(b"\n") == len(QUESTIONS)


@EACH
def test_keys_and_types(question: Question) -> None:
    assert set(question) >= REQUIRED
    assert set(question) <= REQUIRED | OPTIONAL
    assert re.fullmatch(r"q\d{3}", question["id"])
    for key in ("question", "kind"):
        assert isinstance(question[key], str)
        assert question[key].strip() == question[key] != ""
    assert isinstance(question["answerable"], bool)
    assert isinstance(question["answers"], list)
    for answer in question["answers"]:
        assert isinstance(answer, str)
        assert answer.strip() == answer != ""
    assert len(set(question["answers"])) == len(question["answers"])
    for evidence in question["evidence"]:
        assert set(evidence) == {"document", "quote"}
        assert evidence["document"] == ARTICLE


def test_ids_and_questions_are_unique() -> None:
    assert len({q["id"] for q in QUESTIONS}) == len(QUESTIONS)
    # A follow-up may repeat another's words; with its history it must be a question of its own.
    asked = Counter((q["question"].casefold(), json.dumps(q.get("history", []))) for q in QUESTIONS)
    assert [key for key, count in asked.items() if count > 1] == []


def test_counts_and_shares() -> None:
    unanswerable = sum(not q["answerable"] for q in QUESTIONS)
    assert len(QUESTIONS) >= 84
    assert len(QUESTIONS) - unanswerable >= 56
    assert unanswerable >= 28
    assert abs(unanswerable / len(QUESTIONS) - 1 / 3) <= 0.05


def test_every_kind_is_there() -> None:
    assert {q["kind"] for q in QUESTIONS if q["answerable"]} == ANSWERABLE_KINDS
    assert {q["kind"] for q in QUESTIONS if not q["answerable"]} == UNANSWERABLE_KINDS


def test_follow_ups_and_questions_that_stand_alone_after_a_history() -> None:
    follow_ups = [q for q in QUESTIONS if q["kind"] == "follow_up"]
    assert sum(q["answerable"] for q in follow_ups) >= 6
    assert sum(not q["answerable"] for q in follow_ups) >= 2
    assert all(q.get("history") for q in follow_ups)
    assert sum("history" in q for q in QUESTIONS if q["kind"] != "follow_up") >= 2


def test_yes_no_questions_are_answered_both_ways() -> None:
    first = Counter(q["answers"][0] for q in QUESTIONS if q["kind"] == "yes_no")
    assert set(first) == {"yes", "no"}
    assert min(first.values()) >= 4


def test_unanswerable_ones_are_spread_through_the_file() -> None:
    """So that a run over the first questions only is not a run over answerable ones only."""
    tenths = [QUESTIONS[i::10] for i in range(10)]
    halves = [QUESTIONS[: len(QUESTIONS) // 2], QUESTIONS[len(QUESTIONS) // 2 :]]
    for part in tenths + halves:
        share = sum(not q["answerable"] for q in part) / len(part)
        assert 0.2 <= share <= 0.5


@EACH
def test_answerable_means_answers_and_evidence(question: Question) -> None:
    assert bool(question["answers"]) is question["answerable"]
    assert bool(question["evidence"]) is question["answerable"]


@EACH
def test_a_note_explains_a_false_premise_only(question: Question) -> None:
    if "note" in question:
        assert question["kind"] == "false_premise"
        assert question["note"].strip() != ""


@EACH
def test_quotes_occur_verbatim_and_once(question: Question, article: str) -> None:
    for quote in quotes(question):
        assert article.count(quote) == 1, quote
        start = article.index(quote)
        end = start + len(quote)
        assert not article[start].isspace()
        assert not article[end - 1].isspace()
        # No quote begins or ends inside a word, and none runs from one paragraph into the next.
        assert not (article[start - 1 : start].isalnum() and article[start].isalnum())
        assert not (article[end - 1].isalnum() and article[end : end + 1].isalnum())
        assert "\n" not in quote


@EACH
def test_quotes_of_one_question_do_not_overlap(question: Question, article: str) -> None:
    ranges = sorted((article.index(q), article.index(q) + len(q)) for q in quotes(question))
    assert all(ranges[i][1] <= ranges[i + 1][0] for i in range(len(ranges) - 1))


@EACH
def test_two_passage_questions_have_two_quotes(question: Question) -> None:
    """Both are needed there; elsewhere a second quote is another place that answers as well."""
    if question["kind"] == "two_passage":
        assert len(question["evidence"]) == 2


@EACH
def test_figures_of_the_answers_stand_in_the_quotes(question: Question) -> None:
    if question["kind"] != "number":
        return
    for answer in question["answers"]:
        for figure in re.findall(r"\d[\d,.]*\d|\d", answer):
            pattern = rf"(?<![\d,.]){re.escape(figure)}(?![\d]|[,.]\d)"
            assert any(re.search(pattern, quote) for quote in quotes(question)), figure


@EACH
def test_short_answers_stand_in_every_quote(question: Question) -> None:
    """Each quote of these kinds answers by itself, so each holds an accepted answer word for word."""
    if question["kind"] not in {"fact", "number", "quotation"}:
        return
    for quote in quotes(question):
        assert any(answer.casefold() in quote.casefold() for answer in question["answers"]), quote


@EACH
def test_yes_no_answers_agree_with_each_other(question: Question) -> None:
    if question["kind"] == "yes_no":
        assert question["answers"][0] in {"yes", "no"}
        assert {re.split(r"\W", answer)[0] for answer in question["answers"]} == {question["answers"][0]}


@EACH
def test_history_alternates_and_carries_no_footnote_marks(question: Question) -> None:
    if "history" not in question:
        return
    turns = question["history"]
    assert len(turns) in {2, 4}
    assert [turn["role"] for turn in turns] == ["user", "assistant"] * (len(turns) // 2)
    for turn in turns:
        assert set(turn) == {"role", "content"}
        assert turn["content"].strip() == turn["content"] != ""
        assert re.search(r"\[\d+\]", turn["content"]) is None


def test_every_paragraph_is_asked_about(article: str) -> None:
    cited = {article[: article.index(quote)].count("\n") for q in QUESTIONS for quote in quotes(q)}
    lines = {number for number, line in enumerate(article.split("\n")) if line.strip()}
    assert lines - cited == set()
