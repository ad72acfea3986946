"""A collection in PostgreSQL where things go wrong: nothing is lost, and one line says what to do."""

from __future__ import annotations

import json
import random
import shutil
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest
from animals import ANIMALS, SETTINGS, document, found, put
from postgres_server import PostgresServer, binaries_without, made_server, removed
from psycopg import sql
from served import client_of, settings_for
from test_cli import Run, footnote, notes

from index.embed import HashEmbedder
from index.engines import opening, postgres_search, postgres_upkeep
from index.engines.address import address_of
from index.engines.postgres import PostgresCollection
from index.engines.postgres_schema import STEPS
from index.errors import (
    CollectionError,
    CollectionNotFound,
    CollectionUnavailable,
    SchemaTooNew,
    UsageError,
)
from index.filters import filter_of
from index.types import Change
from rag.config import load_settings

__all__ = ["footnote", "notes"]

SECRET = "tops3cret"


def made(url: str) -> PostgresCollection:
    return PostgresCollection.create_or_open(address_of(url), HashEmbedder(), SETTINGS)


def opened(url: str) -> PostgresCollection:
    return PostgresCollection.open(address_of(url), HashEmbedder())


def run_sql(url: str, *statements: str) -> None:
    with psycopg.connect(url.partition("?")[0], autocommit=True) as connection:
        for statement in statements:
            connection.execute(sql.SQL(statement))  # type: ignore[arg-type]


def wait_until_followed(primary: PostgresServer, replica: PostgresServer) -> None:
    with psycopg.connect(primary.url()) as here, psycopg.connect(replica.url(), autocommit=True) as there:
        row = here.execute("SELECT pg_current_wal_lsn()").fetchone()
        assert row is not None
        until = time.monotonic() + 20
        while there.execute("SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn", row).fetchone() != (True,):
            assert time.monotonic() < until
            time.sleep(0.05)


# -- addresses ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "shown", "libpq"),
    [
        ("postgresql://db/notes", "postgresql://db/notes", "postgresql://db/notes"),
        (f"postgres://me:{SECRET}@db/notes", "postgresql://db/notes", f"postgres://me:{SECRET}@db/notes"),
        (
            f"postgresql://me:{SECRET}@db1,[::1]:5433/notes?sslmode=require&collection=a%27b&password={SECRET}",
            "postgresql://db1,[::1]:5433/notes?collection=a%27b",
            f"postgresql://me:{SECRET}@db1,[::1]:5433/notes?sslmode=require&password={SECRET}",
        ),
        ("postgresql:///?host=/run", "postgresql:///?host=%2Frun", "postgresql:///?host=%2Frun"),
        ("postgresql://", "postgresql:///", "postgresql://"),
    ],
)
def test_an_address_shows_no_secret(url: str, shown: str, libpq: str) -> None:
    address = address_of(url)
    assert (str(address), address.url) == (shown, libpq)
    assert SECRET not in repr(address)
    assert address.digest == address_of(url.replace(SECRET, "another")).digest


def test_two_places_have_two_digests() -> None:
    urls = [
        "postgresql:///n?host=/a",
        "postgresql:///n?host=/b",
        "postgresql://b/n",
        "postgresql://b/n?port=1",
    ]
    assert len({address_of(url).digest for url in urls}) == 4
    same = "postgresql:///n?host=/a&sslmode=require&user=me"
    assert address_of(same).digest == address_of(urls[0]).digest


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://me:{SECRET}/x@db/notes",
        f"postgresql://me:{SECRET}?x@db/notes",
        f"postgresql://me:{SECRET}#x@db/notes",
        f"postgresql://{SECRET}@me@db/notes",
        f"postgresql://me:{SECRET} x@db/notes",
        f"postgresql://db/notes?{SECRET}",
        f"postgresql://db/notes?password={SECRET}@x",
        f"postgresql://me:{SECRET}@db/notes?collection=",
        f"postgresql://me:{SECRET}@db/notes?collection=pg_catalog",
        f"postgresql://me:{SECRET}@db/notes?collection=public",
        f"postgresql://me:{SECRET}@db/notes?collection=a&collection=b",
        f"postgresql://me:{SECRET}@db/notes?collection=" + "%C3%A9" * 32,
        f"postgresql://me:{SECRET}@db/notes?collection=%00",
        f"mysql://me:{SECRET}@db/notes",
    ],
)
def test_what_is_no_address_is_not_repeated(url: str) -> None:
    with pytest.raises(UsageError) as refused:
        load_settings(collection=url)
    assert "the setting collection is not usable" in str(refused.value)
    assert SECRET not in str(refused.value)


