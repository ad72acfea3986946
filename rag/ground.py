"""Draft + evidence → supported sentences with citations, or the reason why a sentence is withheld.

A drafted sentence is first *attributed*: the document sentence that holds most of its content is
found among all that were read, whatever number the model gave, and the sentences before it are added
only where it refers back to them ("he", "the visit"). Then it is *checked* against exactly those:

- every number in it must stand in them, by value;
- every name, month and weekday in it must stand in them;
- its other words must be covered, and what the question presupposes must be there too;
- where a number was asked for it must give one;
- what they deny it may not affirm, and the other way round; what they hedge it may not assert.

The check is lexical on purpose: it can be explained, costs microseconds, and holds for every model.
"""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import sentencex

from rag.contradiction import Said, Source, contradiction, crossed, denied, doubted, spelled
from rag.question import is_amount, is_yes_no, wants_number
from rag.types import Evidence
from rag.words import (
    Word,
    acronyms,
    content_terms,
    is_same_name,
    names,
    numbers,
    words,
)

# Share of what a draft adds to the question that a sentence must hold for the draft to point to it.
LEAST_POINTED = 0.8
# How far back a sentence may refer, in sentences of the same document.
REACH = 3
# Code points between neighbours: more than an empty line means that sentences in between were not read.
GAP = 4
# The largest number of document sentences that one drafted sentence may need.
MOST_SOURCES = 3
# How many document sentences are tried as the one that carries a drafted sentence.
CANDIDATES = 4
# What a figure found in a document sentence counts for, beside words: as much as a rare one.
NUMBER_WEIGHT = 3.0
# Smaller numbers in a question ("the two sides", "the first day") need not stand in the cited text.
LEAST_FIGURE = 13
# Share of the question's words that the cited text must hold even when all that is new is there.
LEAST_ASKED = 0.25
_MARK = re.compile(r"\s*\[\d+\]")
_YES_NO = re.compile(r"^(yes|no)\b[\s,.:;—–-]*", re.IGNORECASE)
# Words by which a sentence refers to what was named before: by themselves, or for what they possess.
_REFERRING = frozenset("he she him hers they them theirs it this that these those such we".split())
_POSSESSING = frozenset("his her their its our".split())


@dataclass(frozen=True, slots=True)
class Verdict:
    """Of one drafted sentence. `score` in [0, 1] is the weighted share of its content that is covered.

    `sources` carry it, in document order, as few as possible; empty unless `supported`. `reason` says
    why it is not supported. `main` is the document sentence that it was taken from: of a supported one the
    first that carries it, else the one that holds nearly all that it adds to the question, if there is one.
    `invented` counts its names and figures that stand neither in the question nor in anything read.
    """

    text: str
    supported: bool
    score: float
    sources: tuple[Evidence, ...]
    reason: str = ""
    main: Evidence | None = None
    invented: int = 0


class _Held:
    """What a set of document sentences holds together, their titles included for names and topic.

    With `asked`, a title counts for what is asked about alone: what an answer adds stands in the sentences.
    """

    def __init__(self, sources: Sequence[Source], asked: Said | None = None) -> None:
        titles = " ".join({source.evidence.title for source in sources})
        if asked is not None:
            known = asked.terms | set(asked.acronyms)
            titles = " ".join(
                word.text
                for word in words(titles)
                if any(is_same_name(word.term, term) for term in known if word.term)
            )
        self.terms = frozenset().union(*(source.terms for source in sources))
        self.quantities = {number.quantity for source in sources for number in source.numbers}
        self.values = {number.value for source in sources for number in source.numbers}
        self._wide = self.terms | content_terms(titles)
        self._acronyms = acronyms(titles)
        for source in sources:
            self._acronyms |= acronyms(source.evidence.text)

    def has(self, term: str, said: Said) -> bool:
        """In the sentences; a name also in a title, as adjective, or as initials spelled out or not."""
        if term in self.terms:
            return True
        if term not in said.names:
            return False
        if term in self._acronyms or any(is_same_name(term, held) for held in self._wide):
            return True
        return any(term in parts and initials in self._wide for initials, parts in said.acronyms.items())

    def missing(self, terms: Iterable[str], said: Said) -> list[str]:
        """Those terms, as `said` spells them, that are not held."""
        lost = {term for term in terms if not self.has(term, said)}
        return list(dict.fromkeys(word.text for word in said.words if word.term in lost))


