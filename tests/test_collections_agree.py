"""Every promise of a collection, kept by both engines; and what one finds, the other finds."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from animals import ANIMALS, document, found, put
from collection_engines import ENGINES, Engine, engine_of
from conftest import SEED
from filter_cases import CASES, DAY_NS, EVERYTHING, FILES
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from index.collection import LocalCollection
from index.config import IndexSettings
from index.embed import HashEmbedder, SentenceTransformerEmbedder
from index.engines.address import address_of
from index.engines.opening import create_or_open_at
from index.errors import (
    CollectionLocked,
    CollectionNotFound,
    EmbedderMismatch,
    ModelUnavailable,
    UnknownDocument,
    UnknownFilter,
    UsageError,
)
from index.filters import filter_of
from index.readers import read_bytes
from index.types import Block, Change, Collection, Document, Embedder, Hit, Scope, Source

GOLD = SEED.parent / "gold.jsonl"


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> Engine:
    return engine_of(request.param, request)


@pytest.fixture
def collection(engine: Engine) -> Iterator[Collection]:
    with engine.made() as opened:
        yield opened


@pytest.fixture
def both(request: pytest.FixtureRequest) -> tuple[Engine, Engine]:
    return engine_of("folder", request), engine_of("postgres", request)


# -- texts come back as they went in ------------------------------------------------------------

TEXTS = {
    "scripts": "Ein Straßenfest — 東京タワーは高い。 Привет, мир! שלום עולם 👩‍👩‍👧 e\u0301 \U0001f600 end.",
    "line ends": "One.\r\nTwo.\rThree.\n\n\tFour.\u2028Five.\x0bSix.",
    "control characters": "A\x00B. \x00\x01\x02\x03 C\x01. The end\x00",
    "private and unassigned": "\ue000 \U0010ffff \ufdd0 \ufeff.",
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
def test_every_character_stays_what_it_is(engine: Engine, text: str) -> None:
    odd = "a \x00\x01 title \x01\x02 'quoted\" \\ %s {}"
    stored = Document(
        text,
        "memory:\x01odd",
        odd,
        "text/plain",
        (Block(0, len(text), heading=odd),),
        metadata={"note": odd, "author": odd.replace("\0", ""), "tags": f"one,{odd}"},
    )
    with engine.made() as collection:
        put(collection, "memory:\x01odd", stored)
    with engine.opened() as collection:
        kept = collection.document(stored.id)
        assert kept == stored
        assert kept.sha256 == stored.sha256
        passages = collection.passages(stored.id)
        assert [passage.heading for passage in passages] == [odd] * len(passages)
        for hit in collection.search("end title 東京", 20):
            assert hit.text == text[hit.passage.start : hit.passage.end]
            assert hit.passage in passages
        assert collection.documents()[0].title == odd
        assert collection.source("memory:\x01odd") == collection.sources()[0]
        assert collection.narrowed(filter_of([f"author={odd.upper()}".replace("\0", "")])).count() == 1
        assert collection.listing(limit=5, title="\x00\x01 TITLE").total == 1


def test_a_uri_and_a_metadata_value_may_be_long(collection: Collection) -> None:
    uri = "file:///" + "/".join(["a" * 200] * 40) + ".txt"
    stored = document("A text.")
    long = Document(stored.text, uri, "t", "text/plain", stored.blocks, metadata={"k" * 3000: "v" * 9000})
    put(collection, uri, long)
    assert collection.document(long.id) == long
    assert collection.narrowed(filter_of(["k" * 3000 + "=" + "V" * 9000])).count() == 1
    assert collection.narrowed(filter_of(["path=/" + "a" * 200])).count() == 1
    assert collection.remove(uri)


def test_an_empty_document_has_no_passages(collection: Collection) -> None:
    empty = Document("  \n", "memory:e", "empty", "text/plain", ())
    assert put(collection, "memory:e", empty) is Change.ADDED
    assert collection.passages(empty.id) == []
    assert collection.document(empty.id).text == "  \n"
    assert collection.search("anything", 3) == []


# -- opening ------------------------------------------------------------------------------------


def test_what_is_not_there_is_said(engine: Engine) -> None:
    with pytest.raises(CollectionNotFound, match="footnote index"):
        engine.opened()
    with pytest.raises(CollectionNotFound):
        engine.open_recorded()


def test_another_embedder_is_refused(engine: Engine) -> None:
    engine.made().close()
    for opened in (engine.opened, engine.made):
        with pytest.raises(EmbedderMismatch, match="hash-64"):
            opened(HashEmbedder(64))


def test_it_is_read_without_its_embedder(engine: Engine) -> None:
    with engine.made() as collection:
        put(collection, "memory:a", "A text of words.")
    with engine.open_recorded() as collection:
        assert collection.embedder.fingerprint == HashEmbedder().fingerprint
        assert collection.documents()[0].characters == 16
        with pytest.raises(ModelUnavailable):
            collection.search("words", 1)


def test_an_empty_collection_finds_nothing(collection: Collection) -> None:
    assert collection.search("anything at all", 3) == []
    assert collection.search("  ", 3) == []
    assert collection.documents() == []
    assert collection.term_frequency(["a", "U.S."]) == {"a": 0, "U.S.": 0}
    assert collection.listing(limit=3).total == 0
    with pytest.raises(UsageError):
        collection.search("x", 0)
    with pytest.raises(UsageError):
        collection.narrowed(filter_of(["title=x"])).search("x", 0)


# -- changes ------------------------------------------------------------------------------------


def test_puts_say_what_they_changed(engine: Engine) -> None:
    with engine.made() as collection:
        assert put(collection, "memory:a", "One text.") is Change.ADDED
        assert put(collection, "memory:a", "One text.") is Change.UNCHANGED
        assert put(collection, "memory:a", "One text.", mtime_ns=9) is Change.UNCHANGED
        assert put(collection, "memory:a", document("One text.", title="Other")) is Change.UPDATED
        assert put(collection, "memory:a", "Another text.") is Change.UPDATED
        assert put(collection, "memory:b", "Another text.") is Change.ADDED
    with engine.opened() as collection:
        assert [info.uris for info in collection.documents()] == [("memory:a", "memory:b")]
        assert collection.stats().documents == 1
        assert collection.stats().sources == 2
        assert collection.stats().passages == 1
        assert collection.stats().characters == 13
        assert found(collection, "one") == ["Another text."]


def test_unchanged_files_are_known_by_time_or_bytes(collection: Collection) -> None:
    put(collection, "memory:a", "One text.", bytes_sha256="x", size=3, mtime_ns=7)
    known: dict[str, Any] = {"size": 3, "readers_version": "1"}
    assert collection.unchanged("memory:a", mtime_ns=7, **known)
    assert not collection.unchanged("memory:a", mtime_ns=8, **known)
    assert not collection.unchanged("memory:a", mtime_ns=7, root="file:///r", **known)
    assert not collection.unchanged("memory:a", mtime_ns=7, size=3, readers_version="2")
    assert not collection.unchanged_bytes("memory:a", bytes_sha256="y", mtime_ns=8, **known)
    assert not collection.unchanged_bytes("memory:b", bytes_sha256="x", mtime_ns=8, **known)
    assert collection.unchanged_bytes("memory:a", bytes_sha256="x", mtime_ns=8, root="file:///r", **known)
    assert collection.unchanged("memory:a", mtime_ns=8, root="file:///r", **known)
    source = collection.source("memory:a")
    assert source is not None
    assert source.source == Source("memory:a", "x", 3, 8, "1", "file:///r")
    assert source.made.endswith("readers 1")


def test_another_limit_splits_again_when_put_again(engine: Engine) -> None:
    text = "The first sentence is here. " * 8
    with engine.made() as collection:
        put(collection, "memory:a", text)
        before = collection.stats().passages
    with engine.made(settings=IndexSettings(passage_tokens=64)) as collection:
        assert collection.stats().passages == before > 1
        assert put(collection, "memory:a", text) is Change.UPDATED
        assert collection.stats().passages == 1
        assert len(collection.search("first sentence", 9)) == 1
    with engine.opened() as collection:
        assert collection.stats().passage_tokens == 64


def test_removed_means_gone(engine: Engine) -> None:
    with engine.made() as collection:
        for uri, text in ANIMALS.items():
            put(collection, uri, text)
        put(collection, "memory:twice", ANIMALS["file:///cats.txt"])
        cats, dogs = document(ANIMALS["file:///cats.txt"]).id, document(ANIMALS["file:///dogs.txt"]).id
        assert collection.remove("file:///cats.txt")
        assert not collection.remove("file:///cats.txt")
        assert collection.document(cats).uri == "memory:twice"
        collection.remove_document(cats)
        collection.remove_document(dogs)
        for name in (cats, dogs, "nobody", "\x00", "'"):
            for read in (collection.document, collection.passages, collection.listed):
                with pytest.raises(UnknownDocument):
                    read(name)
            with pytest.raises(UnknownDocument):
                collection.remove_document(name)
        assert found(collection, "cats purr") == [ANIMALS["file:///whales.txt"]]
        assert collection.term_frequency(["purr", "bark", "sing"]) == {"purr": 0, "bark": 0, "sing": 1}
    with engine.opened() as collection:
        assert collection.stats().passages == 1
        assert [held.source.uri for held in collection.sources()] == ["file:///whales.txt"]


def test_an_edit_keeps_what_was_cited(engine: Engine) -> None:
    with engine.made() as collection:
        for text in ("Opened in 1911.", "Opened in 1912.", "Opened in 1913."):
            put(collection, "memory:bridge", text)
        first, second, third = (document(f"Opened in {year}.") for year in (1911, 1912, 1913))
        kept = collection.former(first.id)
        assert kept is not None
        assert kept.document is not None
        assert (kept.id, kept.now, kept.uri, kept.document.text) == (
            first.id,
            third.id,
            "memory:bridge",
            first.text,
        )
        assert collection.former(third.id) is None
        assert collection.former("nobody") is None
        put(collection, "memory:moved", third)
        collection.remove("memory:bridge")
        moved = collection.former(second.id)
        assert moved is not None
        assert (moved.uri, moved.now) == ("memory:moved", third.id)
        put(collection, "memory:moved", second)
        assert collection.former(second.id) is None
        collection.remove("memory:moved")
        assert collection.former(first.id) is None


def test_who_stops_a_batch_keeps_what_was_committed(engine: Engine) -> None:
    class Stopped(Exception):
        pass

    def stop(_: int) -> None:
        raise Stopped

    with engine.made() as collection:
        put(collection, "memory:a", "One text.")
        item = (document("Two texts."), Source("memory:b", "x", 1, 1, "1"))
        with pytest.raises(Stopped):
            collection.put_all([item], stop)
        with collection.writing():
            assert collection.put_all([item]) == [Change.ADDED]
    with engine.opened() as collection:
        assert [held.source.uri for held in collection.sources()] == ["memory:a", "memory:b"]


def test_a_document_dropped_by_the_one_before_it_in_a_batch_is_stored_again(collection: Collection) -> None:
    one, other = document("One text."), document("Another text.")
    put(collection, "memory:a", one)
    items = [(other, Source("memory:a", "x", 1, 1, "1")), (one, Source("memory:b", "x", 1, 1, "1"))]
    assert collection.put_all(items) == [Change.UPDATED, Change.ADDED]
    assert collection.document(one.id).uri == "memory:b"
    assert len(collection.passages(one.id)) == 1


# -- many at once -------------------------------------------------------------------------------


def test_writers_at_once_lose_nothing(engine: Engine) -> None:
    engine.made().close()
    start = threading.Barrier(4)

    def write(number: int) -> None:
        with engine.opened() as collection:
            start.wait()
            for place in range(5):
                put(
                    collection,
                    f"memory:{number}/{place}",
                    f"Writer {number} wrote text {place}. All wrote this.",
                )
                put(collection, "memory:same", f"Writer {number} was the last in round {place}.")
                put(collection, f"memory:shared/{number}", f"The text of round {place}.")

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(write, range(4)))
    with engine.opened() as collection:
        stats = collection.stats()
        assert stats.sources == 4 * 5 + 1 + 4
        infos = collection.documents()
        assert stats.documents == len(infos) == 4 * 5 + 1 + 1
        assert sum(info.passages for info in infos) == stats.passages == 4 * 5 + 1 + 1
        assert collection.term_frequency(["wrote"]) == {"wrote": 20}
        for info in infos:
            assert collection.document(info.id).sha256 == info.sha256


def test_the_same_text_at_once_is_one_document(engine: Engine) -> None:
    engine.made().close()
    start = threading.Barrier(3)

    def write(number: int) -> Change:
        with engine.opened() as collection:
            start.wait()
            return put(collection, f"memory:{number}", "The very same text.")

    with ThreadPoolExecutor(3) as threads:
        assert list(threads.map(write, range(3))) == [Change.ADDED] * 3
    with engine.opened() as collection:
        assert len(collection.documents()) == 1
        assert len(collection.search("same", 9)) == 1


def test_who_writes_keeps_others_out_and_readers_in(engine: Engine) -> None:
    with engine.made() as collection, engine.opened() as other:
        put(collection, "memory:a", "One text.")
        with collection.writing(), collection.writing():
            put(collection, "memory:b", "Two texts.")
            with pytest.raises(CollectionLocked, match="is being written by another process"):
                put(other, "memory:c", "Three texts.")
            with pytest.raises(CollectionLocked), other.writing():
                pass
            assert len(other.search("text", 9)) == 2
        assert put(other, "memory:c", "Three texts.") is Change.ADDED


# -- lists --------------------------------------------------------------------------------------


def test_pages_stay_where_they_are(collection: Collection) -> None:
    for number in range(5):
        put(collection, f"memory:{number}", document(f"Text {number}.", title=f"STRASSE {number}"))
    first = collection.listing(limit=2)
    assert [one.title for one in first.documents] == ["STRASSE 4", "STRASSE 3"]
    put(collection, "memory:new", document("New.", title="Straße new"))
    collection.remove("memory:3")
    second = collection.listing(limit=2, before=first.next)
    assert [one.title for one in second.documents] == ["STRASSE 2", "STRASSE 1"]
    last = collection.listing(limit=2, before=second.next)
    assert ([one.title for one in last.documents], last.next, last.total) == (["STRASSE 0"], None, 5)
    named = collection.listing(limit=9, title=" straße ")
    assert (len(named.documents), named.total) == (5, 5)
    assert collection.listing(limit=9, title="100%_").total == 0
    one = named.documents[0]
    assert collection.listed(one.id) == one
    assert (one.uris, one.passages, one.characters) == (("memory:new",), 1, 4)


@pytest.fixture(scope="module", params=ENGINES)
def shelf(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Collection, dict[str, str]]]:
    if request.param == "folder":
        opened: Collection = LocalCollection.create_or_open(
            tmp_path_factory.mktemp("shelf"), HashEmbedder(), IndexSettings()
        )
    else:
        url = request.getfixturevalue("postgres").url("shelf")
        opened = create_or_open_at(address_of(url), HashEmbedder(), IndexSettings())
    with opened as collection:
        names = {}
        for day, (path, text) in enumerate(FILES.items()):
            read = read_bytes(text.encode(), name=path, uri=Path(path).as_uri())
            put(collection, read.uri, read, mtime_ns=(20_000 + day) * DAY_NS)
            names[read.id] = Path(path).stem
        pasted = read_bytes(b"Pasted, of water.\n", name="pasted.txt", uri="upload:abc/Pasted%20text.txt")
        put(collection, pasted.uri, pasted, mtime_ns=0)
        yield collection, {**names, pasted.id: "pasted"}


@pytest.mark.parametrize(("chosen", "names"), CASES)
def test_what_passes_a_filter(
    shelf: tuple[Collection, dict[str, str]], chosen: list[str], names: set[str]
) -> None:
    collection, names_of = shelf
    part = collection.narrowed(filter_of(chosen))
    assert {names_of[info.id] for info in part.documents()} == names
    assert part.count() == len(names)
    assert {names_of[hit.passage.document_id] for hit in part.search("water steel", 9)} == names
    frequency = part.term_frequency(["water", "steel", "nowhere"])
    watery = names & (EVERYTHING - {"bridge"})
    assert frequency == {"water": len(watery), "steel": int("bridge" in names), "nowhere": 0}
    for document_id, name in names_of.items():
        if name in names:
            assert part.document(document_id) == collection.document(document_id)
        else:
            with pytest.raises(UnknownDocument):
                part.passages(document_id)


def test_ids_pass_and_unknown_filters_are_named(shelf: tuple[Collection, dict[str, str]]) -> None:
    collection, names_of = shelf
    ids = [document_id for document_id, name in names_of.items() if name in {"ship", "canal"}]
    part = collection.narrowed(filter_of([*(f"id={one}" for one in ids), "id=nobody", "title=ship"]))
    assert [names_of[info.id] for info in part.documents()] == ["ship"]
    for read in (part_of(collection, "colour=red").count, part_of(collection, "colour=red").documents):
        with pytest.raises(UnknownFilter, match="these documents have author, date"):
            read()


def part_of(collection: Collection, *chosen: str) -> Any:
    return collection.narrowed(filter_of(chosen))


def test_scopes_are_what_there_is(shelf: tuple[Collection, dict[str, str]]) -> None:
    collection, _ = shelf
    scopes = collection.scopes()
    assert scopes.folders[0] == Scope("/home/me", 4)
    assert set(scopes.tags) == {Scope("Steel", 1), Scope("bridges", 1), Scope("water", 1)}
    assert collection.scopes(words="STEEL").tags == (Scope("Steel", 1),)
    assert collection.size() > 0


# -- what is found ------------------------------------------------------------------------------


def assert_same(one: Sequence[Hit], other: Sequence[Hit]) -> None:
    """The same passages in the same order; scores but for the last digits of single precision."""
    assert [(hit.passage, hit.text) for hit in one] == [(hit.passage, hit.text) for hit in other]
    for a, b in zip(one, other, strict=True):
        assert (a.score, a.dense, a.lexical) == (
            pytest.approx(b.score, abs=1e-4),
            pytest.approx(b.dense, abs=2e-6),
            pytest.approx(b.lexical, abs=1e-8),
        )


def test_ties_go_to_what_was_stored_earlier(engine: Engine) -> None:
    tied = "Cats purr loudly while they lie in the sun on the wall of the old garden."
    with engine.made() as collection:
        for number in (3, 1, 2):
            put(collection, f"memory:{number}", f"{tied}\n\n{'Unrelated words here. ' * number}")
        ties = [hit for hit in collection.search("cats purr", 20) if hit.text == tied]
        order = [collection.document(hit.passage.document_id).uri for hit in ties]
        assert order == ["memory:3", "memory:1", "memory:2"]
        assert len({(hit.score, hit.dense, hit.lexical) for hit in ties}) == 1


def gold_questions() -> list[str]:
    lines = (json.loads(line) for line in GOLD.read_text(encoding="utf-8").splitlines())
    return [line["question"] for line in lines if "question" in line]


def filled(engines: tuple[Engine, Engine], embedder: Embedder, tokens: int) -> Iterator[Collection]:
    seed = read_bytes(SEED.read_bytes(), name=SEED.name, uri=SEED.as_uri())
    for engine in engines:
        collection = engine.made(embedder, IndexSettings(passage_tokens=tokens))
        for uri, text in ANIMALS.items():
            put(collection, uri, text)
        put(collection, seed.uri, seed)
        yield collection


@pytest.mark.parametrize("tokens", [16, 128])
def test_both_find_the_same_for_the_gold_questions(both: tuple[Engine, Engine], tokens: int) -> None:
    one, other = filled(both, HashEmbedder(), tokens)
    with one, other:
        for question in gold_questions():
            assert_same(one.search(question, 6), other.search(question, 6))
            words = question.split()
            assert one.term_frequency(words) == other.term_frequency(words)
            chosen = filter_of(["path=seeds"])
            assert_same(one.narrowed(chosen).search(question, 3), other.narrowed(chosen).search(question, 3))
        assert one.passages(one.documents()[-1].id) == other.passages(other.documents()[-1].id)
        assert one.documents() == other.documents()


@pytest.mark.models
def test_both_find_the_same_with_the_real_embedder(both: tuple[Engine, Engine], minilm_folder: Path) -> None:
    embedder = SentenceTransformerEmbedder(minilm_folder, fingerprint="minilm")
    one, other = filled(both, embedder, 128)
    with one, other:
        for question in gold_questions():
            assert_same(one.search(question, 6), other.search(question, 6))


WORDS = st.sampled_from(
    "bridge bridges Bridge's U.S. u.s 2,000 naïve NAÏVE foo_bar 東京 東京タワー タワー ภาษาไทย がぎ co-op "
    "the of 3.5% ½ straße STRASSE Émile क्षि 한국어 x\u0301y 'quoted' \"a\" OR NOT".split()
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    texts=st.lists(
        st.lists(WORDS, min_size=1, max_size=12).map(" ".join), min_size=1, max_size=5, unique=True
    ),
    query=st.lists(WORDS, min_size=1, max_size=6).map(" ".join),
)
def test_words_of_every_script_are_counted_alike(
    pair: tuple[Collection, Collection], texts: list[str], query: str
) -> None:
    for collection in pair:
        for held in collection.sources():
            collection.remove(held.source.uri)
        for number, text in enumerate(texts):
            put(collection, f"memory:{number}", document(text, heading=texts[0]))
    one, other = pair
    assert_same(one.search(query, 10), other.search(query, 10))
    terms = [*query.split(), query]
    assert one.term_frequency(terms) == other.term_frequency(terms)


@pytest.fixture
def pair(both: tuple[Engine, Engine]) -> Iterator[tuple[Collection, Collection]]:
    with both[0].made() as one, both[1].made() as other:
        yield one, other
