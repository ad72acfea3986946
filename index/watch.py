"""Following folders: what is added, edited, renamed or deleted in them reaches the collection by itself.

Files are taken once they have stopped changing, so that nobody is asked about half a file. A folder that
vanishes as a whole (a disk that is unplugged) keeps what was indexed of it until it is back. What a change
means is decided by `index_paths`, as if it were run by hand; the watcher only says when.
"""

from __future__ import annotations

import os
import time
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Event

from watchfiles import watch

from index.config import IndexSettings
from index.errors import CollectionLocked, UnreadableDocument
from index.ingest import IngestReport, OnProgress, index_paths
from index.readers import is_readable_kind
from index.types import Collection
from index.walk import IGNORE_FILES, is_passed_over

SETTLED_S = 1.0
"""A file that did not change for so long is whole."""

LONGEST_S = 15.0
"""A file that is written all the time is taken as it is after so long."""

_TICK_MS = 500
_STEP_MS = 100
_POLL_MS = 3000
_REST = 4.0  # after a run, so many times as long as it took: where much changes, it is seen a little later

Stat = tuple[int, int, int] | None
"""Inode, size in bytes, modification time in nanoseconds; None for what is not there."""


@dataclass(frozen=True, slots=True)
class _Unsettled:
    """How a path was when it was last looked at, since when, and when it first changed, in seconds."""

    stat: Stat
    since: float
    first: float


@dataclass(frozen=True, slots=True)
class Caught:
    """One run over the folders: what it changed, as URIs, and which files could not be read.

    `renamed` are (from, to) of the same text.
    """

    added: tuple[str, ...]
    updated: tuple[str, ...]
    removed: tuple[str, ...]
    renamed: tuple[tuple[str, str], ...]
    report: IngestReport

    def __bool__(self) -> bool:
        return bool(self.added or self.updated or self.removed or self.renamed)


@dataclass(frozen=True, slots=True)
class Absent:
    """A watched path is gone as a whole; what was indexed of it is kept."""

    path: Path


@dataclass(frozen=True, slots=True)
class Back:
    """A watched path is there again."""

    path: Path


@dataclass(frozen=True, slots=True)
class Postponed:
    """Nothing could be done just now; it is tried again."""

    reason: str


WatchEvent = Caught | Absent | Back | Postponed


