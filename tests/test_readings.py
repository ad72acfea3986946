from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from rag.readings import MAGIC, Reading, ReadingStore, claim, load_reading, reading_key, write_reading

READING = Reading("k" * 64, (1, 2, 3), bytes(range(256)) * 4)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "readings" / "d1-key.reading"
    write_reading(path, READING)
    return path


def load(path: Path, key: str = READING.key, tokens: tuple[int, ...] = READING.tokens) -> Reading | None:
    return load_reading(path, key=key, tokens=tokens)


def test_what_was_written_is_loaded(path: Path) -> None:
    assert load(path) == READING
    assert [file.name for file in path.parent.iterdir()] == ["d1-key.reading"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_reading_that_is_not_there(tmp_path: Path) -> None:
    assert load(tmp_path / "none.reading") is None


@pytest.mark.parametrize("change", [{"key": "other"}, {"tokens": (1, 2, 4)}, {"tokens": (1, 2)}])
def test_a_reading_of_another_prompt_is_deleted(path: Path, change: dict[str, object]) -> None:
    assert load(path, **change) is None  # type: ignore[arg-type]
    assert not path.exists()


def test_every_flipped_bit_and_every_truncation_is_noticed(path: Path) -> None:
    whole = path.read_bytes()
    for position in range(len(whole)):
        torn = bytearray(whole)
        torn[position] ^= 1 << position % 8
        for data in (bytes(torn), whole[:position]):
            path.write_bytes(data)
            assert load(path) is None, position
            assert not path.exists()
    path.write_bytes(whole + b"x")
    assert load(path) is None
    path.write_bytes(whole)
    assert load(path) == READING


@pytest.mark.parametrize(
    "header", ["[]", "7", "null", "{}", "[" * 100_000, '{"key": 1}', "\udcff", "{" + " " * 5_000_000]
)
def test_any_header_is_survived(path: Path, header: str) -> None:
    path.write_bytes(MAGIC + header.encode("utf-8", "surrogateescape") + b"\n" + READING.state)
    assert load(path) is None
    assert not path.exists()


def test_a_file_of_any_size_is_refused_unread(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(1 << 40)  # a hole: it takes no space, but reading it would take all memory
    assert load(path) is None
    assert not path.exists()


def test_a_folder_in_its_place_is_survived(tmp_path: Path) -> None:
    (tmp_path / "d.reading").mkdir()
    assert load(tmp_path / "d.reading") is None


def test_a_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        write_reading(tmp_path / "d.reading", READING)
    assert list(tmp_path.iterdir()) == []


def test_keys_differ_where_any_part_does() -> None:
    keys = {reading_key(*parts) for parts in [("a", "b"), ("ab", ""), ("", "ab"), ("ab",), ("a", "b", "")]}
    assert len(keys) == 5
    assert reading_key("a", "b") == reading_key("a", "b")
    assert len(reading_key("\ud800")) == 64


# -- the store ------------------------------------------------------------------------------------


def fill(store: ReadingStore, *names: str, size: int = 100) -> list[Path]:
    """Readings of `size` bytes in all, each used a second later than the one before."""
    store.folder.mkdir(exist_ok=True)
    paths = []
    for second, name in enumerate(names):
        document_id, _, key = name.partition("-")
        paths.append(store.path(document_id, key))
        paths[-1].write_bytes(bytes(size))
        os.utime(paths[-1], (second, second))
    return paths


def names(store: ReadingStore) -> list[str]:
    return sorted(path.name for path in store.folder.iterdir())


def test_the_least_recently_used_go_first(tmp_path: Path) -> None:
    store = ReadingStore(tmp_path, max_bytes=250)
    fill(store, "a-1", "b-2", "c-3", "d-4")
    assert store.evict() == 2
    assert names(store) == ["c-3.reading", "d-4.reading"]
    assert store.evict() == 0


def test_to_load_a_reading_is_to_use_it(tmp_path: Path) -> None:
    store = ReadingStore(tmp_path, max_bytes=0)
    first, second = store.path("a", "1"), store.path("b", "2")
    for age, path in enumerate((first, second)):
        write_reading(path, READING)
        os.utime(path, (age, age))
    assert load(first) == READING
    size = first.stat().st_size
    assert ReadingStore(tmp_path, max_bytes=size).evict() == 1
    assert names(store) == ["a-1.reading"]


def test_exactly_full_is_not_too_full(tmp_path: Path) -> None:
    store = ReadingStore(tmp_path, max_bytes=200)
    fill(store, "a-1", "b-2")
    assert store.evict() == 0
    assert ReadingStore(tmp_path, max_bytes=199).evict() == 1


def test_readings_of_documents_that_are_gone_go(tmp_path: Path) -> None:
    store = ReadingStore(tmp_path, max_bytes=10_000)
    fill(store, "a-1", "ab-2", "b-3")
    assert store.keep_only({"ab"}) == 2
    assert names(store) == ["ab-2.reading"]


def test_a_store_that_is_not_there_yet_is_empty(tmp_path: Path) -> None:
    store = ReadingStore(tmp_path / "none", max_bytes=0)
    assert store.evict() == store.keep_only(()) == 0
    assert not store.folder.exists()


# -- one maker at a time --------------------------------------------------------------------------

HOLD = """
import sys
from pathlib import Path
from rag.readings import claim
with claim(Path(sys.argv[1])) as claimed:
    (Path(sys.argv[1]).parent / "d.1.part").write_bytes(b"half")
    print(claimed, flush=True)
    sys.stdin.read()
"""


def holder(path: Path) -> subprocess.Popen[bytes]:
    """Another process that holds the claim and has written half a reading."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    child = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == b"True\n"
    return child


def test_one_process_makes_a_reading_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "d.reading"
    store = ReadingStore(tmp_path, max_bytes=1000)
    with holder(path) as child:
        with claim(path) as claimed:
            assert not claimed
        with claim(tmp_path / "e.reading") as claimed:
            assert claimed
        store.evict()
        assert names(store) == ["d.1.part", "d.lock"]  # in use, so not swept up
        child.send_signal(signal.SIGKILL)
    with claim(path) as claimed:
        assert claimed
    with claim(path) as claimed:
        assert claimed


def test_what_a_killed_process_left_is_swept_up(tmp_path: Path) -> None:
    path = tmp_path / "d.reading"
    with holder(path) as child:
        child.send_signal(signal.SIGKILL)
    store = ReadingStore(tmp_path, max_bytes=10_000)
    assert names(store) == ["d.1.part", "d.lock"]
    store.evict()
    assert names(store) == []


def test_a_lock_goes_with_its_reading(tmp_path: Path) -> None:
    store = ReadingStore(tmp_path, max_bytes=10_000)
    path = store.path("d", "1")
    with claim(path):
        write_reading(path, READING)
    store.evict()
    assert names(store) == ["d-1.lock", "d-1.reading"]
    store.keep_only(())
    assert names(store) == []


def test_a_claim_ends_with_an_error_too(tmp_path: Path) -> None:
    path = tmp_path / "d.reading"
    with pytest.raises(ZeroDivisionError), claim(path):
        raise ZeroDivisionError
    with claim(path) as claimed:
        assert claimed
