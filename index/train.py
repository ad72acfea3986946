"""Training an index for many vectors: centres from a sample, lists filled in batches, in bounded memory."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable

import faiss
import numpy as np

from index.history import Ids
from index.types import Vectors
from index.vectors import VectorIndex

SAMPLE_PER_LIST = 48
"""Vectors to find one centre from: FAISS asks for 39 at least."""

_ROUNDS = 8
_SOUGHT = 10  # nearest neighbours that a search has to find ...
_AMONG = 50  # ... among as many candidates, which are ranked again by their exact vectors
_SHARE = 0.98
_PROBES = 256


def lists_for(count: int) -> int:
    """How many lists for this many vectors: twice the root, so that few lists hold little."""
    return max(16, int(2 * math.sqrt(count)))


def sample_size(count: int) -> int:
    return min(count, SAMPLE_PER_LIST * lists_for(count))


def trained_index(
    dimension: int, count: int, sample: Vectors, batches: Iterable[tuple[Ids, Vectors]]
) -> VectorIndex:
    """An index of all `batches`, about `count` vectors; holds the sample and one batch beside the index.

    How many lists a search looks into is measured: as few as find 98 % of the ten nearest neighbours of
    vectors of the sample.
    """
    faiss.omp_set_num_threads(os.cpu_count() or 1)  # of the calling thread: a search takes one
    lists = min(lists_for(count), max(len(sample) // 2, 1))
    index = faiss.IndexIVFScalarQuantizer(
        faiss.IndexFlatIP(dimension),
        dimension,
        lists,
        faiss.ScalarQuantizer.QT_8bit,
        faiss.METRIC_INNER_PRODUCT,
    )
    index.cp.niter = _ROUNDS
    index.cp.max_points_per_centroid = 2 * SAMPLE_PER_LIST
    index.cp.min_points_per_centroid = 1
    index.cp.spherical = True
    index.train(sample)
    probes = np.ascontiguousarray(sample[:: max(len(sample) // _PROBES, 1)][:_PROBES])
    nearest = _Nearest(probes)
    for ids, rows in batches:
        index.add_with_ids(rows, ids)
        nearest.see(ids, rows)
    index.nprobe = _enough_lists(index, probes, nearest.ids)
    return VectorIndex(dimension, index)


def _enough_lists(index: faiss.IndexIVFScalarQuantizer, probes: Vectors, expected: Ids) -> int:
    """The smallest number of lists, by steps, with which enough is found; at most a quarter of all."""
    most = max(index.nlist // 4, min(index.nlist, 8))
    looked_into = 8
    while looked_into < most:
        index.nprobe = looked_into
        _, found = index.search(probes, _AMONG)
        hits = sum(len(np.intersect1d(a, b[b >= 0])) for a, b in zip(found, expected, strict=True))
        if hits >= _SHARE * np.count_nonzero(expected >= 0):
            return looked_into
        looked_into = math.ceil(looked_into * 1.4)
    return most


class _Nearest:
    """The exact nearest neighbours of a few vectors, while all go by; each is its own first, left out."""

    def __init__(self, probes: Vectors) -> None:
        self._probes = probes
        self._scores = np.full((len(probes), _SOUGHT + 1), -np.inf, dtype=np.float32)
        self._ids = np.full((len(probes), _SOUGHT + 1), -1, dtype=np.int64)

    def see(self, ids: Ids, rows: Vectors) -> None:
        scores = np.hstack([self._scores, self._probes @ rows.T])
        numbers = np.hstack([self._ids, np.broadcast_to(ids, (len(self._probes), len(ids)))])
        best = np.argpartition(-scores, _SOUGHT, axis=1)[:, : _SOUGHT + 1]
        self._scores = np.take_along_axis(scores, best, axis=1)
        self._ids = np.take_along_axis(numbers, best, axis=1)

    @property
    def ids(self) -> Ids:
        return np.take_along_axis(self._ids, np.argsort(-self._scores, axis=1), axis=1)[:, 1:]
