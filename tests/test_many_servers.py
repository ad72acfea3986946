"""Several servers on one collection in a database: what one does all see, and each says when it cannot."""

from __future__ import annotations

import contextlib
import json
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import psycopg
import pytest
from asked_server import (
    ANSWER,
    QUESTION,
    HeldGenerator,
    running,
    small_settings,
    small_state,
)
from postgres_server import PostgresServer
from psycopg import sql
from served import client_of, settings_for
from starlette.testclient import TestClient
from test_cli import Run, footnote, notes  # noqa: F401 - fixtures
from worker_fakes import wait_for

from index.engines.address import address_of
from index.engines.opening import open_recorded_at
from server.config import ServeSettings

TEXT = "The canal of Brenz was dug in 1821."
ASKED = {"question": "When was the canal of Brenz dug?", "mode": "quote"}


def on(url: str, home: Path, **server: Any) -> ServeSettings:
    return settings_for(home, **server).model_copy(update={"collection": url})


@contextlib.contextmanager
def two(url: str, folder: Path) -> Iterator[tuple[TestClient, TestClient]]:
    with client_of(on(url, folder / "one")) as one, client_of(on(url, folder / "two")) as other:
        yield one, other


def test_what_comes_and_goes_through_one_does_so_for_all(collection_url: str, tmp_path: Path) -> None:
    with two(collection_url, tmp_path) as (one, other):
        for here, there in ((one, other), (other, one), (one, one)):
            assert there.post("/api/ask", json=ASKED).json()["status"] == "unanswerable"
            sent = here.post("/api/documents", json={"title": "Canal", "text": TEXT})
            document = sent.json()["results"][0]["document"]["id"]
            for client in (there, here):
                assert client.get("/api/documents").json()["total"] == 1
                assert client.get(f"/api/documents/{document}/text").json()["text"] == TEXT
                answer = client.post("/api/ask", json=ASKED).json()
                assert [citation["cited_text"] for citation in answer["citations"]] == [TEXT]
                assert client.get("/api/collection").json()["documents"] == 1
            assert there.delete(f"/api/documents/{document}").status_code == 204
            for client in (here, there):
                assert client.get("/api/documents").json()["total"] == 0
                assert client.get(f"/api/documents/{document}/text").status_code == 404
                assert client.post("/api/ask", json=ASKED).json()["citations"] == []


