"""What a document sentence denies, hedges or says of somebody else, and a claim does not.

Coverage alone cannot tell "A beat B" from "B beat A", nor "did not" from "did": these checks look at
order and at the small words. Each gives its reason, or "" when it finds nothing.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from rag.types import Evidence
from rag.words import Number, Word, content_terms, is_hedge, is_negation

# Words between a negation or hedge and the word that it governs; "but" ends its reach.
SCOPE = 4

# "Not only", "no doubt": what follows is affirmed.
_NOT_DENIED = frozenset({"only", "just", "merely", "doubt"})

# Pairs of small words of which a text says one and a wrong claim the other.
_OPPOSED = (("against", "for"), ("before", "after"), ("up", "down"), ("above", "below"))
_BEING = frozenset("is are was were been be".split())
_AUXILIARIES = _BEING | frozenset("did does do has have had can could will would should".split())
_DENYING = content_terms(
    "deny denial refuse refusal fail failure lack reject rejection unable impossible absent absence ban avoid"
)
# What is tried, wished or asked for has not been done.
_UNDONE = content_terms("try attempt seek sought want wish hope expect intend ask urge demand promise agree")
# What somebody says, or thinks, need not be so; a question may be about just that.
_REPORTED = content_terms(
    "claim allege maintain insist argue believe think describe call report announce state deny"
)
_SAID = frozenset("say says said saying tell tells told telling".split())


@dataclass(frozen=True, slots=True)
class Source:
    """One document sentence, analysed."""

    evidence: Evidence
    words: tuple[Word, ...]
    terms: frozenset[str]
    names: frozenset[str]
    numbers: tuple[Number, ...]
    refers_back: bool
    possessed: frozenset[str]


@dataclass(frozen=True, slots=True)
class Said:
    """A claim or a question, analysed. `terms` leaves out what is written as part of a number."""

    text: str
    words: tuple[Word, ...]
    terms: frozenset[str]
    names: frozenset[str]
    numbers: tuple[Number, ...]
    acronyms: dict[str, frozenset[str]]


def contradiction(claim: Said, asked: Said, source: Source, opening: str) -> str:
    """What the source denies or hedges and the claim does not, or the other way round.

    `opening` is the "yes" or "no" in front of the claim, or empty.
    """
    shared = claim.terms & source.terms
    negated = any(is_negation(word) for word in claim.words)
    is_repeated = asked.terms <= claim.terms and not any(is_negation(word) for word in asked.words)
    if opening and is_repeated and (opening == "no") != negated:
        return f"it says {opening} and the opposite"
    denied_here = _governed(claim.words, _denies) & shared
    denied_there = _governed(source.words, _denies) & shared
    if denied_there - denied_here and not any(map(_denies, claim.words)):
        return "the cited text denies it"
    if negated and not any(map(_denies, source.words)):
        return "the cited text does not deny it"
    spoken, written = ({word.lower for word in found} for found in (claim.words, source.words))
    for one, other in _OPPOSED:
        for said, read in ((one, other), (other, one)):
            if said in spoken - written and read in written - spoken:
                return f"the cited text says {read}, not {said}"
    if _governed(source.words, is_hedge) & shared and not any(is_hedge(word) for word in claim.words):
        return "the cited text only says that it may be so"
    return ""


def denied(asked: Said, source: Source) -> bool:
    """Whether the source says that what is asked is not so: its verb is negated ("did not", "there was no"),
    and what stands behind the negation is in the question, which has none itself.

    Any other negation ("Kazan, not Moscow, is …", "hardly") may leave what is asked as it is. Where the
    question asks of a denial ("Did he refuse?"), that is what has to be negated.
    """
    if any(map(is_negation, asked.words)):
        return False
    predicate = asked.terms - asked.names
    if denial := predicate & _DENYING:
        predicate = denial
    for index, word in enumerate(source.words):
        before = source.words[index - 1].lower if index else ""
        is_verbal = word.lower.replace("’", "'").endswith("n't") or word.lower == "cannot"
        is_verbal |= word.lower == "not" and before in _AUXILIARIES
        is_verbal |= word.lower == "no" and before in _BEING
        if is_verbal and _governed(source.words[index : index + 1 + SCOPE], is_negation) & predicate:
            return True
    return False


def doubted(asked: Said, source: Source) -> bool:
    """Whether the source may say anything but a plain yes to what is asked: it denies something that the
    question does not deny, or the question something that it does not, or it hedges what is asked about, or
    says only that it was tried, wished or asked for, or that somebody says so."""
    if any(map(_denies, asked.words)) != any(map(_denies, source.words)):
        return True
    predicate = asked.terms - asked.names
    if _governed(source.words, is_hedge) & predicate and not any(map(is_hedge, asked.words)):
        return True
    undone = _UNDONE - asked.terms
    is_of_words = any(map(_reports, asked.words))

    def leaves_open(word: Word) -> bool:
        return word.term in undone or (not is_of_words and _reports(word))

    return bool(_governed(source.words, leaves_open) & predicate)


def crossed(claim: Said, sources: Sequence[Source]) -> str:
    """Names or figures of the cited text that the claim puts in another order: who did what to whom.

    A passive ("was met by") may turn the order of names round and say the same: it is let through.
    """
    source = sources[0]
    referred = {name for earlier in sources[1:] for name in earlier.names} - source.terms
    said_here = [word.start for word in claim.words if word.term in source.terms]
    for word in claim.words:
        # "It", "he" and "his" open the cited sentence: what they stand for has to open the claim.
        if word.term in referred & claim.names and said_here and word.start > min(said_here):
            return f"{word.text} stands at another place in the cited text"
    place: dict[str, int] = {}
    for word in source.words:
        place.setdefault(word.term, word.start)
    named = [word for word in claim.words if word.term in claim.names and word.term in place]
    if not any(word.lower == "by" for word in (*claim.words, *source.words)):
        for one, other in itertools.pairwise(named):
            if place[one.term] > place[other.term]:
                return f"{one.text} and {other.text} stand in another order in the cited text"
    for number in claim.numbers:
        figures = [figure for figure in source.numbers if figure.value == number.value]
        owner = next((word for word in reversed(named) if word.start < number.start), None)
        if owner and len(figures) == 1 and len(source.numbers) > 1:
            before = [w for w in source.words if w.term in source.names and w.start < figures[0].start]
            if before and before[-1].term not in claim.names:
                return f"the number {spelled(claim, number)} is said of {before[-1].text}"
        if len(figures) == 1 and _is_nearer_another(claim, source, figures[0]):
            return f"the number {spelled(claim, number)} is said of something else"
    return ""


def _is_nearer_another(claim: Said, source: Source, figure: Number) -> bool:
    """Whether most of what the claim says stands nearer to a figure that it does not give.

    "3,000 are there now, and 10,000 are expected" does not carry "10,000 are there now".
    """
    given = {number.value for number in claim.numbers}
    others = [number for number in source.numbers if number.value not in given]
    if not others:
        return False
    text = source.evidence.text
    bounds = [match.start() for match in re.finditer(r"[,;](?=\s)", text)]

    def distance(place: int, number: Number) -> tuple[int, int]:
        """Clauses apart, then characters."""
        first, last = sorted((place, number.start))
        return sum(first < bound < last for bound in bounds), last - first

    places = [word.start for word in source.words if word.term in claim.terms]
    farther = sum(
        min(distance(place, other) for other in others) < distance(place, figure) for place in places
    )
    return 2 * farther > len(places)


def _reports(word: Word) -> bool:
    return word.lower in _SAID or word.term in _REPORTED


def _denies(word: Word) -> bool:
    """A negation, or a verb or noun that is one: "failed to", "refused", "lack of"."""
    return is_negation(word) or word.term in _DENYING


def _governed(found: Iterable[Word], governs: Callable[[Word], bool]) -> set[str]:
    """Terms that stand within SCOPE words after a word for which `governs` is true."""
    result: set[str] = set()
    left = 0
    listed = list(found)
    for word, after in itertools.zip_longest(listed, listed[1:]):
        if governs(word) and not (after and after.lower in _NOT_DENIED):
            left = SCOPE
        elif word.lower in {"but", "until"}:
            left = 0
        elif left:
            left -= 1
            if word.term:
                result.add(word.term)
    return result


def spelled(said: Said, number: Number) -> str:
    return said.text[number.start : number.end]
