"""Indexing text: passages a second beside a bare loop of sentence-transformers, and what memory it takes.

    python tests/bench/ingest.py MODEL                              # 5 slices of 500 kB
    python tests/bench/ingest.py MODEL --slices 40                  # 20 MB
    python tests/bench/ingest.py MODEL --peers VENV/bin/python      # and LlamaIndex and Haystack from there
    python tests/bench/ingest.py hash --slices 40                   # memory alone, without a model

MODEL is the folder of the embedder. Text is made of the seed article's sentences, shuffled and numbered, in
files of 2 to 40 kB. Each system has a process of its own and gets slice after slice, turn by turn, into one
collection that grows, so that whatever else the machine does meets all alike. The bare loop embeds the very
passages that Footnote makes of a slice; reading and splitting are not in its time. LlamaIndex and Haystack
read the same files, cut them into passages of about as many words, embed them with the same model through
sentence-transformers, and keep them in memory. Memory is the peak above what a process had once its embedder
was loaded and warm.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent
sys.path.insert(0, str(ROOT))

ARTICLE = ROOT / "seeds" / "000_ca632847ae230c67.txt"
WARM = ["It opened in 1874, and has a lake. " * 12] * 64
KINDS = ("footnote", "bare", "llama_index", "haystack")
WORDS = 80  # of a peer's passage: about what 128 tokens hold

Slice = Callable[[Path], tuple[int, float]]
"""Indexes a folder: passages, and seconds."""


def write_slice(folder: Path, kilobytes: int, seed: int) -> int:
    """Files of the article's sentences in a new order: how many bytes."""
    chance = random.Random(seed)
    sentences = [one.strip() for one in ARTICLE.read_text(encoding="utf-8").split(". ") if one.strip()]
    folder.mkdir()
    written = 0
    while written < 1000 * kilobytes:
        size, parts = chance.randint(2_000, 40_000), []
        while sum(map(len, parts)) < size:
            several = (chance.choice(sentences) for _ in range(chance.randint(2, 8)))
            parts.append(f"Note {chance.randrange(10**6)}. {'. '.join(several)}.")
        text = "\n\n".join(parts)
        written += (folder / f"{written}.txt").write_bytes(text.encode())
    return written


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def footnote(model: str, place: Path) -> Slice:
    from index.collection import LocalCollection
    from index.config import IndexSettings
    from index.embed import HashEmbedder, KeptGraphs, SentenceTransformerEmbedder
    from index.ingest import index_paths
    from index.model_records import sha256_of
    from index.types import Embedder
    from rag.worker_process import given_cores

    settings = IndexSettings()
    embedder: Embedder = HashEmbedder(384)
    if model != "hash":
        graphs = KeptGraphs(place / "graphs", sha256_of(Path(model) / "model.safetensors"), given_cores())
        embedder = SentenceTransformerEmbedder(Path(model), fingerprint="measured", graphs=graphs)
    embedder.embed(WARM)
    embedder.count_tokens(WARM)
    collection = LocalCollection.create_or_open(place / "collection", embedder, settings)

    def index(folder: Path) -> tuple[int, float]:
        before, began = collection.stats().passages, time.perf_counter()
        report = index_paths(collection, [folder], settings)
        took = time.perf_counter() - began
        assert not report.failed
        return collection.stats().passages - before, took

    return index


def bare(model: str, place: Path) -> Slice:
    from sentence_transformers import SentenceTransformer

    from index.config import IndexSettings
    from index.embed import SentenceTransformerEmbedder
    from index.putting import embedded_text
    from index.readers import read_path
    from index.split import passages

    settings = IndexSettings()
    count = SentenceTransformerEmbedder(Path(model), fingerprint="measured").count_tokens
    encoder = SentenceTransformer(model, device="cpu", local_files_only=True)
    encoder.encode(WARM)

    def index(folder: Path) -> tuple[int, float]:
        documents = [read_path(file, max_bytes=settings.max_file_bytes) for file in sorted(folder.iterdir())]
        texts = [
            embedded_text(passage, document.text)
            for document in documents
            for passage in passages(document, count_tokens=count, max_tokens=settings.passage_tokens)
        ]
        began = time.perf_counter()
        encoder.encode(texts, normalize_embeddings=True, show_progress_bar=False)
        return len(texts), time.perf_counter() - began

    return index


def llama_index(model: str, place: Path) -> Slice:
    from llama_index.core import SimpleDirectoryReader, VectorStoreIndex
    from llama_index.core.node_parser import SentenceSplitter
    from llama_index.embeddings.huggingface import HuggingFaceEmbedding

    embedder = HuggingFaceEmbedding(model_name=model, embed_batch_size=32, device="cpu")
    embedder.get_text_embedding_batch(WARM)
    whole = VectorStoreIndex([], embed_model=embedder)
    splitter = SentenceSplitter(chunk_size=128, chunk_overlap=0, include_metadata=False)

    def index(folder: Path) -> tuple[int, float]:
        began = time.perf_counter()
        nodes = splitter.get_nodes_from_documents(SimpleDirectoryReader(str(folder)).load_data())
        whole.insert_nodes(nodes)
        return len(nodes), time.perf_counter() - began

    return index


