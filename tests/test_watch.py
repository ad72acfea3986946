"""A folder is followed: whatever happens in it reaches the collection, and nothing that it should not."""

from __future__ import annotations

import os
import queue
import shutil
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from index import watch as watching
from index.collection import LocalCollection
from index.config import IndexSettings
from index.embed import HashEmbedder
from index.types import Vectors
from index.watch import Absent, Back, Caught, Postponed, Watcher, WatchEvent

SETTINGS = IndexSettings(passage_tokens=32)
PATIENCE_S = 60.0


class CountingEmbedder(HashEmbedder):
    def __init__(self) -> None:
        super().__init__()
        self.embedded = 0

    def embed(self, texts: Sequence[str]) -> Vectors:
        self.embedded += len(texts)
        return super().embed(texts)


@dataclass
class Followed:
    folder: Path
    collection: LocalCollection
    embedder: CountingEmbedder
    events: queue.Queue[WatchEvent | BaseException]

    def next(self) -> WatchEvent:
        event = self.events.get(timeout=PATIENCE_S)
        if isinstance(event, BaseException):
            raise event
        return event

    def caught(self) -> tuple[set[str], set[str], set[str], set[tuple[str, str]]]:
        """The names of the next changes: added, updated, removed, renamed."""
        event = self.next()
        assert isinstance(event, Caught), event
        short = [{self._short(uri) for uri in uris} for uris in (event.added, event.updated, event.removed)]
        renamed = {(self._short(old), self._short(new)) for old, new in event.renamed}
        return short[0], short[1], short[2], renamed

    def _short(self, uri: str) -> str:
        return uri.removeprefix(self.folder.as_uri() + "/")

    def texts(self) -> set[str]:
        return {self.collection.document(info.id).text for info in self.collection.documents()}


@contextmanager
def following(tmp_path: Path, *names: str) -> Iterator[Followed]:
    folder = tmp_path / "notes"
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).write_text(f"This is {name}.\n")
    stop = threading.Event()
    events: queue.Queue[WatchEvent | BaseException] = queue.Queue()
    embedder = CountingEmbedder()
    with LocalCollection.create_or_open(tmp_path / "collection", embedder, SETTINGS) as collection:
        watcher = Watcher(collection, [folder], SETTINGS, stop=stop)

        def follow() -> None:
            try:
                for event in watcher.events():
                    events.put(event)
            except BaseException as error:
                events.put(error)

        thread = threading.Thread(target=follow)
        thread.start()
        try:
            followed = Followed(folder, collection, embedder, events)
            if names:
                assert followed.caught() == (set(names), set(), set(), set())
            else:
                (folder / "first.txt").write_text("The first.\n")
                assert followed.caught() == ({"first.txt"}, set(), set(), set())
            yield followed
        finally:
            stop.set()
            thread.join(PATIENCE_S)
            assert not thread.is_alive()


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "SETTLED_S", 0.3)
    monkeypatch.setattr(watching, "LONGEST_S", 3.0)


def test_what_is_added_edited_renamed_and_deleted_is_followed(tmp_path: Path) -> None:
    with following(tmp_path, "a.txt", "b.txt") as notes:
        ids = {info.title: info.id for info in notes.collection.documents()}
        (notes.folder / "a.txt").write_text("Another text.\n")
        assert notes.caught() == (set(), {"a.txt"}, set(), set())
        embedded = notes.embedder.embedded
        (notes.folder / "b.txt").rename(notes.folder / "c.txt")
        assert notes.caught() == (set(), set(), set(), {("b.txt", "c.txt")})
        assert {info.id for info in notes.collection.documents()} >= {ids["b"]}
        assert notes.embedder.embedded == embedded  # the same text is not embedded again
        (notes.folder / "deep" / "er").mkdir(parents=True)
        (notes.folder / "deep" / "er" / "d.md").write_text("# Deep\n\nDeep down.\n")
        assert notes.caught() == ({"deep/er/d.md"}, set(), set(), set())
        (notes.folder / "deep").rename(notes.folder / "moved")
        assert notes.caught() == (set(), set(), set(), {("deep/er/d.md", "moved/er/d.md")})
        shutil.rmtree(notes.folder / "moved")
        assert notes.caught() == (set(), set(), {"moved/er/d.md"}, set())
        assert notes.texts() == {"Another text.\n", "This is b.txt.\n"}


