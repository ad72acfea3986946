"""A Generator that notes how long each call of the model took, as whoever asks it waits for it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from rag.types import Choice, Generator, Piece, Prompt
from rag.wrapped import WrappedGenerator


class Timed(WrappedGenerator):
    """`seconds` is all the time since `take`; `first_choice` that of the first choice, the probe.

    What goes to the model's process and comes back counts as the model's: it is less than a millisecond.
    """

    def __init__(self, inner: Generator) -> None:
        super().__init__(inner)
        self.seconds = self.first_choice = 0.0

    def take(self) -> tuple[float, float]:
        found = self.seconds, self.first_choice
        self.seconds = self.first_choice = 0.0
        return found

    def generate(self, prompt: Prompt, **options: Any) -> Iterator[Piece]:
        pieces = super().generate(prompt, **options)
        while True:
            began = time.perf_counter()
            piece = next(pieces, None)
            self.seconds += time.perf_counter() - began
            if piece is None:
                return
            yield piece

    def choose(
        self, prompt: Prompt, choices: Sequence[str], cancelled: Callable[[], bool] = lambda: False
    ) -> Choice:
        began = time.perf_counter()
        try:
            return super().choose(prompt, choices, cancelled)
        finally:
            took = time.perf_counter() - began
            self.seconds += took
            self.first_choice = self.first_choice or took
