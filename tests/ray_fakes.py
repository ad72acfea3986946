"""What the tests send to the actors of a cluster, and a run of Footnote over it as a program of its own."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar

from animals import SETTINGS

from index.embed import HashEmbedder
from index.engines.address import address_of
from index.engines.opening import create_or_open_at, over_ray
from index.types import Vectors

POISON = "DEADLYNIGHTSHADE"
"""A text with this word ends the process that embeds it."""


class GatedEmbedder(HashEmbedder):
    """Embeds a little in each process, and the rest once the file GATE is there; leaves a mark of each."""

    _WITHOUT: ClassVar[int] = 2

    def __init__(self, gate: Path | None) -> None:
        super().__init__()
        self._gate = gate
        self._calls = 0
        if gate is not None:
            (gate.parent / f"opened-{os.getpid()}").touch()

    def embed(self, texts: Sequence[str]) -> Vectors:
        if any(POISON in text for text in texts):
            os._exit(1)
        self._calls += 1
        if self._gate is not None and self._calls > self._WITHOUT:
            (self._gate.parent / f"waiting-{os.getpid()}").touch()
            while not self._gate.exists():
                time.sleep(0.02)
        return super().embed(texts)


@dataclass(frozen=True, slots=True)
class Opening:
    """Called in each actor."""

    gate: Path | None

    def __call__(self) -> GatedEmbedder:
        return GatedEmbedder(self.gate)


def main(cluster: str, url: str, folder: str, gate: str = "") -> None:
    """Index `folder`, and print the report."""
    address = address_of(url)
    ingest = over_ray(cluster, address, Opening(Path(gate) if gate else None))
    with create_or_open_at(address, HashEmbedder(), SETTINGS) as collection:
        report = ingest(collection, [Path(folder)], SETTINGS)
    print(json.dumps(asdict(report)))


if __name__ == "__main__":
    main(*sys.argv[1:])
