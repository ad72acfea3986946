"""Files into a collection in a database, over the machines of a Ray cluster: `index.ingest` for many files.

Names of files go out, a few at a time. One kind of actor reads, splits and embeds them, as many at once as
the cluster has cores; another kind, of which there are few, writes to the database; counts come back. What
waits between the two lies in Ray's object store, and when there is much of it, reading pauses.

Nothing here has to happen once only. Who reads or writes may be lost with its machine, and Ray gives its
files to another: what is there already is found by its URI and its content, as in every run. So what a run
has done is told from the collection, before and after it, and not by adding up.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import pickle
import secrets
import socket
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_random_exponential

from index.config import IndexSettings
from index.engines.address import Address
from index.engines.postgres import PostgresCollection
from index.engines.postgres_writer import Ready
from index.errors import (
    ClusterUnavailable,
    CollectionLocked,
    CollectionUnavailable,
    DocumentError,
    FootnoteError,
    UnreadableDocument,
    UsageError,
)
from index.ingest import IngestProgress, IngestReport, OnProgress, look, read_changed
from index.types import Change, Collection, Document, Embedder, Source

Result = TypeVar("Result")

LOCAL, RUNNING = "local", "auto"
"""Addresses of a cluster that is made for one run on this machine, and of the one that this machine is in."""

WRITERS = 4
"""A database takes in no more with more of them, and each keeps connections open."""

CORES = 1
"""Of an actor that reads and embeds: many small ones get more out of a machine than one large one."""

RETRIES = 1
"""How often files are given to another actor when one dies of them, or with its machine; then each by itself
once more, as often."""

PATIENCE_S = 120.0
"""How long a database may be away, in seconds: a failover takes half a minute."""

_FILES, _BYTES = 16, 500_000
"""At most so many files go to an actor at once, of so many bytes together, but for one that has more."""

_LONGEST = 2**31 - 1
"""Bytes of one value in Ray's object store, as Arrow lays it out there."""

_STORE_BYTES = 512 * 1024**2
"""Of the object store of a cluster that is made for one run: taken as it is needed."""

_CONNECTING_S = 10.0

_KILLED = (
    "the process that read it died, again and again: look whether its machine has memory enough, or leave "
    "the file out"
)


class OverRay:
    """As `index_paths`, over the cluster at `cluster`; `open_embedder` is called once in each actor.

    Raises UsageError where Ray is not installed, and for an address that is none.
    """

    def __init__(self, cluster: str, database: Address, open_embedder: Callable[[], Embedder]) -> None:
        if any(importlib.util.find_spec(name) is None for name in ("ray", "pyarrow", "pandas")):
            raise UsageError("--ray needs Ray: pip install 'footnote[ray]'")
        if cluster not in (LOCAL, RUNNING):
            _host_and_port(cluster)
        self._cluster = cluster
        self._database = database
        self._open_embedder = open_embedder

    def __call__(
        self,
        collection: Collection,
        paths: Sequence[Path],
        settings: IndexSettings,
        on_event: OnProgress | None = None,
    ) -> IngestReport:
        """Every machine has to see the files under the paths that they have here.

        Other writers go on meanwhile, but none may keep the others out. Raises what `index_paths` does,
        ClusterUnavailable, and what goes wrong in an actor and is no single document's.
        """
        assert isinstance(collection, PostgresCollection)
        with collection.among_writers():
            named = look(collection, paths, settings)
            before = _states(collection)
            files = named.files
            work = _Work(self._database, settings, tuple(top for top, _ in named.walks), self._open_embedder)
            run = _Run(work, len(files), on_event)
            with _connected(self._cluster):
                run.take(_divided(files.items()))
                # What an actor died of took others with it: each by itself, that only that one is left out.
                run.take([[one] for one in files.items() if one[0] not in run.settled])
            run.failed.update((file, _KILLED) for file in files if file not in run.settled)
            changes = _changes(before, _states(collection), files.keys() - run.failed.keys())
            removed = named.forget(collection)
            collection.snapshot()
        return named.report(changes, removed, [(str(file), why) for file, why in run.failed.items()])


File = tuple[Path, str]
"""With the URI of the folder that it was found in, as `Named.files` has it."""


@dataclass(frozen=True, slots=True)
class _Work:
    """What an actor has to know. `tops` are the files and folders that were named."""

    database: Address
    settings: IndexSettings
    tops: tuple[Path, ...]
    open_embedder: Callable[[], Embedder]


