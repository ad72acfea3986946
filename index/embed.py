"""Text to unit vectors: a sentence-transformers model from a folder, and a small hashing one for tests.

Nothing here reaches a network. Importing this module is quick: what computes is loaded with the first text
that is embedded, and counting tokens never needs it.
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import snowballstemmer
from tokenizers import Tokenizer

from index.errors import ModelDamaged, ModelUnavailable, ModelUnsuitable
from index.reference import ReferenceEncoder, damaged, load_reference
from index.types import Embedder, Vectors

if TYPE_CHECKING:
    from index.onnx_graphs import Say

_SPECIAL_TOKENS = 2
"""[CLS] and [SEP], which every text that is embedded gets in addition."""

_PADDED = 16
"""Characters by which texts may always differ that are embedded together: a batch of its own costs more."""

_COUNTED_AT_ONCE = 1_024

EMBEDDED_AT_ONCE = 64
"""Texts between two reports of progress, and between two looks at Ctrl-C."""


def unit_vectors(
    embedder: Embedder, texts: Sequence[str], on_embedded: Callable[[int], None] | None = None
) -> Vectors:
    """Vectors of any number of texts, in the order given, checked; `on_embedded` gets each step's count.

    Texts of like length go together, so that little is padded. Raises ModelUnsuitable for an embedder that
    does not keep to its protocol.
    """
    vectors = np.zeros((len(texts), embedder.dimension), dtype=np.float32)
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    for first in range(0, len(order), EMBEDDED_AT_ONCE):
        rows = order[first : first + EMBEDDED_AT_ONCE]
        found = embedder.embed([texts[i] for i in rows])
        shape = (len(rows), embedder.dimension)
        if found.shape != shape or not np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-3):
            raise ModelUnsuitable(
                f"The embedder {embedder.fingerprint} did not return {shape[0]} unit vectors of {shape[1]} "
                "dimensions: choose another."
            )
        vectors[rows] = found
        if on_embedded is not None:
            on_embedded(len(rows))
    return vectors


class Encoder(Protocol):
    """Unit vectors of a few texts, shape (len(texts), dimension), from any number of threads."""

    def encode(self, texts: Sequence[str]) -> Vectors: ...


@dataclass(frozen=True, slots=True)
class KeptGraphs:
    """Where graphs for ONNX Runtime are kept, the digest of the model's weights, and how many threads run."""

    root: Path
    weights_digest: str
    threads: int


class SentenceTransformerEmbedder:
    """A sentence-transformers model in a local folder, on the CPU. Safe to call from several threads.

    With `graphs`, the model runs on ONNX Runtime where its graph was found to give the same vectors; else, or
    where it cannot be exported, on sentence-transformers itself. The fingerprint is the same for both.

    Raises ModelUnavailable when the folder or one of its files is missing, ModelDamaged when one cannot be
    read, ModelUnsuitable when it is a model that this cannot use; at construction where the small files
    tell, else at first use.
    """

    def __init__(
        self, folder: Path, *, fingerprint: str, batch_size: int = 32, graphs: KeptGraphs | None = None
    ) -> None:
        self._folder = folder
        self._fingerprint = fingerprint
        self._batch_size = batch_size
        self._graphs = graphs
        self._max_tokens = self._integer("sentence_bert_config.json", "max_seq_length") - _SPECIAL_TOKENS
        self._dimension = self._output_dimension()
        self._loading = threading.Lock()
        self._tokenizer_lock = threading.Lock()
        self._tokenizer: Tokenizer | None = None
        self._encoder: Encoder | None = None

    @property
    def fingerprint(self) -> str:
        return self._fingerprint

    @property
    def dimension(self) -> int:
        return self._dimension

    @property
    def max_tokens(self) -> int:
        return self._max_tokens

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Word pieces of each text, without the special ones and without a limit."""
        tokenizer = self._loaded_tokenizer()
        return [
            len(encoding.ids)
            for first in range(0, len(texts), _COUNTED_AT_ONCE)
            for encoding in tokenizer.encode_batch_fast(
                list(texts[first : first + _COUNTED_AT_ONCE]), add_special_tokens=False
            )
        ]

    def prepare(self, say: Say | None = None) -> None:
        """Load what embeds, so that the first text need not wait; `say` hears of what takes long."""
        self._loaded_encoder(say)

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors, shape (len(texts), dimension), in the order given.

        Texts of like length share a batch, so that little is padded; whatever has to be waited for is waited
        for one batch at a time, so that a question waits for one batch of an indexing run at most.
        """
        vectors = np.zeros((len(texts), self._dimension), dtype=np.float32)
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        for rows in _batches(order, [len(text) for text in texts], self._batch_size):
            vectors[rows] = self._loaded_encoder().encode([texts[i] for i in rows])
        return vectors

    def _loaded_tokenizer(self) -> Tokenizer:
        with self._tokenizer_lock:
            if self._tokenizer is None:
                text = self._text("tokenizer.json")
                try:
                    tokenizer = Tokenizer.from_str(text)
                except Exception as error:  # the library raises plain Exception
                    raise self._damaged("tokenizer.json", error) from error
                tokenizer.no_truncation()
                tokenizer.no_padding()
                self._tokenizer = tokenizer
            return self._tokenizer

    def _loaded_encoder(self, say: Say | None = None) -> Encoder:
        with self._loading:
            if self._encoder is None:
                self._encoder = self._on_onnx_runtime(say or _unheard) or self._reference()
            return self._encoder

    def _on_onnx_runtime(self, say: Say) -> Encoder | None:
        if self._graphs is None:
            return None
        # A tenth of a second, which a command that embeds nothing need not spend.
        from index.onnx_graphs import OnnxGraphs

        kept = self._graphs
        return OnnxGraphs(kept.root, threads=kept.threads).open(self._folder, kept.weights_digest, say)

    def _reference(self) -> Encoder:
        reference = ReferenceEncoder(load_reference(self._folder))
        if reference.dimension != self._dimension:
            raise ModelUnsuitable(
                f"{self._folder}: its configuration says {self._dimension} dimensions, its weights give "
                f"{reference.dimension}; fetch the model again."
            )
        return reference

    def _output_dimension(self) -> int:
        """Of the last module that sets it: a dense layer, else the pooling."""
        modules = self._json("modules.json")
        kinds = {"Dense": "out_features", "Pooling": "word_embedding_dimension"}
        for module in reversed(modules if isinstance(modules, list) else []):
            if not isinstance(module, dict):
                continue
            key = kinds.get(str(module.get("type", "")).rsplit(".", 1)[-1])
            if key is not None:
                return self._integer(f"{module.get('path', '')}/config.json", key)
        raise ModelUnsuitable(
            f"{self._folder} is not a sentence-transformers model with a pooling module; choose one that is."
        )

    def _integer(self, name: str, key: str) -> int:
        content = self._json(name)
        value = content.get(key) if isinstance(content, dict) else None
        if not isinstance(value, int) or value <= _SPECIAL_TOKENS:
            raise self._damaged(name, f"{key} is {value!r}")
        return value

    def _json(self, name: str) -> Any:
        try:
            return json.loads(self._text(name))
        except ValueError as error:
            raise self._damaged(name, error) from error

    def _text(self, name: str) -> str:
        path = self._folder / name
        try:
            return path.read_text(encoding="utf-8")
        except FileNotFoundError as error:
            raise ModelUnavailable(
                f"No embedding model at {self._folder}: {name} is missing; run `footnote models pull NAME`."
            ) from error
        except (OSError, UnicodeDecodeError) as error:
            raise self._damaged(name, error) from error

    def _damaged(self, name: str, cause: object) -> ModelDamaged:
        return damaged(self._folder, name, cause)


