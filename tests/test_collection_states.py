from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import faiss
import numpy as np
import pytest
from animals import ANIMALS, SETTINGS, document, found, put, reopened
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

from index.catalog import FILE_NAME
from index.collection import LocalCollection
from index.embed import HashEmbedder
from index.records import Ids
from index.types import Change, Vectors
from index.vectors import MANIFEST, VectorIndex

ROOT = Path(__file__).parent.parent


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "papers"


@pytest.fixture
def collection(folder: Path) -> Iterator[LocalCollection]:
    with LocalCollection.create_or_open(folder, HashEmbedder(), SETTINGS) as opened:
        yield opened


@pytest.fixture
def animals(collection: LocalCollection) -> LocalCollection:
    for uri, text in ANIMALS.items():
        put(collection, uri, text)
    return collection


# The vector files


def gathered(collection: LocalCollection, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The reasons why vector files were not used during a search; none when they were."""
    reasons: list[str] = []
    real = VectorIndex.read

    def reading(folder: Path, **wanted: object) -> object:
        result = real(folder, **wanted)  # type: ignore[arg-type]
        if result[0] is None:
            reasons.append(result[2])
        return result

    with monkeypatch.context() as patched:
        patched.setattr(VectorIndex, "read", reading)
        assert found(collection, "cats purr", 1) == [ANIMALS["file:///cats.txt"]]
    return reasons


def test_a_snapshot_is_used_and_written_only_when_something_changed(
    folder: Path, animals: LocalCollection, monkeypatch: pytest.MonkeyPatch
) -> None:
    animals.snapshot()
    (first,) = folder.glob("*.faiss")
    animals.snapshot()
    assert list(folder.glob("*.faiss")) == [first]
    with reopened(folder) as again:
        assert gathered(again, monkeypatch) == []
        again.snapshot()
        assert list(folder.glob("*.faiss")) == [first]
        put(again, "new", "Zebras have stripes.")
        again.snapshot()
        (second,) = folder.glob("*.faiss")
        assert second != first
        # FAISS's own format: nothing is pickled.
        assert faiss.deserialize_index(np.frombuffer(second.read_bytes(), dtype=np.uint8)).ntotal == 4


DAMAGES: dict[str, Callable[[Path, Path], object]] = {
    "no manifest": lambda manifest, vectors: manifest.unlink(),
    "torn manifest": lambda manifest, vectors: manifest.write_bytes(manifest.read_bytes()[:50]),
    "no file": lambda manifest, vectors: vectors.unlink(),
    "torn file": lambda manifest, vectors: vectors.write_bytes(vectors.read_bytes()[:100]),
    "flipped byte": lambda manifest, vectors: vectors.write_bytes(
        vectors.read_bytes()[:-9] + bytes([vectors.read_bytes()[-9] ^ 1]) + vectors.read_bytes()[-8:]
    ),
    "empty file": lambda manifest, vectors: vectors.write_bytes(b""),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_vector_files_never_change_an_answer(
    folder: Path, animals: LocalCollection, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    expected = animals.search("cats purr at night", 3)
    animals.snapshot()
    animals.close()
    (vectors,) = folder.glob("*.faiss")
    DAMAGES[damage](folder / MANIFEST, vectors)
    with reopened(folder) as again:
        assert len(gathered(again, monkeypatch)) == 1
        assert again.search("cats purr at night", 3) == expected
        again.snapshot()
    with reopened(folder) as healed:
        assert gathered(healed, monkeypatch) == []
        assert healed.search("cats purr at night", 3) == expected


def test_what_has_changed_since_the_files_were_written_is_read_from_the_catalogue(
    folder: Path, animals: LocalCollection, monkeypatch: pytest.MonkeyPatch
) -> None:
    animals.snapshot()
    animals.remove("file:///dogs.txt")
    put(animals, "new", "Zebras have stripes.")
    put(animals, "short-lived", "Lions roar loudly.")
    animals.remove("short-lived")
    animals.close()
    with reopened(folder) as again:
        assert gathered(again, monkeypatch) == []
        assert sorted(found(again, "dogs zebras lions")) == sorted(
            ["Zebras have stripes.", ANIMALS["file:///cats.txt"], ANIMALS["file:///whales.txt"]]
        )


def test_files_of_a_state_that_the_catalogue_never_was_in_are_not_used(
    folder: Path, animals: LocalCollection, monkeypatch: pytest.MonkeyPatch
) -> None:
    animals.snapshot()
    animals.close()
    manifest = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps({**manifest, "stamp": "0123456789abcdef"}))
    with reopened(folder) as again:
        assert len(gathered(again, monkeypatch)) == 1
        assert len(again.search("cats", 9)) == 3


def test_a_catalogue_restored_from_a_copy_is_not_served_with_later_vectors(
    folder: Path, animals: LocalCollection
) -> None:
    animals.close()
    copy = (folder / FILE_NAME).read_bytes()
    with reopened(folder) as later:
        put(later, "new", "Zebras have stripes.")
        later.snapshot()
    for path in folder.glob(f"{FILE_NAME}*"):
        path.unlink()
    (folder / FILE_NAME).write_bytes(copy)
    with reopened(folder) as restored:  # the same generation number and the same passage number again
        put(restored, "other", "Lions roar loudly.")
        assert found(restored, "zebra stripes lions roar", 1) == ["Lions roar loudly."]
        assert len(restored.search("zebra", 9)) == 4


def test_a_catalogue_with_another_past_put_in_place_of_an_open_one_is_noticed(
    animals: LocalCollection,
) -> None:
    assert len(animals.search("cats", 9)) == 3
    with animals._vectors.lock, animals._catalog.reading() as reader:
        vectors = animals._vectors.of(reader)
        vectors.remove(np.array([2]))  # as if it had never been seen
    with animals._catalog.connection() as connection:
        connection.execute("UPDATE generations SET stamp = 'another'")
    animals.remove("file:///cats.txt")
    assert sorted(found(animals, "dogs whales")) == [
        ANIMALS["file:///dogs.txt"],
        ANIMALS["file:///whales.txt"],
    ]


def test_only_the_difference_is_read(animals: LocalCollection, monkeypatch: pytest.MonkeyPatch) -> None:
    animals.search("cats", 1)
    added: list[list[int]] = []
    real = VectorIndex.add

    def add(self: VectorIndex, ids: Ids, rows: Vectors) -> None:
        added.append(ids.tolist())
        real(self, ids, rows)

    monkeypatch.setattr(VectorIndex, "add", add)
    put(animals, "new", "Zebras have stripes.")
    animals.remove("file:///dogs.txt")
    assert len(animals.search("zebra", 9)) == 3
    assert added == [[4]]
    assert len(animals.search("zebra", 9)) == 3
    assert added == [[4]]


WRITER = """
import sys
from pathlib import Path
sys.path[:0] = [sys.argv[2], sys.argv[2] + "/tests"]
from animals import put
from index.collection import LocalCollection
from index.embed import HashEmbedder

with LocalCollection.open(Path(sys.argv[1]), HashEmbedder()) as collection:
    for line in sys.stdin:
        command, uri, text = line.rstrip("\\n").split("|")
        put(collection, uri, text) if command == "put" else collection.remove(uri)
        if command == "put":
            collection.snapshot()
        print("done", flush=True)
"""


def test_what_another_process_writes_is_seen_at_once(folder: Path, animals: LocalCollection) -> None:
    assert len(animals.search("cats", 9)) == 3
    writer = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", WRITER, str(folder), str(ROOT)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert writer.stdin is not None
    assert writer.stdout is not None

    def tell(command: str) -> None:
        assert writer.stdin is not None
        assert writer.stdout is not None
        writer.stdin.write(command + "\n")
        writer.stdin.flush()
        assert writer.stdout.readline() == "done\n"

    with writer:
        tell("put|new|Zebras have stripes.")
        assert found(animals, "zebra stripes", 1) == ["Zebras have stripes."]
        tell("put|new|Lions roar loudly.")
        assert found(animals, "lions roar", 1) == ["Lions roar loudly."]
        assert "Zebras have stripes." not in found(animals, "zebra stripes", 9)
        tell("remove|new|")
        tell("remove|file:///cats.txt|")
        assert sorted(found(animals, "cats lions", 9)) == [
            ANIMALS["file:///dogs.txt"],
            ANIMALS["file:///whales.txt"],
        ]
        put(animals, "mine", "Both processes write.")
        tell("remove|mine|")
        assert len(animals.search("processes", 9)) == 2
        writer.stdin.close()
    assert writer.returncode == 0


def version(number: int) -> str:
    return (
        f"Version word{number} begins here now.\n\nVersion word{number} ends with this longer sentence there."
    )


def test_readers_in_threads_see_whole_documents_while_one_writes(collection: LocalCollection) -> None:
    """Every version has two passages with the same number; a search must never mix versions."""
    versions = 25
    put(collection, "a", version(0))
    mixed: list[list[str]] = []
    failures: list[BaseException] = []
    stop = threading.Event()

    def read() -> None:
        try:
            while not stop.is_set():
                texts = [hit.text for hit in collection.search("version begins ends", 9)]
                if len({text.split()[1] for text in texts}) != 1 or not texts:
                    mixed.append(texts)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(1, versions):
        put(collection, "a", version(number))
    stop.set()
    for thread in threads:
        thread.join()
    assert (mixed, failures) == ([], [])
    assert collection.stats().documents == 1


WORDS = ["cat", "dog", "whale", "zebra", "kazan", "treaty"]


class AgainstADictionary(RuleBasedStateMachine):
    """Whatever is put, removed and reopened, the collection holds and finds what a dictionary would."""

    names = Bundle("names")

    @initialize()
    def start(self) -> None:
        self.place = tempfile.TemporaryDirectory()
        self.model: dict[str, str] = {}
        self.collection = LocalCollection.create_or_open(Path(self.place.name), HashEmbedder(32), SETTINGS)

    @rule(target=names, name=st.sampled_from(["a", "b", "c", "d"]))
    def name(self, name: str) -> str:
        return name

    @rule(name=names, words=st.lists(st.sampled_from(WORDS), min_size=1, max_size=3))
    def put(self, name: str, words: list[str]) -> None:
        text = "\n\n".join(f"The {word} " + "is here " * 5 + "now." for word in words)
        change = put(self.collection, name, text)
        expected = Change.ADDED if name not in self.model else Change.UPDATED
        assert change is (Change.UNCHANGED if self.model.get(name) == text else expected)
        self.model[name] = text

    @rule(name=names)
    def remove(self, name: str) -> None:
        assert self.collection.remove(name) == (self.model.pop(name, None) is not None)

    @rule(snapshot=st.booleans())
    def reopen(self, snapshot: bool) -> None:
        if snapshot:
            self.collection.snapshot()
        self.collection.close()
        self.collection = LocalCollection.open(Path(self.place.name), HashEmbedder(32))

    @rule(word=st.sampled_from(WORDS))
    def search(self, word: str) -> None:
        hits = self.collection.search(word, 50)
        texts = {document(text).id: text for text in self.model.values()}
        assert len(hits) == sum(text.count("now.") for text in texts.values())
        for hit in hits:
            assert hit.text == texts[hit.passage.document_id][hit.passage.start : hit.passage.end]
            assert (hit.lexical > 0) == (word in hit.text)
        if any(word in text for text in texts.values()):
            assert word in hits[0].text

    @invariant()
    def agrees(self) -> None:
        names: dict[str, set[str]] = {}
        for name, text in self.model.items():
            names.setdefault(document(text).id, set()).add(name)
        assert {info.id: set(info.uris) for info in self.collection.documents()} == names

    def teardown(self) -> None:
        self.collection.close()
        self.place.cleanup()


TestAgainstADictionary = AgainstADictionary.TestCase
TestAgainstADictionary.settings = hypothesis_settings(max_examples=25, stateful_step_count=15, deadline=None)
