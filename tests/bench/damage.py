"""Files of a collection cut short, with bytes flipped, or of mixed generations: what is found, and by whom.

    python tests/bench/damage.py 1000

Each damaged copy is opened, searched and checked in a process of its own. A signal, an error that is not this
program's, a text that differs from what was indexed and is shown all the same, or damage that changes what is
found and that `check` does not see, is a fault, and the exit code is 1. What `--repair` calls right
afterwards has to find everything again.
"""

from __future__ import annotations

import collections
import json
import os
import random
import shutil
import sys
import tempfile
from pathlib import Path
from typing import IO

sys.path.insert(0, str(Path(__file__).parent.parent))
sys.path.insert(0, str(Path(__file__).parent.parent.parent))

from animals import SETTINGS, put
from kills import in_a_child, in_child

import index.current
from index.catalog import FILE_NAME
from index.check import check
from index.collection import LocalCollection
from index.embed import HashEmbedder
from index.errors import FootnoteError
from index.vector_files import MANIFEST

DIMENSION = 32
DOCUMENTS = 60

index.current.EXACT_BYTES = 4 * DIMENSION * 60  # so that the vectors are in trained lists

Found = list[list[str]]
"""For each question the texts found, in order."""


def text_of(number: int, version: int) -> str:
    parts = (f"Only word{number}x{part}v{version} stands here. " * 2 for part in range(1 + number % 3))
    return "\n\n".join(part.strip() for part in parts)


def make(folder: Path, version: int, *, saves: bool = True) -> None:
    with LocalCollection.create_or_open(folder, HashEmbedder(DIMENSION), SETTINGS) as collection:
        for number in range(DOCUMENTS):
            put(collection, f"u{number}", text_of(number, version))
        if saves:
            collection.snapshot()


def asked(folder: Path, version: int) -> Found:
    questions = [f"word{number}x0v{version} stands here" for number in range(0, DOCUMENTS, 4)]
    with LocalCollection.open(folder, HashEmbedder(DIMENSION)) as collection:
        found = [[hit.text for hit in collection.search(question, 5)] for question in questions]
        for info in collection.documents():
            found.append([collection.document(info.id).text])
        return found


def asked_apart(folder: Path, version: int) -> Found:
    """As `asked`, in a process of its own: FAISS's threads are not there in who is forked from one that has
    searched, and would be waited for."""
    process, said = in_child(lambda said: json.dump(asked(folder, version), said))
    with said:
        found: Found = json.load(said)
    os.waitpid(process, 0)
    return found


def outcome(folder: Path, right: list[Found], texts: set[str]) -> str:
    """What came of a damaged collection; with "fault" in it where that is one."""
    told, result = "", ""
    try:
        found = asked(folder, 1)
    except FootnoteError as error:
        told = type(error).__name__
    else:
        shown = {text for one in found for text in one}
        is_other = any(not any(text in whole for whole in texts) for text in shown)
        result = "the same" if found in right else "other texts" if is_other else "others found"
    try:
        findings = check(folder)
    except FootnoteError as error:
        findings, told = [], told or type(error).__name__
    seen = bool(findings or told)
    if result == "other texts" or (result == "others found" and not seen):
        return f"fault: {result}, {'seen' if seen else 'not seen'} by check"
    if findings:
        try:
            left = [one for one in check(folder, repair=True) if not one.repaired]
            if not left and asked(folder, 1) not in right:
                return "fault: repaired, and finds others"
        except FootnoteError:
            left = findings
        repaired = "not repaired" if left else "repaired"
    else:
        repaired = "refused" if told else "sound"
    return f"{'refused' if told else result}; {repaired}"


def tried(folder: Path, right: list[Found], texts: set[str]) -> str:
    def act(said: IO[str]) -> None:
        print(outcome(folder, right, texts), file=said, flush=True)

    process, said = in_child(act)
    with said:
        heard = said.read().strip()
    status = os.waitpid(process, 0)[1]
    return heard if status == 0 and heard else f"fault: ended with status {status}"


def main(flips: int, seed: int) -> int:
    place = Path(tempfile.mkdtemp(prefix="damage-"))
    first, second, behind, folder = place / "1", place / "2", place / "3", place / "c"
    in_a_child(lambda: make(first, 1))
    shutil.copytree(first, second)
    in_a_child(lambda: make(second, 2))  # another generation of the same collection
    # Trained lists find nearly what others find: those of before and what has changed since are right too.
    shutil.copytree(first, behind)
    in_a_child(lambda: make(behind, 2, saves=False))
    right = [asked_apart(one, 1) for one in (first, second, behind)]
    texts = {text_of(number, version) for number in range(DOCUMENTS) for version in (1, 2)}
    files = [path.name for path in sorted(first.iterdir()) if path.stat().st_size]
    chance = random.Random(seed)
    counted: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    faults = 0

    def count(kind: str, what: str) -> None:
        nonlocal faults
        result = tried(folder, right, texts)
        counted[kind][result] += 1
        if result.startswith("fault"):
            faults += 1
            shutil.copytree(folder, place / f"fault-{faults}")
            print(f"{what}: {result}", file=sys.stderr, flush=True)
        shutil.rmtree(folder)

    for name in files:
        size = (first / name).stat().st_size
        for length in sorted({0, 1, 100, 4096, size // 2, size - 4096, size - 1}):
            if 0 <= length < size:
                shutil.copytree(first, folder)
                os.truncate(folder / name, length)
                count("truncated", f"{name} cut to {length}")
    for number in range(flips):
        shutil.copytree(first, folder)
        path = folder / (FILE_NAME if number % 2 else files[number // 2 % len(files)])
        data = bytearray(path.read_bytes())
        at = chance.randrange(len(data))
        data[at] ^= 1 << chance.randrange(8)
        path.write_bytes(data)
        count("flipped", f"{path.name}, byte {at}")
    for kept in ({FILE_NAME}, {MANIFEST}, {FILE_NAME, MANIFEST}):
        for one, other in ((first, second), (second, first)):
            shutil.copytree(one, folder)
            for path in other.iterdir():
                if (path.name in kept) or (path.suffix == ".faiss" and MANIFEST not in kept):
                    shutil.copy(path, folder / path.name)
            count("mixed", f"{sorted(kept)} of {other.name} in {one.name}")
    for kind, results in counted.items():
        print(f"{kind}: {results.total()}, {dict(results.most_common())}")
    print(f"{faults} faults" + (f", kept in {place}" if faults else ""))
    if not faults:
        shutil.rmtree(place)
    return 1 if faults else 0


if __name__ == "__main__":
    wanted = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000
    sys.exit(main(wanted, int(sys.argv[2]) if len(sys.argv) > 2 else 1))