class Grounder:
    """Attributes and checks drafted sentences against a fixed set of document sentences."""

    def __init__(self, evidence: Sequence[Evidence], *, threshold: float) -> None:
        """`threshold`: the weighted share of a sentence's content words that its citation must hold."""
        ordered = sorted(evidence, key=lambda item: (item.document_id, item.start))
        self._sources = [_analysed(item) for item in ordered]
        self._threshold = threshold
        self._frequency = Counter(term for source in self._sources for term in source.terms)
        self._written_small = {
            word.term for source in self._sources for word in source.words if not word.capital and word.term
        }

    def check(self, sentence: str, question: str) -> Verdict:
        """The verdict on one drafted sentence, given the question that it answers."""
        text = clean(sentence)
        claim = self._said(_YES_NO.sub("", text))
        if not claim.terms and not claim.numbers:
            # A bare "Yes." says nothing that a document could carry.
            return Verdict(text, False, 0.0, (), "it states nothing of its own")
        asked = self._said(question)
        answer = _YES_NO.match(text)
        opening = answer[1].casefold() if answer else ""
        best: Verdict | None = None
        for main in self._said_again(text):
            if not (reason := self._beside(asked, _Held(self._context(main)))):
                evidence = self._sources[main].evidence
                return Verdict(text, True, 1.0, (evidence,), main=evidence)
            best = Verdict(text, False, 0.0, (), reason, self._sources[main].evidence)
        if best is not None:
            return best
        for main in self._candidates(claim, asked):
            chosen = [self._sources[index] for index in self._sources_for(main, claim)]
            score, reason = self._judge(claim, asked, chosen, self._context(main), opening)
            carried = () if reason else tuple(item.evidence for item in sorted(chosen, key=_place))
            verdict = Verdict(text, not reason, round(score, 4), carried, reason, chosen[0].evidence)
            if best is None or (verdict.supported, verdict.score) > (best.supported, best.score):
                best = verdict
        if best is None:
            best = Verdict(text, False, 0.0, (), "no document sentence shares its words")
        if best.supported:
            return best
        return replace(best, main=self._pointed(claim, asked), invented=self._invented(claim, asked))

    def denies(self, evidence: Evidence, question: str) -> bool:
        """Whether this sentence, one of those given, says no to a question that wants yes or no."""
        asked = self._said(question)
        return is_yes_no(question) and any(
            denied(asked, self._sources[main]) and not self._beside(asked, _Held(self._context(main)))
            for main in self._places(evidence)
        )

    def allows_yes(self, evidence: Evidence, question: str) -> bool:
        """Whether nothing in this sentence, one of those given, stands against a yes to a question that wants
        yes or no: it neither denies nor hedges what is asked, turns nothing round and holds its figures. That
        it says yes is for a model to judge."""
        asked = self._said(question)
        if not is_yes_no(question) or any(word.lower == "or" for word in asked.words):
            return False
        figures = {number.quantity for number in asked.numbers}
        return any(
            not doubted(asked, source)
            and not contradiction(asked, asked, source, "")
            and not crossed(asked, self._context(main))
            and figures <= {number.quantity for number in source.numbers}
            and not self._beside(asked, _Held(self._context(main)))
            for main in self._places(evidence)
            for source in [self._sources[main]]
        )

    def _places(self, evidence: Evidence) -> list[int]:
        return [index for index, source in enumerate(self._sources) if _place(source) == _at(evidence)]

    # -- attribution ----------------------------------------------------------------------------

    def _said_again(self, text: str) -> list[int]:
        """The document sentences that `text` repeats word for word. What they say they carry, whatever
        they deny or hedge: only whether it is what was asked is left to check."""
        return [index for index, source in enumerate(self._sources) if clean(source.evidence.text) == text]

    def _candidates(self, claim: Said, asked: Said) -> list[int]:
        """The sentences most likely to carry the claim, best first; the question breaks ties."""
        values = {number.value for number in claim.numbers}
        gains = [self._gain(index, claim.terms, values, asked) for index in range(len(self._sources))]
        ranked = sorted(range(len(gains)), key=gains.__getitem__, reverse=True)[:CANDIDATES]
        return [index for index in ranked if gains[index][0] > 0]

    def _pointed(self, claim: Said, asked: Said) -> Evidence | None:
        """The sentence that holds nearly all that the claim adds to the question: where that was read, the
        answer was, however the question words the rest. None where it adds nothing, or more than is held."""
        terms, values = _added(claim, asked)
        gains = [self._gain(index, terms, values, asked) for index in range(len(self._sources))]
        best = max(range(len(gains)), key=gains.__getitem__, default=None)
        whole = sum(map(self._weight, terms)) + NUMBER_WEIGHT * len(values)
        if best is None or gains[best][0] <= LEAST_POINTED * whole:
            return None
        return self._sources[best].evidence

    def _invented(self, claim: Said, asked: Said) -> int:
        terms, values = _added(claim, asked)
        read = {number.value for source in self._sources for number in source.numbers}
        return len(values - read) + sum(not self._frequency[term] for term in terms & claim.names)

    def _gain(
        self, index: int, terms: frozenset[str], values: set[float], asked: Said
    ) -> tuple[float, float, int]:
        """How much of these the sentence holds; then how much of the question; of equal ones the first."""
        source = self._sources[index]
        own = sum(self._weight(term) for term in terms & source.terms)
        own += NUMBER_WEIGHT * len(values & {number.value for number in source.numbers})
        return own, sum(self._weight(term) for term in asked.terms & source.terms), -index

    def _weight(self, term: str) -> float:
        """Rarer among the sentences that were read, heavier."""
        return math.log(1 + (len(self._sources) + 1) / (self._frequency[term] + 0.5))

    def _sources_for(self, main: int, claim: Said) -> list[int]:
        """`main`, and earlier sentences that name what it refers back to, as few as possible."""
        chosen = [main]
        source = self._sources[main]
        if source.possessed and not source.possessed & claim.terms:
            # "His visit was condemned" says nothing of him that does not speak of the visit.
            return chosen
        missing = claim.names - source.terms - self._fuller(claim, source.terms)
        for index in self._before(main):
            if len(chosen) == MOST_SOURCES or not missing:
                break
            if missing & self._sources[index].names:
                chosen.append(index)
                missing -= self._sources[index].terms
        return chosen

    def _fuller(self, claim: Said, held: frozenset[str]) -> frozenset[str]:
        """Names that only complete one that is held, as the documents do: "Vladimir" where they have
        "Vladimir V. Putin" and the cited sentence says "Mr. Putin"."""
        found: set[str] = set()
        for one, other in itertools.pairwise(claim.words):
            pair = {one.term, other.term}
            is_name = pair <= claim.names and claim.text[one.end : other.start].isspace()
            if is_name and other.term in held and any(pair <= source.names for source in self._sources):
                found.add(one.term)
        return frozenset(found)

    def _before(self, main: int) -> list[int]:
        """The sentences that `main` can refer back to, nearest first; none if it begins anew."""
        if not self._sources[main].refers_back:
            return []
        found: list[int] = []
        for index in range(main - 1, max(main - REACH, 0) - 1, -1):
            earlier, later = self._sources[index].evidence, self._sources[index + 1].evidence
            if earlier.document_id != later.document_id or later.start - earlier.end > GAP:
                break
            found.append(index)
        return found

    def _context(self, main: int) -> list[Source]:
        """What was asked about may stand a little before; that is context, not evidence to cite."""
        return [self._sources[index] for index in (main, *self._before(main))]

    # -- the check ------------------------------------------------------------------------------

    def _judge(
        self, claim: Said, asked: Said, sources: list[Source], context: list[Source], opening: str
    ) -> tuple[float, str]:
        """The share of the claim that is covered, and what is wrong with it ("" when nothing is)."""
        held, around = _Held(sources, asked), _Held([*sources, *context])
        # "The two sides" may be repeated from a question; "Did five drown?" asks whether it was five.
        taken = set() if is_yes_no(asked.text) else {n.value for n in asked.numbers if n.value <= 2}
        for number in claim.numbers:
            if number.quantity not in held.quantities and number.value not in taken:
                return 0.0, f"the number {spelled(claim, number)} is not in the cited text"
        if beside := self._foreign_figure(asked, around):
            return 0.0, beside
        stated = claim.terms - self._fuller(claim, held.terms)
        if lost := held.missing(claim.names & stated, claim):
            return 0.0, f"the name {lost[0]} is not in the cited text"

        if not any(_added(claim, asked)) and not is_yes_no(asked.text):
            return 0.0, "it only repeats the question"
        if wants_number(asked.text) and not claim.numbers and not any(map(is_amount, claim.words)):
            return 0.0, "it gives no number, and one was asked for"
        claim_share = self._share(stated, held, claim)
        asked_share = self._share(asked.terms, around, asked)
        score = 0.6 * claim_share + 0.4 * asked_share
        if wrong := contradiction(claim, asked, sources[0], opening) or crossed(claim, sources):
            return score, wrong
        if foreign := [term for term in stated if not self._frequency[term] and not held.has(term, claim)]:
            # One word that stands nowhere can turn a sentence round, however much of the rest is covered.
            return score, f"not in the cited text: {', '.join(held.missing(foreign, claim))}"
        if claim_share < self._threshold:
            return (
                score,
                f"not in the cited text: {', '.join(held.missing(claim.terms, claim))}",
            )
        return score, self._beside(asked, around)

    def _beside(self, asked: Said, around: _Held) -> str:
        """What the question presupposes and the cited text, with what stands around it, does not hold."""
        if figure := self._foreign_figure(asked, around):
            return figure
        if lost := around.missing(asked.names, asked):
            return f"the cited text does not speak of {lost[0]}"
        if asked.terms and self._share(asked.terms, around, asked) < LEAST_ASKED:
            return "the cited text is not about what was asked"
        return ""

    def _foreign_figure(self, asked: Said, around: _Held) -> str:
        for number in asked.numbers:
            # "The two countries" presupposes nothing that a text would put in figures.
            if number.value >= LEAST_FIGURE and number.value not in around.values:
                return f"the cited text does not speak of {spelled(asked, number)}"
        return ""

    def _share(self, terms: Iterable[str], held: _Held, said: Said) -> float:
        """The weighted share of `terms` that is held; 1 of no terms."""
        weights = {term: self._weight(term) for term in terms}
        total = sum(weights.values())
        return sum(w for term, w in weights.items() if held.has(term, said)) / total if total else 1.0

    def _said(self, text: str) -> Said:
        found = tuple(words(text))
        figures = tuple(numbers(text))
        spans = [(number.start, number.end) for number in figures]
        terms = frozenset(
            word.term
            for word in found
            if word.term and not any(start <= word.start < end for start, end in spans)
        )
        proper = set(names(text))
        first = next((word for word in found if word.term), None)
        if first and first.capital and first.start == 0 and first.term not in self._written_small:
            # A capital at the beginning is a name unless the documents write the word small.
            proper.add(first.term)
        return Said(text, found, terms, frozenset(proper & terms), figures, acronyms(text))


