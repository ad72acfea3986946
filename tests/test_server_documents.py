"""Documents over HTTP: listed, read by ranges, removed for good, and shown as a page."""

from __future__ import annotations

import asyncio
import hashlib
import html
import os
import random
import re
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx2
import pytest
from asked_server import running
from reader_checks import lines, make_pdf
from served import BASE, client_of, listening, settings_for, state_of, upload
from small_collection import PORT, ZOO
from starlette.testclient import TestClient

from index.catalog import Catalog
from index.check import check
from index.collection import LocalCollection
from index.config import IndexSettings
from index.embed import HashEmbedder
from index.errors import FootnoteError
from index.ingest import index_paths
from index.types import Document, Vectors
from rag.readings import Reading, write_reading
from rag.session import open_session
from rag.types import AnswerFinished
from server.app import create_app
from server.documents import open_shelf
from server.errors import DocumentsChanged, Stopping
from server.keys import ApiKey
from server.passages import AROUND, LONGEST_PASSAGE, passage_page
from server.shelf import MOST_WAITING
from server.standing import still_standing
from server.state import ServerState
from server.uploads import Received

ODD = "Zebra 🦓 one.\r\nLine <b>two</b> & “three”.\r\n\r\n\tfour e\u0301\u202e five."


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def served(home: Path) -> Iterator[tuple[TestClient, ServerState]]:
    with state_of(settings_for(home)) as state, TestClient(create_app(state), base_url=BASE) as client:
        yield client, state


@pytest.fixture
def client(served: tuple[TestClient, ServerState]) -> TestClient:
    return served[0]


def added(client: TestClient, name: str, data: bytes | str) -> str:
    response = upload(client, (name, data.encode() if isinstance(data, str) else data))
    assert response.status_code == 200, response.text
    return str(response.json()["results"][0]["document"]["id"])


def cited(state: ServerState, question: str) -> set[str]:
    answer = state.session.pipeline.ask(question, mode="quote")
    return {c.document_id for c in answer.citations} | {n.document_id for n in answer.nearest}


# -- listing -----------------------------------------------------------------------------------------


def test_an_empty_collection_has_an_empty_list(client: TestClient) -> None:
    assert client.get("/api/documents").json() == {"documents": [], "next": None, "total": 0}


def test_pages_of_a_list(client: TestClient) -> None:
    for number in range(5):
        added(client, f"note {number}.txt", f"Note number {number}.")
    first = client.get("/api/documents", params={"limit": 2}).json()
    assert [document["title"] for document in first["documents"]] == ["note 4", "note 3"]
    rest = client.get("/api/documents", params={"limit": 3, "after": first["next"]}).json()
    assert [document["title"] for document in rest["documents"]] == ["note 2", "note 1", "note 0"]
    assert (rest["next"], rest["total"]) == (None, 5)
    found = client.get("/api/documents", params={"q": "NOTE 3"}).json()
    assert [document["title"] for document in found["documents"]] == ["note 3"]


@pytest.mark.parametrize(
    ("params", "param"),
    [({"limit": 0}, "limit"), ({"limit": 201}, "limit"), ({"limit": "x"}, "limit"), ({"after": "x"}, "after"),
     ({"after": "-1"}, "after"), ({"after": "9" * 19}, "after"), ({"after": "²"}, "after"),
     ({"q": "x" * 201}, "q")],
)  # fmt: skip
def test_a_list_that_cannot_be_given(client: TestClient, params: dict[str, Any], param: str) -> None:
    response = client.get("/api/documents", params=params)
    assert response.status_code == 400
    assert response.json()["error"]["param"] == param


# -- one document ------------------------------------------------------------------------------------


def test_what_is_known_of_a_document(client: TestClient) -> None:
    data = make_pdf(lines("It opened in 1874."), lines("It has a lake."), info=b"/Author (Me)")
    document_id = added(client, "zoo.pdf", data)
    found = client.get(f"/api/documents/{document_id}").json()
    assert found["media_type"] == "application/pdf"
    assert found["metadata"] == {"author": "Me"}
    assert [page["number"] for page in found["pages"]] == [1, 2]
    assert found["has_source"] is True
    assert found["uris"] == [found["uri"]]
    listed = client.get("/api/documents").json()["documents"][0]
    assert {key: found[key] for key in listed} == listed
    source = client.get(f"/api/documents/{document_id}/source")
    assert source.content == data
    assert source.headers["Content-Disposition"] == "attachment; filename*=UTF-8''zoo.pdf"
    assert source.headers["Content-Type"] == "application/octet-stream"