class Watcher:
    """Follows `paths` for a collection. `events` goes on until `stop` is set or who reads it closes it.

    `on_progress` is called as `index_paths` calls it. Ctrl-C raises KeyboardInterrupt where it strikes.
    """

    def __init__(
        self,
        collection: Collection,
        paths: Sequence[Path],
        settings: IndexSettings,
        *,
        on_progress: OnProgress | None = None,
        stop: Event | None = None,
    ) -> None:
        self._collection = collection
        self._tops = tuple(dict.fromkeys(Path(os.path.abspath(path)) for path in paths))
        self._settings = settings
        self._on_progress = on_progress
        self._stop = stop or Event()
        self._unsettled: dict[Path, _Unsettled] = {}
        self._present = {top: _identity(top) for top in self._tops}
        self._looked_at = dict(self._present)
        self._folders = _folders_of(self._held())
        self._polls = False
        self._is_due = False
        self._not_before = 0.0

    def events(self) -> Iterator[WatchEvent]:
        while not self._stop.is_set():
            yield from self._follow()

    def _follow(self) -> Iterator[WatchEvent]:
        """Until another watch is needed: a path has come or gone, or another has taken its name."""
        watched = [top for top in self._tops if self._present[top] is not None]
        self._is_due = bool(watched)  # for what happened before the watch began
        for changes in self._changes(watched):
            for _, name in changes:
                self._note(Path(name))
            moved = yield from self._look_at_tops()
            yield from self._take_settled()
            if moved or self._stop.is_set():
                return

    def _changes(self, watched: Sequence[Path]) -> Iterator[Iterable[tuple[object, str]]]:
        """What happened since the last look, often nothing."""
        if not watched:
            self._stop.wait(_TICK_MS / 1000)
            yield ()
            return
        try:
            yield from watch(
                *watched,
                watch_filter=None,  # which files count is decided below, and by the walk
                step=_STEP_MS,
                rust_timeout=_TICK_MS,
                yield_on_timeout=True,
                stop_event=self._stop,
                ignore_permission_denied=True,
                force_polling=self._polls or None,
                poll_delay_ms=_POLL_MS,
            )
        except FileNotFoundError:
            yield ()  # gone between two looks
        except (OSError, RuntimeError):
            # The system follows no more folders for this user: they are looked at every few seconds.
            self._polls = True

    def _note(self, path: Path) -> None:
        if self._counts(path):
            now = time.monotonic()
            before = self._unsettled.get(path)
            self._unsettled[path] = _Unsettled(_stat(path), now, before.first if before else now)

    def _counts(self, path: Path) -> bool:
        """Whether it may be a file to index, a folder, or a file that says what is to be ignored."""
        top = next((top for top in self._tops if path == top or top in path.parents), None)
        if top is None:
            return False
        inside = path.relative_to(top).parts
        if any(is_passed_over(part) for part in inside[:-1]):
            return False
        if path == top or path.name in IGNORE_FILES:
            return True
        if is_passed_over(path.name):
            return False
        return is_readable_kind(path) or path.is_dir() or path.as_uri() in self._folders

    def _look_at_tops(self) -> Generator[WatchEvent, None, bool]:
        """Says which of the paths have come or gone; whether any has."""
        moved = False
        for top in self._tops:
            before, now = self._present[top], _identity(top)
            if before != now:
                moved = True
                self._present[top] = now
                if now is None:
                    yield Absent(top)
                elif before is None:
                    yield Back(top)
        return moved

    def _take_settled(self) -> Iterator[WatchEvent]:
        now = time.monotonic()
        for path, seen in list(self._unsettled.items()):
            current = _stat(path)
            if current != seen.stat and now - seen.first < LONGEST_S:
                self._unsettled[path] = _Unsettled(current, now, seen.first)
            elif now - seen.since >= SETTLED_S or now - seen.first >= LONGEST_S:
                del self._unsettled[path]
                self._is_due = True
        # All that changes together is taken together: what was moved is then seen at both places.
        if not self._is_due or self._unsettled or now < self._not_before:
            return
        self._is_due = False
        try:
            caught = self._run()
        except (CollectionLocked, UnreadableDocument) as error:
            # Another writer is at work, or a path went while it was looked at.
            self._is_due = True
            yield Postponed(str(error))
        else:
            self._not_before = time.monotonic() + _REST * (time.monotonic() - now)
            if caught or caught.report.failed:
                yield caught

    def _run(self) -> Caught:
        whole = [top for top in self._tops if self._is_whole(top)]
        before = self._held()
        report = index_paths(self._collection, whole, self._settings, self._on_progress)
        after = self._held()
        self._looked_at.update((top, self._present[top]) for top in whole)
        self._folders = _folders_of(after)
        return _difference(before, after, report)

    def _is_whole(self, top: Path) -> bool:
        """Whether it is there, and not the empty folder that an unplugged disk leaves behind."""
        identity = _identity(top)
        if identity is None:
            return False
        try:
            return identity == self._looked_at[top] or not top.is_dir() or any(top.iterdir())
        except OSError:
            return False

    def _held(self) -> dict[str, tuple[str, str]]:
        """Of each source its document's id and title."""
        return {held.source.uri: (held.document_id, held.title) for held in self._collection.sources()}


def _difference(
    before: Mapping[str, tuple[str, str]], after: Mapping[str, tuple[str, str]], report: IngestReport
) -> Caught:
    removed = [uri for uri in before if uri not in after]
    added = [uri for uri in after if uri not in before]
    updated = [uri for uri, held in after.items() if uri in before and before[uri] != held]
    renamed: list[tuple[str, str]] = []
    for uri in list(added):
        old = next((gone for gone in removed if before[gone][0] == after[uri][0]), None)
        if old is not None:
            renamed.append((old, uri))
            removed.remove(old)
            added.remove(uri)
    return Caught(tuple(added), tuple(updated), tuple(removed), tuple(renamed), report)


def _folders_of(held: Mapping[str, object]) -> frozenset[str]:
    """The URIs of all folders that have something in them."""
    folders: set[str] = set()
    for uri in held:
        while (uri := uri.rpartition("/")[0]) and uri not in folders:
            folders.add(uri)
    return frozenset(folders)


def _stat(path: Path) -> Stat:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def _identity(path: Path) -> Stat:
    """Which file or folder it is; not what is in it."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_ino, found.st_dev, 0
