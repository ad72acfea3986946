from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import faiss
import numpy as np
import pytest

from index.records import Generation
from index.types import Vectors
from index.vectors import MANIFEST, VectorIndex

STATE = Generation(7, "0123456789abcdef")
DIMENSION = 4


def unit(*rows: list[float]) -> Vectors:
    array = np.array(rows, dtype=np.float32)
    return np.asarray(array / np.linalg.norm(array, axis=1, keepdims=True), dtype=np.float32)


def filled() -> VectorIndex:
    index = VectorIndex(DIMENSION)
    index.add(np.array([3, 9, 5]), unit([1, 0, 0, 0], [0, 1, 0, 0], [1, 1, 0, 0]))
    return index


def read(folder: Path, **other: object) -> tuple[VectorIndex | None, str]:
    wanted = {"generation": STATE, "fingerprint": "hash-4", "dimension": DIMENSION, **other}
    past = wanted.pop("generation")
    found = VectorIndex.read(folder, **wanted, is_past=lambda state: state == past)  # type: ignore[arg-type]
    return found[0], found[2]


def test_search_gives_the_nearest_first() -> None:
    index = filled()
    assert index.search(unit([1, 0.1, 0, 0])[0], 3) == [3, 5, 9]
    assert index.search(unit([1, 0.1, 0, 0])[0], 1) == [3]
    assert index.search(unit([1, 0.1, 0, 0])[0], 99) == [3, 5, 9]
    assert index.search(unit([1, 0.1, 0, 0])[0], 0) == []
    assert VectorIndex(DIMENSION).search(unit([1, 0, 0, 0])[0], 5) == []


def test_among_equals_the_lower_number_is_chosen() -> None:
    index = VectorIndex(DIMENSION)
    numbers = np.random.default_rng(3).permutation(np.arange(1, 301))
    index.add(numbers, np.repeat(unit([1, 1, 0, 0]), 300, axis=0))
    index.add(np.array([400]), unit([1, 0.9, 0, 0]))
    assert index.search(unit([1, 0.5, 0, 0])[0], 20) == [400, *range(1, 20)]
    assert index.search(unit([0, 1, 0, 0])[0], 20) == list(range(1, 21))


def test_removed_numbers_are_gone_and_new_ones_are_found() -> None:
    index = filled()
    index.remove(np.array([3, 77]))
    index.add(np.array([12]), unit([1, 0, 0, 0.1]))
    assert sorted(index.ids.tolist()) == [5, 9, 12]
    assert index.search(unit([1, 0, 0, 0])[0], 9) == [12, 5, 9]
    index.remove(np.array([], dtype=np.int64))
    index.add(np.array([], dtype=np.int64), np.zeros((0, DIMENSION), dtype=np.float32))
    assert len(index) == 3


def test_what_is_written_is_read(tmp_path: Path) -> None:
    manifest = filled().write(tmp_path, generation=STATE, fingerprint="hash-4")
    index, reason = read(tmp_path)
    assert reason == ""
    assert index is not None
    assert sorted(index.ids.tolist()) == [3, 5, 9]
    assert index.search(unit([1, 0.1, 0, 0])[0], 3) == [3, 5, 9]
    index.remove(np.array([3]))  # what was read can be changed
    index.add(np.array([13]), unit([0, 0, 1, 0]))
    assert index.search(unit([0, 0, 1, 0])[0], 1) == [13]
    assert json.loads((tmp_path / MANIFEST).read_text()) == {
        "format": 2,
        "kind": "exact",
        "file": manifest.file,
        "sha256": manifest.sha256,
        "bytes": (tmp_path / manifest.file).stat().st_size,
        "generation": 7,
        "stamp": "0123456789abcdef",
        "fingerprint": "hash-4",
        "dimension": 4,
        "count": 3,
        "highest": 9,
    }


def test_an_empty_index_can_be_saved(tmp_path: Path) -> None:
    VectorIndex(DIMENSION).write(tmp_path, generation=STATE, fingerprint="hash-4")
    index, _ = read(tmp_path)
    assert index is not None
    assert len(index) == 0


def test_writing_again_leaves_one_file_and_the_remains_of_a_crash_go(tmp_path: Path) -> None:
    filled().write(tmp_path, generation=STATE, fingerprint="hash-4")
    (tmp_path / "vectors-6-00000000.faiss").write_bytes(b"old")
    (tmp_path / "vectors-7-00000000.faiss.abc.partial").write_bytes(b"torn")
    (tmp_path / "unrelated.txt").write_bytes(b"kept")
    manifest = filled().write(tmp_path, generation=STATE, fingerprint="hash-4")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        [MANIFEST, "unrelated.txt", manifest.file]
    )


