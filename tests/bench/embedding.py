"""The embedder on ONNX Runtime beside sentence-transformers: `python tests/bench/embedding.py FOLDER`.

FOLDER holds the model. Each runs in a process of its own, turn by turn, so that whatever else the machine
does meets both alike. Processor time is told beside the clock's: it tells them apart on a busy machine too.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from index.embed import KeptGraphs, SentenceTransformerEmbedder
from index.model_records import sha256_of
from rag.worker_process import given_cores

ROUNDS = 7
ARTICLE = Path(__file__).parent.parent.parent / "seeds" / "000_ca632847ae230c67.txt"


def resident_mb() -> float:
    """Of this process now, files that are mapped included."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """(seconds, seconds of processor time) of one call."""
    clock, processor = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - clock, time.process_time() - processor


def measure(folder: Path, store: Path | None) -> None:
    """Serve measurements in this process: prints one when it is ready, then one for each line that comes."""
    words = ARTICLE.read_text(encoding="utf-8").split()
    chunks = [" ".join(words[i * 20 : i * 20 + 170]) for i in range(32)]
    graphs = KeptGraphs(store, sha256_of(folder / "model.safetensors"), given_cores()) if store else None
    embedder = SentenceTransformerEmbedder(folder, fingerprint="measured", graphs=graphs)
    loading = timed(lambda: embedder.embed(["ready"]))
    print(json.dumps({"load": loading}), flush=True)
    for line in sys.stdin:
        question = f"{line.strip()}: where did the leaders of the BRICS countries meet?"
        asked = timed(lambda text=question: embedder.embed([text]))  # type: ignore[misc]
        read = timed(lambda: embedder.embed(chunks))
        print(
            json.dumps({"query": asked, "chunks": [value / 32 for value in read], "rss": resident_mb()}),
            flush=True,
        )


def main() -> None:
    folder = Path(sys.argv[1]).absolute()
    if len(sys.argv) > 2:
        return measure(folder, Path(sys.argv[2]) if sys.argv[2] != "reference" else None)
    with tempfile.TemporaryDirectory() as store:
        kept = KeptGraphs(Path(store), sha256_of(folder / "model.safetensors"), given_cores())
        SentenceTransformerEmbedder(folder, fingerprint="made", graphs=kept).prepare()
        children = {
            name: subprocess.Popen(
                [sys.executable, __file__, str(folder), where],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for name, where in (("ONNX Runtime", store), ("sentence-transformers", "reference"))
        }
        found: dict[str, list[dict[str, list[float]]]] = {}
        for name, child in children.items():
            assert child.stdout is not None
            loading = json.loads(child.stdout.readline())["load"]
            print(f"{name}: loaded after {loading[0]:.2f} s, {loading[1]:.2f} s of processor time")
        for turn in range(ROUNDS):
            for name, child in children.items():
                assert child.stdin is not None
                assert child.stdout is not None
                child.stdin.write(f"{turn}\n")
                child.stdin.flush()
                found.setdefault(name, []).append(json.loads(child.stdout.readline()))
        for child in children.values():
            child.communicate()
    for name, rounds in found.items():
        query, chunk = (np.median([one[key] for one in rounds], axis=0) for key in ("query", "chunks"))
        memory = statistics.median(one["rss"] for one in rounds)  # type: ignore[type-var]
        print(
            f"{name}: a question {1e3 * query[0]:.1f} ms ({1e3 * query[1]:.1f} of processor time), "
            f"{1 / chunk[0]:.1f} chunks of 170 words a second ({1 / chunk[1]:.1f} a processor second), "
            f"{memory:.0f} MB resident"
        )
    print(f"load of the machine: {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
