"""Question → ranked evidence sentences.

Passages come from the collection, already fused from dense and lexical search. Their sentences are
then ranked by the same two voices at the scale of a sentence: cosine of the embeddings, and the
share of the question's content words (weighted by how rare they are in the collection) that the
sentence holds, each standardised over the candidates and summed with the passage's own score.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from index.errors import UnknownDocument
from index.fusion import standardised
from index.types import Document, Embedder, Hit, Passage, Searchable
from rag.types import Evidence
from rag.words import content_terms, words


@dataclass(frozen=True, slots=True)
class Retrieval:
    """What the documents hold for one question.

    `sentences` are all candidates, best first, numbered from 1 in that order; `cosines` and
    `coverages` belong to them, in the same order: the cosine with the question in [-1, 1], and the
    weighted share of the question's content words in [0, 1].
    `unknown` are content words of the question (as written) that stand in no passage at all.
    """

    question: str
    hits: tuple[Hit, ...]
    sentences: tuple[Evidence, ...]
    cosines: tuple[float, ...]
    coverages: tuple[float, ...]
    weights: dict[str, float]
    unknown: frozenset[str]


class Retriever:
    """Ranks the sentences of one collection against questions."""

    def __init__(self, collection: Searchable, embedder: Embedder) -> None:
        self._collection = collection
        self._embedder = embedder

    def retrieve(self, question: str, *, passages: int) -> Retrieval:
        """Candidates from the `passages` best passages; empty fields when nothing is indexed."""
        hits = tuple(self._collection.search(question, passages))
        weights, unknown = self._term_weights(question)
        candidates: list[Evidence] = []
        passage_scores: list[float] = []
        for hit in hits:
            try:
                document = self._collection.document(hit.passage.document_id)
            except UnknownDocument:
                continue  # deleted since the search
            for sentence in sentences_of(document, [hit.passage]):
                candidates.append(replace(sentence, number=len(candidates) + 1))
                passage_scores.append(hit.score)
        if not candidates:
            return Retrieval(question, hits, (), (), (), weights, unknown)
        vectors = self._embedder.embed([question, *(candidate.text for candidate in candidates)])
        cosines = vectors[1:] @ vectors[0]
        coverages = np.array([coverage(weights, candidate.text) for candidate in candidates])
        voices = [standardised(np.asarray(one, np.float64)) for one in (cosines, coverages, passage_scores)]
        scores = np.sum(voices, axis=0)
        # Equal scores keep the order of the passages: a stable sort on the negated score.
        order = np.argsort(-scores, kind="stable")
        ranked = tuple(
            replace(candidates[index], number=rank, score=round(float(scores[index]), 4))
            for rank, index in enumerate(order, start=1)
        )
        return Retrieval(
            question,
            hits,
            ranked,
            tuple(float(cosines[index]) for index in order),
            tuple(float(coverages[index]) for index in order),
            weights,
            unknown,
        )

    def _term_weights(self, question: str) -> tuple[dict[str, float], frozenset[str]]:
        """Inverse document frequency of the question's content words over the passages."""
        asked = {word.term: word.text for word in words(question) if word.term}
        frequency = self._collection.term_frequency(asked.values())
        most = max(frequency.values(), default=0) + 1
        weights = {term: math.log(1 + most / (frequency.get(text, 0) + 0.5)) for term, text in asked.items()}
        unknown = frozenset(text for text in asked.values() if not frequency.get(text, 0))
        return weights, unknown


def coverage(weights: dict[str, float], text: str) -> float:
    """The weighted share of the terms in `weights` that occur in `text`; 0 without terms."""
    total = sum(weights.values())
    if not total:
        return 0.0
    held = content_terms(text)
    return sum(weight for term, weight in weights.items() if term in held) / total


def sentences_of(document: Document, passages: Iterable[Passage]) -> list[Evidence]:
    """The sentences of some passages of a document, in order, numbered from 1."""
    sha256 = document.sha256
    document_id = document.id
    found: list[Evidence] = []
    for passage in passages:
        for sentence in passage.sentences:
            found.append(
                Evidence(
                    number=len(found) + 1,
                    document_id=document_id,
                    title=document.title,
                    uri=document.uri,
                    page=document.page_at(sentence.start),
                    start=sentence.start,
                    end=sentence.end,
                    text=document.text[sentence.start : sentence.end],
                    score=0.0,
                    sha256=sha256,
                )
            )
    return found


def section_of(passages: Sequence[Passage], passage: Passage, *, max_tokens: int) -> tuple[Passage, ...]:
    """The section that holds `passage`: the document's passages, packed in order up to `max_tokens`.

    Sections depend on the document alone, so that the reading made for one question serves others.
    """
    section: list[Passage] = []
    tokens = 0
    for candidate in passages:
        if section and tokens + candidate.tokens > max_tokens:
            if section[0].ordinal <= passage.ordinal <= section[-1].ordinal:
                break
            section, tokens = [], 0
        section.append(candidate)
        tokens += candidate.tokens
    return tuple(section)
