"""Passages a second that a Ray cluster of one node, and of two, puts into PostgreSQL; against one process.

    python tests/bench/ray_ingest.py postgresql://postgres@127.0.0.1/postgres HOME [DOCUMENTS] [ROUNDS]

HOME is a FOOTNOTE_HOME with the embedder in it. Every node has one core and is on this machine: where that
has two cores, two nodes and a database beside them show what the parts cost, and no growth. Each round
indexes the same documents into an empty collection: `footnote index` as it is, `--ray` with one node and
with two, and with two of which one is removed when half is stored. What counts is the time of the whole
command, and beside it the time from the first passage that is stored to the last. Run it where nothing else
runs, or believe the ratios of one round only.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import psycopg
from psycopg import sql

sys.path.insert(0, str(Path(__file__).parent.parent.parent))
sys.path.insert(0, str(Path(__file__).parent.parent))
sys.path.insert(0, str(Path(__file__).parent))

from growth import words
from ray_cluster import RayCluster, cluster_of_two, environment

from index.engines.address import Address, address_of
from index.engines.opening import open_recorded_at
from index.errors import CollectionError

SENTENCES, WORDS = 40, 15


def write(folder: Path, documents: int) -> None:
    chance = np.random.default_rng(5)
    for number in range(documents):
        text = " ".join(f"{' '.join(words(chance, WORDS)).capitalize()}." for _ in range(SENTENCES))
        (folder / f"{number}.txt").write_text(f"Document {number}. {text}\n")


@dataclass(frozen=True, slots=True)
class Took:
    """Seconds: of the command, and from the first passage stored to the last. `seen` is how far it was."""

    whole: float
    storing: float
    passages: int
    documents: int

    def __str__(self) -> str:
        storing = self.passages / max(self.storing, 1e-9)
        return (
            f"{self.passages} passages in {self.whole:.1f} s, {self.passages / self.whole:.0f} a second; "
            f"{storing:.0f} while storing"
        )


def stored(address: Address) -> tuple[int, int]:
    """Documents and passages that are there by now."""
    try:
        with open_recorded_at(address) as collection:
            stats = collection.stats()
    except CollectionError:
        return 0, 0  # not made yet
    return stats.documents, stats.passages


def index(
    address: Address, home: str, folder: Path, *more: str, cluster: RayCluster | None = None, half: int = 0
) -> Took:
    """With `half`, a node of `cluster` is removed once so many documents are stored."""
    with psycopg.connect(address.url, autocommit=True) as connection:
        connection.execute(
            sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(address.collection))
        )
    command = [sys.executable, "-m", "rag", "index", "-c", f"{address.url}?collection={address.collection}"]
    variables = environment(FOOTNOTE_HOME=home, FOOTNOTE_OFFLINE="1")
    del variables["OMP_NUM_THREADS"]
    begun, first, last, seen = time.perf_counter(), 0.0, 0.0, 0
    process = subprocess.Popen([*command, *more, str(folder)], env=variables, stdout=subprocess.DEVNULL)
    while process.poll() is None:
        documents, passages = stored(address)
        if passages > seen:
            last = time.perf_counter()
            first, seen = first or last, passages
        if cluster is not None and half and documents >= half:
            print(f"    a node is removed at {documents} documents", flush=True)
            cluster.set_nodes(1)
            half = 0
        time.sleep(0.1)
    whole = time.perf_counter() - begun
    assert process.returncode == 0, process.returncode
    documents, passages = stored(address)
    return Took(whole, last - first, passages, documents)


def measure(url: str, home: str, documents: int, rounds: int) -> None:
    address = replace(address_of(url), collection="footnote_ray_bench")
    times: dict[str, list[Took]] = {}
    with tempfile.TemporaryDirectory(prefix="ray-bench-") as place, cluster_of_two() as cluster:
        folder = Path(place)
        write(folder, documents)
        over = ("--ray", cluster.address)
        for number in range(rounds):
            print(f"round {number + 1}", flush=True)
            for name, nodes, half in (
                ("footnote index", 2, 0),
                ("1 node", 1, 0),
                ("2 nodes", 2, 0),
                ("2 nodes, then 1", 2, documents // 2),
            ):
                cluster.set_nodes(nodes)
                more = () if name == "footnote index" else over
                took = index(address, home, folder, *more, cluster=cluster, half=half)
                assert took.documents == documents
                times.setdefault(name, []).append(took)
                print(f"  {name}: {took}", flush=True)
        alike = {one.passages for every in times.values() for one in every}
        assert len(alike) == 1, alike
        for name, every in times.items():
            plain = times["footnote index"]
            ratios = [one.whole / other.whole for one, other in zip(every, plain, strict=True)]
            whole = statistics.median(one.passages / one.whole for one in every)
            storing = statistics.median(one.passages / max(one.storing, 1e-9) for one in every)
            print(
                f"{name}: median {whole:.0f} passages a second in all, {storing:.0f} while storing, "
                f"{statistics.median(ratios):.2f} times the time of footnote index"
            )


if __name__ == "__main__":
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    given = sys.argv[3:]
    measure(sys.argv[1], sys.argv[2], *(int(n) for n in [*given, *["200", "3"][len(given) :]]))
