"""Vectors of texts embedded lately: the sentences of a document that is asked about again cost nothing."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np

from index.types import Embedder, Vectors

MOST_TEXTS = 4096
"""So many vectors are kept: 6 MB of 384 dimensions, and the texts."""

MOST_AT_ONCE = 256
"""A call with more texts is no question's: it is passed on, and nothing of it is kept."""


class RememberingEmbedder:
    """An embedder that embeds no text anew that it embedded lately. Safe to call from several threads."""

    def __init__(self, embedder: Embedder, *, most: int = MOST_TEXTS) -> None:
        self._embedder = embedder
        self._most = most
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, Vectors] = OrderedDict()  # the least recently used first

    @property
    def fingerprint(self) -> str:
        return self._embedder.fingerprint

    @property
    def dimension(self) -> int:
        return self._embedder.dimension

    @property
    def max_tokens(self) -> int:
        return self._embedder.max_tokens

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return self._embedder.count_tokens(texts)

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors, shape (len(texts), dimension), in the order given."""
        if len(texts) > MOST_AT_ONCE:
            return self._embedder.embed(texts)
        with self._lock:
            found = {text: self._kept[text] for text in texts if text in self._kept}
        new = [text for text in dict.fromkeys(texts) if text not in found]
        if new:
            # Copies: a row would keep the whole batch in memory.
            found |= {text: row.copy() for text, row in zip(new, self._embedder.embed(new), strict=True)}
        with self._lock:
            for text in dict.fromkeys(texts):
                self._kept[text] = found[text]
                self._kept.move_to_end(text)
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)
        vectors = np.zeros((len(texts), self.dimension), dtype=np.float32)
        for index, text in enumerate(texts):
            vectors[index] = found[text]
        return vectors
