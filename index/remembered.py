"""Vectors of texts embedded lately: the sentences of a document that is asked about again cost nothing."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence

import numpy as np

from index.types import Embedder, Vectors

MOST_TEXTS = 2048
"""So many vectors are kept, of the sentences that about fifty questions found: 3 MB of 384 dimensions."""

MOST_AT_ONCE = 256
"""A call with more texts is no question's: it is passed on, and nothing of it is kept."""


class RememberingEmbedder:
    """An embedder that embeds no text anew that it embedded lately. Safe to call from several threads."""

    def __init__(self, inner: Embedder, *, most: int = MOST_TEXTS, most_at_once: int = MOST_AT_ONCE) -> None:
        self.inner = inner
        self._most = most
        self._most_at_once = most_at_once
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, Vectors] = OrderedDict()  # the least recently used first

    @property
    def fingerprint(self) -> str:
        return self.inner.fingerprint

    @property
    def dimension(self) -> int:
        return self.inner.dimension

    @property
    def max_tokens(self) -> int:
        return self.inner.max_tokens

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return self.inner.count_tokens(texts)

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors, shape (len(texts), dimension), in the order given."""
        if len(texts) > self._most_at_once:
            return self.inner.embed(texts)
        with self._lock:
            found = {text: self._kept[text] for text in texts if text in self._kept}
        new = [text for text in dict.fromkeys(texts) if text not in found]
        if new:
            found |= dict(zip(new, self.inner.embed(new), strict=True))
        vectors = np.zeros((len(texts), self.dimension), dtype=np.float32)
        for index, text in enumerate(texts):
            vectors[index] = found[text]
        self.keep(texts, vectors)
        return vectors

    def unknown(self, texts: Iterable[str]) -> list[str]:
        """Those of which no vector is kept, each once, in the order given."""
        with self._lock:
            return [text for text in dict.fromkeys(texts) if text not in self._kept]

    def keep(self, texts: Sequence[str], vectors: Iterable[Vectors]) -> None:
        """Remember these, the last ones longest."""
        with self._lock:
            for text, vector in zip(texts, vectors, strict=True):
                # A copy: a row would keep the whole batch in memory.
                self._kept[text] = vector.copy()
                self._kept.move_to_end(text)
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)
