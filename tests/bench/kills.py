"""kill -9 at random moments of additions, updates, removals, merges and rebuilds; then: nothing lost.

    python tests/bench/kills.py 200

A child works on one collection and says before and after each step what it does; it is killed, the next one
goes on with what it left. After each kill every acknowledged document has to be there with its text, at
most the step in flight on top; every passage has to be found by its own words; `check` has to be clean. The
limits of the index are lowered, so that training and merging happen all the time. The exit code is 1 when
something was wrong. The children are forked, so that a kill costs no start of an interpreter.
"""

from __future__ import annotations

import collections
import os
import random
import select
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import IO

sys.path.insert(0, str(Path(__file__).parent.parent))
sys.path.insert(0, str(Path(__file__).parent.parent.parent))

from animals import SETTINGS, document, put

import index.current
from index.check import check
from index.collection import LocalCollection
from index.embed import HashEmbedder

DIMENSION = 32
URIS = 40
STEPS = ("put", "put", "put", "remove", "save", "rebuild")
LONGEST_S = 0.4  # until a child is killed

index.current.EXACT_BYTES = 4 * DIMENSION * 60
index.current.SAVED_ALWAYS = 20
index.current._most_behind = lambda count: 7


def text_of(number: int) -> str:
    """One passage to three, each with a word that no other text has."""
    parts = (f"Only word{number}x{part} " + "stands here now. " * 3 for part in range(1 + number % 3))
    return "\n\n".join(part.strip() for part in parts)


def open_collection(folder: Path) -> LocalCollection:
    return LocalCollection.create_or_open(folder, HashEmbedder(DIMENSION), SETTINGS)


def work(folder: Path, seed: int, said: IO[str]) -> None:
    """Change the collection until killed."""
    chance = random.Random(seed)
    with open_collection(folder) as collection:
        for number in range(seed * 100_000, (seed + 1) * 100_000):
            step = chance.choice(STEPS)
            uri = f"u{chance.randrange(URIS)}"
            print(f"begin {step} {uri} {number}", file=said, flush=True)
            if step == "put":
                put(collection, uri, text_of(number))
            elif step == "remove":
                collection.remove(uri)
            elif step == "save":
                collection.snapshot()
            else:
                collection._vectors.rebuild(collection._catalog.reading)
            print(f"done {step} {uri} {number}", file=said, flush=True)


def verify(folder: Path, allowed: list[dict[str, str]]) -> None:
    """Raises AssertionError when the collection is none of those allowed, or not sound."""
    with open_collection(folder) as collection:
        texts = {info.id: collection.document(info.id).text for info in collection.documents()}
        held = {stored.source.uri: texts[stored.document_id] for stored in collection.sources()}
        assert held in allowed, f"holds {sorted(held)}, not one of {[sorted(one) for one in allowed]}"
        expected = {document(text).id for text in held.values()}
        assert set(texts) == expected, "documents without a source, or sources without a document"
        for text in list(held.values())[:6]:
            for passage in text.split("\n\n"):
                found = [hit.text for hit in collection.search(passage.split()[1], 50)]
                assert found[0] == passage, f"{passage!r} is not found"
        passages = sum(info.passages for info in collection.documents())
        assert len(collection.search("word stands here now", 500)) == passages, "passages that are not found"
    findings = check(folder)
    assert findings == [], findings


def in_child(act: Callable[[IO[str]], None]) -> tuple[int, IO[str]]:
    """Fork: (process, what it says)."""
    reading, writing = os.pipe()
    process = os.fork()
    if process:
        os.close(writing)
        return process, os.fdopen(reading)
    code = 1
    try:
        os.close(reading)
        with os.fdopen(writing, "w") as said:
            act(said)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def in_a_child(act: Callable[[], None]) -> int:
    """Fork, and wait: the exit status."""
    process, said = in_child(lambda _: act())
    said.close()
    return os.waitpid(process, 0)[1]


def save(folder: Path) -> None:
    with open_collection(folder) as collection:
        collection.snapshot()


def killed(process: int, said: IO[str], after_s: float) -> list[str]:
    """All whole lines that a child said before it was killed."""
    # It says a little at first: the pipe holds more than it can say until then.
    select.select([said], [], [], 30)
    time.sleep(after_s)
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    return [line.rstrip("\n") for line in said if line.endswith("\n")]


def run(kills: int, seed: int, folder: Path) -> collections.Counter[str]:
    """Which steps were in flight, and how often. Raises SystemExit when something is wrong."""
    chance = random.Random(seed)
    model: dict[str, str] = {}
    in_flight: collections.Counter[str] = collections.Counter()
    acknowledged = 0
    in_a_child(partial(save, folder))  # before that there are no files, and `check` says so
    for number in range(1, kills + 1):
        process, said = in_child(lambda said, n=number: work(folder, seed * 10_000 + n, said))  # type: ignore[misc]
        with said:
            lines = killed(process, said, chance.random() * LONGEST_S)
        for line in lines:
            kind, step, uri, which = line.split()
            before = dict(model)
            if step == "put":
                after = {**model, uri: text_of(int(which))}
            else:
                after = {name: text for name, text in model.items() if step != "remove" or name != uri}
            if kind == "done":
                model = after
                acknowledged += 1
        allowed = [model]
        if lines and lines[-1].startswith("begin"):
            in_flight[lines[-1].split()[1]] += 1
            allowed = [before, after]
        else:
            in_flight["between"] += 1
        if in_a_child(partial(verify, folder, allowed)):
            print(f"kill {number} of seed {seed}, {lines[-3:]}: see above; {folder} is kept", file=sys.stderr)
            raise SystemExit(1)
        model = _state(folder, allowed)
    in_flight["acknowledged"] = acknowledged
    return in_flight


def _state(folder: Path, allowed: list[dict[str, str]]) -> dict[str, str]:
    """Which of those allowed it is."""
    if len(allowed) == 1:
        return allowed[0]
    with open_collection(folder) as collection:
        held = {stored.source.uri: stored.document_id for stored in collection.sources()}
    (found, *_) = (one for one in allowed if {uri: document(t).id for uri, t in one.items()} == held)
    return found


if __name__ == "__main__":
    wanted = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    began = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    place = Path(tempfile.mkdtemp(prefix="kills-"))
    counts = run(wanted, began, place)
    print(f"{wanted} kills, {dict(counts)}: nothing lost")
