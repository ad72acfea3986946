"""One collection as it grows: what opening, searching and adding cost at each size.

    python tests/bench/growth.py 1000 10000 100000 1000000

Passages are sixty words drawn by Zipf's law from 50,000, with vectors of 384 dimensions around 2,000 centres,
written straight into the catalogue; no model runs. At each size a new process opens the collection and asks
300 questions of four words, every third one a common word. Times are printed as wall clock and as processor
time: on a busy machine only the second means much. `recall` is that of the ten nearest among the candidates,
against all vectors of the catalogue; what BM25 keeps is counted against scoring every passage.
"""

from __future__ import annotations

import hashlib
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent.parent))

from index import lexical
from index.catalog import Catalog
from index.collection import LocalCollection
from index.config import IndexSettings
from index.fusion import candidates_for
from index.records import Reader, Source
from index.types import Block, Document, Passage, Sentence, Vectors
from index.vector_files import read_manifest

DIMENSION = 384
WORDS = 50_000
PER_PASSAGE = 60
PER_DOCUMENT = 20
AT_ONCE = 50  # documents in one transaction
QUESTIONS = 300
SETTINGS = IndexSettings()


class Drawn:
    """Vectors of passages and questions as a seed draws them: the number in a text says which."""

    fingerprint = "drawn"
    dimension = DIMENSION
    max_tokens = 512

    def __init__(self) -> None:
        chance = np.random.default_rng(7)
        self._centres = chance.standard_normal((2_000, DIMENSION), dtype=np.float32)
        self._centres /= np.linalg.norm(self._centres, axis=1, keepdims=True)
        self._ways = chance.standard_normal((200, DIMENSION), dtype=np.float32) / np.sqrt(DIMENSION)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(text.split()) for text in texts]

    def embed(self, texts: Sequence[str]) -> Vectors:
        digests = (hashlib.sha256(text.encode()).digest() for text in texts)
        rows = [self.drawn(1, int.from_bytes(digest[:6])) for digest in digests]
        return np.concatenate(rows) if rows else np.zeros((0, DIMENSION), dtype=np.float32)

    def drawn(self, count: int, seed: int) -> Vectors:
        """Unit vectors: a centre, some of 200 ways to leave it, and noise."""
        chance = np.random.default_rng(seed)
        topics = np.minimum(chance.zipf(1.3, count), 10**6) % 2_000
        taken = chance.random((count, 200), dtype=np.float32) < 0.15
        rows = 0.9 * self._centres[topics] + 0.012 * chance.standard_normal((count, DIMENSION), np.float32)
        rows += (chance.standard_normal((count, 200), np.float32) * taken) @ self._ways * 0.16
        unit: Vectors = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
        return unit


def words(chance: np.random.Generator, count: int) -> list[str]:
    """By Zipf's law, so that the first are in most passages."""
    ranks = np.minimum(WORDS ** chance.random(count), WORDS - 1).astype(int)
    return [f"w{rank}" for rank in ranks.tolist()]


def fill(folder: Path, first: int, last: int) -> None:
    """Documents that make passages `first` to `last` of the collection."""
    embedder = Drawn()
    LocalCollection.create_or_open(folder, embedder, SETTINGS).close()
    catalog = Catalog(folder)
    for start in range(first, last, AT_ONCE * PER_DOCUMENT):
        chance = np.random.default_rng(start)
        vectors = embedder.drawn(AT_ONCE * PER_DOCUMENT, start + 10**9)
        with catalog.writing() as writer:
            for at in range(0, min(AT_ONCE * PER_DOCUMENT, last - start), PER_DOCUMENT):
                texts = [" ".join(words(chance, PER_PASSAGE)) for _ in range(PER_DOCUMENT)]
                text, uri = "\n".join(texts), f"drawn:{start + at}"
                document = Document(text, uri, uri, "text/plain", (Block(0, len(text)),))
                ends = np.cumsum([len(part) + 1 for part in texts]).tolist()
                passages = [
                    Passage(document.id, n, e - 1 - len(t), e - 1, "", (Sentence(e - 1 - len(t), e - 1),), 60)
                    for n, (t, e) in enumerate(zip(texts, ends, strict=True))
                ]
                writer.put_document(document, "drawn", passages, vectors[at : at + PER_DOCUMENT])
                writer.put_source(Source(uri, "0" * 64, len(text), 1, "1"), uri, document.id)
    catalog.close()


@contextmanager
def timed(name: str) -> Iterator[None]:
    wall, cpu = time.perf_counter(), time.process_time()
    yield
    print(
        f"  {name}: {time.perf_counter() - wall:.3f} s, processor {time.process_time() - cpu:.3f} s",
        flush=True,
    )


