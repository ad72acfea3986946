from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from index.collection import LocalCollection
from index.config import IndexSettings
from index.embed import HashEmbedder
from index.errors import UnreadableDocument
from index.ingest import IngestProgress, IngestReport, index_paths
from index.types import Vectors
from index.vectors import MANIFEST

SETTINGS = IndexSettings.model_validate({"passage_tokens": 32, "max_file_bytes": 10_000})


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", newline="")
    return path


def report(**counts: object) -> IngestReport:
    zero: dict[str, object] = dict.fromkeys(
        ("added", "updated", "unchanged", "removed", "passed_over", "ignored"), 0
    )
    return IngestReport(**{**zero, "failed": (), **counts})  # type: ignore[arg-type]


@pytest.fixture
def collection(tmp_path: Path) -> Iterator[LocalCollection]:
    with LocalCollection.create_or_open(tmp_path / "collection", HashEmbedder(), SETTINGS) as opened:
        yield opened


@pytest.fixture
def papers(tmp_path: Path) -> Path:
    folder = tmp_path / "papers"
    write(folder / "cats.txt", "Cats purr when they are content.\n")
    write(folder / "deep" / "dogs.md", "# Dogs\n\nDogs bark at strangers in the night.\n")
    return folder


def held(collection: LocalCollection) -> list[str]:
    return sorted(stored.source.uri.rsplit("/", 1)[1] for stored in collection.sources())


def test_new_changed_and_unchanged_files(collection: LocalCollection, papers: Path) -> None:
    assert index_paths(collection, [papers], SETTINGS) == report(added=2)
    assert held(collection) == ["cats.txt", "dogs.md"]
    generation = collection.stats().generation
    assert index_paths(collection, [papers], SETTINGS) == report(unchanged=2)
    assert collection.stats().generation == generation
    write(papers / "cats.txt", "Cats hunt mice.\n")
    write(papers / "whales.txt", "Whales sing.\n")
    assert index_paths(collection, [papers], SETTINGS) == report(added=1, updated=1, unchanged=1)
    assert collection.search("cats hunt", 1)[0].text == "Cats hunt mice."
    assert "purr" not in " ".join(hit.text for hit in collection.search("purr", 9))
    document = collection.documents()[0]
    assert collection.document(document.id).uri == document.uris[0]
    assert document.uris[0].startswith("file:///")


class Forbidden(Exception):
    pass


