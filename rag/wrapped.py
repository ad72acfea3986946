"""A generator around another one: what decorates a generator overrides what it changes, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from rag.types import Choice, Generator, Piece, Prompt


class WrappedGenerator:
    """A Generator that passes everything on to `inner`."""

    def __init__(self, inner: Generator) -> None:
        self.inner = inner

    @property
    def name(self) -> str:
        return self.inner.name

    @property
    def digest(self) -> str:
        return self.inner.digest

    @property
    def context_tokens(self) -> int:
        return self.inner.context_tokens

    def count_tokens(self, text: str) -> int:
        return self.inner.count_tokens(text)

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
        return self.inner.generate(
            prompt,
            max_tokens=max_tokens,
            temperature=temperature,
            seed=seed,
            grammar=grammar,
            cancelled=cancelled,
        )

    def choose(
        self, prompt: Prompt, choices: Sequence[str], cancelled: Callable[[], bool] = lambda: False
    ) -> Choice:
        return self.inner.choose(prompt, choices, cancelled)

    def has_reading(self, prompt: Prompt) -> bool:
        return self.inner.has_reading(prompt)

    def read(self, prompt: Prompt, cancelled: Callable[[], bool] = lambda: False) -> bool:
        return self.inner.read(prompt, cancelled)
