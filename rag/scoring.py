"""One question's scores by name, from what was retrieved and what was answered.

A score that is undefined for a question is absent, never 0: an unanswerable question has no scores of
retrieval, and a refusal none of citations but those that gold evidence was there to be cited for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from rag.gold import LIST
from rag.gold_published import LONG_ANSWER
from rag.gold_types import Question
from rag.metrics_answer import contains, exact_match, is_correct, plain_answer, token_f1
from rag.metrics_citation import (
    citation_exactness,
    citation_scores,
    citation_spans,
    citation_support,
    cited_share,
    figures_supported,
)
from rag.metrics_retrieval import (
    best_of,
    character_scores,
    distinct,
    ndcg_at,
    recall_at,
    reciprocal_rank,
    relevance,
)
from rag.spans import Span
from rag.types import Answer

RANKED = 10
"""So many passages are ranked for the scores of retrieval."""

SHOWN = 5
"""So many of them are compared by characters, as chunking_evaluation does."""


def retrieval_scores(
    question: Question,
    passages: Sequence[Span],
    evidence: Sequence[Span],
    passages_of: Callable[[str], Sequence[Span]],
) -> dict[str, float]:
    """By document, by passage and by character. `passages` are the best RANKED, `evidence` the sentences
    that are shown as sources, best first; `passages_of` gives all passages of a document.

    Where evidence is alternative, the alternative that is found best counts. Empty for a question without
    gold evidence.
    """
    documents = distinct(span.document_id for span in passages)
    found: dict[str, list[float | None]] = {}

    def add(name: str, score: float | None) -> None:
        found.setdefault(name, []).append(score)

    for gold in question.span_sets:
        wanted = {span.document_id for span in gold}
        for name, relevant, total in (
            ("document", [document in wanted for document in documents], len(wanted)),
            ("passage", relevance(passages, gold), _total(wanted, gold, passages_of)),
        ):
            for k in (1, 5, 10):
                add(f"{name}_recall@{k}", recall_at(k, relevant, total))
            add(f"{name}_mrr", reciprocal_rank(relevant, total))
            add(f"{name}_ndcg@10", ndcg_at(10, relevant, total))
        for name, spans in ((f"character_{{}}@{SHOWN}", passages[:SHOWN]), ("evidence_{}", evidence)):
            scores = character_scores(spans, gold)
            add(name.format("precision"), scores.precision)
            add(name.format("recall"), scores.recall)
            add(name.format("iou"), scores.iou)
    return _defined({name: best_of(values) for name, values in found.items()})


def _total(documents: set[str], gold: Sequence[Span], passages_of: Callable[[str], Sequence[Span]]) -> int:
    # Gold that no passage holds was lost when the document was split, which is a miss and no excuse.
    return sum(sum(relevance(passages_of(document), gold)) for document in documents) or 1


def answer_scores(question: Question, answer: Answer, texts: Mapping[str, str]) -> dict[str, float]:
    """How right the answer is, how exact and fitting its citations, how long it took. `texts` by id."""
    refused = answer.status != "answered"
    right = is_right(question, answer)
    said = plain_answer(answer)
    cited = citation_scores(citation_spans(answer.citations), question.span_sets)
    scores: dict[str, float | None] = {
        "refused": float(refused),
        "correct": float(right),
        "right_when_answerable": float(right) if question.answerable else None,
        "right_when_answered": None if refused else float(right),
        "answer_contains": _number(contains(said, question.answers)),
        "citation_exactness": citation_exactness(answer.citations, texts),
        "citation_precision": cited.precision,
        "citation_recall": cited.recall,
        "citation_f1": cited.f1,
        "sentences_cited": cited_share(answer),
        "citation_support": citation_support(answer),
        "figures_supported": figures_supported(answer),
        "first_evidence_ms": answer.timings_ms.first_evidence,
        "first_token_ms": answer.timings_ms.first_token or None,
        "total_ms": answer.timings_ms.total,
        "prompt_tokens": answer.usage.prompt_tokens if answer.model else None,
        "completion_tokens": answer.usage.completion_tokens if answer.model else None,
    }
    if question.answers or not question.answerable:
        exact, f1 = exact_match(said, question.answers), token_f1(said, question.answers)
        scores |= {"exact_match": exact, "token_f1": f1}
        scores |= {"hasans_exact": exact, "hasans_f1": f1} if question.answerable else {"noans": exact}
    return _defined(scores)


def is_right(question: Question, answer: Answer) -> bool:
    """Whether it is what was wanted: a refusal exactly if the question is unanswerable, and else the gold
    answer, of a list all parts. Where gold answers are long or there are none, its citations must meet the
    gold evidence.
    """
    if answer.status != "answered":
        return not question.answerable
    if not question.answerable:
        return False
    if question.answers and question.kind != LONG_ANSWER:
        return bool(is_correct(plain_answer(answer), question.answers, is_list=question.kind == LIST))
    cited = citation_spans(answer.citations)
    return any(span.overlaps(gold.span) for span in cited for gold in question.evidence)


def _number(value: bool | None) -> float | None:
    return None if value is None else float(value)


def _defined(scores: Mapping[str, float | None]) -> dict[str, float]:
    return {name: score for name, score in scores.items() if score is not None}