def test_every_range_of_a_text_is_exact(client: TestClient) -> None:
    document_id = added(client, "odd.txt", ODD)
    url = f"/api/documents/{document_id}/text"
    whole = client.get(url).json()
    assert (whole["text"], whole["start"], whole["end"], whole["length"]) == (ODD, 0, len(ODD), len(ODD))
    for start in range(0, len(ODD) + 1, 3):
        for end in (start, start + 1, start + 7, len(ODD), len(ODD) + 5):
            if end < start:
                continue
            found = client.get(url, params={"start": start, "end": end}).json()
            assert found["text"] == ODD[start:end]
            assert (found["start"], found["end"]) == (start, min(end, len(ODD)))
    assert client.get(url, params={"start": 5}).json()["text"] == ODD[5:]


@pytest.mark.parametrize(
    ("params", "param"),
    [({"start": -1}, "start"), ({"start": 10_000}, "start"), ({"start": 5, "end": 4}, "end"),
     ({"end": "x"}, "end"), ({"start": 1.5}, "start"), ({"end": -(10**30)}, "end")],
)  # fmt: skip
def test_a_range_that_is_none(client: TestClient, params: dict[str, Any], param: str) -> None:
    document_id = added(client, "odd.txt", ODD)
    response = client.get(f"/api/documents/{document_id}/text", params=params)
    assert response.status_code == 400
    assert response.json()["error"]["param"] == param


@pytest.mark.parametrize(
    "document_id", ["0" * 16, "x", "%00", "..%2f..%2fetc", "a" * 5000, "%ff", "%ed%a0%80"]
)
def test_a_document_that_is_not_there(client: TestClient, document_id: str) -> None:
    for path in ("", "/text", "/source"):
        assert client.get(f"/api/documents/{document_id}{path}").status_code == 404
    assert client.delete(f"/api/documents/{document_id}").status_code == 404
    assert client.get(f"/documents/{document_id}").status_code == 404


# -- the page of a passage ---------------------------------------------------------------------------


def marked(page: str) -> str:
    found = re.search(r'<mark id="passage">(.*?)</mark>', page, re.DOTALL)
    assert found
    return html.unescape(found[1])


def test_a_page_marks_the_exact_characters(client: TestClient) -> None:
    document_id = added(client, "odd.txt", ODD)
    for start in range(0, len(ODD), 4):
        response = client.get(f"/documents/{document_id}", params={"start": start, "end": start + 6})
        assert response.status_code == 200
        assert response.headers["Content-Type"] == "text/html; charset=utf-8"
        assert marked(response.text) == ODD[start : start + 6]
        assert "<b>" not in response.text
        # A browser makes a line feed of a bare carriage return.
        assert "\r" not in response.text


def test_a_page_runs_nothing_and_fetches_nothing_from_elsewhere(client: TestClient) -> None:
    text = "</pre></mark><script>alert(1)</script><img src=//evil.example/x onerror=alert(1)> \"'&amp;"
    made = client.post("/api/documents", json={"title": text, "text": text})
    document_id = made.json()["results"][0]["document"]["id"]
    response = client.get(f"/documents/{document_id}?start=0&end=9999")
    assert marked(response.text) == text
    assert re.findall("<script[^>]*>", response.text) == ['<script type="module" src="/static/main.js">']
    assert "<img" not in response.text
    links = re.findall(r'(?:href|src)="([^"]*)"', response.text)
    assert all(re.match("/(?!/)|#", link) for link in links)
    assert "unsafe" not in response.headers["Content-Security-Policy"]


@pytest.mark.parametrize("query", ["start=-5&end=-1", "start=999999999&end=9999999999", "start=9&end=3", ""])
def test_a_page_of_a_range_that_is_not_in_the_text(client: TestClient, query: str) -> None:
    document_id = added(client, "odd.txt", ODD)
    response = client.get(f"/documents/{document_id}?{query}")
    assert response.status_code == 200
    assert marked(response.text) == ""


def test_a_page_of_a_long_text_shows_what_is_near() -> None:
    text = "".join(chr(0x4E00 + n % 20_000) for n in range(300_000))
    document = Document(text=text, uri="", title="Long", media_type="text/plain", blocks=())
    page = passage_page(document, 150_000, 150_010)
    assert marked(page) == text[150_000:150_010]
    assert text[150_000 - AROUND : 150_000] in page
    assert text[150_000 - AROUND - 1 : 150_000] not in page
    assert marked(passage_page(document, 0, 300_000)) == text[:LONGEST_PASSAGE]


