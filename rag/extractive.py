"""The fake Generator: no model, exact results, shipped for tests and for trials without a model."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

from sentencex import segment

from rag.errors import GenerationCancelled
from rag.prompts import NOT_STATED
from rag.types import Choice, Piece, Prompt, Usage
from rag.words import content_terms

_LABEL = re.compile(r"^[A-Z][a-z]*(?: [a-z]+)?:(?: |$)")
_MARKER = re.compile(r"^\[\d+\] ")
_FINAL = re.compile(r"[.!?…。！？।؟][”’\"')\]»]*$")


KEPT = 100
"""So many prompts and readings are remembered: a server over this fake may run for long."""


class ExtractiveGenerator:
    """Answers with the sentence of the context that shares most words with the question.

    Deterministic and instant; `drafts`, when given, are returned one after another instead. A token is a
    word between two spaces.
    """

    def __init__(self, drafts: Sequence[str] = (), *, context_tokens: int = 4096) -> None:
        self._drafts = list(drafts)
        self._context_tokens = context_tokens
        self._read: dict[str, bool] = {}  # in the order in which they were read
        self.prompts: list[Prompt] = []

    @property
    def name(self) -> str:
        return "extractive"

    @property
    def digest(self) -> str:
        return "extractive-1"

    @property
    def context_tokens(self) -> int:
        return self._context_tokens

    def count_tokens(self, text: str) -> int:
        return len(text.split())

    def generate(
        self,
        prompt: Prompt,
        *,
        max_tokens: int,
        temperature: float = 0.0,
        seed: int = 0,
        grammar: str = "",
        cancelled: Callable[[], bool] = lambda: False,
    ) -> Iterator[Piece]:
        self.prompts.append(prompt)
        del self.prompts[:-KEPT]
        if cancelled():
            raise GenerationCancelled("the answer was no longer wanted")
        draft = self._drafts.pop(0) if self._drafts else _best_sentence(prompt)
        words = draft.split(" ")
        for index, word in enumerate(words[:max_tokens]):
            if cancelled():
                raise GenerationCancelled("the answer was no longer wanted")
            yield Piece(word if index == 0 else " " + word)
        stop: Literal["end", "length"] = "end" if len(words) <= max_tokens else "length"
        yield Piece("", Usage(self._size(prompt), min(len(words), max_tokens)), stop)

    def choose(
        self, prompt: Prompt, choices: Sequence[str], cancelled: Callable[[], bool] = lambda: False
    ) -> Choice:
        """The first choice is as likely as the share of the question's words that the context holds.

        The others share the rest; to be asked whether the answer is not stated turns it round.
        """
        if cancelled():
            raise GenerationCancelled("the answer was no longer wanted")
        asked = _asked(prompt)
        share = len(asked & content_terms(prompt.context)) / len(asked) if asked else 0.0
        share = min(max(share, 0.01), 0.99)
        if list(choices) == [NOT_STATED]:
            return Choice((math.log(1 - share),), Usage(self._size(prompt)))
        rest = math.log((1 - share) / max(len(choices) - 1, 1))
        scores = (math.log(share) if index == 0 else rest for index in range(len(choices)))
        return Choice(tuple(scores), Usage(self._size(prompt)))

    def _size(self, prompt: Prompt) -> int:
        return self.count_tokens(f"{prompt.instructions} {prompt.context} {prompt.question}")

    def has_reading(self, prompt: Prompt) -> bool:
        return prompt.context in self._read

    def read(self, prompt: Prompt, cancelled: Callable[[], bool] = lambda: False) -> bool:
        if cancelled():
            return False
        self._read[prompt.context] = True
        if len(self._read) > KEPT:
            del self._read[next(iter(self._read))]
        return True


def _asked(prompt: Prompt) -> frozenset[str]:
    """The content words of the question itself: its first line without the "Question: " before it."""
    return content_terms(_LABEL.sub("", prompt.question.partition("\n")[0]))


def _best_sentence(prompt: Prompt) -> str:
    asked = _asked(prompt)
    found = [sentence.strip() for text in _paragraphs(prompt.context) for sentence in segment("en", text)]
    sentences = [sentence for sentence in found if _FINAL.search(sentence)] or found
    best = max(sentences, key=lambda sentence: len(asked & content_terms(sentence)), default="")
    return best if asked & content_terms(best) else f"{NOT_STATED.rstrip('.')}."


def _paragraphs(context: str) -> list[str]:
    """Text between empty lines, numbers in front of sentences and lines such as "Document: its title".

    White space is made plain: sentencex 1.0 cannot bear some of what else there is.
    """
    paragraphs = [""]
    for line in context.splitlines():
        words = " ".join(line.split())
        if not words or (_LABEL.match(words) and not _FINAL.search(words)):
            paragraphs.append("")
        elif _MARKER.match(words):
            paragraphs.append(_MARKER.sub("", words))
        else:
            paragraphs[-1] = f"{paragraphs[-1]} {words}".strip()
    return [paragraph for paragraph in paragraphs if paragraph]
