"""What counts as a question, checked before anything slow is started for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rag.errors import QuestionError, QuestionTooLong

# A text of so many characters a token is too long in every language: it need not be counted.
CHARACTERS_PER_TOKEN = 64


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
