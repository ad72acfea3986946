"""An embedder known by name only: for who reads a collection and embeds nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from index.errors import ModelUnavailable
from index.types import Vectors


@dataclass(frozen=True, slots=True)
class RecordedEmbedder:
    """What a collection says of its embedder. Whatever would need the model raises ModelUnavailable."""

    fingerprint: str
    dimension: int

    @property
    def max_tokens(self) -> int:
        raise self._missing()

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        raise self._missing()

    def embed(self, texts: Sequence[str]) -> Vectors:
        raise self._missing()

    def _missing(self) -> ModelUnavailable:
        return ModelUnavailable(f"The collection was opened without its embedder {self.fingerprint}.")
