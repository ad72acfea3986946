"""The vectors of a collection, kept at the state of the catalogue: the file, and the difference since."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout

from index.errors import CollectionDamaged
from index.history import Generation, Ids
from index.records import Reader
from index.train import lists_for, sample_size, trained_index
from index.types import Vectors
from index.vector_files import Kind, Manifest, is_in_place, read_manifest, write_files
from index.vectors import FRESH_LIMIT, VectorIndex

_log = logging.getLogger(__name__)

LOCK_NAME = "vectors.lock"

KIND = "vectors"
"""In the catalogue's meta: the kind of index that was asked for."""

EXACT_BYTES = 80_000_000
"""Of vectors that are searched exactly: about 5 ms, and 52,000 passages of 384 dimensions."""

SAVED_ALWAYS = 4_096
"""Passages; the file of a collection with no more is written after every run that changed it."""

_BATCH = 8_192
_SAMPLED_AT_ONCE = 1_024


@dataclass(slots=True)
class _Held:
    """An index, the state that it is at, and the highest passage number that it has seen."""

    index: VectorIndex
    state: Generation
    highest: int
    saved: Generation | None
    unsaved: int
    """Passages added and dropped since it was saved."""


class CurrentVectors:
    """What is searched follows the catalogue; what is saved lags behind it, by little.

    `lock` is held around `of` and the search in what it returns; a caller opens its reader inside, so that
    the state only moves forward. `kind` is None to choose by what exact search would cost.
    """

    def __init__(self, folder: Path, fingerprint: str, dimension: int, kind: Kind | None = None) -> None:
        self.lock = threading.Lock()
        self._folder = folder
        self._fingerprint = fingerprint
        self._dimension = dimension
        self._kind = kind
        self._held: _Held | None = None
        self._saving = FileLock(folder / LOCK_NAME, timeout=0)

    def of(self, reader: Reader) -> VectorIndex:
        """The vectors of the reader's state: from the file, or from the catalogue where that does not fit."""
        held, self._held = self._held, None  # forgotten if anything below fails
        if held is None or not reader.is_past(held.state):
            held = self._opened(reader)
        generation = reader.generation()
        if held.state != generation:
            held = self._caught_up(reader, held)
            held.state = generation
        self._held = held
        return held.index

    def save(self, reader: Callable[[], AbstractContextManager[Reader]]) -> None:
        """Write the files, unless those that are there are near enough, or another process writes them.

        `reader` opens a state; call without `lock`. Searches and writers go on while vectors are trained
        and written. Raises OSError.
        """
        with reader() as state:
            if self._is_near_enough(state):
                return
        with self._alone() as is_alone:
            if is_alone:
                self._save(reader, afresh=False)

    def rebuild(self, reader: Callable[[], AbstractContextManager[Reader]]) -> None:
        """Write the files from the catalogue alone, whatever is there. As `save`."""
        with self._alone() as is_alone:
            if is_alone:
                self._save(reader, afresh=True)

    def _save(self, reader: Callable[[], AbstractContextManager[Reader]], *, afresh: bool) -> None:
        with ExitStack() as stack:
            with self.lock:
                state = stack.enter_context(reader())
                if not afresh:
                    index = self.of(state)
                    assert self._held is not None
                    if not self._is_due(self._held):
                        return
                    afresh = index.kind != self._chosen(len(index)) or _is_outgrown(index)
            if afresh:
                held = self._gathered(state)
                with self.lock:
                    self._held = held
            with self.lock:
                state = stack.enter_context(reader())
                index = self.of(state)
                index.absorb()
                assert self._held is not None
                held = self._held
                generation, highest, unsaved = held.state, held.highest, held.unsaved
                still = stack.enter_context(index.still())
            write_files(
                self._folder,
                still,
                kind=index.kind,
                state=generation,
                fingerprint=self._fingerprint,
                highest=highest,
            )
            with self.lock:
                held.saved = generation
                held.unsaved -= unsaved

    @contextmanager
    def _alone(self) -> Iterator[bool]:
        """Whether nobody else is writing the files; if so, nobody else does until the block ends."""
        try:
            self._saving.acquire()
        except Timeout:
            yield False
            return
        try:
            yield True
        finally:
            self._saving.release()

    def _caught_up(self, reader: Reader, held: _Held) -> _Held:
        dropped = reader.dropped_since(held.state)
        held.index.remove(dropped)
        held.unsaved += len(dropped)
        for ids, rows in self._batches(reader, held.highest):
            held.index.add(ids, rows)
            held.highest = int(ids[-1])
            held.unsaved += len(ids)
        index = held.index
        if index.kind == "exact" and self._chosen(len(index) // 2) == "trained":
            return self._gathered(reader)  # too large to be kept in this way until somebody saves
        return held

    def _opened(self, reader: Reader) -> _Held:
        index, manifest, reason = VectorIndex.read(
            self._folder,
            fingerprint=self._fingerprint,
            dimension=self._dimension,
            is_past=reader.is_past,
        )
        if index is None or manifest is None:
            _log.info("Vectors are gathered from the catalogue: %s", reason)
            return self._gathered(reader)
        return _Held(index, manifest.state, manifest.highest, saved=manifest.state, unsaved=0)

    def _gathered(self, reader: Reader) -> _Held:
        """All vectors of the catalogue, in the kind of index that suits their number."""
        ids = reader.passage_ids()
        batches = self._batches(reader, 0)
        if self._chosen(len(ids)) == "trained":
            index = trained_index(self._dimension, len(ids), self._sample(reader, ids), batches)
        else:
            index = VectorIndex(self._dimension)
            for numbers, rows in batches:
                index.add(numbers, rows)
        return _Held(index, reader.generation(), int(ids.max(initial=0)), saved=None, unsaved=len(ids))

    def _chosen(self, count: int) -> Kind:
        if not count:
            return "exact"
        return self._kind or ("trained" if 4 * self._dimension * count > EXACT_BYTES else "exact")

    def _is_near_enough(self, reader: Reader) -> bool:
        """Whether the files can be told to be good without loading them."""
        if self._held is not None:
            return False
        manifest, _ = read_manifest(self._folder)
        return (
            manifest is not None
            and (manifest.fingerprint, manifest.dimension) == (self._fingerprint, self._dimension)
            and is_in_place(self._folder, manifest)
            and reader.is_past(manifest.state)
            and manifest.count > SAVED_ALWAYS
            and manifest.kind == self._chosen(manifest.count)
            and self._behind(reader, manifest) <= _most_behind(manifest.count)
        )

    def _behind(self, reader: Reader, manifest: Manifest) -> int:
        return reader.count_after(manifest.highest) + len(reader.dropped_since(manifest.state))

    def _is_due(self, held: _Held) -> bool:
        if held.saved == held.state:
            return False
        count, kind = len(held.index), held.index.kind
        if held.saved is None or count <= SAVED_ALWAYS or kind != self._chosen(count):
            return True
        return held.unsaved > _most_behind(count)

    def _sample(self, reader: Reader, ids: Ids) -> Vectors:
        chosen = np.random.default_rng(0).choice(ids, sample_size(len(ids)), replace=False)
        chosen.sort()
        rows = np.empty((len(chosen), self._dimension), dtype=np.float32)
        for first in range(0, len(chosen), _SAMPLED_AT_ONCE):
            part = chosen[first : first + _SAMPLED_AT_ONCE]
            rows[first : first + len(part)] = self._rows(reader.vectors_of(part))
        return rows

    def _batches(self, reader: Reader, after: int) -> Iterator[tuple[Ids, Vectors]]:
        while True:
            ids, rows = reader.vectors_after(after, _BATCH)
            if not len(ids):
                return
            yield ids, self._rows(rows)
            after = int(ids[-1])

    def _rows(self, rows: list[bytes]) -> Vectors:
        if any(len(row) != 4 * self._dimension for row in rows):
            raise CollectionDamaged(
                f"{self._folder} holds a vector that has not {self._dimension} dimensions: "
                "run `footnote check`, then index the documents again into a new folder."
            )
        return np.frombuffer(b"".join(rows), dtype="<f4").reshape(len(rows), self._dimension)


def _most_behind(count: int) -> int:
    """Changes that the files of so many passages may lack: opening reads them from the catalogue."""
    return min(FRESH_LIMIT, max(1_024, count // 8))


def _is_outgrown(index: VectorIndex) -> bool:
    """Whether a trained index has so many more vectors, or so many masked, that it is trained again."""
    return index.kind == "trained" and (
        lists_for(len(index)) > 2 * index.lists or index.dead > len(index) // 2
    )


def kind_of(setting: str) -> Kind | None:
    """The kind of index that a setting asks for; None for "auto", and for what is not known."""
    return "exact" if setting == "exact" else "trained" if setting == "trained" else None
