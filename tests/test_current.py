"""The vectors that follow a catalogue, in both kinds of index, and the files that lag behind it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from animals import SETTINGS, put

import index.current
import index.vectors
from index.check import check
from index.collection import LocalCollection
from index.config import IndexSettings
from index.embed import HashEmbedder
from index.errors import CollectionError
from index.history import Ids
from index.train import lists_for, trained_index
from index.types import Vectors
from index.vector_files import MANIFEST, Manifest, write_files
from index.vectors import VectorIndex

DIMENSION = 32
TRAINED = SETTINGS.model_copy(update={"vectors": "trained"})


def clustered(count: int, seed: int = 1) -> Vectors:
    """Unit vectors around a few centres, all different."""
    chance = np.random.default_rng(seed)
    centres = np.random.default_rng(0).standard_normal((12, DIMENSION))
    rows = centres[chance.integers(0, 12, count)] + 0.4 * chance.standard_normal((count, DIMENSION))
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)


def nearest(ids: Ids, rows: Vectors, query: Vectors, top: int) -> set[int]:
    return set(ids[np.argsort(-(rows @ query), kind="stable")[:top]].tolist())


@pytest.fixture(scope="module")
def rows() -> Vectors:
    return clustered(3_000)


@pytest.fixture
def trained(rows: Vectors) -> VectorIndex:
    ids = np.arange(1, 3_001)
    batches = ((ids[a : a + 700], rows[a : a + 700]) for a in range(0, 3_000, 700))
    return trained_index(DIMENSION, 3_000, rows[::3], batches)


def recall(index: VectorIndex, ids: Ids, rows: Vectors) -> float:
    """Of the ten nearest, how many are among fifty candidates."""
    queries = clustered(50, seed=9)
    hits = [len(nearest(ids, rows, query, 10) & set(index.search(query, 50))) for query in queries]
    return sum(hits) / (10 * len(queries))


def test_a_trained_index_finds_the_nearest(trained: VectorIndex, rows: Vectors) -> None:
    assert (trained.kind, len(trained), trained.lists) == ("trained", 3_000, lists_for(3_000))
    assert recall(trained, np.arange(1, 3_001), rows) >= 0.97
    assert sorted(trained.ids.tolist()) == list(range(1, 3_001))


def test_what_is_added_to_a_trained_index_is_found_and_what_is_removed_is_not(
    trained: VectorIndex, rows: Vectors
) -> None:
    more = clustered(40, seed=2)
    trained.add(np.arange(3_001, 3_041), more)
    trained.remove(np.array([5, 3_002, 9_999]))
    assert (len(trained), trained.dead) == (3_038, 1)
    for _ in range(2):  # beside the lists, then in them
        assert trained.search(more[0], 1) == [3_001]
        assert 5 not in trained.search(rows[4], 200)
        assert 3_002 not in trained.search(more[1], 200)
        trained.remove(np.array([7, 3_001]))
        assert 3_001 not in trained.search(more[0], 200)
        trained.add(np.array([3_100]), more[:1])
        assert trained.search(more[0], 1) == [3_100]
        trained.absorb()
        assert trained.dead == 0
        trained.remove(np.array([3_100]))
        trained.add(np.array([3_001]), more[:1])
        trained.remove(np.array([3_001]))
        trained.add(np.array([3_001]), more[:1])
        trained.absorb()
    assert sorted(trained.ids.tolist()) == sorted({*range(1, 3_041)} - {5, 7, 3_002})


def test_a_whole_neighbourhood_removed_gives_way_to_the_next(trained: VectorIndex, rows: Vectors) -> None:
    ids = np.arange(1, 3_001)
    gone = np.array(sorted(nearest(ids, rows, rows[0], 100)))
    trained.remove(gone)
    left = np.setdiff1d(ids, gone)
    found = trained.search(rows[0], 50)
    assert len(found) == 50
    assert not set(found) & set(gone.tolist())
    assert len(nearest(left, rows[left - 1], rows[0], 10) & set(found)) >= 5


def test_an_index_that_is_being_written_can_be_added_to(
    trained: VectorIndex, rows: Vectors, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index.vectors, "FRESH_LIMIT", 4)
    with trained.still() as frozen:
        trained.add(np.arange(3_001, 3_041), clustered(40, seed=2))
        trained.remove(np.array([1]))
        assert frozen.ntotal == 3_000
    assert len(trained) == 3_039
    trained.add(np.array([3_050]), clustered(1, seed=3))
    assert len(trained) == 3_040
    assert trained.dead == 0  # it was put into the lists as soon as it might be


def test_a_trained_index_is_written_and_read(trained: VectorIndex, tmp_path: Path) -> None:
    trained.remove(np.array([3_000]))
    trained.absorb()
    state = index.vectors.Generation(7, "stamp")
    manifest = trained.write(tmp_path, generation=state, fingerprint="f")
    assert (manifest.kind, manifest.count, manifest.highest) == ("trained", 2_999, 2_999)
    again, found, reason = VectorIndex.read(
        tmp_path, fingerprint="f", dimension=DIMENSION, is_past=lambda past: past == state
    )
    assert (found, reason) == (manifest, "")
    assert again is not None
    query = clustered(1, seed=5)[0]
    assert again.search(query, 50) == trained.search(query, 50)
    again.add(np.array([4_000]), clustered(1, seed=5))
    assert again.search(query, 1) == [4_000]


# In a collection


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "papers"


def fill(collection: LocalCollection, numbers: range) -> None:
    for number in numbers:
        put(collection, f"n{number}", f"Word{number} stands in text {number % 7} alone.")


@pytest.fixture
def many(folder: Path) -> Iterator[LocalCollection]:
    with LocalCollection.create_or_open(folder, HashEmbedder(DIMENSION), TRAINED) as opened:
        fill(opened, range(60))
        opened.snapshot()
        yield opened


def manifest_of(folder: Path) -> Manifest:
    return Manifest.model_validate_json((folder / MANIFEST).read_bytes())


def test_the_kind_asked_for_is_kept_and_can_be_changed(folder: Path, many: LocalCollection) -> None:
    assert (manifest_of(folder).kind, manifest_of(folder).count) == ("trained", 60)
    many.close()
    with LocalCollection.open(folder, HashEmbedder(DIMENSION)) as again:
        put(again, "more", "Zebras have stripes.")
        again.snapshot()
        assert manifest_of(folder).kind == "trained"
        assert again.search("zebras have stripes", 1)[0].text == "Zebras have stripes."
    assert check(folder) == []
    with LocalCollection.create_or_open(folder, HashEmbedder(DIMENSION), SETTINGS) as exact:
        exact.snapshot()
        assert (manifest_of(folder).kind, manifest_of(folder).count) == ("exact", 61)
    assert check(folder) == []


def test_the_kind_is_chosen_by_what_exact_search_would_cost(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index.current, "EXACT_BYTES", 4 * DIMENSION * 30)
    with LocalCollection.create_or_open(folder, HashEmbedder(DIMENSION), SETTINGS) as collection:
        fill(collection, range(30))
        collection.snapshot()
        assert manifest_of(folder).kind == "exact"
        fill(collection, range(30, 40))
        collection.snapshot()
        assert manifest_of(folder).kind == "trained"
        fill(collection, range(40, 90))
        collection.snapshot()
        for number in range(90):
            assert collection.search(f"word{number}", 1)[0].text.startswith(f"Word{number} ")
        for number in range(85):
            collection.remove(f"n{number}")
        collection.snapshot()
        assert (manifest_of(folder).kind, manifest_of(folder).count) == ("exact", 5)
    assert check(folder) == []


def test_an_index_that_outgrew_its_kind_before_anybody_saved_is_trained_where_it_is(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index.current, "EXACT_BYTES", 4 * DIMENSION * 10)
    with LocalCollection.create_or_open(folder, HashEmbedder(DIMENSION), SETTINGS) as collection:
        fill(collection, range(5))
        assert collection.search("word1", 1)[0].text.startswith("Word1 ")
        fill(collection, range(5, 50))
        assert collection.search("word40", 1)[0].text.startswith("Word40 ")
        assert collection._vectors._held is not None
        assert collection._vectors._held.index.kind == "trained"


def test_files_that_lack_little_are_not_written_again_nor_even_loaded(
    folder: Path, many: LocalCollection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index.current, "SAVED_ALWAYS", 10)
    before = manifest_of(folder)
    fill(many, range(60, 64))
    many.remove("n3")
    many.snapshot()
    assert manifest_of(folder) == before
    many.close()
    with reopened_small(folder) as again:
        with monkeypatch.context() as patched:
            patched.setattr(VectorIndex, "read", lambda *given, **named: pytest.fail("was loaded"))
            again.snapshot()
        assert again.search("word63", 1)[0].text.startswith("Word63 ")
        assert all(not hit.text.startswith("Word3 ") for hit in again.search("word3", 50))
        monkeypatch.setattr(index.current, "_most_behind", lambda count: 4)
        again.snapshot()
        assert (manifest_of(folder).count, manifest_of(folder).highest) == (63, 64)
    assert check(folder) == []


def reopened_small(folder: Path) -> LocalCollection:
    return LocalCollection.open(folder, HashEmbedder(DIMENSION))


def test_a_trained_index_with_many_more_or_many_gone_is_trained_again(
    folder: Path, many: LocalCollection
) -> None:
    fill(many, range(60, 400))
    many.snapshot()
    assert many._vectors._held is not None
    assert many._vectors._held.index.lists == lists_for(400)
    for number in range(300):
        many.remove(f"n{number}")
    many.snapshot()
    assert (manifest_of(folder).count, many._vectors._held.index.dead) == (100, 0)
    assert check(folder) == []


def test_changes_and_searches_go_on_while_files_are_written(
    folder: Path, many: LocalCollection, monkeypatch: pytest.MonkeyPatch
) -> None:
    writing, go_on = threading.Event(), threading.Event()

    def slowly(*given: object, **named: object) -> Manifest:
        writing.set()
        assert go_on.wait(60)
        return write_files(*given, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(index.current, "write_files", slowly)
    put(many, "first", "Lions roar loudly.")
    saver = threading.Thread(target=many.snapshot)
    saver.start()
    assert writing.wait(60)
    put(many, "second", "Zebras have stripes.")
    many.remove("n7")
    assert many.search("zebras have stripes", 1)[0].text == "Zebras have stripes."
    assert all(not hit.text.startswith("Word7 ") for hit in many.search("word7", 50))
    many.snapshot()  # somebody is at it: this one returns
    go_on.set()
    saver.join()
    assert manifest_of(folder).count == 61
    many.close()
    with reopened_small(folder) as again:
        assert again.search("zebras have stripes", 1)[0].text == "Zebras have stripes."
        assert len(again.search("word7", 99)) == 61


def test_a_failed_write_is_reported_and_leaves_the_files_of_before(
    folder: Path, many: LocalCollection, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path.name: path.read_bytes() for path in [folder / MANIFEST, *folder.glob("*.faiss")]}
    put(many, "more", "Zebras have stripes.")

    def full(number: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("os.fsync", full)
        with pytest.raises(CollectionError, match="No space left"):
            many.snapshot()
    assert {path.name: path.read_bytes() for path in [folder / MANIFEST, *folder.glob("*.faiss")]} == before
    assert list(folder.glob("*.partial")) == []
    assert many.search("zebras have stripes", 1)[0].text == "Zebras have stripes."
    many.snapshot()
    assert manifest_of(folder).count == 61


def test_settings_name_the_kinds() -> None:
    assert IndexSettings().vectors == "auto"
    with pytest.raises(ValueError, match="vectors"):
        IndexSettings.model_validate({"vectors": "other"})


def test_rebuilding_heals_files_that_hold_other_passages(folder: Path, many: LocalCollection) -> None:
    many.close()
    manifest = json.loads((folder / MANIFEST).read_text())
    found, _, _ = VectorIndex.read(
        folder, fingerprint=manifest["fingerprint"], dimension=DIMENSION, is_past=lambda state: True
    )
    assert found is not None
    found.remove(np.array([4]))
    found.absorb()
    state = index.vectors.Generation(manifest["generation"], manifest["stamp"])
    found.write(folder, generation=state, fingerprint=manifest["fingerprint"], highest=60)
    (finding,) = check(folder)
    assert "other passages" in finding.what
    assert [finding.repaired for finding in check(folder, repair=True)] == [True]
    assert check(folder) == []
