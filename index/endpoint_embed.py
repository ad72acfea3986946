"""Text to unit vectors on endpoints that speak OpenAI's protocol: llama-server, vLLM, TEI.

What is embedded is sent there: every passage that is indexed, and every question.

The name of a model says little about its weights. What names them is how it embeds one fixed text: that goes
along with every request, and what comes from an endpoint that places it elsewhere is not used.
"""

from __future__ import annotations

import hashlib
import math
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self

import numpy as np

from index.endpoint_calls import Fault, Rejected, is_too_long
from index.endpoints import Endpoints, Turn
from index.types import Vectors

PROBE = "Every sentence of an answer carries a footnote to the exact characters that support it."
"""What goes along with every request."""

SAME = 0.999
"""Least cosine of two vectors of PROBE by one model; other machines and batches round otherwise."""

_SPECIAL_TOKENS = 2
_USUAL_TOKENS = 512
"""What an embedder reads that does not say how much it does."""

_REQUESTS_EACH = 2
"""So many requests go to each endpoint at once: one is on its way while the other is worked on."""


class EndpointEmbedder:
    """An Embedder on several endpoints, which take turns. Safe to call from several threads.

    Everything raises EndpointFailed where none of them answers as it should.
    """

    def __init__(self, endpoints: Endpoints, *, batch_size: int = 32) -> None:
        self._endpoints = endpoints
        self._batch_size = batch_size
        self._guard = threading.Lock()
        self._reference: Vectors | None = None  # of PROBE, shape (1, dimension)
        self._max_tokens = 0
        self._name = ""

    @property
    def fingerprint(self) -> str:
        """The model's name and 64 bits of where it places PROBE: the signs of its components.

        The same weights in another precision may differ in one of them, and count as another embedder.
        """
        vector = self._known()[0]
        return f"{self._name}@{_signs(vector)}"

    @property
    def dimension(self) -> int:
        return int(self._known().shape[1])

    @property
    def max_tokens(self) -> int:
        self._known()
        return self._max_tokens

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """An estimate, rather too many than too few: to ask the endpoint would be a request a sentence."""
        return [_estimated(text) for text in texts]

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors, shape (len(texts), dimension), in the order given.

        Of a text that is too long for the endpoint the beginning is embedded.
        """
        vectors = np.zeros((len(texts), self.dimension), dtype=np.float32)
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        # One place in a request is PROBE's: some endpoints take no more than 32 texts.
        size = max(self._batch_size - 1, 1)
        batches = [order[at : at + size] for at in range(0, len(order), size)]
        if len(batches) == 1:
            vectors[batches[0]] = self._batch([texts[i] for i in batches[0]])
        elif batches:
            at_once = min(len(batches), _REQUESTS_EACH * len(self._endpoints))
            with ThreadPoolExecutor(at_once, thread_name_prefix="embedding") as pool:
                stop = threading.Event()
                parts = [[texts[i] for i in rows] for rows in batches]
                try:
                    found = pool.map(lambda part: self._batch(part, stop.is_set), parts)
                    for rows, part in zip(batches, found, strict=True):
                        vectors[rows] = part
                except BaseException:
                    stop.set()  # whoever is interrupted does not wait for what is under way
                    raise
        return vectors

    def close(self) -> None:
        self._endpoints.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _known(self) -> Vectors:
        """The vector of PROBE, shape (1, dimension), once any endpoint has given it."""
        with self._guard:
            if self._reference is None:
                (self._reference,) = self._endpoints.attempt(self._first)
                self._name = self._endpoints.name
            return self._reference

    def _first(self, turn: Turn) -> Iterator[Vectors]:
        vector = _asked(turn, [], None)
        self._max_tokens = (turn.endpoint.context_tokens or _USUAL_TOKENS) - _SPECIAL_TOKENS
        yield vector

    def _batch(self, texts: Sequence[str], cancelled: Callable[[], bool] = lambda: False) -> Vectors:
        reference = self._known()

        def work(turn: Turn) -> Iterator[Vectors]:
            yield _embedded(turn, texts, reference)

        (vectors,) = self._endpoints.attempt(work, cancelled)
        return vectors


def _embedded(turn: Turn, texts: Sequence[str], reference: Vectors) -> Vectors:
    try:
        return _asked(turn, texts, reference)[:-1]
    except Rejected as rejected:
        if not is_too_long(rejected):
            raise
        # Not said by all is which of them, and how much too long.
        if len(texts) > 1:
            half = len(texts) // 2
            parts = [_embedded(turn, part, reference) for part in (texts[:half], texts[half:])]
            return np.concatenate(parts)
        if len(texts[0]) < 2:
            raise
        return _embedded(turn, [texts[0][: len(texts[0]) // 2]], reference)


def _asked(turn: Turn, texts: Sequence[str], reference: Vectors | None) -> Vectors:
    """Unit vectors of the texts and of PROBE, from one request.

    Raises Fault where the response holds anything else, or PROBE lies elsewhere than `reference`.
    """
    # An empty text is refused by some, and has no meaning anyway.
    body = {"model": turn.endpoint.model, "input": [*(text or " " for text in texts), PROBE]}
    found = turn.post("/embeddings", {**body, "encoding_format": "float"})
    try:
        rows = sorted(found["data"], key=lambda row: row["index"])
        vectors = np.array([row["embedding"] for row in rows], dtype=np.float64)
        is_whole = [row["index"] for row in rows] == list(range(len(texts) + 1))
    except (KeyError, TypeError, ValueError, OverflowError):
        raise Fault("does not speak OpenAI's protocol of embeddings", is_passing=False) from None
    if not is_whole or vectors.ndim != 2 or not vectors.shape[1]:
        raise Fault("does not give one vector of the same dimension for each text", is_passing=False)
    with np.errstate(over="ignore", invalid="ignore"):
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    if not np.isfinite(lengths).all() or not lengths.all():
        raise Fault("gives vectors without a direction", is_passing=False)
    unit: Vectors = (vectors / lengths).astype(np.float32)
    if reference is not None and (
        unit.shape[1] != reference.shape[1] or float((unit[-1:] @ reference.T).item()) < SAME
    ):
        raise Fault("embeds otherwise: it holds another model", is_passing=False)
    return unit


def _signs(vector: Vectors) -> str:
    """16 hex digits: on which side of 64 fixed planes through the origin the vector lies.

    Vectors an angle θ apart differ in each bit with probability θ/π: rounding turns none as a rule, and
    another model about half of them.
    """
    # From a digest, since a generator of random numbers gives others in another version of its library.
    size = vector.shape[0]
    drawn = np.frombuffer(hashlib.shake_256(b"planes").digest(2 * 64 * size), dtype="<u2")
    planes = drawn.reshape(64, size).astype(np.float64) - 32767.5
    bits = planes @ vector.astype(np.float64) > 0
    return f"{int.from_bytes(np.packbits(bits).tobytes()):016x}"


_RUN = re.compile(r"[a-zA-Z]+|[^\W\d_]+|\d{1,3}|[^\w\s]|_")


def _estimated(text: str) -> int:
    return sum(_pieces(match.group()) for match in _RUN.finditer(text))


def _pieces(run: str) -> int:
    """Of one word: a piece for seven Latin letters, three where some have accents, else for each sign."""
    if run.isascii():
        return math.ceil(len(run) / 7)
    return len(run) if max(run) >= "\u0370" else math.ceil(len(run) / 3)
