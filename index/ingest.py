"""Files and folders into a collection: what is new or changed is read, what has vanished is removed.

A file that cannot be read is reported, and what was indexed of it before is kept: an error is no wish to
forget. Each document is committed by itself, so an interrupted run keeps what it has done and the next one
goes on from there.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import stat
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from index.config import IndexSettings
from index.errors import DocumentError, UnreadableDocument
from index.readers import READERS_VERSION, read_path
from index.types import Change, Collection, Document, Source
from index.walk import Walk, walk

_BATCH_CHARACTERS = 200_000
_BATCH_DOCUMENTS = 16
"""Documents embedded together: as many as fit both: small ones share batches, and Ctrl-C loses little."""


@dataclass(frozen=True, slots=True)
class IngestProgress:
    """How far a run is. `files` of `files_total` are settled; `passages` have been embedded so far."""

    files: int
    files_total: int
    passages: int


@dataclass(frozen=True, slots=True)
class IngestReport:
    """What a run did, in files. `failed` are (path, reason); what was indexed of those before is kept.

    `passed_over` are of other kinds, `ignored` matched an ignore pattern.
    """

    added: int
    updated: int
    unchanged: int
    removed: int
    passed_over: int
    ignored: int
    failed: tuple[tuple[str, str], ...]


_UNOPENED = "this folder may not be listed: what it holds was not looked at; check its permissions"

OnProgress = Callable[[IngestProgress], None]


def index_paths(
    collection: Collection,
    paths: Sequence[Path],
    settings: IndexSettings,
    on_event: OnProgress | None = None,
) -> IngestReport:
    """Bring what the collection holds of `paths` up to date, and save its vectors.

    Of each folder named, files that were found by walking a folder before and are not found now are
    removed; a file that was only ever named itself is not, nor anything outside the folders named. A path
    that is gone is removed with all that it held. Raises UnreadableDocument for one that was never
    indexed either, before anything is changed, and CollectionLocked.
    """
    named = look(collection, paths, settings)
    files = named.files
    run = _Run(collection, settings, on_event, total=len(files))
    with collection.writing():
        for file, root in files.items():
            run.take(file, root)
        run.flush()
        removed = named.forget(collection)
        collection.snapshot()
    return named.report(run.changes, removed, run.failed)


@dataclass(frozen=True, slots=True)
class Named:
    """What the paths that somebody named hold now, walked; `gone` are the URIs that a collection holds of
    paths that are there no more."""

    walks: tuple[tuple[Path, Walk], ...]
    gone: frozenset[str]

    @property
    def files(self) -> dict[Path, str]:
        """Each once, with the URI of the folder that it was found in, empty where it was named itself."""
        found: dict[Path, str] = {}
        for top, walked in self.walks:
            root = top.as_uri() if top.is_dir() else ""
            for file in walked.files:
                found.setdefault(file, root)
        return found

    def forget(self, collection: Collection) -> int:
        """Remove what has vanished; how many sources that were."""
        vanished = self.gone.union(_vanished(collection, self.walks, {file.as_uri() for file in self.files}))
        return sum(map(collection.remove, sorted(vanished)))

    def report(
        self, changes: Mapping[Change, int], removed: int, failed: Iterable[tuple[str, str]]
    ) -> IngestReport:
        return IngestReport(
            added=changes[Change.ADDED],
            updated=changes[Change.UPDATED],
            unchanged=changes[Change.UNCHANGED],
            removed=removed,
            passed_over=sum(found.passed_over for _, found in self.walks),
            ignored=sum(found.ignored for _, found in self.walks),
            failed=(
                *failed,
                *((str(folder), _UNOPENED) for _, found in self.walks for folder in found.unopened),
            ),
        )


def look(collection: Collection, paths: Sequence[Path], settings: IndexSettings) -> Named:
    """Raises UnreadableDocument for a path that is not there, and of which the collection holds nothing."""
    # Each by itself: what a walk finds belongs to the folder that it started from.
    # As `walk` names files: without "..", which a URI would keep.
    tops = [Path(os.path.abspath(path)) for path in paths]
    gone = {top: held for top in tops if not os.path.lexists(top) and (held := _held(collection, top))}
    walks = tuple((top, walk([top], settings.ignore)) for top in tops if top not in gone)
    return Named(walks, frozenset(itertools.chain(*gone.values())))


def read_changed(
    collection: Collection, file: Path, root: str, settings: IndexSettings
) -> tuple[Document, Source] | None:
    """The document to put, None when nothing changed. Raises DocumentError.

    Size and time are taken first and the bytes hashed before they are read: a file that is written
    meanwhile then looks changed to the next run, never unchanged.
    """
    uri = file.as_uri()
    limit = settings.max_file_bytes
    digest = ""
    try:
        found = file.stat()
        if collection.unchanged(
            uri,
            size=found.st_size,
            mtime_ns=found.st_mtime_ns,
            readers_version=READERS_VERSION,
            root=root,
        ):
            return None
        if stat.S_ISREG(found.st_mode) and found.st_size <= limit:
            with file.open("rb") as content:
                digest = hashlib.file_digest(content, "sha256").hexdigest()
    except OSError as error:
        # The reader knows best how to say it; where it gets through, the file is in motion.
        read_path(file, max_bytes=limit)
        raise UnreadableDocument(f"{file.name} was changed while it was read: index it again.") from error
    if digest and collection.unchanged_bytes(
        uri,
        bytes_sha256=digest,
        size=found.st_size,
        mtime_ns=found.st_mtime_ns,
        readers_version=READERS_VERSION,
        root=root,
    ):
        return None
    document = read_path(file, max_bytes=limit)
    return document, Source(uri, digest, found.st_size, found.st_mtime_ns, READERS_VERSION, root)


class _Run:
    """One run's files: each is settled at once, or waits to be embedded with others."""

    def __init__(
        self, collection: Collection, settings: IndexSettings, on_event: OnProgress | None, total: int
    ) -> None:
        self.changes = dict.fromkeys(Change, 0)
        self.failed: list[tuple[str, str]] = []
        self._collection = collection
        self._settings = settings
        self._on_event = on_event
        self._total = total
        self._taken = 0
        self._passages = 0
        self._waiting: list[tuple[Document, Source]] = []

    def take(self, file: Path, root: str) -> None:
        self._taken += 1
        try:
            item = read_changed(self._collection, file, root, self._settings)
        except DocumentError as error:
            self.failed.append((str(file), str(error)))
        else:
            if item is None:
                self.changes[Change.UNCHANGED] += 1
            else:
                if len(item[0].text) >= _BATCH_CHARACTERS:
                    self.flush()  # what is small need not wait, and be lost, with what is large
                self._waiting.append(item)
        self._report(0)
        waiting = sum(len(document.text) for document, _ in self._waiting)
        if waiting >= _BATCH_CHARACTERS or len(self._waiting) >= _BATCH_DOCUMENTS:
            self.flush()

    def flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        for change in self._collection.put_all(waiting, self._report) if waiting else ():
            self.changes[change] += 1
        self._report(0)

    def _report(self, embedded: int) -> None:
        self._passages += embedded
        if self._on_event is not None:
            settled = self._taken - len(self._waiting)
            self._on_event(IngestProgress(settled, self._total, self._passages))


def _vanished(collection: Collection, walks: Sequence[tuple[Path, Walk]], seen: set[str]) -> list[str]:
    """The URIs of files that a walk found once, and that are no longer in the folders named."""
    folders = tuple(_inside(top) for top, _ in walks if top.is_dir())
    # What could not be listed may still hold what it held.
    unopened = tuple(_inside(folder) for _, found in walks for folder in found.unopened)
    return [
        stored.source.uri
        for stored in collection.sources()
        if stored.source.root
        and stored.source.uri not in seen
        and stored.source.uri.startswith(folders)
        and not stored.source.uri.startswith(unopened)
    ]


def _held(collection: Collection, top: Path) -> list[str]:
    """The URIs that the collection holds of a path, file or folder."""
    uri = top.as_uri()
    found = (stored.source.uri for stored in collection.sources())
    return [held for held in found if held == uri or held.startswith(_inside(top))]


def _inside(folder: Path) -> str:
    return folder.as_uri().removesuffix("/") + "/"