def test_without_the_key_nothing_of_a_document_is_told(home: Path) -> None:
    with client_of(settings_for(home), ApiKey.of("right")) as client:
        client.headers["Authorization"] = "Bearer right"
        document_id = added(client, "secret.txt", "Their secret is this.")
        for given in ("Bearer wrong", ""):
            client.headers["Authorization"] = given
            for path in (f"/api/documents/{document_id}", f"/api/documents/{document_id}/text"):
                assert client.get(path).status_code == 401
            assert client.delete(f"/api/documents/{document_id}").status_code == 401
            there = client.get(f"/documents/{document_id}?start=0&end=5")
            not_there = client.get("/documents/0000000000000000?start=0&end=5")
            assert (there.status_code, there.text) == (not_there.status_code, not_there.text)
            assert "secret" not in there.text


# -- removing ----------------------------------------------------------------------------------------


def test_what_is_removed_is_cited_no_more_after_a_restart_either(home: Path) -> None:
    with state_of(settings_for(home)) as state, TestClient(create_app(state), base_url=BASE) as client:
        zoo, port = added(client, "zoo.txt", ZOO), added(client, "port.txt", PORT)
        assert zoo in cited(state, "When did the zoo of Basel open?")
        readings = home / "collections/default/readings"
        for owner in (zoo, port):
            write_reading(readings / f"{owner}-abc.reading", Reading("k", (1,), b"state"))
        response = client.delete(f"/api/documents/{zoo}")
        assert (response.status_code, response.content) == (204, b"")
        assert cited(state, "When did the zoo of Basel open?") <= {port}
        assert client.delete(f"/api/documents/{zoo}").status_code == 404
        assert client.get(f"/documents/{zoo}?start=0&end=5").status_code == 404
        assert [path.name for path in readings.glob("*.reading")] == [f"{port}-abc.reading"]
        assert len([path for path in (home / "uploads").rglob("*") if path.is_file()]) == 1
    with state_of(settings_for(home)) as state, TestClient(create_app(state), base_url=BASE) as client:
        assert cited(state, "When did the zoo of Basel open?") <= {port}
        assert [d["id"] for d in client.get("/api/documents").json()["documents"]] == [port]
        assert added(client, "zoo.txt", ZOO) == zoo
        assert zoo in cited(state, "When did the zoo of Basel open?")


def test_a_file_of_a_folder_comes_back_when_the_folder_is_indexed_again(home: Path, tmp_path: Path) -> None:
    folder = tmp_path / "notes"
    folder.mkdir()
    (folder / "zoo.txt").write_text(ZOO)
    settings = settings_for(home)
    with open_session(settings, must_exist=False) as session:
        index_paths(session.collection, [folder], settings.index)
    with client_of(settings) as client:
        document = client.get("/api/documents").json()["documents"][0]
        assert client.get(f"/api/documents/{document['id']}").json()["has_source"] is False
        assert client.get(f"/api/documents/{document['id']}/source").status_code == 404
        assert client.delete(f"/api/documents/{document['id']}").status_code == 204
        assert client.get("/api/documents").json()["total"] == 0
    assert (folder / "zoo.txt").read_text() == ZOO
    with open_session(settings) as session:
        assert index_paths(session.collection, [folder], settings.index).added == 1


def test_a_document_of_a_folder_that_was_uploaded_too_outlives_the_file(home: Path, tmp_path: Path) -> None:
    folder = tmp_path / "notes"
    folder.mkdir()
    (folder / "zoo.txt").write_text(ZOO)
    settings = settings_for(home)
    with open_session(settings, must_exist=False) as session:
        index_paths(session.collection, [folder], settings.index)
    with client_of(settings) as client:
        again = upload(client, ("zoo.txt", ZOO.encode())).json()["results"][0]
        assert again["status"] == "unchanged"
    (folder / "zoo.txt").unlink()
    with open_session(settings) as session:
        assert index_paths(session.collection, [folder], settings.index).removed == 1
        assert [info.id for info in session.collection.documents()] == [again["document"]["id"]]


def test_a_file_whose_bytes_were_lost_is_kept_when_it_is_sent_again(client: TestClient, home: Path) -> None:
    document_id = added(client, "zoo.txt", ZOO)
    for path in (home / "uploads/default").glob("*.txt"):
        path.unlink()
    assert client.get(f"/api/documents/{document_id}/source").status_code == 404
    assert added(client, "zoo.txt", ZOO) == document_id
    assert client.get(f"/api/documents/{document_id}/source").content == ZOO.encode()


# -- while others write ------------------------------------------------------------------------------


