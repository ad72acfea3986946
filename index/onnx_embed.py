"""An embedder's graph on ONNX Runtime: the vectors of sentence-transformers without importing it.

The graph holds everything from word pieces to the sentence's vector (transformer, pooling, whatever layers
follow), and no weights: ONNX Runtime maps the model's own safetensors file.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
from tokenizers import Encoding, Tokenizer

from index.types import Vectors

TOKENS_AT_ONCE = 1_024
"""Word pieces of one run, padding included. Longer runs are not quicker, and take memory in proportion: on
chunks of 170 words 32 at once needed 500 MB more than 4 did."""

_ERRORS_ONLY = 3


@dataclass(frozen=True, slots=True)
class TextForm:
    """How the reference turns a text into word pieces."""

    inputs: tuple[str, ...]
    """Of the graph, in its order: input_ids, attention_mask and, with some models, token_type_ids."""
    max_tokens: int
    """Word pieces of a text, the special ones included; what is longer is cut."""
    pad_id: int


class OnnxEncoder:
    """Unit vectors of a few texts at a time. Safe to call from several threads, which work side by side.

    `weights` is the folder that the graph's external tensors are named in. Raises whatever ONNX Runtime and
    tokenizers raise on files that they cannot use.
    """

    def __init__(self, graph: bytes, weights: Path, tokenizer: Path, form: TextForm, *, threads: int) -> None:
        self._form = form
        self._tokenizer = Tokenizer.from_str(tokenizer.read_text(encoding="utf-8"))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(form.max_tokens)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = _ERRORS_ONLY
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # Threads that wait in a busy loop take a core from the chat model, which needs both.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(weights))
        self._session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Shape (len(texts), dimension). Texts of like length beside each other are quickest."""
        encodings = self._tokenizer.encode_batch(list(texts))
        found = [self._vectors(part) for part in _runs(encodings)]
        return np.concatenate(found)

    def word_pieces(self, texts: Sequence[str]) -> list[list[int]]:
        """What the graph is given for each text, cut to the model's limit, without padding."""
        return [encoding.ids for encoding in self._tokenizer.encode_batch(list(texts))]

    def _vectors(self, encodings: Sequence[Encoding]) -> Vectors:
        shape = (len(encodings), max(len(encoding.ids) for encoding in encodings))
        ids = np.full(shape, self._form.pad_id, dtype=np.int64)
        mask, types = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
        for row, encoding in enumerate(encodings):
            length = len(encoding.ids)
            ids[row, :length] = encoding.ids
            mask[row, :length] = 1
            types[row, :length] = encoding.type_ids
        given = {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}
        (vectors,) = self._session.run(None, {name: given[name] for name in self._form.inputs})
        # As the reference does with normalize_embeddings, whether or not the model ends in a normalisation.
        norms = np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        unit: Vectors = (vectors / norms).astype(np.float32)
        return unit


def _runs(encodings: Sequence[Encoding]) -> Iterator[list[Encoding]]:
    """Neighbours together, as many as TOKENS_AT_ONCE allows; at least one."""
    run: list[Encoding] = []
    longest = 0
    for encoding in encodings:
        longest = max(longest, len(encoding.ids))
        if run and longest * (len(run) + 1) > TOKENS_AT_ONCE:
            yield run
            run, longest = [], len(encoding.ids)
        run.append(encoding)
    if run:
        yield run
