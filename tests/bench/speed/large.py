"""From a question to its ranked sentences in a collection of many drawn passages, with the real embedder."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from index.collection import LocalCollection
from index.types import Embedder, Vectors
from rag.retrieve import Retriever

from ..growth import Drawn, fill, words

QUESTIONS = 50


class AsDrawn:
    """The real embedder, for a collection whose vectors were drawn: what embedding a question costs."""

    fingerprint = Drawn.fingerprint

    def __init__(self, inner: Embedder) -> None:
        self.inner = inner
        self.dimension = inner.dimension
        self.max_tokens = inner.max_tokens

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return self.inner.count_tokens(texts)

    def embed(self, texts: Sequence[str]) -> Vectors:
        return self.inner.embed(texts)


def search_ms(folder: Path, passages: int, embedder: Embedder, candidates: int) -> list[float]:
    """Milliseconds of each question, after three that warm everything up."""
    fill(folder, 0, passages)
    asked = AsDrawn(embedder)
    chance = np.random.default_rng(5)
    found = []
    with LocalCollection.open(folder, asked) as collection:
        retriever = Retriever(collection, asked)
        for _ in range(QUESTIONS + 3):
            question = " ".join(words(chance, 6))
            began = time.perf_counter()
            retriever.retrieve(question, passages=candidates)
            found.append(1000 * (time.perf_counter() - began))
    return found[3:]