class Clock:
    """Stands in for `time`: it goes on when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


def test_a_file_is_taken_once_it_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(watching, "time", clock)
    growing, quiet = tmp_path / "notes" / "growing.txt", tmp_path / "notes" / "quiet.txt"
    growing.parent.mkdir()
    with LocalCollection.create_or_open(tmp_path / "collection", HashEmbedder(), SETTINGS) as collection:
        watcher = Watcher(collection, [growing.parent], SETTINGS)
        quiet.write_text("Whole.\n")
        watcher._note(quiet)

        def look(after: float) -> list[WatchEvent]:
            clock.now += after
            return list(watcher._take_settled())

        for number in range(5):
            with growing.open("a") as file:
                file.write(f"Line {number}.\n")
            watcher._note(growing)
            assert look(after=0.2) == []  # not the quiet one either: what changes together comes together
        (event,) = look(after=0.4)
        assert isinstance(event, Caught)
        assert len(event.added) == 2
        assert "".join(f"Line {number}.\n" for number in range(5)) in {
            collection.document(info.id).text for info in collection.documents()
        }
        assert look(after=10) == []


def test_a_file_that_is_written_all_the_time_is_taken_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr(watching, "time", clock)
    log = tmp_path / "log.txt"
    with LocalCollection.create_or_open(tmp_path / "collection", HashEmbedder(), SETTINGS) as collection:
        log.write_text("Line.\n")
        watcher = Watcher(collection, [log], SETTINGS)
        taken = 0
        for number in range(40):  # eight seconds of writing, taken every three
            with log.open("a") as file:
                file.write(f"Line {number}.\n")
            watcher._note(log)
            clock.now += 0.2
            taken += len(list(watcher._take_settled()))
        assert taken == 2


def test_what_editors_leave_on_the_way_is_not_seen(tmp_path: Path) -> None:
    with following(tmp_path, "a.txt") as notes:
        left = ".a.txt.swp 4913 a.txt~ #a.txt# .#a.txt ~$a.docx a.txt.tmp .~lock.a.txt#"
        for name in left.split():
            (notes.folder / name).write_text("half a fi")
        (notes.folder / "a.txt.tmp").write_text("Saved by renaming.\n")
        (notes.folder / "a.txt.tmp").rename(notes.folder / "a.txt")
        assert notes.caught() == (set(), {"a.txt"}, set(), set())
        assert notes.texts() == {"Saved by renaming.\n"}


def test_a_file_that_cannot_be_read_is_told_and_what_was_known_of_it_stays(tmp_path: Path) -> None:
    with following(tmp_path, "a.txt", "b.txt") as notes:
        (notes.folder / "a.txt").write_bytes(b"%PDF-1.7 this is no text")
        event = notes.next()
        assert isinstance(event, Caught)
        assert not event
        assert [Path(name).name for name, _ in event.report.failed] == ["a.txt"]
        (notes.folder / "b.txt").write_text("Still followed.\n")
        assert notes.caught() == (set(), {"b.txt"}, set(), set())
        assert notes.texts() == {"This is a.txt.\n", "Still followed.\n"}


def test_ignore_files_hold_at_once(tmp_path: Path) -> None:
    with following(tmp_path, "a.txt", "b.txt") as notes:
        (notes.folder / ".footnoteignore").write_text("b.txt\n")
        assert notes.caught() == (set(), set(), {"b.txt"}, set())
        (notes.folder / ".footnoteignore").unlink()
        assert notes.caught() == ({"b.txt"}, set(), set(), set())


def test_a_folder_that_vanishes_keeps_what_it_held_and_is_followed_when_back(
    tmp_path: Path,
) -> None:
    with following(tmp_path, "a.txt", "b.txt") as notes:
        elsewhere = tmp_path / "elsewhere"
        notes.folder.rename(elsewhere)
        assert notes.next() == Absent(notes.folder)
        assert notes.texts() == {"This is a.txt.\n", "This is b.txt.\n"}
        (elsewhere / "a.txt").unlink()
        elsewhere.rename(notes.folder)
        assert notes.next() == Back(notes.folder)
        assert notes.caught() == (set(), set(), {"a.txt"}, set())
        (notes.folder / "c.txt").write_text("Followed again.\n")
        assert notes.caught() == ({"c.txt"}, set(), set(), set())


def test_the_empty_folder_of_an_unplugged_disk_forgets_nothing(tmp_path: Path) -> None:
    with following(tmp_path, "a.txt") as notes:
        notes.folder.rename(tmp_path / "disk")
        notes.folder.mkdir()
        time.sleep(1.5)  # nothing may happen: there is no event to wait for
        assert notes.texts() == {"This is a.txt.\n"}
        (notes.folder / "c.txt").write_text("Another disk.\n")
        while isinstance(event := notes.next(), Absent | Back):
            continue
        assert isinstance(event, Caught)
        assert (len(event.added), len(event.removed)) == (1, 1)
        assert notes.texts() == {"Another disk.\n"}


def test_another_writer_postpones_it(tmp_path: Path) -> None:
    with following(tmp_path, "a.txt") as notes:
        with LocalCollection.open(tmp_path / "collection", HashEmbedder()) as other, other.writing():
            (notes.folder / "b.txt").write_text("Later.\n")
            assert isinstance(notes.next(), Postponed)
        while isinstance(event := notes.next(), Postponed):
            continue
        assert isinstance(event, Caught)
        assert len(event.added) == 1


def test_another_reader_sees_the_change_without_opening_again(tmp_path: Path) -> None:
    with (
        following(tmp_path, "a.txt") as notes,
        LocalCollection.open(tmp_path / "collection", HashEmbedder()) as served,
    ):
        assert served.search("elephants", 1)[0].text == "This is a.txt."
        (notes.folder / "b.txt").write_text("A herd of elephants.\n")
        notes.caught()
        assert served.search("elephants", 1)[0].text == "A herd of elephants."
        (notes.folder / "b.txt").unlink()
        notes.caught()
        assert [hit.text for hit in served.search("elephants", 3)] == ["This is a.txt."]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_listed_keeps_what_it_held(tmp_path: Path) -> None:
    with following(tmp_path, "a.txt") as notes:
        (notes.folder / "deep").mkdir()
        (notes.folder / "deep" / "d.txt").write_text("Deep.\n")
        notes.caught()
        (notes.folder / "deep").chmod(0)
        (notes.folder / "b.txt").write_text("Beside.\n")
        notes.caught()
        assert "Deep.\n" in notes.texts()
        (notes.folder / "deep").chmod(0o700)
