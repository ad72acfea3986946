"""What counts as a question, checked before anything slow is started for it, and what it wants."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from rag.errors import QuestionError, QuestionTooLong
from rag.words import Word, words

# A text of so many characters a token is too long in every language: it need not be counted.
CHARACTERS_PER_TOKEN = 64
_ASKS_YES_NO = frozenset(
    """is are was were am do does did has have had can could will would shall should may might must
    isn't aren't wasn't weren't don't doesn't didn't hasn't haven't can't couldn't won't""".split()
)
_AMOUNTS = frozenset(
    "no none nobody nothing neither both half quarter dozen dozens all every everyone everybody most many "
    "several few fewer some hundreds thousands millions once twice double triple".split()
)
_WANTS_NUMBER = ("how many", "how much", "how old", "what number", "what year", "which year")


def sound_question(
    question: str, *, limit: int, count_tokens: Callable[[Sequence[str]], list[int]] | None = None
) -> str:
    """The question without white space around it. `limit` is in tokens of `count_tokens`.

    Without `count_tokens` only what is too long for every tokenizer is refused. Raises QuestionError.
    """
    question = question.strip()
    if not question:
        raise QuestionError("the question is empty: ask something in words")
    try:
        question.encode("utf-8")
    except UnicodeEncodeError as error:
        raise QuestionError("the question is not readable text: write it in UTF-8") from error
    if not any(character.isalnum() for character in question):
        raise QuestionError("the question has no words: ask something in words")
    if len(question) > CHARACTERS_PER_TOKEN * limit:
        raise QuestionTooLong(
            f"the question has {len(question)} characters, the limit is {limit} tokens: ask a shorter one"
        )
    if count_tokens is not None and (tokens := count_tokens([question])[0]) > limit:
        raise QuestionTooLong(f"the question has {tokens} tokens, the limit is {limit}: ask a shorter one")
    return question


def wants_number(question: str) -> bool:
    """Whether it asks for a figure: "how many", "which year"."""
    spoken = f" {' '.join(word.lower for word in words(question))} "
    return any(f" {lead} " in spoken for lead in _WANTS_NUMBER)


def is_amount(word: Word) -> bool:
    """Whether it answers "how many" without a figure: "nobody", "half"."""
    return word.lower in _AMOUNTS


def is_yes_no(question: str) -> bool:
    """Whether the question wants yes or no: it, or its last clause, begins with an auxiliary verb."""
    clause = re.split(r"[,:;]\s", question.strip())[-1]
    first = next((word.lower.replace("’", "'") for word in words(clause)), "")
    opening = next((word.lower.replace("’", "'") for word in words(question)), "")
    return first in _ASKS_YES_NO or opening in _ASKS_YES_NO
