"""Over a Ray cluster a collection becomes what it would on one machine, whatever is lost on the way."""

from __future__ import annotations

import importlib.util
import json
import pickle
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cli_home
import pytest
from animals import SETTINGS
from page_browser import free_port
from postgres_server import PostgresServer
from ray_cluster import RayCluster, environment, ray_cluster
from ray_fakes import POISON

from index.embed import HashEmbedder
from index.engines import ray_ingest
from index.engines.address import address_of
from index.engines.opening import create_or_open_at, over_ray
from index.engines.postgres import PostgresCollection
from index.errors import CollectionLocked, CollectionUnavailable, UnreadableDocument, UsageError
from index.ingest import index_paths, read_changed
from index.types import Change, Collection
from rag.cli import run

__all__ = ["ray_cluster"]

TESTS = Path(__file__).parent
WAITED_S = 120.0

needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="ray is not installed: pip install 'footnote[ray]'"
)


def write(folder: Path, count: int) -> Path:
    """Documents of a few passages each."""
    folder.mkdir(exist_ok=True)
    for number in range(count):
        words = " ".join(f"word{number} and other{number % 7}" for _ in range(4))
        (folder / f"{number:03}.txt").write_text(f"The {number}th text. {words}.\n\nIts end, {number}.\n")
    return folder


def held(collection: Collection) -> dict[str, Any]:
    """All that is stored, by URI, but for the time at which it was, and numbers of the database's own."""
    return {
        source.uri: (source, title, one.document.text, one.made, one.passages, one.vectors.tolist())
        for one in collection.stored()
        for source, title in one.sources
    }


@contextmanager
def opened(url: str) -> Iterator[PostgresCollection]:
    with create_or_open_at(address_of(url), HashEmbedder(), SETTINGS) as collection:
        assert isinstance(collection, PostgresCollection)
        yield collection


def assert_as_on_one_machine(url: str, folder: Path) -> None:
    with opened(url) as found, opened(f"{url}_plain") as plain:
        index_paths(plain, [folder], SETTINGS)
        assert held(found) == held(plain)
        assert found.stats().passages == plain.stats().passages
        assert found.check() == []


def ingest(cluster: str, url: str, folder: Path, gate: Path | None = None) -> subprocess.Popen[str]:
    command = [sys.executable, str(TESTS / "ray_fakes.py"), cluster, url, str(folder), str(gate or "")]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(), text=True
    )


def report(process: subprocess.Popen[str]) -> dict[str, Any]:
    out, err = process.communicate(timeout=WAITED_S)
    assert process.returncode == 0, err
    found: dict[str, Any] = json.loads(out)
    return found


def wait_for(is_so: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    until = time.monotonic() + WAITED_S
    while not is_so():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < until
        time.sleep(0.05)


def test_a_collection_in_a_folder_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["index", "--ray", "local", str(tmp_path)]) == 2
    assert capsys.readouterr().err == (
        "footnote: --ray needs a collection in a database, which all machines reach: name one with "
        "-c postgresql://HOST/DATABASE\n"
    )


def test_it_follows_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["index", "--ray", "local", "--watch", "-c", "postgresql://127.0.0.1/nothing"]
    assert run([*command, str(tmp_path)]) == 2
    assert "--watch follows folders from one machine" in capsys.readouterr().err


def test_without_ray_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "ray" else find_spec(name, *rest)
    )
    command = ["index", "--ray", "local", "-c", "postgresql://127.0.0.1/nothing", str(tmp_path)]
    assert run(command) == 2
    assert capsys.readouterr().err == "footnote: --ray needs Ray: pip install 'footnote[ray]'\n"


@needs_ray
@pytest.mark.parametrize("cluster", ["", "ray://127.0.0.1:10001", "127.0.0.1", "127.0.0.1:ray", "remote"])
def test_an_address_that_is_none_is_refused(cluster: str) -> None:
    with pytest.raises(UsageError, match="write local, auto or HOST:PORT"):
        over_ray(cluster, address_of("postgresql://127.0.0.1/nothing"), HashEmbedder)