@pytest.mark.parametrize(
    "other",
    [
        {"generation": Generation(8, STATE.stamp)},
        {"generation": Generation(7, "ffffffffffffffff")},
        {"fingerprint": "other"},
        {"dimension": 5},
    ],
)
def test_another_state_embedder_or_dimension_is_refused(tmp_path: Path, other: dict[str, object]) -> None:
    filled().write(tmp_path, generation=STATE, fingerprint="hash-4")
    index, reason = read(tmp_path, **other)
    assert index is None
    assert "another state" in reason


def edit_manifest(**changes: object) -> Callable[[Path, Path], None]:
    def change(manifest: Path, vectors: Path) -> None:
        manifest.write_text(json.dumps({**json.loads(manifest.read_text()), **changes}))

    return change


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (lambda manifest, vectors: manifest.unlink(), "manifest.json is missing"),
        (lambda manifest, vectors: vectors.unlink(), "is missing"),
        (lambda manifest, vectors: vectors.write_bytes(vectors.read_bytes()[:-1]), "not what was written"),
        (lambda manifest, vectors: vectors.write_bytes(vectors.read_bytes() + b"\0"), "not what was written"),
        (
            lambda manifest, vectors: vectors.write_bytes(vectors.read_bytes()[:-1] + b"\x77"),
            "not what was written",
        ),
        (lambda manifest, vectors: vectors.write_bytes(b""), "not what was written"),
        (lambda manifest, vectors: manifest.write_bytes(manifest.read_bytes()[:40]), "cannot be understood"),
        (lambda manifest, vectors: manifest.write_bytes(b"\xff\xfe"), "cannot be understood"),
        (lambda manifest, vectors: manifest.write_bytes(b"[]"), "cannot be understood"),
        (edit_manifest(extra=1), "cannot be understood"),
        (edit_manifest(count="3"), "cannot be understood"),
        (edit_manifest(format=1), "cannot be understood"),
        (edit_manifest(format=3), "cannot be understood"),
        (edit_manifest(kind="other"), "cannot be understood"),
        (edit_manifest(file="../vectors-1.faiss"), "cannot be understood"),
        (edit_manifest(count=4), "another kind"),
        (edit_manifest(kind="trained"), "another kind"),
        (edit_manifest(highest=8), "another kind"),
    ],
)
def test_damage_is_a_reason_and_never_an_exception(
    tmp_path: Path, damage: Callable[[Path, Path], None], expected: str
) -> None:
    manifest = filled().write(tmp_path, generation=STATE, fingerprint="hash-4")
    damage(tmp_path / MANIFEST, tmp_path / manifest.file)
    index, reason = read(tmp_path)
    assert index is None
    assert expected in reason


def test_faiss_reads_no_byte_before_the_digest_is_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = filled().write(tmp_path, generation=STATE, fingerprint="hash-4")
    path = tmp_path / manifest.file
    path.write_bytes(path.read_bytes()[:-1] + b"\x77")
    monkeypatch.setattr(faiss, "read_index", lambda reader: pytest.fail("FAISS was given the bytes"))
    assert read(tmp_path)[0] is None


@pytest.mark.parametrize(
    "content",
    [b"not an index", faiss.serialize_index(faiss.IndexFlatL2(DIMENSION)).tobytes()],
    ids=["noise", "other kind"],
)
def test_bytes_with_the_right_digest_that_are_no_such_index_are_refused(
    tmp_path: Path, content: bytes
) -> None:
    manifest = filled().write(tmp_path, generation=STATE, fingerprint="hash-4")
    (tmp_path / manifest.file).write_bytes(content)
    edit_manifest(sha256=hashlib.sha256(content).hexdigest(), bytes=len(content))(
        tmp_path / MANIFEST, tmp_path
    )
    index, reason = read(tmp_path)
    assert index is None
    assert manifest.file in reason


def test_a_crash_before_the_manifest_leaves_the_older_state_readable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled().write(tmp_path, generation=STATE, fingerprint="hash-4")
    real = Path.replace

    def stopped(self: Path, target: Path) -> Path:
        if Path(target).name == MANIFEST:
            raise KeyboardInterrupt
        return real(self, target)

    monkeypatch.setattr(Path, "replace", stopped)
    with pytest.raises(KeyboardInterrupt):
        VectorIndex(DIMENSION).write(tmp_path, generation=Generation(8, "x"), fingerprint="hash-4")
    index, _ = read(tmp_path)
    assert index is not None
    assert len(index) == 3