@dataclass(frozen=True, slots=True)
class _Read:
    """What reading some files came to; `error` is no document's, and ends the run."""

    files: tuple[Path, ...]
    ready: tuple[Ready, ...] = ()
    failed: tuple[tuple[Path, str], ...] = ()
    error: Exception | None = None


@dataclass(frozen=True, slots=True)
class _Settled:
    """What comes back of some files, after they were written."""

    files: tuple[Path, ...]
    passages: int = 0
    failed: tuple[tuple[Path, str], ...] = ()
    error: Exception | None = None


class _Actor:
    """What both kinds of actors do: they open the collection, once, and return what goes wrong.

    Raised, it would count as one of the losses after which Ray gives the same files to another.
    """

    def __init__(self, work: _Work) -> None:
        self.work = work
        self._opened: PostgresCollection | None = None

    @property
    def collection(self) -> PostgresCollection:
        if self._opened is None:
            self._opened = PostgresCollection.open(self.work.database, self.work.open_embedder())
        return self._opened


class _Reader(_Actor):
    """Files → what is to be stored of them."""

    def __call__(self, row: dict[str, Any]) -> dict[str, bytes]:
        files: list[File] = pickle.loads(row["files"])
        names = tuple(file for file, _ in files)
        try:
            packed = pickle.dumps(self._read(names, files))
        except Exception as error:
            packed = _packed_error(partial(_Read, names), error)
        if len(packed) > _LONGEST:
            why = "what is to be stored of it is too large to be sent: divide it, or index it without --ray"
            packed = pickle.dumps(_Read(names, failed=tuple((file, why) for file in names)))
        return {"read": packed}

    def _read(self, names: tuple[Path, ...], files: Sequence[File]) -> _Read:
        for top in self.work.tops:
            if not os.path.lexists(top):
                raise UnreadableDocument(
                    f"{top} is not there on the machine {socket.gethostname()}: every machine has to see the "
                    "files under the same path."
                )
        failed: list[tuple[Path, str]] = []
        changed: list[tuple[Document, Source]] = []
        for file, root in files:
            try:
                item = _patiently(partial(read_changed, self.collection, file, root, self.work.settings))
            except DocumentError as error:
                failed.append((file, str(error)))
            else:
                changed += [item] if item else []
        ready = _patiently(partial(self.collection.made_ready, changed)) if changed else []
        return _Read(names, tuple(ready), tuple(failed))


class _Writer(_Actor):
    """What is to be stored → stored."""

    def __call__(self, row: dict[str, Any]) -> dict[str, bytes]:
        read: _Read = pickle.loads(row["read"])
        try:
            for one in read.ready:
                _patiently(partial(self.collection.put_ready, one))
            passages = sum(len(one.found[0]) for one in read.ready if one.found)
            packed = pickle.dumps(_Settled(read.files, passages, read.failed, read.error))
        except Exception as error:
            packed = _packed_error(partial(_Settled, read.files), error)
        return {"settled": packed}


def _packed_error(made: Callable[..., object], error: Exception) -> bytes:
    """Where an error cannot be sent as it is, its words are."""
    try:
        packed = pickle.dumps(made(error=error))
        pickle.loads(packed)
    except Exception:
        packed = pickle.dumps(made(error=FootnoteError(f"{type(error).__name__}: {error}")))
    return packed


def _patiently(work: Callable[[], Result]) -> Result:
    """What `work` returns, tried again while the database is away or somebody keeps others out."""
    trying = Retrying(
        retry=retry_if_exception_type((CollectionUnavailable, CollectionLocked)),
        stop=stop_after_delay(PATIENCE_S),
        wait=wait_random_exponential(multiplier=0.1, max=5),
        reraise=True,
    )
    return trying(work)


@dataclass
class _Run:
    """The files of a run, and what has become of them."""

    work: _Work
    total: int
    on_event: OnProgress | None
    settled: set[Path] = field(default_factory=set)
    failed: dict[Path, str] = field(default_factory=dict)
    passages: int = 0

    def take(self, parts: Sequence[Sequence[File]]) -> None:
        """Raises what ended the run in an actor, and ClusterUnavailable."""
        for one in _settled(self.work, parts) if parts else ():
            if one.error is not None:
                raise one.error
            self.settled.update(one.files)
            self.failed.update(one.failed)
            self.passages += one.passages
            if self.on_event is not None:
                self.on_event(IngestProgress(len(self.settled), self.total, self.passages))


