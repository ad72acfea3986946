"""Questions of a gold set to scored answers, through the same collection and pipeline that people use.

The gold set's documents are indexed into a collection of their own. Questions are asked section by section,
so that a section that serves several of them is read once, as it would be for a person who asks on.
"""

from __future__ import annotations

import hashlib
import random
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Literal, Protocol, TypeVar

from index.embed import unit_vectors
from index.errors import UsageError
from index.readers import READERS_VERSION
from index.remembered import RememberingEmbedder
from index.split import SPLIT_VERSION
from index.types import Collection, Document, Embedder, Source
from rag.condense import condense
from rag.config import Settings
from rag.errors import QuestionError
from rag.gate import STAGES, Gate
from rag.gold_types import GoldSet, Question
from rag.jsonform import answer_object
from rag.pipeline import Observer
from rag.question import sound_question
from rag.results import Passed
from rag.retrieve import Retrieval, Retriever
from rag.scoring import RANKED, answer_scores, is_right, retrieval_scores
from rag.spans import Span
from rag.types import Answer, Generator, Mode, Prompt, Turn
from rag.wrapped import WrappedGenerator

Asking = Literal["compose", "quote", "retrieval"]
Reading = Literal["several", "all", "none"]

SEVERAL = 3
"""A section that serves so many of the questions asked is read before the first of them. A person's first
question does without the reading, every later one has it."""

_BATCH_DOCUMENTS, _BATCH_CHARACTERS = 64, 50_000
"""What is put at once: enough to embed it together, and little enough to tell how far it is."""

_Item = TypeVar("_Item")


OPEN_GATE = Gate(
    intercept=dict.fromkeys(STAGES, 0.0),
    weights={stage: {} for stage in STAGES},
    threshold=dict.fromkeys(STAGES, 0.0),
)
"""Refuses nothing: what would have been said is seen, and what the gate should have known about it."""


class Answering(Protocol):
    """What an evaluation needs of `rag.pipeline.Pipeline`."""

    def ask(
        self, question: str, history: Sequence[Turn] = (), *, mode: Mode = "compose", observer: Observer = ...
    ) -> Answer: ...

    def section_for(self, question: str, history: Sequence[Turn] = ()) -> Prompt | None: ...


@dataclass(slots=True)
class Seen(Observer):
    """What one question was found to be like, as far as the pipeline came with it."""

    retrieval: Retrieval | None = None
    stages: dict[str, Mapping[str, float]] = field(default_factory=dict)
    last: str = ""

    def retrieved(self, retrieval: Retrieval) -> None:
        self.retrieval = retrieval

    def gated(self, stage: str, signals: Mapping[str, float]) -> None:
        self.stages[stage] = dict(signals)
        self.last = stage

    def confidence(self, gate: Gate) -> float | None:
        """The gate's probability where it was asked last; None where it never was."""
        return gate.probability(self.last, self.stages[self.last]) if self.last else None


class Planned(WrappedGenerator):
    """A generator that has readings of the planned sections only, whatever an earlier run left on disk:
    two runs of the same configuration must see the same prompts."""

    def __init__(self, generator: Generator) -> None:
        super().__init__(generator)
        self._sections: frozenset[str] = frozenset()

    def plan(self, sections: Sequence[Prompt]) -> None:
        self._sections = frozenset(section.context for section in sections)

    def has_reading(self, prompt: Prompt) -> bool:
        return prompt.context in self._sections and super().has_reading(prompt)


class Remembering(RememberingEmbedder):
    """An embedder that embeds each text once, and forgets none. For what is not timed: where questions are to
    be asked, and how passages rank, it is many times as fast, since questions share their passages."""

    def __init__(self, embedder: Embedder) -> None:
        super().__init__(embedder, most=sys.maxsize, most_at_once=sys.maxsize)

    def learn(self, texts: Sequence[str], on_done: Callable[[int], None]) -> None:
        """Embed texts that will be asked for, many at once: a fraction of what they cost one by one."""
        new = self.unknown(texts)
        on_done(len(texts) - len(new))
        self.keep(new, unit_vectors(self.inner, new, on_done))


# -- the collection -----------------------------------------------------------------------------


def gold_folder(gold: GoldSet, embedder: Embedder, settings: Settings) -> Path:
    """Where the collection of this gold set is kept: the same as long as it would be made the same."""
    made = (gold.sha256, embedder.fingerprint, settings.index.passage_tokens, SPLIT_VERSION, READERS_VERSION)
    return settings.home / "eval" / hashlib.sha256(repr(made).encode()).hexdigest()[:16]


def fill(collection: Collection, gold: GoldSet, on_done: Callable[[int], None]) -> None:
    """Put all documents of the gold set; those that are there already cost next to nothing."""
    batch: list[Document] = []
    for place, one in enumerate(gold.documents, 1):
        batch.append(one.document)
        size = sum(len(document.text) for document in batch)
        is_full = len(batch) == _BATCH_DOCUMENTS or size >= _BATCH_CHARACTERS
        if is_full or place == len(gold.documents):
            collection.put_all([(document, _source(document)) for document in batch])
            on_done(len(batch))
            batch = []
    collection.snapshot()


