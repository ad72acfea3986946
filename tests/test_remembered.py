"""Vectors that are remembered are those of the embedder, made once, and no more than so many are kept."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from index.embed import HashEmbedder
from index.remembered import MOST_AT_ONCE, RememberingEmbedder
from index.types import Vectors


class Counting(HashEmbedder):
    """Notes what it is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[list[str]] = []

    def embed(self, texts: Sequence[str]) -> Vectors:
        self.asked.append(list(texts))
        return super().embed(texts)


def test_each_text_is_embedded_once_and_comes_back_as_it_was() -> None:
    counting = Counting()
    remembering = RememberingEmbedder(counting)
    plain = HashEmbedder()
    for texts in (["a b", "c", "a b"], ["c", "d e"], [], ["d e", "c", "a b"]):
        found = remembering.embed(texts)
        assert found.dtype == np.float32
        assert found.shape == (len(texts), plain.dimension)
        assert np.array_equal(found, plain.embed(texts))
    assert counting.asked == [["a b", "c"], ["d e"]]
    assert (remembering.fingerprint, remembering.max_tokens) == (plain.fingerprint, plain.max_tokens)
    assert remembering.count_tokens(["a b c"]) == plain.count_tokens(["a b c"])


def test_what_is_given_back_is_nobody_elses() -> None:
    remembering = RememberingEmbedder(HashEmbedder())
    remembering.embed(["a b"])[:] = 9
    assert np.array_equal(remembering.embed(["a b"]), HashEmbedder().embed(["a b"]))


def test_the_least_recently_used_goes_first() -> None:
    counting = Counting()
    remembering = RememberingEmbedder(counting, most=2)
    for text in ("a", "b", "a", "c", "a", "b"):
        remembering.embed([text])
    assert [texts for (texts,) in counting.asked] == ["a", "b", "c", "b"]


def test_many_texts_at_once_are_passed_on() -> None:
    counting = Counting()
    remembering = RememberingEmbedder(counting)
    texts = [f"text {number}" for number in range(MOST_AT_ONCE + 1)]
    assert np.array_equal(remembering.embed(texts), remembering.embed(texts))
    assert len(counting.asked) == 2


def test_threads_get_their_own() -> None:
    remembering = RememberingEmbedder(HashEmbedder(), most=8)
    plain = HashEmbedder()

    def asked(seed: int) -> bool:
        texts = [f"text {(seed * 7 + step) % 20}" for step in range(12)]
        return bool(np.array_equal(remembering.embed(texts), plain.embed(texts)))

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(asked, range(400)))
