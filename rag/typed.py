"""What was typed: the question, on the command line or into standard input, and what it is kept to."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import replace

from index.filters import Filter, filter_of
from rag.config import Settings
from rag.errors import QuestionError
from rag.present import Screen
from rag.question import CHARACTERS_PER_TOKEN


def question_of(settings: Settings, screen: Screen, words: Sequence[str]) -> str:
    """What was typed, or what standard input holds. Raises QuestionError."""
    question = " ".join(words)
    return _question_from_input(settings, screen) if question in ("", "-") else question


def filter_of_words(given: Sequence[str]) -> Filter:
    """From "KEY=VALUE" texts; "./letters" and "~/letters" are paths from here. Raises UsageError."""
    chosen = filter_of(given)
    return replace(chosen, paths=tuple(map(_from_here, chosen.paths)))


def _from_here(path: str) -> str:
    expanded = os.path.expanduser(path)
    return os.path.abspath(expanded) if expanded.startswith(("/", ".")) else path


def _question_from_input(settings: Settings, screen: Screen) -> str:
    """All of standard input, or one line from a person. Raises QuestionError."""
    if sys.stdin.isatty():
        screen.err.write("Question: ")
        screen.err.flush()
        return sys.stdin.readline()
    # An endless input is refused like any other that is too long. Four bytes are the longest character.
    most = 4 * CHARACTERS_PER_TOKEN * settings.rag.question_tokens
    data = sys.stdin.buffer.read(most + 1)
    if len(data) > most:
        raise QuestionError(
            f"the question has more than {most} bytes, the limit is {settings.rag.question_tokens} tokens: "
            "ask a shorter one"
        )
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise QuestionError("the question on standard input is not UTF-8: convert it") from error