def _unheard(_: str) -> None:
    """For callers who do not watch."""


class HashEmbedder:
    """Signed feature hashing of word stems and character trigrams: similar words give similar vectors.

    Needs no model and gives the same vectors in every process. It ships for tests and for trying the
    program out; for retrieval of quality use a trained model.
    """

    max_tokens = 512

    def __init__(self, dimension: int = 256) -> None:
        self._dimension = dimension

    @property
    def fingerprint(self) -> str:
        return f"hash-{self._dimension}"

    @property
    def dimension(self) -> int:
        return self._dimension

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Words of each text."""
        return [sum(1 for _ in _WORD.finditer(text)) for text in texts]

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors; a text without a word gets the vector of the empty word, not zeros."""
        vectors = np.zeros((len(texts), self._dimension), dtype=np.float64)
        for row, text in zip(vectors, texts, strict=True):
            words = [match.group() for match in _WORD.finditer(text.lower())][: self.max_tokens]
            for word, count in Counter(words or [""]).items():
                weight = 1 + math.log(count)
                for index, sign in _features(word):
                    row[index % self._dimension] += sign * weight
            # Signs can cancel out exactly; a zero vector has no direction.
            if not row.any():
                row[0] = 1.0
        unit: Vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
        return unit


def _batches(order: Sequence[int], lengths: Sequence[int], most: int) -> Iterator[list[int]]:
    """`order`, by length, in parts of at most `most`, none of which is padded by much more than a quarter.

    The sentences of one question differ in length: in one batch half of what is computed would be padding.
    """
    batch: list[int] = []
    for index in order:
        if len(batch) == most or (batch and lengths[index] > 1.25 * lengths[batch[0]] + _PADDED):
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


_WORD = re.compile(r"\w+")
_TRIGRAM_WEIGHT = 0.3
_stemmer_lock = threading.Lock()


@functools.lru_cache(maxsize=4096)  # about 2 kB each
def _features(word: str) -> tuple[tuple[int, float], ...]:
    """(hash, signed weight) of a lower-cased word's stem, and of its trigrams with its ends marked."""
    with _stemmer_lock:  # a stemmer keeps the word that it works on in itself
        stem = _stemmer().stemWord(word)
    marked = f"<{word}>"
    trigrams = [marked[i : i + 3] for i in range(len(marked) - 2)]
    return tuple(_hashed([f"w:{stem}"], 1.0)) + tuple(_hashed([f"t:{t}" for t in trigrams], _TRIGRAM_WEIGHT))


def _hashed(features: Sequence[str], weight: float) -> Iterator[tuple[int, float]]:
    for feature in features:
        digest = hashlib.blake2b(feature.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        value = int.from_bytes(digest, "little")
        yield value >> 1, weight if value & 1 else -weight


@functools.cache
def _stemmer() -> Any:
    return snowballstemmer.stemmer("english")