def _source(document: Document) -> Source:
    size = len(document.text.encode("utf-8"))
    return Source(document.uri, document.sha256, size, mtime_ns=0, readers_version=READERS_VERSION)


# -- the questions ------------------------------------------------------------------------------


def chosen(items: Sequence[_Item], limit: int | None, seed: int | None) -> list[_Item]:
    """The first `limit` of them, or with a seed so many drawn by chance, in the order of the file."""
    if limit is None or limit >= len(items):
        return list(items)
    if seed is None:
        return list(items[:limit])
    drawn = sorted(random.Random(seed).sample(range(len(items)), limit))
    return [items[index] for index in drawn]


def require_sound(questions: Sequence[Question], embedder: Embedder, limit: int) -> None:
    """Raises UsageError, which names them, if there are questions that nobody could ask."""
    bad = []
    for question in questions:
        try:
            sound_question(question.question, limit=limit, count_tokens=embedder.count_tokens)
        except QuestionError as error:
            bad.append(f"{question.id}: {error}")
    if bad:
        raise UsageError(f"{len(bad)} of the questions cannot be asked: {'; '.join(bad)}")


def learn_questions(
    questions: Sequence[Question], embedder: Remembering, on_done: Callable[[int], None]
) -> None:
    """Embed them as they will stand alone. All of a run's, also those that have been asked already: what
    is embedded together moves a vector in its last digits, and a run that goes on must find the same."""
    embedder.learn([condense(one.question, one.history, None) for one in questions], on_done)


@dataclass(frozen=True, slots=True)
class Group:
    """Questions of one section, and whether it is read before the first of them."""

    section: Prompt | None
    questions: tuple[Question, ...]
    is_read: bool


def by_section(questions: Sequence[Question], pipeline: Answering, reading: Reading) -> list[Group]:
    """Questions that would read the same section together, in the order of their first ones."""
    sections: dict[str, Prompt | None] = {}
    groups: dict[str, list[Question]] = {}
    for question in questions:
        section = pipeline.section_for(question.question, question.history)
        key = section.context if section else ""
        sections.setdefault(key, section)
        groups.setdefault(key, []).append(question)
    least = {"several": SEVERAL, "all": 1, "none": len(questions) + 1}[reading]
    return [
        Group(sections[key], tuple(group), sections[key] is not None and len(group) >= least)
        for key, group in groups.items()
    ]


class Examiner:
    """Asks the questions of one gold set and scores what comes back."""

    def __init__(
        self,
        gold: GoldSet,
        collection: Collection,
        pipeline: Answering,
        gate: Gate,
        settings: Settings,
        *,
        asking: Asking,
        calibrating: bool = False,
    ) -> None:
        """`collection` is asked how passages rank, `gate` for the probability that counts as confidence.

        With `calibrating` each question is also answered with a quotation; whether that was right becomes
        its score "quote_right".
        """
        self._collection = collection
        self._pipeline = pipeline
        self._gate = gate
        self._rag = settings.rag
        self._asking = asking
        self._calibrating = calibrating
        self._retriever = Retriever(collection, collection.embedder)
        self._texts = {document.id: document.text for document in gold.documents}
        self._passages_of = cache(self._spans_of)

    def passed(self, question: Question) -> Passed:
        """One question asked and scored. Raises ModelError, CollectionError."""
        seen = Seen()
        answer: Answer | None = None
        if self._asking == "retrieval":
            alone = condense(question.question, question.history, None)
            seen.retrieved(self._retriever.retrieve(alone, passages=self._rag.passages))
        else:
            answer = self._pipeline.ask(question.question, question.history, mode=self._asking, observer=seen)
        confidence = seen.confidence(self._gate)
        scores = self._retrieval_scores(question, seen)
        if answer is not None:
            scores |= answer_scores(question, answer, self._texts)
        if self._calibrating:
            quoted = Seen()
            quote = self._pipeline.ask(question.question, question.history, mode="quote", observer=quoted)
            scores["quote_right"] = float(is_right(question, quote))
            seen.stages = {**seen.stages, **quoted.stages}
        return Passed(
            id=question.id,
            question=question.question,
            kind=question.kind,
            answerable=question.answerable,
            gold_answers=question.answers,
            gold=tuple(
                tuple((span.document_id, span.start, span.end) for span in one) for one in question.span_sets
            ),
            answer=answer_object(answer) if answer else None,
            scores=scores,
            confidence=confidence,
            signals={name: value for signals in seen.stages.values() for name, value in signals.items()},
            history=question.history,
            stages=seen.stages,
        )

    def _retrieval_scores(self, question: Question, seen: Seen) -> dict[str, float]:
        if seen.retrieval is None or not question.evidence_sets:
            return {}
        hits = [hit.passage for hit in self._collection.search(seen.retrieval.question, RANKED)]
        evidence = seen.retrieval.sentences[: self._rag.evidence]
        return retrieval_scores(
            question,
            [Span(passage.document_id, passage.start, passage.end) for passage in hits],
            [Span(one.document_id, one.start, one.end) for one in evidence],
            self._passages_of,
        )

    def _spans_of(self, document_id: str) -> tuple[Span, ...]:
        found = self._collection.passages(document_id)
        return tuple(Span(document_id, passage.start, passage.end) for passage in found)
