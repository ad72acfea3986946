"""How exact an answer's citations are, how well they meet the gold evidence, and how well they carry
the sentences that they stand behind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain

from rag.metrics import Scores, mean_defined, share
from rag.metrics_answer import normalised, plain_sentences
from rag.metrics_retrieval import best_of
from rag.spans import Span, overlap
from rag.types import Answer, Citation
from rag.words import numbers


def citation_exactness(citations: Sequence[Citation], texts: Mapping[str, str]) -> float | None:
    """The share of citations for which `text[start:end] == cited_text`; `texts` by document id.

    The first law of this program. A citation of an unknown document or of an empty range is not exact.
    None without citations.
    """
    return share(sum(_is_exact(citation, texts) for citation in citations), len(citations))


def _is_exact(citation: Citation, texts: Mapping[str, str]) -> bool:
    text = texts.get(citation.document_id)
    if text is None or not 0 <= citation.start < citation.end <= len(text):
        return False
    return text[citation.start : citation.end] == citation.cited_text


def citation_spans(citations: Sequence[Citation]) -> tuple[Span, ...]:
    """The ranges that are cited. What is no range covers nothing: `citation_exactness` tells of it."""
    return tuple(
        Span(citation.document_id, citation.start, citation.end)
        for citation in citations
        if 0 <= citation.start <= citation.end
    )


def citation_scores(cited: Sequence[Span], gold_sets: Sequence[Sequence[Span]]) -> Scores:
    """Precision, recall and F1 of the cited characters against the gold ranges.

    Character overlap as in chunking_evaluation (Smith and Troynikov 2024), each character once.
    `gold_sets` are alternatives, all of a set needed. Recall is that of the alternative that is covered
    best; precision counts as right what stands in any of them, since each supports the answer. Without
    gold all are None; without citations precision is None, recall and F1 are 0.
    """
    recall = best_of(share(found.both, found.other) for found in (overlap(cited, gold) for gold in gold_sets))
    if recall is None:
        return Scores(None, None, None)
    found = overlap(cited, chain.from_iterable(gold_sets))
    precision = share(found.both, found.one)
    if precision is None or precision + recall == 0:
        return Scores(precision, recall, 0.0)
    return Scores(precision, recall, 2 * precision * recall / (precision + recall))


def cited_share(answer: Answer) -> float | None:
    """The share of the answer's sentences with a citation of their own (citation recall's first half in
    Gao et al. 2023, ALCE). None without sentences."""
    cited = [bool(_cited_texts(answer, index)) for index in range(len(answer.sentences))]
    return share(sum(cited), len(cited))


def citation_support(answer: Answer) -> float | None:
    """The mean over sentences of the share of their words that stand in the text they themselves cite.

    K-Precision (Adlakha et al. 2024) per sentence, on SQuAD's tokens. Citations that were exchanged
    between sentences lower this, and nothing else. A sentence without a citation has 0; None without
    sentences that have words.
    """
    found: list[float | None] = []
    for index, sentence in enumerate(plain_sentences(answer)):
        held = set(normalised(" ".join(_cited_texts(answer, index))).split())
        said = normalised(sentence).split()
        found.append(share(sum(word in held for word in said), len(said)))
    return mean_defined(found)


def figures_supported(answer: Answer) -> float | None:
    """The share of the numbers in the answer's sentences that stand in the text these cite, by value.

    The entity-level precision of Nan et al. (2021), for numbers. None if the answer holds no number.
    """
    right = total = 0
    for index, sentence in enumerate(plain_sentences(answer)):
        held = {number.value for text in _cited_texts(answer, index) for number in numbers(text)}
        said = [number.value for number in numbers(sentence)]
        right += sum(value in held for value in said)
        total += len(said)
    return share(right, total)


def _cited_texts(answer: Answer, index: int) -> list[str]:
    """The texts behind one sentence: of citations that it names and that lie in its range."""
    sentence = answer.sentences[index]
    return [
        citation.cited_text
        for citation in answer.citations
        if citation.number in sentence.citations
        and sentence.start <= citation.answer_start < citation.answer_end <= sentence.end
    ]
