"""Which documents pass a filter, and that a search among them finds as much as there is."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from filter_cases import CASES, DAY_NS, EVERYTHING, FILES

from index import narrowed
from index.collection import LocalCollection
from index.config import IndexSettings
from index.embed import HashEmbedder
from index.errors import UnknownDocument, UnknownFilter, UsageError
from index.filters import Filter, documents_within, filter_of, metadata_names
from index.narrowed import Narrowed
from index.readers import read_bytes


@dataclass(frozen=True)
class Shelf:
    collection: LocalCollection
    ids: dict[str, str]

    def passing(self, *given: str) -> set[str]:
        """The names of the documents that pass."""
        names = {document_id: name for name, document_id in self.ids.items()}
        chosen = Narrowed(self.collection, filter_of(given))
        found = {names[info.id] for info in chosen.documents()}
        assert chosen.count() == len(found)
        return found


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shelf]:
    folder = tmp_path_factory.mktemp("collection")
    with LocalCollection.create_or_open(folder, HashEmbedder(), IndexSettings()) as collection:
        ids = {}
        for day, (path, text) in enumerate(FILES.items()):
            document = read_bytes(text.encode(), name=path, uri=Path(path).as_uri())
            collection.put(document, document.uri, "x", 1, (20_000 + day) * DAY_NS, "1")
            ids[Path(path).stem] = document.id
        pasted = read_bytes(b"Pasted, of water.\n", name="pasted.txt", uri="upload:abc/Pasted%20text.txt")
        collection.put(pasted, pasted.uri, "x", 1, 0, "1")
        yield Shelf(collection, {**ids, "pasted": pasted.id})


@pytest.mark.parametrize(
    ("given", "names"),
    CASES,
)
def test_what_passes(shelf: Shelf, given: list[str], names: set[str]) -> None:
    assert shelf.passing(*given) == names


def test_ids_pass_and_unknown_ones_do_not(shelf: Shelf) -> None:
    assert shelf.passing(f"id={shelf.ids['ship']}", "id=" + "0" * 16) == {"ship"}
    assert shelf.passing(f"id={shelf.ids['ship']}", "tag=steel") == set()


@pytest.mark.parametrize("given", ["tag", "tag=", "=x", "", " = ", "tags"])
def test_what_is_no_filter_is_said(given: str) -> None:
    with pytest.raises(UsageError, match="KEY=VALUE"):
        filter_of([given])


@pytest.mark.parametrize(
    "written", ["yesterday", "2024-3-5", "2024-13", "2024-03-05T10:00", "05.03.2024", "24"]
)
def test_a_day_is_written_in_one_way(written: str) -> None:
    for name in ("since", "until"):
        with pytest.raises(UsageError, match=f"^{name} is ") as caught:
            filter_of([f"{name}={written}"])
        assert caught.value.param == name
    with pytest.raises(UsageError, match="given twice"):
        filter_of(["since=2024", "since=2025"])


def test_a_name_that_no_document_has_is_refused_by_name(shelf: Shelf) -> None:
    with pytest.raises(UnknownFilter, match=r"no filter 'autor': .*author, date") as caught:
        shelf.passing("autor=clara")
    assert caught.value.param == "metadata.autor"
    assert (caught.value.status, caught.value.exit_code) == (400, 2)


def test_names_are_listed_once(shelf: Shelf) -> None:
    with shelf.collection.connection() as connection:
        assert metadata_names(connection) == ["author", "date", "tags"]


def test_an_empty_collection_has_nothing_to_pass(tmp_path: Path) -> None:
    with LocalCollection.create_or_open(tmp_path, HashEmbedder(), IndexSettings()) as collection:
        chosen = Narrowed(collection, Filter(tags=("x",)))
        assert (chosen.search("x", 3), chosen.documents(), chosen.count()) == ([], [], 0)
        with pytest.raises(UnknownFilter, match="'author'"):
            Narrowed(collection, filter_of(["author=x"])).search("x", 3)
        with collection.connection() as connection:
            assert metadata_names(connection) == []


def test_other_documents_are_not_there(shelf: Shelf) -> None:
    chosen = Narrowed(shelf.collection, filter_of(["path=notes"]))
    assert chosen.document(shelf.ids["canal"]).text == FILES["/home/me/notes/2024/canal.md"]
    assert chosen.passages(shelf.ids["canal"])
    assert chosen.term_frequency(["water", "ship"]) == {"water": 1, "ship": 0}
    for read in (chosen.document, chosen.passages):
        with pytest.raises(UnknownDocument):
            read(shelf.ids["ship"])


@pytest.mark.parametrize("exact", [narrowed.EXACT, 0], ids=["compared one by one", "asked further down"])
def test_results_are_never_short(tmp_path: Path, exact: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three documents of one tag among two hundred that answer better."""
    monkeypatch.setattr(narrowed, "EXACT", exact)
    with LocalCollection.create_or_open(tmp_path, HashEmbedder(), IndexSettings()) as collection:
        for number in range(200):
            text = f"---\ntags: {'rare' if number % 70 == 0 else 'common'}\n---\n"
            text += f"Number {number}. " + ("Something else." if number % 70 == 0 else "The bridge of steel.")
            document = read_bytes(text.encode(), name=f"{number}.md", uri=f"file:///{number}.md")
            collection.put(document, document.uri, "x", 1, 1, "1")
        rare = Narrowed(collection, filter_of(["tag=rare"]))
        assert len(rare.search("bridge of steel", 3)) == 3
        assert len(rare.search("bridge of steel", 9)) == 3
        assert len(Narrowed(collection, filter_of(["tag=common"])).search("bridge of steel", 20)) == 20
        with pytest.raises(UsageError):
            rare.search("x", 0)
        assert rare.search(" ", 3) == []


def test_a_filter_that_keeps_nothing_out_changes_nothing(tmp_path: Path) -> None:
    chance = random.Random(7)
    words = "bridge steel water ship canal port crane zoo".split()
    with LocalCollection.create_or_open(tmp_path, HashEmbedder(), IndexSettings()) as collection:
        for number in range(60):
            text = " ".join(chance.choices(words, k=8)) + "."
            document = read_bytes(text.encode(), name=f"{number}.txt", uri=f"file:///all/{number}.txt")
            collection.put(document, document.uri, "x", 1, 1, "1")
        every = Narrowed(collection, filter_of(["path=/all"]))
        for word in words:
            assert every.search(f"the {word} and steel", 7) == collection.search(f"the {word} and steel", 7)


def test_what_is_added_and_removed_is_seen_at_once(tmp_path: Path) -> None:
    with LocalCollection.create_or_open(tmp_path, HashEmbedder(), IndexSettings()) as collection:
        chosen = Narrowed(collection, filter_of(["path=notes"]))
        assert chosen.count() == 0
        document = read_bytes(b"A bridge.", name="a.txt", uri="file:///notes/a.txt")
        collection.put(document, document.uri, "x", 1, 1, "1")
        assert [hit.text for hit in chosen.search("bridge", 3)] == ["A bridge."]
        collection.remove(document.uri)
        assert chosen.search("bridge", 3) == []


def test_keys_are_rising(shelf: Shelf) -> None:
    with shelf.collection.connection() as connection:
        keys = documents_within(connection, Filter())
    assert keys == sorted(keys)
    assert len(keys) == len(EVERYTHING)