def test_while_another_process_writes_it_says_when_to_try_again(
    served: tuple[TestClient, ServerState], home: Path
) -> None:
    client, _ = served
    zoo = added(client, "zoo.txt", ZOO)
    with closing(Catalog(home / "collections/default")) as other, other.locked():
        refused = [
            upload(client, ("port.txt", PORT.encode())),
            client.delete(f"/api/documents/{zoo}"),
        ]
        mixed = upload(client, ("port.txt", PORT.encode()), ("zoo.txt", ZOO.encode()))
    for response in refused:
        assert response.status_code == 409
        assert response.json()["error"]["code"] == "collection_locked"
        assert int(response.headers["Retry-After"]) > 0
    assert mixed.status_code == 207
    assert [result["status"] for result in mixed.json()["results"]] == ["failed", "unchanged"]
    assert client.get(f"/api/documents/{zoo}/source").content == ZOO.encode()
    assert upload(client, ("port.txt", PORT.encode())).status_code == 200


class HeldEmbedder(HashEmbedder):
    """Embeds when it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.begun, self.let = threading.Semaphore(0), threading.Event()

    def embed(self, texts: Any) -> Vectors:
        self.begun.release()
        assert self.let.wait(60)
        return super().embed(texts)


def test_when_many_add_at_once_the_last_is_sent_away_and_the_rest_goes_on(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedder = HeldEmbedder()
    embedder.let.set()
    monkeypatch.setattr("rag.session.HashEmbedder", lambda: embedder)
    with listening(settings_for(home)) as base, httpx2.Client(base_url=base, timeout=60) as client:
        first = client.post("/api/documents", json={"text": "The very first."}).json()["results"][0]
        embedder.let.clear()
        statuses: list[int] = []

        def add(number: int) -> None:
            files = [("files", (f"{number}.txt", f"Note number {number}.".encode()))]
            statuses.append(httpx2.post(f"{base}/api/documents", files=files, timeout=60).status_code)

        senders = [threading.Thread(target=add, args=(n,)) for n in range(MOST_WAITING + 3)]
        for sender in senders:
            sender.start()
        # The three that find no place come back at once; nobody else can before the embedder is let.
        assert wait_for(lambda: len(statuses) == 3)
        assert statuses == [503] * 3
        refused = client.post("/api/documents", json={"text": "One more."})
        assert refused.status_code == 503
        assert int(refused.headers["Retry-After"]) > 0
        assert client.get("/health", timeout=5).status_code == 200
        # Removing waits for no embedding.
        assert client.delete(f"/api/documents/{first['document']['id']}", timeout=5).status_code == 204
        embedder.let.set()
        for sender in senders:
            sender.join(60)
        assert sorted(statuses) == [200] * MOST_WAITING + [503] * 3
        assert client.get("/api/documents").json()["total"] == MOST_WAITING


def test_only_so_many_may_bring_files_at_once(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("server.shelf.MOST_BRINGING", 0)
        refused = upload(client, ("a.txt", b"A note."))
        assert refused.status_code == 503
        assert refused.json()["error"]["code"] == "collection_busy"
        assert int(refused.headers["Retry-After"]) > 0
    assert upload(client, ("a.txt", b"A note.")).status_code == 200


def wait_for(holds: Any) -> bool:
    over = threading.Event()
    return any(holds() or over.wait(0.02) for _ in range(1_000))


def test_an_answer_does_not_cite_what_was_removed_while_it_was_made(
    served: tuple[TestClient, ServerState],
) -> None:
    client, state = served
    zoo = added(client, "zoo.txt", ZOO)
    collection = state.session.collection
    question = "When did the zoo of Basel open?"
    events = still_standing(state.session.pipeline.stream(question, mode="quote"), collection)
    assert next(events)
    assert client.delete(f"/api/documents/{zoo}").status_code == 204
    with pytest.raises(DocumentsChanged):
        list(events)
    added(client, "zoo.txt", ZOO)
    *_, last = still_standing(state.session.pipeline.stream(question, mode="quote"), collection)
    assert isinstance(last, AnswerFinished)
    assert [citation.document_id for citation in last.answer.citations] == [zoo]


def test_adding_reading_and_removing_at_once(home: Path) -> None:
    """No status but the documented ones, and what is left agrees with itself."""
    with listening(settings_for(home)) as base:
        statuses: set[int] = set()

        def work(seed: int) -> None:
            chance = random.Random(seed)
            with httpx2.Client(base_url=base, timeout=60) as client:
                for _ in range(12):
                    number = chance.randrange(6)
                    files = [("files", (f"{number}.txt", f"The number of this note is {number}.".encode()))]
                    response = client.post("/api/documents", files=files)
                    statuses.add(response.status_code)
                    listed = client.get("/api/documents").json()["documents"]
                    if listed:
                        document_id = chance.choice(listed)["id"]
                        for part in ("", "/text", "/source"):
                            statuses.add(client.get(f"/api/documents/{document_id}{part}").status_code)
                        statuses.add(client.get(f"/documents/{document_id}?start=0&end=3").status_code)
                        statuses.add(client.delete(f"/api/documents/{document_id}").status_code)

        workers = [threading.Thread(target=work, args=(seed,)) for seed in range(3)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        with httpx2.Client(base_url=base, timeout=60) as client:
            listed = client.get("/api/documents").json()["documents"]
            for document in listed:
                assert client.get(f"/api/documents/{document['id']}/source").status_code == 200
    assert statuses <= {200, 204, 404}
    kept = [path for path in (home / "uploads").rglob("*") if path.is_file()]
    assert len(kept) == len(listed)
    with LocalCollection.open(home / "collections/default", HashEmbedder()) as collection:
        assert {info.id for info in collection.documents()} == {document["id"] for document in listed}


def test_uploaded_files_may_be_read_by_their_owner_alone(client: TestClient, home: Path) -> None:
    added(client, "zoo.txt", ZOO)
    for path in (home / "uploads/default").glob("*.txt"):
        assert path.stat().st_mode & 0o077 == 0
    assert os.stat(home / "uploads/default").st_mode & 0o077 == 0


def test_vectors_are_saved_once_nothing_changes_any_more(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.shelf.SETTLED_S", 0.05)
    folder = home / "collections/default"
    with listening(settings_for(home)) as base, httpx2.Client(base_url=base) as client:
        document = client.post("/api/documents", json={"text": ZOO}).json()["results"][0]["document"]
        assert wait_for(lambda: (folder / "manifest.json").exists() and not check(folder))
        assert client.delete(f"/api/documents/{document['id']}").status_code == 204
        assert wait_for(lambda: not check(folder))


def test_a_server_that_ends_does_not_wait_for_a_long_document(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedder = HeldEmbedder()
    monkeypatch.setattr("rag.session.HashEmbedder", lambda: embedder)
    long = "\n\n".join(f"Sentence number {number} of a long text." for number in range(1_000)).encode()
    (tmp_path / "1").write_bytes(long)
    received = Received("long.txt", tmp_path / "1", len(long), hashlib.sha256(long).hexdigest())
    with state_of(settings_for(home)) as state, closing(state):
        shelf = open_shelf(state)
        raised: list[type[Exception]] = []

        def add() -> None:
            try:
                asyncio.run(shelf.add(received))
            except FootnoteError as error:
                raised.append(type(error))

        adding, ending = threading.Thread(target=add), threading.Thread(target=shelf.close)
        adding.start()
        assert embedder.begun.acquire(timeout=30)
        ending.start()
        assert state.cut_off.wait(30)
        embedder.let.set()
        adding.join(30)
        ending.join(30)
        assert raised == [Stopping]
        assert not embedder.begun.acquire(blocking=False)  # the first batch was the last
        assert state.session.collection.documents() == []


def test_an_upload_that_is_embedded_when_the_server_ends_is_told_so(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedder = HeldEmbedder()
    monkeypatch.setattr("rag.session.HashEmbedder", lambda: embedder)
    long = "\n\n".join(f"Sentence number {number} of a long text." for number in range(1_000)).encode()
    with state_of(settings_for(home, grace_s=0.1)) as state, running(state) as (client, server):
        said: list[Any] = []
        files = [("files", (f"{number}.txt", long + b"%d" % number)) for number in range(2)]
        sending = [
            threading.Thread(target=lambda one=one: said.append(client.post("/api/documents", files=[one])))
            for one in files
        ]
        for thread in sending:
            thread.start()
        assert embedder.begun.acquire(timeout=30)
        server.stop()
        assert state.cut_off.wait(30)
        embedder.let.set()
        for thread in sending:
            thread.join(30)
        for response in said:
            error = response.json()["error"]
            assert (response.status_code, error["code"]) == (503, "stopping")
        assert len(said) == 2


def test_a_server_that_ends_saves_its_vectors(home: Path) -> None:
    settings = settings_for(home)
    with client_of(settings) as client:
        added(client, "zoo.txt", ZOO)
    folder = home / "collections/default"
    assert sorted(path.suffix for path in folder.glob("*.faiss")) == [".faiss"]
    with LocalCollection.create_or_open(folder, HashEmbedder(), IndexSettings()) as collection:
        assert collection.search("zoo", 1)
