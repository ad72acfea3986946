"""The verifier alone: published claims with known verdicts, and true sentences that are made false.

For answers `Grounder` says yes or no. A claim of WiCE may also be supported in part, and then some part of
it between commas is supported although the whole is not: that is what is called partially supported here.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

from rag.gold_types import Claim
from rag.ground import Grounder
from rag.measures import LABELS
from rag.results import Passed
from rag.types import Evidence
from rag.words import content_terms, is_negation, numbers, words

LEAST_TERMS = 2
"""A part with fewer content words says too little to be a claim."""

_PARTS = re.compile(r"[,;:–—]\s+|\s+(?:and|but|while|which|who|where)\s+")
_VERBS = re.compile(r"\b(?:is|was|are|were|has|had|have|can|will|would|did|does)\b(?!n['’]t)")
KINDS = ("figure", "name", "negation")


def examine(claim: Claim, threshold: float) -> list[Passed]:
    """The claim's verdict, and those on its first supporting sentence, as it stands and made false.

    Of a claim without support only the first. A false sentence is made only where the true one passes: of
    a verifier that lets nothing through it says nothing that it stops this too.
    """
    evidence = _evidence(claim)
    grounder = Grounder(evidence, threshold=threshold)
    found = [_claim_passed(claim, grounder)]
    if not claim.supporting or not claim.supporting[0]:
        return found
    sentence = claim.sentences[claim.supporting[0][0]]
    if not content_terms(sentence):
        return found
    passes = grounder.check(sentence, "").supported
    found.append(_made(claim, "verbatim", sentence, {"verbatim_passed": float(passes)}, answerable=True))
    if passes:
        for kind in KINDS:
            # Seeded by the claim, so that the same falsehoods are told whatever else is in the file.
            false = corrupted(sentence, kind, claim.sentences, random.Random(f"{claim.id} {kind}"))
            if false is not None:
                caught = not grounder.check(false, "").supported
                found.append(_made(claim, kind, false, {f"{kind}_caught": float(caught)}, answerable=False))
    return found


def verdict_of(claim: str, grounder: Grounder) -> int:
    """The index in LABELS of what the verifier makes of a claim."""
    if grounder.check(claim, "").supported:
        return LABELS.index("supported")
    parts = [part for part in _PARTS.split(claim) if len(content_terms(part)) >= LEAST_TERMS]
    if len(parts) > 1 and any(grounder.check(part, "").supported for part in parts):
        return LABELS.index("partially_supported")
    return LABELS.index("not_supported")


def corrupted(sentence: str, kind: str, page: Sequence[str], chance: random.Random) -> str | None:
    """The sentence with one figure or one name exchanged for another of the same page (a figure is changed
    where the page has no other), or its verb negated. None where there is nothing to exchange or negate.
    """
    if kind == "figure":
        return _other_figure(sentence, page, chance)
    if kind == "name":
        return _other_name(sentence, page, chance)
    verb = _VERBS.search(sentence)
    if verb is None or any(is_negation(word) for word in words(sentence)):
        return None
    return f"{sentence[: verb.end()]} not{sentence[verb.end() :]}"


def _other_figure(sentence: str, page: Sequence[str], chance: random.Random) -> str | None:
    own = [number for number in numbers(sentence) if sentence[number.start : number.end].isdigit()]
    if not own:
        return None
    chosen = chance.choice(own)
    held = {number.value for number in numbers(sentence)}
    width = chosen.end - chosen.start
    others = sorted(
        {
            line[number.start : number.end]
            for line in page
            for number in numbers(line)
            if number.value not in held
            and number.end - number.start == width
            and line[number.start : number.end].isdigit()
        }
    )
    changed = [str(value) for value in range(10 ** (width - 1), 10**width) if value not in held][:1000]
    other = chance.choice(others or changed) if others or changed else None
    return None if other is None else sentence[: chosen.start] + other + sentence[chosen.end :]


def _other_name(sentence: str, page: Sequence[str], chance: random.Random) -> str | None:
    own = [word for word in words(sentence) if word.capital and word.term and not word.initial]
    held = content_terms(sentence)
    others = sorted(
        {
            word.text
            for line in page
            for word in words(line)
            if word.capital and not word.initial and word.term and word.term not in held
        }
    )
    if not own or not others:
        return None
    chosen = chance.choice(own)
    return sentence[: chosen.start] + chance.choice(others) + sentence[chosen.end :]


def _claim_passed(claim: Claim, grounder: Grounder) -> Passed:
    verdict = verdict_of(claim.text, grounder)
    scores = {"verdict": float(verdict), "label": float(LABELS.index(claim.label))}
    return Passed(
        id=claim.id,
        question=claim.text,
        kind=claim.label,
        answerable=claim.label == "supported",
        gold_answers=(claim.label,),
        gold=(),
        answer=None,
        scores=scores,
        confidence=None,
        signals={},
    )


def _made(claim: Claim, kind: str, text: str, scores: dict[str, float], *, answerable: bool) -> Passed:
    return Passed(f"{claim.id} {kind}", text, kind, answerable, (), (), None, scores, None, {})


def _evidence(claim: Claim) -> list[Evidence]:
    """The page's sentences as the pipeline would have them, one a line."""
    found, start = [], 0
    for number, sentence in enumerate(claim.sentences, 1):
        end = start + len(sentence)
        if sentence.strip():
            found.append(Evidence(number, claim.id, "", "", None, start, end, sentence, 0.0, ""))
        start = end + 1
    return found
