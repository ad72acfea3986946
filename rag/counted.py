"""A generator that counts what one question costs: every token that is read or written for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from rag.types import Choice, Generator, Piece, Prompt, Usage


class Counted:
    """A Generator on another one. `usage` grows with each draft and each choice that is finished."""

    def __init__(self, generator: Generator) -> None:
        self._generator = generator
        self.usage = Usage()

    @property
    def name(self) -> str:
        return self._generator.name

    @property
    def digest(self) -> str:
        return self._generator.digest

    @property
    def context_tokens(self) -> int:
        return self._generator.context_tokens

    def count_tokens(self, text: str) -> int:
        return self._generator.count_tokens(text)

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
        for piece in self._generator.generate(
            prompt,
            max_tokens=max_tokens,
            temperature=temperature,
            seed=seed,
            grammar=grammar,
            cancelled=cancelled,
        ):
            if piece.usage is not None:
                self.usage += piece.usage
            yield piece

    def choose(
        self, prompt: Prompt, choices: Sequence[str], cancelled: Callable[[], bool] = lambda: False
    ) -> Choice:
        choice = self._generator.choose(prompt, choices, cancelled)
        self.usage += choice.usage
        return choice

    def has_reading(self, prompt: Prompt) -> bool:
        return self._generator.has_reading(prompt)

    def read(self, prompt: Prompt, cancelled: Callable[[], bool] = lambda: False) -> bool:
        return self._generator.read(prompt, cancelled)