def haystack(model: str, place: Path) -> Slice:
    from haystack import Pipeline
    from haystack.components.converters import TextFileToDocument
    from haystack.components.preprocessors import DocumentSplitter
    from haystack.components.writers import DocumentWriter
    from haystack.document_stores.in_memory import InMemoryDocumentStore
    from haystack.utils import ComponentDevice
    from haystack_integrations.components.embedders.sentence_transformers import (
        SentenceTransformersDocumentEmbedder,
    )

    store = InMemoryDocumentStore()
    embedder = SentenceTransformersDocumentEmbedder(
        model=model, device=ComponentDevice.from_str("cpu"), progress_bar=False
    )
    pipeline = Pipeline()
    pipeline.add_component("read", TextFileToDocument())
    pipeline.add_component("split", DocumentSplitter(split_by="word", split_length=WORDS, split_overlap=0))
    pipeline.add_component("embed", embedder)
    pipeline.add_component("write", DocumentWriter(store))
    for first, second in (("read", "split"), ("split", "embed"), ("embed", "write")):
        pipeline.connect(first, second)
    pipeline.warm_up()
    (place / "warm.txt").write_text("\n".join(WARM))
    pipeline.run({"read": {"sources": [place / "warm.txt"]}})

    def index(folder: Path) -> tuple[int, float]:
        before, began = store.count_documents(), time.perf_counter()
        pipeline.run({"read": {"sources": sorted(folder.iterdir())}})
        return store.count_documents() - before, time.perf_counter() - began

    return index


def serve(kind: str, model: str, place: Path) -> None:
    """One system in this process: a folder a line comes in, what was measured goes out."""
    make: dict[str, Callable[[str, Path], Slice]] = {
        "footnote": footnote,
        "bare": bare,
        "llama_index": llama_index,
        "haystack": haystack,
    }
    place.mkdir()
    index = make[kind](model, place)
    say({"loaded_mb": peak_mb()})
    for line in sys.stdin:
        passages, seconds = index(Path(line.rstrip("\n")))
        say({"passages": passages, "seconds": seconds, "peak_mb": peak_mb()})


def say(found: dict[str, float]) -> None:
    print("measured " + json.dumps(found), flush=True)


class System:
    """A process that indexes slices."""

    def __init__(self, python: str, kind: str, model: str, place: Path) -> None:
        self.kind = kind
        command = [python, __file__, model, "--serve", kind, "--place", str(place / kind)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        self.loaded_mb = float(self._heard()["loaded_mb"])
        self.slices: list[dict[str, float]] = []

    def index(self, folder: Path) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{folder}\n")
        self._process.stdin.flush()
        self.slices.append(self._heard())

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def _heard(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        for line in self._process.stdout:  # whatever else is said on the way
            if line.startswith("measured "):
                found: dict[str, Any] = json.loads(line.removeprefix("measured "))
                return found
        raise SystemExit(f"{self.kind} ended with {self._process.wait()}")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    options.add_argument("model")
    options.add_argument("--slices", type=int, default=5)
    options.add_argument("--kilobytes", type=int, default=500)
    options.add_argument("--peers", help="a Python that has LlamaIndex and Haystack")
    options.add_argument("--serve", choices=KINDS, help=argparse.SUPPRESS)
    options.add_argument("--place", type=Path, help=argparse.SUPPRESS)
    asked = options.parse_args()
    if asked.serve:
        serve(asked.serve, asked.model, asked.place)
        return
    place = Path(tempfile.mkdtemp(prefix="ingest-"))
    kinds = KINDS[: 1 if asked.model == "hash" else 4 if asked.peers else 2]
    systems = [
        System(asked.peers if number > 1 else sys.executable, kind, asked.model, place)
        for number, kind in enumerate(kinds)
    ]
    sizes = []
    for number in range(asked.slices):
        sizes.append(write_slice(place / str(number), asked.kilobytes, number))
        for system in systems[number % len(systems) :] + systems[: number % len(systems)]:
            system.index(place / str(number))
        first = systems[0].slices
        if number in (max(asked.slices // 10, 1) - 1, asked.slices - 1):
            above = first[-1]["peak_mb"] - systems[0].loaded_mb
            print(f"after {sum(sizes) / 1e6:.1f} MB: footnote {above:.0f} MB above its embedder", flush=True)
    ours = [size / one["seconds"] for size, one in zip(sizes, systems[0].slices, strict=True)]
    for system in systems:
        rates = [size / one["seconds"] for size, one in zip(sizes, system.slices, strict=True)]
        ratios = [a / b for a, b in zip(ours, rates, strict=True)]
        passages = sum(one["passages"] for one in system.slices)
        print(
            f"{system.kind}: {passages:,.0f} passages, median {statistics.median(rates) / 1e3:.1f} kB/s, "
            f"{statistics.median(one['passages'] / one['seconds'] for one in system.slices):.1f} passages/s; "
            f"footnote is {statistics.median(ratios):.2f} times as fast ({min(ratios):.2f} to "
            f"{max(ratios):.2f}); {system.slices[-1]['peak_mb'] - system.loaded_mb:.0f} MB above "
            f"{system.loaded_mb:.0f} MB",
            flush=True,
        )
        system.close()


if __name__ == "__main__":
    main()
