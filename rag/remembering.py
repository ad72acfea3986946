"""What the model has said lately is not asked of it again: a question that comes back is answered at once.

Where the likeliest token is always taken, what a model that runs here writes follows from its prompt alone,
and the prompt holds all that the answer depends on: the question that stands alone, the sentences, the
instructions. So no change of a collection, of a setting or of the conversation can bring back what was said
before it; and a draft that is brought back is checked against the documents as if it had just been written.
Of an endpoint none of this is known: another machine, another build or other weights may answer next.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple, replace
from typing import Any, TypeVar

from rag.errors import GenerationCancelled
from rag.types import Choice, Generator, Piece, Prompt, Usage
from rag.wrapped import WrappedGenerator

MOST_SAID = 4096
"""So many drafts and choices are kept, about five to a question: less than 4 MB."""

T = TypeVar("T")


class RememberingGenerator(WrappedGenerator):
    """A Generator that asks another one nothing twice. Safe to call from several threads.

    Drafts at a temperature above 0 are always written anew. Of what is remembered all tokens of the prompt
    count as cached, and none as written.
    """

    def __init__(self, inner: Generator, *, most: int = MOST_SAID) -> None:
        super().__init__(inner)
        self._most = most
        self._lock = threading.Lock()
        self._drafts: OrderedDict[bytes, tuple[Piece, ...]] = OrderedDict()  # least recently used first
        self._choices: OrderedDict[bytes, Choice] = OrderedDict()

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
        key = _key(prompt, max_tokens, grammar)
        known = self._known(self._drafts, key) if temperature == 0 else None
        if known is not None:
            if cancelled():
                raise GenerationCancelled("the answer was no longer wanted")
            yield from known
            return
        pieces: list[Piece] = []
        options: dict[str, Any] = {"temperature": temperature, "seed": seed, "grammar": grammar}
        for piece in self.inner.generate(prompt, max_tokens=max_tokens, cancelled=cancelled, **options):
            pieces.append(piece)
            yield piece
        if temperature > 0:
            return
        # One that was broken off ends with "cancelled", or without a last piece.
        if pieces and pieces[-1].stop in {"end", "length"} and (usage := pieces[-1].usage):
            text = "".join(piece.text for piece in pieces)
            self._keep(self._drafts, key, (Piece(text), Piece("", _cached(usage), pieces[-1].stop)))

    def choose(
        self, prompt: Prompt, choices: Sequence[str], cancelled: Callable[[], bool] = lambda: False
    ) -> Choice:
        key = _key(prompt, *choices)
        known = self._known(self._choices, key)
        if known is not None:
            if cancelled():
                raise GenerationCancelled("the answer was no longer wanted")
            return known
        choice = self.inner.choose(prompt, choices, cancelled)
        self._keep(self._choices, key, replace(choice, usage=_cached(choice.usage)))
        return choice

    def _known(self, held: OrderedDict[bytes, T], key: bytes) -> T | None:
        with self._lock:
            if key in held:
                held.move_to_end(key)
            return held.get(key)

    def _keep(self, held: OrderedDict[bytes, T], key: bytes, said: T) -> None:
        with self._lock:
            held[key] = said
            held.move_to_end(key)
            while len(self._drafts) + len(self._choices) > self._most:
                (self._drafts if len(self._drafts) > len(self._choices) else self._choices).popitem(
                    last=False
                )


def _key(prompt: Prompt, *rest: object) -> bytes:
    """A digest: the prompts themselves are kilobytes each."""
    return hashlib.sha256(repr((astuple(prompt), rest)).encode("utf-8", "surrogatepass")).digest()


def _cached(usage: Usage) -> Usage:
    return Usage(prompt_tokens=usage.prompt_tokens, cached_tokens=usage.prompt_tokens)