def test_a_parameter_that_libpq_does_not_know_is_refused_without_the_url() -> None:
    with pytest.raises(CollectionError) as refused:
        opened(f"postgresql://me:{SECRET}@127.0.0.1/notes?colour=red")
    assert "libpq does not understand" in str(refused.value)
    assert SECRET not in str(refused.value)


def test_without_the_drivers_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "index.engines.postgres")
    monkeypatch.setitem(sys.modules, "index.engines.postgres_connections", None)
    monkeypatch.setitem(sys.modules, "psycopg", None)
    for name in [name for name in sys.modules if name.startswith("index.engines.postgres_")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(CollectionError, match=r"pip install 'footnote\[postgres\]'"):
        opening.open_at(address_of("postgresql://db/notes"), HashEmbedder())


# -- a server that is there, and refuses ---------------------------------------------------------


def test_a_wrong_password_is_said_without_it(postgres: PostgresServer) -> None:
    run_sql(
        postgres.url(),
        "DO $$ BEGIN CREATE ROLE locked LOGIN PASSWORD 'right'; EXCEPTION WHEN duplicate_object THEN END $$",
    )
    with pytest.raises(CollectionUnavailable, match="check the user and the password") as refused:
        opened(postgres.url("x", user=f"locked:{SECRET}"))
    assert SECRET not in str(refused.value)
    assert "locked" not in str(refused.value)
    with pytest.raises(CollectionUnavailable, match="check the user and the password"):
        opened(postgres.url("x", user="locked"))
    with pytest.raises(CollectionNotFound):
        opened(postgres.url("x", user="locked:right"))


def test_a_database_that_is_not_there_is_said(postgres: PostgresServer) -> None:
    with pytest.raises(CollectionNotFound, match="createdb"):
        opened(postgres.url().removesuffix("postgres") + "nowhere")


def test_who_may_not_make_tables_is_told(postgres: PostgresServer) -> None:
    run_sql(
        postgres.url(), "DO $$ BEGIN CREATE ROLE guest LOGIN; EXCEPTION WHEN duplicate_object THEN END $$"
    )
    made(postgres.url("there")).close()  # the extension is there
    with pytest.raises(CollectionError, match="permission denied"):
        made(postgres.url("mine", user="guest"))


def test_a_server_without_pgvector_is_told_how_to_get_it(postgres: PostgresServer) -> None:
    folder = Path(tempfile.mkdtemp(prefix="footnote-bare-"))
    folder.chmod(0o755)
    bare = None
    try:
        bare = made_server(binaries=binaries_without("vector", postgres, folder / "install"))
        with pytest.raises(CollectionNotFound):
            opened(bare.url())
        with pytest.raises(CollectionUnavailable, match="has no pgvector: install the extension"):
            made(bare.url())
    finally:
        if bare is not None:
            removed(bare)
        shutil.rmtree(folder, ignore_errors=True)


def test_a_newer_schema_is_refused_by_its_number(collection_url: str) -> None:
    made(collection_url).close()
    name = address_of(collection_url).collection
    run_sql(collection_url, f"UPDATE {name}.meta SET value = '{len(STEPS) + 1}' WHERE key = 'schema'")
    for attempt in (opened, made):
        with pytest.raises(SchemaTooNew, match=f"schema {len(STEPS) + 1}, this one knows {len(STEPS)}"):
            attempt(collection_url)


@pytest.mark.parametrize(
    "name", ['a"b', "it's", '"; DROP SCHEMA public CASCADE; --', "%s {} %(x)s", "ünïcode 東京", "back\\slash"]
)
def test_a_name_is_never_a_statement(postgres: PostgresServer, name: str) -> None:
    url = postgres.url(quote(f"{name} {uuid.uuid4().hex[:8]}"))
    with made(url) as collection:
        assert collection.name.startswith(name)
        put(collection, "memory:'; DROP TABLE meta; --", document("A text.", title="'; --"))
        assert found(collection, "text'; DROP TABLE documents; --") == ["A text."]
        assert collection.listing(limit=3, title="'; --").total == 1
        assert collection.narrowed(filter_of(["title='", "tag=';"])).count() == 0
        collection.snapshot()
    with opened(url) as collection:
        assert collection.stats().documents == 1


# -- a server that goes away ---------------------------------------------------------------------


@pytest.fixture
def mortal_url(mortal: PostgresServer) -> str:
    return mortal.url(f"test_{uuid.uuid4().hex}")


def test_what_was_acknowledged_survives_a_kill(mortal: PostgresServer, mortal_url: str) -> None:
    with made(mortal_url) as collection:
        for uri, text in ANIMALS.items():
            put(collection, uri, text)
        mortal.kill()
        with pytest.raises(CollectionUnavailable, match="cannot be reached"):
            collection.search("cats", 3)
        with pytest.raises(CollectionUnavailable):
            put(collection, "memory:x", "Another text.")
        mortal.start()
        assert found(collection, "cats purr")[0] == ANIMALS["file:///cats.txt"]
        assert put(collection, "memory:x", "Another text.") is Change.ADDED
    with opened(mortal_url) as collection:
        assert collection.stats().documents == 4


def test_who_waited_while_it_was_started_anew_notices_nothing(
    mortal: PostgresServer, mortal_url: str
) -> None:
    with made(mortal_url) as collection:
        put(collection, "memory:a", "One text.")
        found(collection, "text")
        mortal.stop()
        mortal.start()
        assert found(collection, "text") == ["One text."]
        mortal.stop()
        mortal.start()
        assert put(collection, "memory:b", "Two texts.") is Change.ADDED


def test_a_search_that_is_cut_off_is_one_error(mortal: PostgresServer, mortal_url: str) -> None:
    name = address_of(mortal_url).collection
    with made(mortal_url) as collection:
        put(collection, "memory:a", "One text.")
        raised: list[BaseException] = []

        def search() -> None:
            try:
                collection.search("text", 3)
            except BaseException as error:
                raised.append(error)

        thread = threading.Thread(target=search)
        with (
            psycopg.connect(mortal.url(), autocommit=True) as watching,
            psycopg.connect(mortal.url()) as holding,
        ):
            holding.execute(
                sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(sql.Identifier(name, "words"))
            )
            thread.start()
            waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            while watching.execute(waiting).fetchone() != (1,):
                time.sleep(0.01)
            mortal.kill()
            thread.join()
            watching.close()
            holding.close()
        assert [type(error) for error in raised] == [CollectionUnavailable]
        mortal.start()
        assert found(collection, "text") == ["One text."]


def test_the_command_and_the_server_say_it_and_go_on(
    mortal: PostgresServer, mortal_url: str, footnote: Run, notes: Path, tmp_path: Path
) -> None:
    run_sql(
        mortal_url,
        f"DO $$ BEGIN CREATE ROLE locked SUPERUSER LOGIN PASSWORD '{SECRET}';"
        " EXCEPTION WHEN duplicate_object THEN END $$",
    )
    url = mortal_url.replace("//postgres@", f"//locked:{SECRET}@")
    said = []
    question = ("ask", "-c", url, "--quote", "--json", "Who designed the bridge?")
    said.append(footnote(*question))
    assert said[-1][0] == 3
    assert "There is no collection at postgresql://127.0.0.1:" in said[-1][2]
    said.append(footnote("index", "-c", url, str(notes)))
    assert said[-1] == (0, "1 added, 0 updated, 0 unchanged, 0 removed, 0 passed over\n", "")
    said.append(footnote("index", "-c", url, str(notes)))
    assert "1 unchanged" in said[-1][1]
    said.append(footnote(*question))
    assert said[-1][0] == 0
    answer = json.loads(said[-1][1])
    assert answer["collection"] == address_of(url).collection
    saved = tmp_path / "answer.json"
    saved.write_text(said[-1][1])
    said.append(footnote("check", "-c", url, "--citations", str(saved)))
    assert said[-1][:2] == (0, "[1] bridge, characters 70–107: stands\n")
    said.append(footnote("collection", "export", url, str(tmp_path / "x.tar")))
    assert said[-1][0] == 2
    assert "footnote collection copy" in said[-1][2]
    said.append(footnote("collection", "list", url))
    assert f"{address_of(url).collection} (default)" in said[-1][1]
    settings = settings_for(tmp_path / "served").model_copy(update={"collection": url})
    with client_of(settings) as client:
        asked = {"question": "Who designed the bridge?", "mode": "quote"}
        assert client.post("/api/ask", json=asked).status_code == 200
        mortal.kill()
        said.append(footnote(*question))
        code, out, err = said[-1]
        assert (code, out) == (3, "")
        assert json.loads(err)["error"]["code"] == "collection_unavailable"
        assert err.count("\n") == 1
        for response in (client.post("/api/ask", json=asked), client.get("/api/documents")):
            assert response.status_code == 503
            assert response.json()["error"]["code"] == "collection_unavailable"
            assert response.headers["Retry-After"] == "5"
            said.append((0, response.text, ""))
        mortal.start()
        assert client.post("/api/ask", json=asked).json()["status"] == "answered"
        sent = client.post("/api/documents", json={"title": "More", "text": "The canal is deep."})
        assert sent.status_code == 200
        assert client.get("/api/collection").json()["documents"] == 2
        said.append((0, client.get("/api/collection").text, ""))
    assert SECRET not in str(said)


# -- replicas ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def replica(mortal: PostgresServer) -> Iterator[PostgresServer]:
    with ExitStack() as stack:
        following = mortal.replica(Path(tempfile.mkdtemp(prefix="footnote-replica-")))
        following.start()
        stack.callback(removed, following)
        yield following


def test_a_replica_is_read_and_changes_go_to_the_primary(
    mortal: PostgresServer, mortal_url: str, replica: PostgresServer
) -> None:
    with made(mortal_url) as collection:
        put(collection, "memory:a", "One text.")
    wait_until_followed(mortal, replica)
    alone = mortal_url.replace(str(mortal.port), str(replica.port))
    with opened(alone) as collection:
        assert found(collection, "text") == ["One text."]
        assert collection.stats().documents == 1
        for change in (lambda: put(collection, "memory:b", "Two."), lambda: collection.remove("memory:a")):
            with pytest.raises(CollectionUnavailable, match="replica that is only read: name the primary"):
                change()
        assert found(collection, "text") == ["One text."]
        collection.snapshot()  # nothing to be done here, and nothing to be said
    made(alone).close()  # nothing to be written
    hosts = f"127.0.0.1:{replica.port},127.0.0.1:{mortal.port}"
    both = mortal_url.replace(f"127.0.0.1:{mortal.port}", hosts) + "&target_session_attrs=prefer-standby"
    with opened(both) as collection:
        assert put(collection, "memory:b", "Two texts.") is Change.ADDED
        wait_until_followed(mortal, replica)
        assert len(collection.search("text", 9)) == 2
        port = collection._connections.read(lambda connection: connection.info.port)
        assert port == replica.port
        # Who keeps others out sees what was written, however far behind the replica is.
        with collection.writing():
            port = collection._connections.read(lambda connection: connection.info.port)
            assert port == mortal.port
            put(collection, "memory:c", "Three texts.")
            assert collection.source("memory:c") is not None
        port = collection._connections.read(lambda connection: connection.info.port)
        assert port == replica.port


def test_documents_are_added_before_a_replica_has_the_collection(
    mortal: PostgresServer, mortal_url: str, replica: PostgresServer
) -> None:
    hosts = f"127.0.0.1:{replica.port},127.0.0.1:{mortal.port}"
    both = mortal_url.replace(f"127.0.0.1:{mortal.port}", hosts) + "&target_session_attrs=prefer-standby"
    run_sql(replica.url(), "SELECT pg_wal_replay_pause()")
    try:
        with made(both) as collection:
            assert put(collection, "memory:a", "One text.") is Change.ADDED
            with pytest.raises(CollectionNotFound):
                collection.reach()
            run_sql(replica.url(), "SELECT pg_wal_replay_resume()")
            wait_until_followed(mortal, replica)
            collection.reach()
            assert found(collection, "text") == ["One text."]
        with (
            made(both.replace(str(mortal.port), str(replica.port))) as collection,
            pytest.raises(CollectionUnavailable, match="has no host that takes changes now"),
        ):
            put(collection, "memory:b", "Two texts.")
    finally:
        run_sql(replica.url(), "SELECT pg_wal_replay_resume()")


def test_a_name_may_have_capitals_blanks_and_dots(collection_url: str) -> None:
    name = address_of(collection_url).collection
    url = collection_url.replace(f"collection={name}", "collection=" + quote(f"My {name}.1"))
    with made(url) as collection:
        put(collection, "memory:a", "One text.")
        assert collection.size() > 0
        assert found(collection, "text") == ["One text."]


def test_another_programs_table_is_not_taken_for_a_collection(collection_url: str) -> None:
    run_sql(
        collection_url,
        "CREATE TABLE IF NOT EXISTS public.meta(key text, value text)",
        "INSERT INTO public.meta VALUES ('schema', '1'), ('fingerprint', 'theirs'), ('dimension', '3')",
    )
    try:
        with pytest.raises(CollectionNotFound):
            opened(collection_url)
        with made(collection_url) as collection:
            put(collection, "memory:a", "One text.")
            assert found(collection, "text") == ["One text."]
    finally:
        run_sql(collection_url, "DROP TABLE public.meta")


# -- many passages -------------------------------------------------------------------------------


def test_of_many_passages_an_index_finds_the_nearest(
    collection_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (postgres_search, postgres_upkeep):
        monkeypatch.setattr(module, "EXACT", 100)
    words = [f"word{number}" for number in range(300)]
    drawn = random.Random(7)
    texts = {f"memory:{number}": " ".join(drawn.choices(words, k=9)) + "." for number in range(600)}
    with made(collection_url) as collection, opened(collection_url) as exact:
        with collection.writing():
            for uri, text in texts.items():
                put(collection, uri, document(text, title="tenth" if uri.endswith("7") else "other"))
        before = {query: collection.search(query, 10) for query in list(texts.values())[::60]}
        collection.snapshot()
        collection.snapshot()
        name = address_of(collection_url).collection
        with psycopg.connect(collection_url.partition("?")[0]) as connection:
            valid = "SELECT indisvalid FROM pg_index WHERE indexrelid = %s::regclass"
            assert connection.execute(valid, (f"{name}.passages_by_vector",)).fetchone() == (True,)
            rows = connection.execute(
                sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(name, "totals"))
            )
            assert (rows.fetchone() or (0,))[0] <= 256
        for query, hits in before.items():
            after = collection.search(query, 10)
            assert [hit.text for hit in after][:3] == [hit.text for hit in hits][:3]
            part = collection.narrowed(filter_of(["title=tenth"]))
            assert len(part.search(query, 10)) == 10
        assert exact.stats().passages == 600
        assert collection.size() > 600 * 4 * 256
        # What comes later is found too, and what goes is not.
        put(collection, "memory:late", "A late text of word1.")
        assert found(collection, "late text")[0] == "A late text of word1."
        collection.remove("memory:late")
        assert "A late text of word1." not in found(collection, "late text")


def test_it_is_one_round_trip(collection_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with made(collection_url) as collection:
        put(collection, "memory:a", "One text.")
        found(collection, "text")
        sent: list[object] = []
        execute = psycopg.Connection.execute

        def counted(
            self: psycopg.Connection[object], query: object, *others: object, **named: object
        ) -> object:
            sent.append(query)
            return execute(self, query, *others, **named)  # type: ignore[call-overload]

        monkeypatch.setattr(psycopg.Connection, "execute", counted)
        assert found(collection, "text") == ["One text."]
        assert len(sent) == 1


# -- check ---------------------------------------------------------------------------------------


def test_what_is_derived_is_found_wrong_and_made_again(
    collection_url: str, footnote: Run, notes: Path
) -> None:
    assert footnote("index", "-c", collection_url, str(notes))[0] == 0
    sound = footnote("check", "-c", collection_url)
    assert sound == (0, f"{address_of(collection_url)} is sound: 1 document, 1 passage\n", "")
    name = address_of(collection_url).collection
    for damage, said in (
        (f"UPDATE {name}.words SET counts[1] = 9", "The words of document "),
        (f"DELETE FROM {name}.words", "The words of document "),
        (f"INSERT INTO {name}.totals VALUES (1, 1)", "The counts of passages and words"),
        (
            f"INSERT INTO {name}.facts SELECT key, 'tags', 'false', 'false' FROM {name}.documents",
            "The facts of document ",
        ),
    ):
        run_sql(collection_url, damage)
        code, out, err = footnote("check", "-c", collection_url)
        assert (code, "run footnote check --repair" in err) == (3, True)
        assert said in out
        code, out, _ = footnote("check", "--repair", "-c", collection_url)
        assert (code, out.startswith("repaired: ")) == (0, True)
        assert footnote("check", "-c", collection_url) == sound
    assert footnote("ask", "-c", collection_url, "--quote", "Who designed the bridge?")[0] == 0


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ("UPDATE documents SET text = convert_to('Another text.', 'UTF8')", "its text is not the one"),
        ("UPDATE documents SET text = '\\xff'", "is damaged"),
        ("UPDATE documents SET characters = 3", "characters, not 3"),
        ("UPDATE passages SET first_byte = 1", "stored as other bytes than its characters"),
        ("UPDATE passages SET vector = vector + vector", "its vector has the length 2.000"),
        ("DELETE FROM sources", "1 documents have no source"),
    ],
)
def test_what_is_wrong_with_the_truth_is_said(collection_url: str, damage: str, said: str) -> None:
    with made(collection_url) as collection:
        put(collection, "memory:a", "One text of a few words.")
        assert collection.check(HashEmbedder().fingerprint) == []
        assert [f.severity for f in collection.check("another")] == ["truth"]
        name = address_of(collection_url).collection
        run_sql(collection_url, f"SET search_path = {name}, public; {damage}")
        findings = [finding for finding in collection.check() if finding.severity == "truth"]
        assert said in findings[0].what
        assert not any(finding.repaired for finding in collection.check(repair=True) if finding in findings)
