"""The reference of every embedder: sentence-transformers on the CPU, from a local folder."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from index.errors import ModelDamaged
from index.types import Vectors

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


def load_reference(folder: Path, **model_options: Any) -> SentenceTransformer:
    """The model in `folder`, without a word on standard error. Raises ModelDamaged.

    `model_options` go to the transformer's class.
    """
    # Heavy: importing these takes about six seconds, and most commands never embed with them.
    import transformers
    from sentence_transformers import SentenceTransformer

    # Loading draws a progress bar and logs; the caller's own progress is all a person should see.
    logging.getLogger("sentence_transformers").setLevel(logging.ERROR)
    transformers.logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    transformers.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        return SentenceTransformer(
            str(folder),
            device="cpu",
            local_files_only=True,
            trust_remote_code=False,
            model_kwargs=model_options,
        )
    except Exception as error:  # whatever torch, transformers and safetensors raise on bad files
        raise damaged(folder, "the model", error) from error


class ReferenceEncoder:
    """Unit vectors of a few texts at a time. Safe to call from several threads."""

    def __init__(self, model: SentenceTransformer) -> None:
        self._model = model
        self._lock = threading.Lock()  # torch's modules are not promised to be thread-safe

    @property
    def dimension(self) -> int | None:
        return self._model.get_embedding_dimension()

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Shape (len(texts), dimension); the texts go through the model as one batch."""
        with self._lock:
            return self._model.encode(
                list(texts),
                batch_size=max(len(texts), 1),
                show_progress_bar=False,
                convert_to_numpy=True,
                normalize_embeddings=True,
            )


def damaged(folder: Path, name: str, cause: object) -> ModelDamaged:
    """What to raise when a file of the model cannot be used."""
    reason = " ".join(str(cause).split())[:200]
    return ModelDamaged(f"{folder}: {name} cannot be used ({reason}); fetch the model again.")
