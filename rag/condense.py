"""A follow-up question → one that stands alone; a question that stands alone is left as it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rag.prompts import condense_prompt
from rag.types import Generator, Turn
from rag.words import Word, content_terms, names, words

_LEANING = frozenset(
    """he him his she her hers they them their theirs it its this that these those there then one ones
    same other another else such""".split()
)
_OPENINGS = ("and ", "but ", "or ", "so ", "what about", "how about", "why not", "what else", "who else")
# Turns that a rewrite sees: what a follow-up refers to is nearly always in the last exchange or two.
_TURNS = 4


def leans(question: str) -> bool:
    """Whether the question refers to what was said before: a pronoun, or too little to stand alone."""
    lower = question.casefold().strip()
    if lower.startswith(_OPENINGS):
        return True
    found = list(words(question))
    if any(word.lower in _LEANING and not _introduces(found, index) for index, word in enumerate(found)):
        return True
    return len(content_terms(question)) < 2 and not names(question)


def _introduces(found: Sequence[Word], index: int) -> bool:
    """ "that" before a clause ("says that Russia …", "that the troops …") refers to nothing earlier."""
    if found[index].lower != "that" or index < 2 or index + 1 == len(found):
        return False
    following = found[index + 1]
    return following.capital or following.lower in {"the", "a", "an"}


def condense(
    question: str,
    history: Sequence[Turn],
    generator: Generator | None,
    cancelled: Callable[[], bool] = lambda: False,
) -> str:
    """The question, rewritten to stand alone where it leans on `history`.

    A rewrite is used only if each of its names was said before; else, and without a generator, the
    last question asked is put in front, which serves retrieval as well.
    """
    if not history or not leans(question):
        return question
    recent = list(history)[-_TURNS:]
    if generator is not None:
        prompt = condense_prompt(question, recent)
        draft = "".join(
            piece.text for piece in generator.generate(prompt, max_tokens=64, cancelled=cancelled)
        )
        rewritten = draft.strip().splitlines()[0].strip() if draft.strip() else ""
        rewritten = rewritten.removeprefix("Question:").strip().strip('"')
        if _is_sound(rewritten, question, recent):
            return rewritten
    asked = [turn.content for turn in recent if turn.role == "user"]
    return f"{asked[-1]} {question}" if asked else question


def _is_sound(rewritten: str, question: str, history: Sequence[Turn]) -> bool:
    said = content_terms(question + " " + " ".join(turn.content for turn in history))
    invented = names(rewritten) - said
    meant, kept = content_terms(rewritten), content_terms(question)
    return bool(meant) and not invented and 2 * len(kept & meant) >= len(kept)