def test_an_unchanged_file_is_not_opened_and_a_touched_one_not_read(
    collection: LocalCollection, papers: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index_paths(collection, [papers], SETTINGS)

    def forbidden(*given: object, **named: object) -> None:
        raise Forbidden

    with monkeypatch.context() as patched:
        patched.setattr("index.ingest.read_path", forbidden)
        os.utime(papers / "cats.txt", ns=(5, 5))
        assert index_paths(collection, [papers], SETTINGS) == report(unchanged=2)
        patched.setattr("hashlib.file_digest", forbidden)
        assert index_paths(collection, [papers], SETTINGS) == report(unchanged=2)
        os.utime(papers / "cats.txt", ns=(6, 6))
        with pytest.raises(Forbidden):
            index_paths(collection, [papers], SETTINGS)


def test_same_size_and_time_with_other_rules_is_read_again(
    collection: LocalCollection, papers: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index_paths(collection, [papers], SETTINGS)
    monkeypatch.setattr("index.ingest.READERS_VERSION", "newer readers")
    assert index_paths(collection, [papers], SETTINGS) == report(updated=2)
    assert index_paths(collection, [papers], SETTINGS) == report(unchanged=2)
    wider = IndexSettings.model_validate({"passage_tokens": 64})
    with LocalCollection.create_or_open(collection.folder, HashEmbedder(), wider) as other:
        assert index_paths(other, [papers], wider) == report(updated=2)


def test_a_vanished_file_of_a_walked_folder_is_removed(collection: LocalCollection, papers: Path) -> None:
    index_paths(collection, [papers], SETTINGS)
    (papers / "cats.txt").unlink()
    assert index_paths(collection, [papers], SETTINGS) == report(unchanged=1, removed=1)
    assert held(collection) == ["dogs.md"]
    assert len(collection.search("cats purr", 9)) == 1


def test_a_renamed_file_keeps_its_document(collection: LocalCollection, papers: Path) -> None:
    index_paths(collection, [papers], SETTINGS)
    before = {info.id for info in collection.documents()}
    (papers / "cats.txt").rename(papers / "felines.txt")
    assert index_paths(collection, [papers], SETTINGS) == report(added=1, unchanged=1, removed=1)
    assert {info.id for info in collection.documents()} == before
    assert held(collection) == ["dogs.md", "felines.txt"]


def test_only_the_folders_named_lose_files(collection: LocalCollection, papers: Path, tmp_path: Path) -> None:
    other = tmp_path / "papers2"
    write(other / "whales.txt", "Whales sing.\n")
    index_paths(collection, [papers, other], SETTINGS)
    (papers / "cats.txt").unlink()
    (papers / "deep" / "dogs.md").unlink()
    (other / "whales.txt").unlink()
    write(other / "zebras.txt", "Zebras have stripes.\n")
    assert index_paths(collection, [other], SETTINGS) == report(added=1, removed=1)
    assert held(collection) == ["cats.txt", "dogs.md", "zebras.txt"]
    assert index_paths(collection, [papers / "deep"], SETTINGS) == report(removed=1)
    assert held(collection) == ["cats.txt", "zebras.txt"]


def test_a_file_named_itself_stays_until_a_walk_finds_it(collection: LocalCollection, papers: Path) -> None:
    hidden = write(papers / ".hidden.txt", "Hidden things.\n")
    assert index_paths(collection, [hidden, papers / "cats.txt"], SETTINGS) == report(added=2)
    assert index_paths(collection, [papers], SETTINGS) == report(added=1, unchanged=1)
    assert held(collection) == [".hidden.txt", "cats.txt", "dogs.md"]
    (papers / "cats.txt").unlink()
    assert index_paths(collection, [papers], SETTINGS) == report(unchanged=1, removed=1)
    assert held(collection) == [".hidden.txt", "dogs.md"]


def test_a_file_reached_twice_is_taken_once(collection: LocalCollection, papers: Path) -> None:
    again = [papers, papers / "cats.txt", papers / "deep", papers]
    assert index_paths(collection, again, SETTINGS) == report(added=2)


def test_a_file_that_cannot_be_read_is_reported_and_its_old_text_kept(
    collection: LocalCollection, papers: Path
) -> None:
    index_paths(collection, [papers], SETTINGS)
    write(papers / "cats.txt", "%PDF-1.7 is what this looks like\n")
    write(papers / "empty.txt", "")
    write(papers / "large.txt", "word " * 5_000)
    result = index_paths(collection, [papers], SETTINGS)
    assert [Path(path).name for path, _ in result.failed] == ["cats.txt", "empty.txt", "large.txt"]
    assert all(reason and "\n" not in reason for _, reason in result.failed)
    assert (result.added, result.updated, result.unchanged, result.removed) == (0, 0, 1, 0)
    assert collection.search("cats purr", 1)[0].text == "Cats purr when they are content."
    # Reported again, not taken for unchanged.
    assert len(index_paths(collection, [papers], SETTINGS).failed) == 3


def test_what_was_indexed_and_is_gone_is_removed(collection: LocalCollection, papers: Path) -> None:
    index_paths(collection, [papers], SETTINGS)
    shutil.rmtree(papers / "deep")
    assert index_paths(collection, [papers / "deep"], SETTINGS) == report(removed=1)
    assert held(collection) == ["cats.txt"]
    (papers / "cats.txt").unlink()
    assert index_paths(collection, [papers / "cats.txt"], SETTINGS) == report(removed=1)
    assert held(collection) == []


def test_a_path_that_does_not_exist_changes_nothing(collection: LocalCollection, papers: Path) -> None:
    index_paths(collection, [papers], SETTINGS)
    (papers / "cats.txt").unlink()
    with pytest.raises(UnreadableDocument, match="gone"):
        index_paths(collection, [papers, papers / "gone"], SETTINGS)
    assert held(collection) == ["cats.txt", "dogs.md"]


def test_a_folder_that_may_not_be_listed_keeps_what_it_held(
    collection: LocalCollection, papers: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index_paths(collection, [papers], SETTINGS)
    real = os.scandir

    def scandir(path: str) -> object:  # chmod would not keep the superuser out
        if str(path).endswith("deep"):
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    done = index_paths(collection, [papers], SETTINGS)
    ((folder, reason),) = done.failed
    assert folder.endswith("deep")
    assert "may not be listed" in reason
    assert done == report(unchanged=1, failed=done.failed)
    assert held(collection) == ["cats.txt", "dogs.md"]


def test_ignored_files_and_other_kinds_are_counted(collection: LocalCollection, papers: Path) -> None:
    index_paths(collection, [papers], SETTINGS)
    write(papers / "picture.xyz", "no text")
    ignoring = SETTINGS.model_copy(update={"ignore": ("deep/",)})
    assert index_paths(collection, [papers], ignoring) == report(
        unchanged=1, removed=1, passed_over=1, ignored=1
    )


def test_the_same_text_in_two_files_is_one_document(collection: LocalCollection, papers: Path) -> None:
    write(papers / "copy.txt", (papers / "cats.txt").read_text())
    assert index_paths(collection, [papers], SETTINGS) == report(added=3)
    assert sorted(len(info.uris) for info in collection.documents()) == [1, 2]


def test_progress_rises_to_the_total(collection: LocalCollection, papers: Path) -> None:
    for number in range(130):
        write(papers / f"{number}.txt", f"This is text number {number}.\n")
    steps: list[IngestProgress] = []
    index_paths(collection, [papers], SETTINGS, steps.append)
    assert steps[-1] == IngestProgress(files=132, files_total=132, passages=132)
    assert all(a.files <= b.files and a.passages <= b.passages for a, b in itertools.pairwise(steps))
    assert len({step.files for step in steps}) > 2


def test_the_vectors_are_saved_at_the_end(collection: LocalCollection, papers: Path) -> None:
    index_paths(collection, [papers], SETTINGS)
    assert (collection.folder / MANIFEST).is_file()


class Interrupting(HashEmbedder):
    stop = True

    def embed(self, texts: Sequence[str]) -> Vectors:
        if self.stop and any("number 100." in text for text in texts):
            raise KeyboardInterrupt
        return super().embed(texts)


def test_an_interrupted_run_keeps_whole_documents_and_the_next_goes_on(tmp_path: Path) -> None:
    for number in range(130):
        write(tmp_path / "papers" / f"{number:03}.txt", f"This is text number {number}.\n")
    embedder = Interrupting()
    with LocalCollection.create_or_open(tmp_path / "collection", embedder, SETTINGS) as collection:
        with pytest.raises(KeyboardInterrupt):
            index_paths(collection, [tmp_path / "papers"], SETTINGS)
        done = collection.stats().documents
        assert 0 < done < 100
        assert collection.search("text number 7", 1)[0].text == "This is text number 7."
        embedder.stop = False
        again = index_paths(collection, [tmp_path / "papers"], SETTINGS)
        assert again == report(added=130 - done, unchanged=done)