def test_both_take_in_documents_at_the_same_time(collection_url: str, tmp_path: Path) -> None:
    statuses: list[int] = []
    with two(collection_url, tmp_path) as clients:

        def send(client: TestClient, first: int) -> None:
            for number in range(first, first + 10):
                text = f"Town {number} has {number + 100} houses."
                sent = client.post("/api/documents", json={"title": f"Town {number}", "text": text})
                statuses.append(sent.status_code)

        threads = [threading.Thread(target=send, args=(c, 10 * n)) for n, c in enumerate(clients)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert statuses == [200] * 20
        assert [client.get("/api/documents").json()["total"] for client in clients] == [20, 20]


def test_it_is_not_ready_while_the_database_is_away_and_ready_when_it_is_back(
    mortal: PostgresServer, tmp_path: Path
) -> None:
    with client_of(on(mortal.url(f"ready_{uuid.uuid4().hex}"), tmp_path)) as client:
        wait_for(lambda: client.get("/ready").status_code == 200, "it to be ready")
        mortal.kill()
        try:
            response = client.get("/ready")
            assert response.status_code == 503
            assert response.json()["error"]["code"] == "collection_unavailable"
            assert int(response.headers["Retry-After"]) >= 1
            assert client.get("/health").status_code == 200
        finally:
            mortal.start()
        assert client.get("/ready").json() == {"status": "ready"}


def test_a_database_that_says_nothing_is_not_waited_for(
    collection_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.state.REACH_S", 0.2)
    name = address_of(collection_url).collection
    with client_of(on(collection_url, tmp_path)) as client:
        wait_for(lambda: client.get("/ready").status_code == 200, "it to be ready")
        with psycopg.connect(collection_url.partition("?")[0]) as holding:
            holding.execute(
                sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(sql.Identifier(name, "meta"))
            )
            began = time.monotonic()
            response = client.get("/ready")
            assert (response.status_code, response.headers["Retry-After"]) == (503, "5")
            assert time.monotonic() - began < 2  # when the lock would have been given up
        wait_for(lambda: client.get("/ready").status_code == 200, "it to be ready again")


def test_a_collection_that_was_deleted_is_not_served(
    collection_url: str,
    footnote: Run,  # noqa: F811
    tmp_path: Path,
) -> None:
    with client_of(on(collection_url, tmp_path)) as client:
        wait_for(lambda: client.get("/ready").status_code == 200, "it to be ready")
        assert footnote("collection", "delete", "--yes", collection_url)[0] == 0
        response = client.get("/ready")
        assert (response.status_code, response.json()["error"]["code"]) == (503, "not_ready")
        assert "There is no collection at" in response.json()["error"]["message"]


def test_being_drained_it_serves_on_and_is_not_ready(tmp_path: Path) -> None:
    generator = HeldGenerator()
    settings = small_settings(tmp_path, drain_s=3.0, grace_s=20.0)
    with small_state(settings, generator) as state, running(state) as (client, server):
        wait_for(lambda: client.get("/ready").status_code == 200, "it to be ready")
        assert "connection" not in client.get("/health").headers
        answers: list[Any] = []
        asking = threading.Thread(
            target=lambda: answers.append(client.post("/api/ask", json={"question": QUESTION}).json())
        )
        asking.start()
        generator.wait_until_kept()
        server.stop()
        wait_for(lambda: state.is_leaving, "it to have been told")
        response = client.get("/ready")
        assert (response.status_code, response.json()["error"]["code"]) == (503, "stopping")
        assert int(response.headers["Retry-After"]) >= 1
        # Who is still sent here is answered, and its next request goes elsewhere.
        quoted = client.post("/api/ask", json={"question": QUESTION, "mode": "quote"})
        assert (quoted.status_code, quoted.headers["connection"]) == (200, "close")
        wait_for(lambda: _is_closed(client), "the port to be closed", limit_s=20)
        assert answers == []
        generator.go_on.set()  # the answer in hand ends after that
        asking.join(30)
        assert [answer["answer"] for answer in answers] == [ANSWER]


def _is_closed(client: httpx2.Client) -> bool:
    try:
        with httpx2.Client(base_url=client.base_url, trust_env=False) as other:
            other.get("/health")
    except httpx2.ConnectError:
        return True
    return False


def test_a_second_signal_ends_the_draining(tmp_path: Path) -> None:
    settings = small_settings(tmp_path, drain_s=600.0)
    with small_state(settings) as state, running(state) as (_, server):
        server.stop()
        wait_for(lambda: state.is_leaving, "it to have been told")
        assert not server.should_exit
        server.stop()
        assert server.should_exit


def test_collections_of_a_database_are_listed_and_deleted(
    postgres: PostgresServer,
    footnote: Run,  # noqa: F811
    notes: Path,  # noqa: F811
) -> None:
    name = f"list_{uuid.uuid4().hex}"
    url, other = postgres.url(name), postgres.url(f"{name}_other")
    code, _, err = footnote("collection", "delete", "--yes", url)
    assert (code, "There is no collection at" in err) == (3, True)
    for one in (url, other):
        assert footnote("index", "-c", one, str(notes))[0] == 0

    def listed(*words: str) -> dict[str, Any]:
        code, out, _ = footnote("collection", "list", "--json", *words)
        assert code == 0
        rows = [json.loads(line) for line in out.splitlines()]
        return {row["name"]: row for row in rows if row["name"].startswith(name)}

    found = listed(url)
    assert found == listed(postgres.url())
    assert [(row["documents"], row["passages"]) for row in found.values()] == [(1, 1), (1, 1)]
    assert f"{name} (default)" in footnote("collection", "list", url)[1]
    code, _, err = footnote("collection", "delete", url)
    assert (code, err) == (2, "footnote: deleting asks first, and there is nobody to ask: say --yes\n")
    shown = str(address_of(url))
    assert footnote("collection", "delete", "--yes", url) == (0, f"deleted {shown}\n", "")
    assert list(listed(url)) == [f"{name}_other"]
    assert footnote("ask", "-c", url, "--quote", "Who designed the bridge?")[0] == 3
    assert footnote("ask", "-c", other, "--quote", "Who designed the bridge?")[0] == 0


def test_what_others_keep_in_its_schema_is_left(
    collection_url: str,
    footnote: Run,  # noqa: F811
    notes: Path,  # noqa: F811
) -> None:
    assert footnote("index", "-c", collection_url, str(notes))[0] == 0
    name = address_of(collection_url).collection
    theirs = sql.Identifier(name, "theirs")
    with psycopg.connect(collection_url.partition("?")[0], autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE TABLE {} AS SELECT 1 AS one").format(theirs))
        assert footnote("collection", "delete", "--yes", collection_url)[0] == 0
        assert connection.execute(sql.SQL("SELECT one FROM {}").format(theirs)).fetchone() == (1,)
        # And what is called like one of a collection's tables is no collection.
        connection.execute(sql.SQL("CREATE TABLE {} AS SELECT 1 AS one").format(sql.Identifier(name, "meta")))
        assert footnote("collection", "delete", "--yes", collection_url)[0] == 3
        assert connection.execute(sql.SQL("SELECT one FROM {}").format(theirs)).fetchone() == (1,)


def test_one_that_is_being_written_is_not_deleted(
    collection_url: str,
    footnote: Run,  # noqa: F811
    notes: Path,  # noqa: F811
) -> None:
    assert footnote("index", "-c", collection_url, str(notes))[0] == 0
    with open_recorded_at(address_of(collection_url)) as writing, writing.writing():
        code, _, err = footnote("collection", "delete", "--yes", collection_url)
    assert (code, "is being written by another process" in err) == (3, True)
    assert footnote("ask", "-c", collection_url, "--quote", "Who designed the bridge?")[0] == 0
