"""Search over the passages' vectors: exact while that is quick, in trained lists when there are many.

A trained index holds the vectors in one byte a dimension, in lists around centres; a question looks into
the few lists that are nearest. What was added since it was trained stands beside it and is searched
exactly. What was taken away is masked at once. The scores of a trained index choose candidates only: whoever
ranks them takes the exact vectors from the catalogue.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

from index.history import Generation, Ids
from index.types import Vectors
from index.vector_files import MANIFEST, Kind, Manifest, read_index, read_manifest, write_files

__all__ = ["FRESH_LIMIT", "MANIFEST", "VectorIndex"]

FRESH_LIMIT = 16_384
"""Vectors beside a trained index that are searched exactly, in about 1.5 ms; more are put into its lists."""

_SAME = 1e-6
"""Inner products closer than this are equal: float32 sums differ by about as much with their order."""

_Scored = list[tuple[float, int]]
"""(negative score, number): sorts as results are ordered."""


class VectorIndex:
    """Inner-product search over numbered unit vectors. Not thread-safe: the owner locks."""

    def __init__(self, dimension: int, trained: faiss.IndexIVFScalarQuantizer | None = None) -> None:
        self._dimension = dimension
        self._fresh = _exact(dimension)
        self._trained = trained
        self._is_still = False
        self._mask(_numbers(trained) if trained is not None else np.zeros(0, dtype=np.int64))

    def __len__(self) -> int:
        return int(self._fresh.ntotal) + self._living

    @property
    def kind(self) -> Kind:
        return "exact" if self._trained is None else "trained"

    @property
    def lists(self) -> int:
        """How many a trained index has; 0 for an exact one."""
        return 0 if self._trained is None else int(self._trained.nlist)

    @property
    def dead(self) -> int:
        """Vectors that are masked and still take room."""
        return 0 if self._trained is None else int(self._trained.ntotal) - self._living

    @property
    def ids(self) -> Ids:
        """The numbers held, in no particular order."""
        fresh: Ids = faiss.vector_to_array(self._fresh.id_map).astype(np.int64)
        return np.concatenate([np.flatnonzero(self._alive), fresh])

    def add(self, ids: Ids, vectors: Vectors) -> None:
        """`vectors` has shape (len(ids), dimension); none of the ids may be held already."""
        if len(ids):
            self._fresh.add_with_ids(np.ascontiguousarray(vectors, dtype=np.float32), ids)
        if self._trained is not None and not self._is_still and self._fresh.ntotal > 2 * FRESH_LIMIT:
            self.absorb()

    def remove(self, ids: Ids) -> None:
        """Those of `ids` that are held; others are passed over."""
        if not len(ids):
            return
        if self._fresh.ntotal:
            self._fresh.remove_ids(faiss.IDSelectorBatch(np.ascontiguousarray(ids, dtype=np.int64)))
        within = ids[ids < len(self._alive)]
        if self._alive[within].any():
            self._alive[within] = False
            self._select()

    def absorb(self) -> None:
        """Put what is fresh into the lists of the trained index, and what is masked out of them."""
        if self._trained is None:
            return
        faiss.omp_set_num_threads(os.cpu_count() or 1)
        if self.dead:
            living = _only(self._alive)
            self._trained.remove_ids(faiss.IDSelectorNot(living))
        ids: Ids = faiss.vector_to_array(self._fresh.id_map).astype(np.int64)
        if len(ids):
            self._trained.add_with_ids(self._fresh.index.reconstruct_n(0, len(ids)), ids)
            self._fresh = _exact(self._dimension)
        self._mask(_numbers(self._trained))

    def search(self, query: npt.NDArray[np.float32], top: int) -> list[int]:
        """The ids of the `top` nearest, best first; among equals the lower ids are chosen and come first."""
        if not len(self) or top < 1:
            return []
        # For the calling thread alone. One question is too little to share: where the cores are busy with a
        # language model, waiting for a second thread takes a hundred times as long as searching.
        faiss.omp_set_num_threads(1)
        rows = np.ascontiguousarray(query, dtype=np.float32).reshape(1, -1)
        ranked = sorted(self._search_fresh(rows, top) + self._search_trained(rows, top))
        return [number for _, number in ranked[:top]]

    def _search_fresh(self, rows: npt.NDArray[np.float32], top: int) -> _Scored:
        held = int(self._fresh.ntotal)
        if not held:
            return []
        found, numbers = self._fresh.search(rows, min(top + 1, held))
        scores, ids = found[0], numbers[0]
        if len(ids) > top and scores[top - 1] - scores[top] < _SAME:
            # FAISS keeps any of those that are equal at the end; take all of them, and choose here.
            _, scores, ids = self._fresh.range_search(rows, float(scores[top - 1]) - 2 * _SAME)
        return _scored(scores, ids)

    def _search_trained(self, rows: npt.NDArray[np.float32], top: int) -> _Scored:
        if self._trained is None or not self._living:
            return []
        parameters: Any = faiss.SearchParametersIVF
        looked_into = int(self._trained.nprobe)
        while True:
            wanted = parameters(nprobe=looked_into)
            if self._selector is not None:
                wanted = parameters(sel=self._selector, nprobe=looked_into)
            found, numbers = self._trained.search(rows, top, params=wanted)
            scores, ids = found[0][numbers[0] >= 0], numbers[0][numbers[0] >= 0]
            # Who asks for more than the nearest lists hold gets them from further lists.
            if len(ids) >= min(top, self._living) or looked_into >= self.lists:
                return _scored(scores, ids)
            looked_into *= 2

    def write(
        self, folder: Path, *, generation: Generation, fingerprint: str, highest: int | None = None
    ) -> Manifest:
        """Save what is held; `highest` is the highest number ever seen. Raises OSError.

        Of a trained index the lists alone are saved: `absorb` first.
        """
        with self.still() as index:
            return write_files(
                folder,
                index,
                kind=self.kind,
                state=generation,
                fingerprint=fingerprint,
                highest=int(self.ids.max(initial=0)) if highest is None else highest,
            )

    @contextmanager
    def still(self) -> Iterator[Any]:
        """What FAISS can write while additions, removals and searches go on: they leave it alone."""
        if self._trained is None:
            yield faiss.clone_index(self._fresh)
            return
        self._is_still = True
        try:
            yield self._trained
        finally:
            self._is_still = False

    @classmethod
    def read(
        cls, folder: Path, *, fingerprint: str, dimension: int, is_past: Callable[[Generation], bool]
    ) -> tuple[VectorIndex | None, Manifest | None, str]:
        """The saved index and its manifest, or None and the reason why it cannot be used. Never raises.

        `is_past` says whether the catalogue has been in a state: then what changed since is known.
        """
        manifest, reason = read_manifest(folder)
        if manifest is None:
            return None, None, reason
        if (manifest.fingerprint, manifest.dimension) != (fingerprint, dimension) or not is_past(
            manifest.state
        ):
            return None, None, f"{manifest.file} belongs to another state of the collection"
        loaded, reason = read_index(folder, manifest)
        if loaded is None:
            return None, None, reason
        if not _is_kind(loaded, manifest):
            return None, None, f"{manifest.file} holds another kind of index"
        if manifest.kind == "trained":
            return cls(dimension, loaded), manifest, ""
        index = cls(dimension)
        index._fresh = loaded
        return index, manifest, ""

    def _mask(self, ids: Ids) -> None:
        """Nothing is masked: `ids` are what the trained index holds."""
        self._alive = np.zeros(int(ids.max(initial=-1)) + 1, dtype=bool)
        self._alive[ids] = True
        self._select()

    def _select(self) -> None:
        self._living = int(np.count_nonzero(self._alive))
        self._selector: Any = None
        if self.dead:
            self._selector = _only(self._alive)


def _exact(dimension: int) -> faiss.IndexIDMap2:
    return faiss.IndexIDMap2(faiss.IndexFlatIP(dimension))


def _only(alive: npt.NDArray[np.bool_]) -> Any:
    """Selects the numbers that are true; it keeps the bits that FAISS looks at."""
    selector: Any = faiss.IDSelectorBitmap  # its stub knows the C++ constructor only
    return selector(np.packbits(alive, bitorder="little"))


def _scored(scores: npt.NDArray[np.float32], ids: Ids) -> _Scored:
    # FAISS ranks what is no number last, with the lowest score there is; whoever ranks exactly finds it out.
    with np.errstate(over="ignore"):
        return list(zip((-np.round(scores, 6)).tolist(), ids.tolist(), strict=True))


def _numbers(trained: Any) -> Ids:
    """All numbers in the lists."""
    lists = trained.invlists
    sizes = [lists.list_size(number) for number in range(trained.nlist)]
    parts = [
        faiss.rev_swig_ptr(lists.get_ids(number), size).copy() for number, size in enumerate(sizes) if size
    ]
    found: Ids = np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)
    return found


def _is_kind(index: Any, manifest: Manifest) -> bool:
    """Whether what FAISS made of a file is what the manifest says, so that it can be searched safely."""
    if index.metric_type != faiss.METRIC_INNER_PRODUCT or (index.d, index.ntotal) != (
        manifest.dimension,
        manifest.count,
    ):
        return False
    if manifest.kind == "exact":
        if not isinstance(index, faiss.IndexIDMap2):
            return False
        held = faiss.vector_to_array(index.id_map)
        return isinstance(faiss.downcast_index(index.index), faiss.IndexFlat) and _within(held, manifest)
    if not isinstance(index, faiss.IndexIVFScalarQuantizer):
        return False
    lists: Any = index.invlists
    return (
        lists is not None
        and index.sq.qtype == faiss.ScalarQuantizer.QT_8bit
        and index.quantizer.ntotal == index.nlist
        and lists.nlist == index.nlist
        and lists.code_size == index.code_size == index.d
        and _within(_numbers(index), manifest)
    )


def _within(ids: Ids, manifest: Manifest) -> bool:
    return len(ids) == manifest.count and (
        not len(ids) or (int(ids.min()) > 0 and int(ids.max()) <= manifest.highest)
    )