def _added(claim: Said, asked: Said) -> tuple[frozenset[str], set[float]]:
    """Words and figures of the claim that the question does not have."""
    known = {number.value for number in asked.numbers}
    terms = (term for term in claim.terms if not any(is_same_name(term, other) for other in asked.terms))
    return frozenset(terms), {number.value for number in claim.numbers if number.value not in known}


def draft_sentences(draft: str) -> list[str]:
    """The sentences of a draft, without surrounding space. A bare "Yes." goes with what follows it."""
    found: list[str] = []
    for line in draft.splitlines():
        for part in map(str.strip, sentencex.segment("en", line)):
            if part and found and not _YES_NO.sub("", found[-1]):
                found[-1] += " " + part
            elif part:
                found.append(part)
    return found


def clean(sentence: str) -> str:
    """A drafted sentence without footnote numbers, markup and doubled space, ending as a sentence does."""
    text = " ".join(_MARK.sub("", sentence).replace("**", "").split()).strip()
    if text and text[-1] not in ".!?…”\"'’)":
        text += "."
    return text


def _analysed(evidence: Evidence) -> Source:
    found = tuple(words(evidence.text))
    first_name = next((index for index, word in enumerate(found) if word.capital and word.term), len(found))
    opening = found[:first_name]
    return Source(
        evidence=evidence,
        words=found,
        terms=frozenset(word.term for word in found if word.term),
        names=frozenset(word.term for word in found if word.capital and word.term),
        numbers=tuple(numbers(evidence.text)),
        # "Kyiv has said …" begins anew; "He said …" and "His visit …" need what came before.
        refers_back=any(word.lower in _REFERRING | _POSSESSING for word in opening),
        possessed=frozenset() if any(w.lower in _REFERRING for w in opening) else _possessed(found, opening),
    )


def _possessed(found: Sequence[Word], opening: Sequence[Word]) -> frozenset[str]:
    """What belongs to the one who is referred to: "visit" of "His long-planned visit was condemned"."""
    index = next((i for i, word in enumerate(opening) if word.lower in _POSSESSING), None)
    if index is None:
        return frozenset()
    noun_phrase = itertools.takewhile(lambda word: word.term, found[index + 1 :])
    return frozenset(word.term for word in noun_phrase)


def _place(source: Source) -> tuple[str, int]:
    return _at(source.evidence)


def _at(evidence: Evidence) -> tuple[str, int]:
    return evidence.document_id, evidence.start