def spread(times_s: Sequence[float]) -> str:
    middle, most = np.quantile(times_s, [0.5, 0.95]) * 1e3
    return f"p50 {middle:.2f}, p95 {most:.2f} ms"


def resident() -> str:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return f"{pages * os.sysconf('SC_PAGE_SIZE') / 1e6:.0f} MB, at most {peak:.0f} MB"


def lexical_kept(reader: Reader, question: str) -> int:
    """How many of the ten best by BM25 are the ten best of those that a search looks at."""
    match = lexical.question(question)
    every = reader._all(
        "SELECT rowid FROM passage_words WHERE passage_words MATCH ?"
        " ORDER BY bm25(passage_words), rowid LIMIT 10",
        match,
    )
    found = list(reader.lexical(question, candidates_for(10)))[:10]
    return len({row[0] for row in every} & set(found))


def measure(folder: Path) -> None:
    embedder = Drawn()
    before = resident()
    with timed("open and search once"):
        collection = LocalCollection.open(folder, embedder)
        collection.search("w1000 w2000", 10)
    manifest, reason = read_manifest(folder)
    print(f"  vectors: {manifest.kind if manifest else reason}; resident {before} → {resident()}", flush=True)
    chance = np.random.default_rng(3)
    asked = [
        " ".join([*words(chance, 2), f"w{chance.integers(50, 50_000)}", f"w{n % 9 * 7 + 9}"])
        for n in range(QUESTIONS)
    ]
    queries = embedder.embed(asked)
    with collection._vectors.lock, collection._catalog.reading() as reader:
        vectors = collection._vectors.of(reader)
        found, times, cpu = [], [], []
        for query in queries:
            wall, own = time.perf_counter(), time.thread_time()
            found.append(vectors.search(query, 50))
            times.append(time.perf_counter() - wall)
            cpu.append(time.thread_time() - own)
        print(f"  dense: {spread(times)}; processor {spread(cpu)}", flush=True)
        scores, ids = np.full((QUESTIONS, 10), -2, np.float32), np.zeros((QUESTIONS, 10), np.int64)
        for numbers, rows in collection._vectors._batches(reader, 0):
            every = np.hstack([scores, queries @ rows.T])
            both = np.hstack([ids, np.broadcast_to(numbers, (QUESTIONS, len(numbers)))])
            best = np.argpartition(-every, 9, axis=1)[:, :10]
            scores, ids = np.take_along_axis(every, best, 1), np.take_along_axis(both, best, 1)
        hits = sum(len(set(a) & set(b.tolist())) for a, b in zip(found, ids, strict=True))
        print(f"  recall@10 {hits / 10 / QUESTIONS:.4f}", flush=True)
        kept = [lexical_kept(reader, question) for question in asked[:20]]
        print(f"  of the ten best by BM25 over all, found {np.mean(kept) / 10:.3f}", flush=True)
    times, cpu = [], []
    for question in asked:
        wall, own = time.perf_counter(), time.thread_time()
        collection.search(question, 10)
        times.append(time.perf_counter() - wall)
        cpu.append(time.thread_time() - own)
    print(f"  hybrid: {spread(times)}; processor {spread(cpu)}", flush=True)
    for n in range(5):
        text = " ".join([f"fresh{n}", *words(np.random.default_rng(n + int(time.time())), 900)])[:5_000]
        document = Document(text, "new", "new", "text/plain", (Block(0, len(text)),))
        with timed("add 5 kB and find it"):
            collection.put(document, f"new{n}", str(n), 5_000, 1, "1")
            assert any(f"fresh{n}" in hit.text.split() for hit in collection.search(f"fresh{n}", 100))
        with timed("save"):
            collection.snapshot()
    with timed("remove it, and search"):
        collection.remove("new0")
        assert not any("fresh0" in hit.text.split() for hit in collection.search("fresh0", 100))
    for n in range(1, 5):
        collection.remove(f"new{n}")
    print(f"  resident {resident()}", flush=True)
    collection.close()


def main(sizes: list[int]) -> None:
    place = Path(tempfile.mkdtemp(prefix="growth-", dir=os.environ.get("TMPDIR")))
    held = 0
    for size in sizes:
        print(f"{size:,} passages", flush=True)
        with timed("written"):
            fill(place / "c", held, size)
        held = size
        with timed("vectors saved"), LocalCollection.open(place / "c", Drawn()) as collection:
            collection.snapshot()
        print(f"  at most {resident()} while filling", flush=True)
        subprocess.run([sys.executable, __file__, "--measure", str(place / "c")], check=True)
    shutil.rmtree(place)


if __name__ == "__main__":
    if sys.argv[1] == "--measure":
        measure(Path(sys.argv[2]))
    else:
        main([int(size) for size in sys.argv[1:]])
