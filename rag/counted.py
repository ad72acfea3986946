"""A generator that counts what one question costs: every token that is read or written for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from rag.types import Choice, Generator, Piece, Prompt, Usage
from rag.wrapped import WrappedGenerator


class Counted(WrappedGenerator):
    """A Generator on another one. `usage` grows with each draft and each choice that is finished."""

    def __init__(self, generator: Generator) -> None:
        super().__init__(generator)
        self.usage = Usage()

    def generate(self, prompt: Prompt, **options: Any) -> Iterator[Piece]:
        for piece in super().generate(prompt, **options):
            if piece.usage is not None:
                self.usage += piece.usage
            yield piece

    def choose(
        self, prompt: Prompt, choices: Sequence[str], cancelled: Callable[[], bool] = lambda: False
    ) -> Choice:
        choice = super().choose(prompt, choices, cancelled)
        self.usage += choice.usage
        return choice
