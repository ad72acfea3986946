"""How well an answer's words meet the gold answers.

Exact match and F1 are SQuAD's own, so that scores compare with those published. `contains` and
`is_correct` judge sentences that hold the answer, and read numbers.
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import regex

from rag.metrics import mean_defined
from rag.types import Answer
from rag.words import numbers

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)
_MARKS = re.compile(r"\s*((?:\[\d+\])+)")
# Taken out, not turned into space, since the neighbours belong together: "Putin’s", "isn't", "U.N.".
_INSIDE = re.compile(r"['’]s\b|['’]|(?<=\b[^\W\d_])\.")
# All else that is no letter, figure or vowel sign parts words, but for the point of a decimal. `re` takes
# the vowel signs of Hindi, Thai and others for punctuation.
_BETWEEN = regex.compile(r"(?<!\d)\.|\.(?!\d)|[^\w.]|_")

# What sets the parts of a list apart: "Brazil, Russia, and India", "the one; the other".
_LISTED = re.compile(r"[,;]\s+(?:and\s+)?|\s+and\s+")


@dataclass(frozen=True, slots=True)
class Squad2:
    """SQuAD 2.0's scores as shares; those of a class are None if there is no question of it."""

    exact: float | None
    f1: float | None
    has_answer_exact: float | None
    has_answer_f1: float | None
    no_answer: float | None
    """Exact match and F1 are the same where there is no answer: 1 for a refusal, else 0."""
    has_answer_count: int
    no_answer_count: int


def plain_answer(answer: Answer) -> str:
    """The answer without its footnote numbers, as gold answers are written; "" for a refusal.

    Only marks at the end of a citation's range go: "[3]" that was quoted from a document stays.
    """
    return _without_marks(answer, 0, len(answer.answer)).strip() if answer.status == "answered" else ""


def plain_sentences(answer: Answer) -> tuple[str, ...]:
    """The sentences of the answer without their footnote numbers, in order."""
    return tuple(_without_marks(answer, sentence.start, sentence.end) for sentence in answer.sentences)


def _without_marks(answer: Answer, start: int, end: int) -> str:
    numbers_used = {str(citation.number) for citation in answer.citations}
    parts = []
    for stop in sorted({citation.answer_end for citation in answer.citations}):
        if not start < stop <= end:
            continue
        mark = _MARKS.match(answer.answer, stop, end)
        if mark and set(re.findall(r"\d+", mark[1])) <= numbers_used:
            parts.append(answer.answer[start:stop])
            start = mark.end()
    return "".join(parts) + answer.answer[start:end]


def normalised(text: str) -> str:
    """SQuAD's `normalize_answer` (Rajpurkar et al. 2016, evaluate-v1.1 and v2.0), step by step.

    Lower case; ASCII punctuation taken out, its neighbours joined; "a", "an", "the" taken out; white
    space made single.
    """
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def exact_match(prediction: str, answers: Sequence[str]) -> float:
    """1 if the prediction equals an answer after SQuAD's normalisation, else 0 (evaluate-v2.0).

    Without answers, and where all of them normalise to nothing, the right prediction is "".
    """
    return float(normalised(prediction) in {normalised(answer) for answer in _golds(answers)})


def token_f1(prediction: str, answers: Sequence[str]) -> float:
    """The best F1 of the prediction's tokens, as a bag, with those of an answer (evaluate-v2.0).

    Without answers, and where all of them normalise to nothing, 1 for "" and 0 for anything else.
    """
    return max(_f1(normalised(prediction).split(), normalised(answer).split()) for answer in _golds(answers))


def _golds(answers: Sequence[str]) -> Sequence[str]:
    return [answer for answer in answers if normalised(answer)] or [""]


def _f1(predicted: list[str], gold: list[str]) -> float:
    if not predicted or not gold:
        return float(predicted == gold)
    same = (Counter(predicted) & Counter(gold)).total()
    return 2 * same / (len(predicted) + len(gold))


def squad2_scores(predictions: Sequence[str], answers: Sequence[Sequence[str]]) -> Squad2:
    """Exact match and F1 over all questions, those with and those without an answer (evaluate-v2.0).

    A refusal is the prediction "", an unanswerable question one without answers. The published script
    gives percentages, this gives shares. ValueError if the two differ in length.
    """
    exact, f1 = [], []
    for prediction, golds in zip(predictions, answers, strict=True):
        exact.append(exact_match(prediction, golds))
        f1.append(token_f1(prediction, golds))
    has = [index for index, golds in enumerate(answers) if golds]
    none = [index for index, golds in enumerate(answers) if not golds]
    return Squad2(
        exact=mean_defined(exact),
        f1=mean_defined(f1),
        has_answer_exact=mean_defined(exact[index] for index in has),
        has_answer_f1=mean_defined(f1[index] for index in has),
        no_answer=mean_defined(exact[index] for index in none),
        has_answer_count=len(has),
        no_answer_count=len(none),
    )


def contains(prediction: str, answers: Sequence[str]) -> bool | None:
    """Whether an answer stands in the prediction, word for word (answer recall of Adlakha et al. 2024).

    SQuAD's normalisation, and beyond it: all Unicode punctuation counts, hyphens and dashes part words,
    possessives go, numbers are compared by value ("twelve thousand" is "12,000"), and the word after a
    number may lose its plural s ("three-day" is "3 days"). Words are whole: "art" is not in "Bart"; what
    is written without spaces, as Chinese is, is one word. None without answers that have a word in them.
    """
    golds = [words for answer in answers if (words := _words(answer))]
    if not golds:
        return None
    said = _words(prediction)
    return any(
        _is_same(gold, said[start : start + len(gold)])
        for gold in golds
        for start in range(len(said) - len(gold) + 1)
    )


def _words(text: str) -> list[str]:
    parts, position = [], 0
    for number in numbers(text):
        parts += [text[position : number.start], f" {number.value:.15g} "]
        position = number.end
    folded = unicodedata.normalize("NFC", "".join([*parts, text[position:]])).casefold()
    apart = _BETWEEN.sub(" ", _INSIDE.sub("", folded).replace("%", " percent "))
    return _ARTICLES.sub(" ", apart).split()


def _is_same(gold: list[str], said: list[str]) -> bool:
    return all(
        one == other or (counted and one.removesuffix("s") == other.removesuffix("s"))
        for one, other, counted in zip(gold, said, [False, *map(str.isdigit, gold)], strict=False)
    )


def contains_all(prediction: str, answers: Sequence[str]) -> bool | None:
    """Whether all that an answer lists stands in the prediction, in any order and with other words between.

    "condemned by Kyiv and by Navalny's widow" holds the list "Kyiv and Navalny's widow", though not word for
    word. A list's parts are what commas, semicolons and "and" set apart; each is looked for as in `contains`.
    None without answers that have a word in them.
    """
    lists = [[part for part in _LISTED.split(answer) if _words(part)] for answer in answers]
    if not any(lists):
        return None
    return any(parts and all(contains(prediction, [part]) for part in parts) for parts in lists)


def is_correct(prediction: str, answers: Sequence[str], *, is_list: bool = False) -> bool | None:
    """Whether the answer is right. Where the first gold answer is "yes" or "no", the prediction's first
    word must be the same; elsewhere it must contain an answer, of a list all its parts. None without gold
    answers.
    """
    if answers and answers[0] in {"yes", "no"}:
        return _words(prediction)[:1] == [answers[0]]
    return contains_all(prediction, answers) if is_list else contains(prediction, answers)
