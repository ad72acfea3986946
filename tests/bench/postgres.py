"""A collection in PostgreSQL against the same one in a folder: what loading, asking and filtering cost.

    python tests/bench/postgres.py postgresql://postgres@127.0.0.1/postgres 10000 100000

Passages, vectors and questions are those of `growth.py`; no model runs. At each size a folder is filled and
copied into a collection of its own in the database, which is dropped first and last. `load` compares the rows
of documents, passages and words a second with a bare COPY of the same rows into the same tables, indexes
included but the one over vectors, which both do without. Both engines are then asked the same questions in
turn; `recall` is that of the ten nearest by cosine among all, or among those that pass a filter. Run it
where nothing else runs, or believe the ratios only.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import psycopg
from psycopg import sql

sys.path.insert(0, str(Path(__file__).parent.parent.parent))
sys.path.insert(0, str(Path(__file__).parent))

from growth import QUESTIONS, SETTINGS, Drawn, fill, spread, words

from index.collection import LocalCollection
from index.copying import copy_collection
from index.engines import postgres_search
from index.engines.address import Address, address_of
from index.engines.postgres import PostgresCollection
from index.engines.postgres_filters import condition
from index.filters import Filter
from index.fusion import candidates_for
from index.types import Searchable

TABLES = ("documents", "sources", "passages", "words")


@contextmanager
def timed(name: str, seconds: dict[str, float]) -> Iterator[None]:
    begun = time.perf_counter()
    yield
    seconds[name] = time.perf_counter() - begun
    print(f"  {name}: {seconds[name]:.2f} s", flush=True)


def drop(address: Address, *collections: str) -> None:
    with psycopg.connect(address.url, autocommit=True) as connection:
        for name in collections:
            connection.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(name)))


def bare_copy(address: Address, seconds: dict[str, float]) -> None:
    """The rows of a collection out as binary COPY writes them, and into the tables of an empty one."""
    bare = replace(address, collection=f"{address.collection}_bare")
    drop(address, bare.collection)
    PostgresCollection.create_or_open(bare, Drawn(), SETTINGS).close()
    out, into = "COPY {}.{} TO STDOUT (FORMAT BINARY)", "COPY {}.{} FROM STDIN (FORMAT BINARY)"
    with psycopg.connect(address.url, autocommit=True) as connection, connection.cursor() as cursor:
        rows: dict[str, list[bytes]] = {}
        for table in TABLES:
            names = sql.Identifier(address.collection), sql.Identifier(table)
            with cursor.copy(sql.SQL(out).format(*names)) as copy:
                rows[table] = [bytes(data) for data in copy]
        with timed("bare COPY", seconds), connection.transaction():
            for table in TABLES:
                names = sql.Identifier(bare.collection), sql.Identifier(table)
                with cursor.copy(sql.SQL(into).format(*names)) as copy:
                    for data in rows[table]:
                        copy.write(data)
    drop(address, bare.collection)


def load(source: LocalCollection, target: PostgresCollection, seconds: dict[str, float]) -> None:
    """As `copy_collection` sends them, without reading them back."""
    stored = list(source.stored())
    with timed("load", seconds):
        for first in range(0, len(stored), 400):
            target.put_stored(stored[first : first + 400])


def asked() -> list[str]:
    chance = np.random.default_rng(3)
    return [
        " ".join([*words(chance, 2), f"w{chance.integers(50, 50_000)}", f"w{n % 9 * 7 + 9}"])
        for n in range(QUESTIONS)
    ]


def part(ids: Sequence[str], share: int) -> Filter:
    """Every `share`-th document."""
    return Filter(ids=frozenset(ids[::share])) if share > 1 else Filter()


def compare(local: Searchable, remote: Searchable, questions: Sequence[str]) -> None:
    """Both asked in turn, so that what else runs hits both alike."""
    times: dict[str, list[float]] = {"folder": [], "postgres": []}
    same = 0
    for question in questions:
        found = []
        for name, collection in (("folder", local), ("postgres", remote)):
            begun = time.perf_counter()
            hits = collection.search(question, 10)
            times[name].append(time.perf_counter() - begun)
            found.append([(hit.passage.document_id, hit.passage.ordinal) for hit in hits])
        same += len(set(found[0]) & set(found[1]))
    ratio = float(np.median(times["postgres"]) / np.median(times["folder"]))
    print(f"  hybrid, folder:   {spread(times['folder'])}")
    print(f"  hybrid, postgres: {spread(times['postgres'])}; {ratio:.2f} times", flush=True)
    print(f"  of the ten best of the one, the other has {same / 10 / len(questions):.4f}", flush=True)


def recall(
    collection: PostgresCollection, vectors: np.ndarray, places: np.ndarray, ids: list[str], share: int
) -> None:
    """Of the ten nearest in every `share`-th document, compared one by one, those among the candidates."""
    chosen = part(ids, share)
    inside = places[:, 0] % share == 0
    held, where = vectors[inside], places[inside]
    hits, times = 0, []
    queries = collection.embedder.embed(asked())
    for query in queries:
        best = np.argsort(-(held @ query), kind="stable")[:10]
        wanted = {(ids[d], int(o)) for d, o in where[best]}
        begun = time.perf_counter()
        found = collection._connections.read(
            lambda connection, query=query: postgres_search.search(
                connection,
                vector=query,
                asked=[],
                chosen=condition(connection, chosen) if chosen else None,
                count=candidates_for(10),
                top=10,
            )
        )
        times.append(time.perf_counter() - begun)
        hits += len(wanted & {(hit.passage.document_id, hit.passage.ordinal) for hit in found})
    rate = hits / (10 * len(queries))
    print(f"  1 in {share}: recall@10 {rate:.4f}; {spread(times)}", flush=True)


def measure(address: Address, size: int) -> None:
    print(f"{size:,} passages", flush=True)
    seconds: dict[str, float] = {}
    place = Path(tempfile.mkdtemp(prefix="postgres-bench-"))
    embedder = Drawn()
    try:
        fill(place / "c", 0, size)
        drop(address, address.collection)
        with (
            LocalCollection.open(place / "c", embedder) as local,
            PostgresCollection.create_or_open(address, embedder, SETTINGS) as remote,
        ):
            local.snapshot()
            load(local, remote, seconds)
            bare_copy(address, seconds)
            print(
                f"  load: {seconds['bare COPY'] / seconds['load']:.2f} of the rows a second of a bare COPY,"
                f" {size / seconds['load']:.0f} passages a second"
            )
            with timed("indexes made", seconds):
                remote.snapshot()
            with timed("copied again, all there", seconds):
                print(f"  {copy_collection(local, remote)}")
            print(f"  bytes: folder {local.size() / 1e6:.0f} MB, postgres {remote.size() / 1e6:.0f} MB")
            questions = asked()
            compare(local, remote, questions[:20])
            compare(local, remote, questions)
            rows, places, ids = [], [], []
            for number, one in enumerate(remote.stored()):
                ids.append(one.document.id)
                rows.append(one.vectors)
                places += [(number, passage.ordinal) for passage in one.passages]
            for share in (10, 1_000):
                print(f"  kept to 1 document in {share}")
                chosen = part(ids, share)
                compare(local.narrowed(chosen), remote.narrowed(chosen), questions[:50])
            for share in (1, 5, 10, 1_000):
                recall(remote, np.concatenate(rows), np.array(places), ids, share)
    finally:
        drop(address, address.collection)
        shutil.rmtree(place)


if __name__ == "__main__":
    for count in sys.argv[2:]:
        measure(address_of(f"{sys.argv[1]}?collection=footnote_bench"), int(count))
