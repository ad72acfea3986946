"""What one run of the bench is given, and where it keeps every single figure."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rag.gold_types import Question

from .children import ROOT
from .machine import Limits

SEEDS = ROOT / "seeds"
ARTICLE = SEEDS / "000_ca632847ae230c67.txt"
PEERS = ("llama_index", "haystack", "txtai")


@dataclass(slots=True)
class Run:
    """`folder` is scratch; `document_id` is that of the article."""

    options: argparse.Namespace
    model: Path
    embedder: Path
    threads: int
    questions: Sequence[Question]
    document_id: str
    folder: Path
    limits: Limits
    found: dict[str, Any] = field(default_factory=dict)

    @property
    def collection(self) -> Path:
        return self.folder / "collection"

    @property
    def parameters(self) -> float:
        """Weights in the model's file, by its size: a quantized one has about 4.9 bits each (Q4_K_M)."""
        return self.model.stat().st_size * 8 / 4.9

    @property
    def most_read(self) -> float:
        return self.limits.tokens_read_a_second(self.parameters)

    @property
    def most_written(self) -> float:
        return self.limits.tokens_written_a_second(self.model.stat().st_size)

    def wants(self, *keys: str) -> bool:
        return any(key in self.options.rows for key in keys)


def say(what: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {what}", file=sys.stderr, flush=True)
