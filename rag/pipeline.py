"""From a question to a grounded answer: the whole story on one page.

    condense → retrieve → gate → draft → ground → judge → gate → emit

Nothing is emitted as an answer before it was checked. Where the draft does not pass, the first of a few
document sentences is quoted that the model takes for the answer; what the documents do not carry is
refused with the nearest passages. `quote` mode, or no generator, answers with verbatim sentences.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from index.types import Embedder, Searchable
from rag.compose import AnswerBuilder
from rag.condense import condense
from rag.config import RagSettings
from rag.counted import Counted
from rag.errors import GenerationCancelled
from rag.gate import Gate, draft_signals, retrieval_signals
from rag.ground import Grounder, Verdict, draft_sentences
from rag.prompts import (
    NOT_STATED,
    REFUSAL,
    STATED_CHOICES,
    UNNUMBERED,
    draft_question,
    evidence_prompt,
    judge_prompt,
    section_prompt,
    stated_probe,
    yes_prompt,
)
from rag.question import sound_question
from rag.retrieve import Retrieval, Retriever, section_of, sentences_of
from rag.types import (
    Answer,
    AnswerEvent,
    AnswerFinished,
    Evidence,
    EvidenceFound,
    Generator,
    Mode,
    Prompt,
    SentenceVerified,
    Timings,
    Turn,
    Usage,
    Withheld,
)

NEAREST = 3
JUDGED = 3
"""So many sentences are judged at most, one by one, until one is taken for the answer."""

AFFIRMED = 2.5
"""So much likelier, in nats, the model must find yes than no for a sentence to be quoted with a yes. Of 68
yes/no questions about single sentences of other texts, 19 of the 24 to be answered yes lie above it (from 2.8
on), the other 44 (no, or not said) below 2.2; of 18 more that were made to mislead, those above are such as
`Grounder.allows_yes` keeps out."""

UNFINISHED = "it was not finished"
"""Why the last sentence of a draft is withheld that reached its limit of tokens."""
NOT_STATED_ANYWHERE = "the documents do not seem to state it"
NOT_ANSWERING = "the sentence that comes nearest does not seem to answer the question"


class Observer:
    """Sees what an answer does not show. This one looks away: who wants to see overrides."""

    def retrieved(self, retrieval: Retrieval) -> None:
        """What was found for the question; `retrieval.question` is the one that stands alone."""

    def gated(self, stage: str, signals: Mapping[str, float]) -> None:
        """The gate was asked at this stage with these signals."""


UNOBSERVED = Observer()


@dataclass(slots=True)
class Asked:
    """What is gathered while one question is answered; private to one call of `stream`."""

    question: str
    standalone: str
    began: float
    cancelled: Callable[[], bool]
    observer: Observer
    builder: AnswerBuilder = field(default_factory=AnswerBuilder)
    withheld: list[Withheld] = field(default_factory=list)
    timings: Timings = field(default_factory=Timings)
    signals: dict[str, float] = field(default_factory=dict)
    reason: str = ""

    def elapsed_ms(self) -> int:
        return round((time.monotonic() - self.began) * 1000)

    def stamp(self, step: str) -> None:
        self.timings = replace(self.timings, **{step: self.elapsed_ms()})


class Pipeline:
    """Answers questions from one collection. Without a generator it quotes."""

    def __init__(
        self,
        collection: Searchable,
        embedder: Embedder,
        generator: Generator | None,
        settings: RagSettings,
        gate: Gate,
    ) -> None:
        self._collection = collection
        self._embedder = embedder
        self._generator = generator
        self._settings = settings
        self._gate = gate
        self._retriever = Retriever(collection, embedder)
        self.unread: Prompt | None = None
        """The section of the last question, when it is worth reading ahead."""

    def ask(
        self,
        question: str,
        history: Sequence[Turn] = (),
        *,
        mode: Mode = "compose",
        top: int | None = None,
        cancelled: Callable[[], bool] = lambda: False,
        observer: Observer = UNOBSERVED,
    ) -> Answer:
        """The finished answer. Raises QuestionError, ModelError, CollectionError, GenerationCancelled."""
        events = self.stream(question, history, mode=mode, top=top, cancelled=cancelled, observer=observer)
        for event in events:
            if isinstance(event, AnswerFinished):
                return event.answer
        raise AssertionError("a stream ends with its answer")

    def stream(
        self,
        question: str,
        history: Sequence[Turn] = (),
        *,
        mode: Mode = "compose",
        top: int | None = None,
        cancelled: Callable[[], bool] = lambda: False,
        observer: Observer = UNOBSERVED,
    ) -> Iterator[AnswerEvent]:
        """The evidence, then verified sentences one by one, then the answer."""
        began = time.monotonic()
        self.unread = None
        limit = self._settings.question_tokens
        question = sound_question(question, limit=limit, count_tokens=self._embedder.count_tokens)
        generator = Counted(self._generator) if self._generator is not None and mode == "compose" else None
        standalone = condense(question, history, generator, cancelled)
        asked = Asked(question, standalone, began, cancelled, observer)
        retrieval = self._retriever.retrieve(standalone, passages=self._settings.passages)
        asked.stamp("retrieve")
        observer.retrieved(retrieval)
        evidence = retrieval.sentences[: top or self._settings.evidence]
        asked.stamp("first_evidence")
        yield EvidenceFound(evidence)
        asked.signals = retrieval_signals(retrieval)
        if not evidence:
            asked.reason = "the collection holds nothing that resembles the question"
        elif generator is None:
            yield from self._quote(asked, retrieval)
        else:
            yield from self._write(asked, retrieval, evidence, generator)
        yield AnswerFinished(self._finished(asked, evidence, generator))

    def _opens(self, asked: Asked, stage: str) -> bool:
        asked.observer.gated(stage, asked.signals)
        return self._gate.opens(stage, asked.signals)

    # -- quoting --------------------------------------------------------------------------------

    def _quote(self, asked: Asked, retrieval: Retrieval) -> Iterator[AnswerEvent]:
        if not self._opens(asked, "quote"):
            asked.reason = "no sentence of the documents is close enough to the question"
            return
        yield self._quoted(asked, retrieval.sentences[0])

    def _quoted(self, asked: Asked, source: Evidence, opening: str = "") -> SentenceVerified:
        return asked.builder.add(opening + " ".join(source.text.split()), [source], 1.0)

    # -- writing --------------------------------------------------------------------------------

    def _write(
        self, asked: Asked, retrieval: Retrieval, evidence: Sequence[Evidence], generator: Generator
    ) -> Iterator[AnswerEvent]:
        prompt, read = self._choose(retrieval, evidence, generator)
        asked.signals["stated"] = _stated(prompt, asked, generator)
        if not self._opens(asked, "before"):
            asked.reason = NOT_STATED_ANYWHERE
            return
        grounder = Grounder(read, threshold=self._settings.support)
        verdicts = [
            grounder.check(sentence, asked.standalone) for sentence in self._draft(asked, prompt, generator)
        ]
        chief = next((verdict for verdict in verdicts if verdict.supported), next(iter(verdicts), None))
        asked.signals |= draft_signals(chief, asked.standalone)
        for place, source in enumerate(_likely(chief, evidence)):
            asked.signals["judged"] = _judged(source, asked, generator)
            if place == 0 and chief and chief.supported and self._opens(asked, "after"):
                for verdict in verdicts:
                    if verdict.supported:
                        yield asked.builder.add(verdict.text, verdict.sources, verdict.score)
                    else:
                        asked.withheld.append(Withheld(verdict.text, verdict.reason))
                return
            if self._opens(asked, "verbatim"):
                asked.withheld += _withheld(verdicts)
                yield self._quoted(asked, source, _opening(source, asked, grounder, generator))
                return
        asked.withheld += _withheld(verdicts)
        asked.reason = NOT_ANSWERING if verdicts else "the model found no answer in them"

    def _choose(
        self, retrieval: Retrieval, evidence: Sequence[Evidence], generator: Generator
    ) -> tuple[Prompt, list[Evidence]]:
        """The fixed prompt, and the sentences that count as read: the section's, or the passages'."""
        prompt, sentences = self._section(retrieval)
        if generator.has_reading(prompt):
            self.unread = None
            return prompt, sentences
        self.unread = prompt
        return evidence_prompt(self._packed(retrieval, evidence)), list(retrieval.sentences)

    def section_for(self, question: str, history: Sequence[Turn] = ()) -> Prompt | None:
        """What a question would have read first; None where nothing resembles it. Runs no model."""
        standalone = condense(question, history, None)
        retrieval = self._retriever.retrieve(standalone, passages=self._settings.passages)
        return self._section(retrieval)[0] if retrieval.sentences else None

    def _section(self, retrieval: Retrieval) -> tuple[Prompt, list[Evidence]]:
        """The section of the best sentence as a prompt, and its sentences."""
        best = retrieval.sentences[0]
        hit = next(
            hit
            for hit in retrieval.hits
            if hit.passage.document_id == best.document_id
            and hit.passage.start <= best.start < hit.passage.end
        )
        document = self._collection.document(best.document_id)
        passages = self._collection.passages(best.document_id)
        section = section_of(passages, hit.passage, max_tokens=self._settings.section_tokens)
        prompt = section_prompt(document.text[section[0].start : section[-1].end], document.id)
        return prompt, sentences_of(document, section)

    def _packed(self, retrieval: Retrieval, evidence: Sequence[Evidence]) -> list[Evidence]:
        """The best sentences that fit, each with the one before it where that fits too, in order."""
        ordered = sorted(retrieval.sentences, key=_place)
        before = {
            later: earlier
            for earlier, later in pairwise(ordered)
            if earlier.document_id == later.document_id and 0 <= later.start - earlier.end <= 2
        }
        costs = dict(
            zip(ordered, self._embedder.count_tokens([sentence.text for sentence in ordered]), strict=True)
        )
        chosen: set[Evidence] = set()
        left = self._settings.evidence_tokens
        for wanted in (*evidence, *(before[item] for item in evidence[:3] if item in before)):
            cost = costs[wanted] + 4
            if wanted not in chosen and (cost <= left or not chosen):
                chosen.add(wanted)
                left -= cost
        return [replace(item, number=number) for number, item in enumerate(sorted(chosen, key=_place), 1)]

    def _draft(self, asked: Asked, prompt: Prompt, generator: Generator) -> list[str]:
        """The whole sentences of the draft.

        Split once, at its end: where a sentence ends can depend on what follows it (" “" before a name).
        """
        draft = ""
        pieces = generator.generate(
            replace(prompt, question=draft_question(asked.standalone)),
            max_tokens=self._settings.answer_tokens,
            temperature=self._settings.temperature,
            seed=self._settings.seed,
            grammar=UNNUMBERED,
            cancelled=asked.cancelled,
        )
        stop = ""
        for piece in pieces:
            if not draft and piece.text:
                asked.stamp("first_token")
            draft += piece.text
            if piece.usage is not None:
                stop = piece.stop
        found = draft_sentences(draft)
        if stop == "length" and found:
            # Cut off in mid-sentence: a torn sentence is not a statement.
            asked.withheld.append(Withheld(found.pop(), UNFINISHED))
        return [sentence for sentence in found if not _declines(sentence)]

    # -- the end --------------------------------------------------------------------------------

    def _finished(self, asked: Asked, evidence: Sequence[Evidence], generator: Counted | None) -> Answer:
        if asked.cancelled():
            raise GenerationCancelled("the answer was no longer wanted")
        asked.stamp("total")
        builder = asked.builder
        return Answer(
            status="answered" if builder.text else "unanswerable",
            answer=builder.text or REFUSAL,
            sentences=builder.sentences,
            citations=builder.citations,
            nearest=() if builder.text else tuple(evidence[:NEAREST]),
            withheld=tuple(asked.withheld),
            reason="" if builder.text else asked.reason,
            question=asked.question,
            model=generator.name if generator else "",
            collection=self._collection.name,
            usage=generator.usage if generator else Usage(),
            timings_ms=asked.timings,
        )


def _stated(prompt: Prompt, asked: Asked, generator: Generator) -> float:
    """How much likelier the model is to say that the answer is stated than that it is not, in nats."""
    return _margin(replace(prompt, question=stated_probe(asked.standalone)), asked, generator)


def _judged(source: Evidence, asked: Asked, generator: Generator) -> float:
    """How much likelier the model is to say that this one sentence answers the question than not, in nats."""
    return _margin(judge_prompt(source.text, asked.standalone), asked, generator)


def _margin(prompt: Prompt, asked: Asked, generator: Generator) -> float:
    yes, no = generator.choose(prompt, STATED_CHOICES, asked.cancelled).scores
    return yes - no


def _opening(source: Evidence, asked: Asked, grounder: Grounder, generator: Generator) -> str:
    """What a quotation says to a question that wants yes or no, where that is beyond doubt."""
    if grounder.denies(source, asked.standalone):
        return "No: "
    if not grounder.allows_yes(source, asked.standalone):
        return ""
    prompt = yes_prompt(source.text, asked.standalone)
    return "Yes: " if _margin(prompt, asked, generator) >= AFFIRMED else ""


def _likely(chief: Verdict | None, evidence: Sequence[Evidence]) -> list[Evidence]:
    """What may be quoted, the likeliest first: where the draft was read, whether or not it is fit to be
    shown, then the best of the evidence."""
    drafted = [chief.main] if chief and chief.main else []
    distinct: dict[tuple[str, int], Evidence] = {}
    for sentence in (*drafted, *evidence):
        # Ranked and read sentences differ in number and score where they are the same range.
        distinct.setdefault(_place(sentence), sentence)
    return list(distinct.values())[:JUDGED]


def _withheld(verdicts: Sequence[Verdict]) -> list[Withheld]:
    return [Withheld(verdict.text, verdict.reason or NOT_ANSWERING) for verdict in verdicts]


def _declines(sentence: str) -> bool:
    return sentence.strip().casefold().startswith(NOT_STATED.casefold())


def _place(evidence: Evidence) -> tuple[str, int]:
    return evidence.document_id, evidence.start