def _divided(files: Iterable[File]) -> list[list[File]]:
    """In parts of some files, each read and written at once."""
    parts: list[list[File]] = []
    size = 0
    for file, root in files:
        try:
            more = file.stat().st_size
        except OSError:
            more = 0  # who reads it says what is wrong
        if not parts or len(parts[-1]) == _FILES or size + more > _BYTES:
            parts.append([])
            size = 0
        parts[-1].append((file, root))
        size += more
    return parts


def _settled(work: _Work, parts: Sequence[Sequence[File]]) -> Iterator[_Settled]:
    """Of each part what became of it, as it comes; nothing of a part that actors died of."""
    import ray.data  # an extra, and heavy

    said = logging.getLogger("ray.data")
    # To its files alone: on the screen stands what we say.
    said.handlers = [one for one in said.handlers if not isinstance(one, logging.StreamHandler)]
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.max_errored_blocks = -1
    # A part is one row of one block: whatever an actor returns of it the second time takes its place.
    rows = [{"files": pickle.dumps(part)} for part in parts]
    lasting = {
        "fn_constructor_args": (work,),
        "ray_remote_args_fn": lambda: {"max_restarts": -1, "max_task_retries": RETRIES},
    }
    with warnings.catch_warnings():
        # Those of 2.60 warn of this, and have nothing else by which a pool of actors may give up.
        warnings.simplefilter("ignore", DeprecationWarning)
        settled = (
            ray.data.from_items(rows, override_num_blocks=len(rows))
            .map(_Reader, compute=ray.data.ActorPoolStrategy(min_size=1), num_cpus=CORES, **lasting)
            .map(
                _Writer,
                compute=ray.data.ActorPoolStrategy(size=min(WRITERS, len(rows))),
                num_cpus=0,  # they wait for the database
                **lasting,
            )
        )
    try:
        for row in settled.iter_rows():
            yield pickle.loads(row["settled"])
    except ray.exceptions.RayError as error:
        raise ClusterUnavailable(
            f"the Ray cluster could not go on ({_first_line(error)}): the same command goes on from there."
        ) from error


@contextmanager
def _connected(address: str) -> Iterator[None]:
    """Ray Data's calls within go to this cluster."""
    # Footnote tells nobody what it does: Ray would report to its makers.
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    more: dict[str, Any] = {}
    if address == LOCAL:
        # Who reaches a port of Ray may do all that we may: nobody else's machine does, and no other user.
        os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(32))
        # By this Ray is told on which systems it shall listen at 127.0.0.1 alone; here it does too.
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
        more = {"include_dashboard": False, "object_store_memory": _STORE_BYTES}
    elif address != RUNNING:
        _answers(address)
    import ray  # an extra, and heavy; it reads the variables

    # What happens to nodes it prints to standard output, where results belong.
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):
        try:
            with _unheard(nowhere.fileno()):
                ray.init(address=address, log_to_driver=False, logging_level="ERROR", **more)
        except Exception as error:  # it raises whatever comes
            raise ClusterUnavailable(
                f"no Ray cluster can be used at {address} ({_first_line(error)}): start one with "
                "`ray start`, or use --ray local."
            ) from error
        try:
            yield
        finally:
            ray.shutdown()


@contextmanager
def _unheard(nowhere: int) -> Iterator[None]:
    """Nothing reaches standard error: Ray logs there that it is to log nothing."""
    kept = os.dup(2)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _host_and_port(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    if "/" in address or not host or not port.isdecimal():
        raise UsageError(
            f"{address} is no address of a Ray cluster: write local, auto or HOST:PORT, and run footnote on "
            "one of its machines"
        )
    return host.strip("[]"), int(port)


def _answers(address: str) -> None:
    """Whether anything listens: Ray itself would try for minutes, and then end this process."""
    try:
        socket.create_connection(_host_and_port(address), timeout=_CONNECTING_S).close()
    except (OSError, OverflowError) as error:
        raise ClusterUnavailable(
            f"no Ray cluster answers at {address} ({error}): start one with `ray start --head`, or use "
            "--ray local."
        ) from error


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__).rstrip(".")


def _states(collection: PostgresCollection) -> dict[str, tuple[str, str, str]]:
    """By URI, what the collection holds."""
    return {one.source.uri: (one.document_id, one.title, one.made) for one in collection.sources()}


def _changes(
    before: Mapping[str, object], after: Mapping[str, object], files: Iterable[Path]
) -> dict[Change, int]:
    changes = dict.fromkeys(Change, 0)
    for uri in (file.as_uri() for file in files):
        if uri not in before:
            changes[Change.ADDED] += uri in after
        else:
            changes[Change.UNCHANGED if before[uri] == after.get(uri) else Change.UPDATED] += 1
    return changes