@needs_ray
def test_a_cluster_that_is_not_there_is_said_at_once(
    tmp_path: Path, collection_url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FOOTNOTE_INDEX__EMBEDDER", "hash")
    port = free_port()
    assert (
        run(["index", "--ray", f"127.0.0.1:{port}", "-c", collection_url, str(write(tmp_path / "d", 1))]) == 1
    )
    assert f"no Ray cluster answers at 127.0.0.1:{port}" in capsys.readouterr().err


def test_meanwhile_others_write_but_keep_nobody_out(postgres: PostgresServer, collection_url: str) -> None:
    with opened(collection_url) as collection, opened(collection_url) as other:
        with collection.among_writers():
            with pytest.raises(CollectionLocked), other.writing():
                pass
            ready = other.made_ready([])
            assert ready == []
            with other.among_writers():
                pass
        with other.writing(), pytest.raises(CollectionLocked), collection.among_writers():
            pass


def test_what_is_ready_is_stored_once_however_often(collection_url: str, tmp_path: Path) -> None:
    folder = write(tmp_path / "texts", 1)
    with opened(collection_url) as collection:
        item = read_changed(collection, folder / "000.txt", "", SETTINGS)
        assert item is not None
        (ready,) = collection.made_ready([item])
        assert [collection.put_ready(ready) for _ in range(3)] == [
            Change.ADDED,
            Change.UNCHANGED,
            Change.UNCHANGED,
        ]
        # Prepared while it was there, written after it was dropped.
        (again,) = collection.made_ready([item])
        assert again.found is None
        collection.remove(ready.source.uri)
        assert collection.put_ready(again) is Change.ADDED
        assert collection.passages(ready.document.id) == list(ready.found[0] if ready.found else ())
        assert collection.check() == []


def actor_work(url: str, *tops: Path) -> ray_ingest._Work:
    return ray_ingest._Work(address_of(url), SETTINGS, tops, HashEmbedder)


def test_a_machine_that_does_not_see_the_files_ends_the_run(collection_url: str, tmp_path: Path) -> None:
    with opened(collection_url):
        reader = ray_ingest._Reader(actor_work(collection_url, tmp_path / "unmounted"))
        row = {"files": pickle.dumps([(tmp_path / "unmounted" / "a.txt", "")])}
        read = pickle.loads(reader(row)["read"])
        settled = pickle.loads(ray_ingest._Writer(reader.work)({"read": pickle.dumps(read)})["settled"])
    for one in (read, settled):
        assert isinstance(one.error, UnreadableDocument)
        assert "every machine has to see the files under the same path" in str(one.error)


def test_a_writer_waits_for_its_database(mortal: PostgresServer, tmp_path: Path) -> None:
    url = mortal.url(f"test_{uuid.uuid4().hex}")
    folder = write(tmp_path / "texts", 3)
    with opened(url) as collection:
        work = actor_work(url, folder)
        files = [(file, "") for file in sorted(folder.iterdir())]
        reader, writer = ray_ingest._Reader(work), ray_ingest._Writer(work)
        with reader.collection, writer.collection:
            row = reader({"files": pickle.dumps(files)})
            mortal.stop()
            with ThreadPoolExecutor(1) as thread:
                written = thread.submit(writer, row)
                with pytest.raises(CollectionUnavailable):
                    collection.stats()
                mortal.start()
                settled = pickle.loads(written.result(WAITED_S)["settled"])
        assert (settled.error, settled.failed, settled.passages) == (None, (), 6)
        assert collection.stats().documents == 3


def test_over_two_nodes_it_is_what_it_is_on_one_machine(
    ray_cluster: RayCluster, collection_url: str, tmp_path: Path
) -> None:
    folder = write(tmp_path / "texts", 40)
    (folder / "copy.txt").write_text((folder / "000.txt").read_text())
    (folder / "empty.md").write_text("\n")
    (folder / "page.html").write_bytes(b"%PDF-1.7 not at all")
    settings = {"FOOTNOTE_INDEX__PASSAGE_TOKENS": str(SETTINGS.passage_tokens)}

    def footnote() -> tuple[int, str, str]:
        command = ["index", "--ray", ray_cluster.address, "-c", collection_url, str(folder)]
        process = cli_home.start(tmp_path / "home", *command, variables={**environment(), **settings})
        out, err = process.communicate(timeout=WAITED_S)
        return process.returncode, out.decode(), err.decode()

    code, out, err = footnote()
    assert (code, out) == (1, "41 added, 0 updated, 0 unchanged, 0 removed, 0 passed over, 2 not readable\n")
    assert len(err.splitlines()) == 2, err
    assert "empty.md is empty" in err
    assert "page.html looks like" in err
    assert_as_on_one_machine(collection_url, folder)

    (folder / "empty.md").unlink()
    (folder / "page.html").unlink()
    (folder / "001.txt").unlink()
    (folder / "002.txt").write_text("Another text.")
    assert footnote() == (0, "0 added, 1 updated, 39 unchanged, 1 removed, 0 passed over\n", "")
    assert_as_on_one_machine(collection_url, folder)


def test_a_node_removed_half_way_costs_nothing_and_doubles_nothing(
    ray_cluster: RayCluster, collection_url: str, tmp_path: Path
) -> None:
    folder = write(tmp_path / "texts", 160)
    gate = tmp_path / "marks" / "gate"
    gate.parent.mkdir()
    with opened(collection_url) as collection:
        process = ingest(ray_cluster.address, collection_url, folder, gate)
        try:
            # One reader on each node has files in its hands, and others have been stored.
            wait_for(lambda: len(list(gate.parent.glob("waiting-*"))) == 2, process)
            wait_for(lambda: collection.stats().documents > 0, process)
            assert 0 < collection.stats().documents < 160
            ray_cluster.set_nodes(1)
            gate.touch()
            found = report(process)
        finally:
            process.kill()
            process.communicate()
            ray_cluster.set_nodes(2)
    assert (found["added"], found["unchanged"], found["failed"]) == (160, 0, [])
    assert_as_on_one_machine(collection_url, folder)


def test_a_file_that_kills_who_reads_it_is_reported_and_the_rest_goes_on(
    ray_cluster: RayCluster, collection_url: str, tmp_path: Path
) -> None:
    folder = write(tmp_path / "texts", 20)
    (folder / "bad.txt").write_text(f"{POISON} is in this text.")
    found = report(ingest(ray_cluster.address, collection_url, folder))
    (failed,) = found["failed"]
    assert failed[0] == str(folder / "bad.txt")
    assert "the process that read it died" in failed[1]
    assert found["added"] == 20
    (folder / "bad.txt").unlink()
    assert_as_on_one_machine(collection_url, folder)


@needs_ray
def test_local_makes_a_cluster_for_one_run(collection_url: str, tmp_path: Path) -> None:
    folder = write(tmp_path / "texts", 3)
    command = ["index", "--ray", "local", "-c", collection_url, str(folder)]
    process = cli_home.start(tmp_path / "home", *command, variables=environment())
    out, err = process.communicate(timeout=WAITED_S)
    assert (process.returncode, err.decode()) == (0, "")
    assert out == b"3 added, 0 updated, 0 unchanged, 0 removed, 0 passed over\n"
