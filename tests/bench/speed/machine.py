"""What the machine can do at best, measured as simply as possible."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

ARRAY_BYTES = 256 * 2**20
"""Of each thread: far more than any cache holds."""
SIDE = 2048
TIMES = 5


@dataclass(frozen=True, slots=True)
class Limits:
    """`read_gb_s`: bytes that all threads together read from memory in a second, in 1e9. `gflop_s`: of a
    product of matrices in float32, by numpy's BLAS, in 1e9 operations a second."""

    threads: int
    read_gb_s: float
    gflop_s: float

    def tokens_written_a_second(self, weight_bytes: int) -> float:
        """Each token reads all weights once: no more than this can be written, one after another."""
        return self.read_gb_s * 1e9 / weight_bytes

    def tokens_read_a_second(self, parameters: float) -> float:
        """Each token multiplies and adds once with every weight. Where it is done with integers of eight bits
        instead of float32, as llama.cpp does with quantized weights, more can come of it."""
        return self.gflop_s * 1e9 / (2 * parameters)


def limits(threads: int) -> Limits:
    """The best of a few tries: what the machine can do when nobody disturbs it."""
    arrays = [np.ones(ARRAY_BYTES // 8) for _ in range(threads)]

    def read() -> None:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(np.sum, arrays))

    seconds = _best(read)
    one = np.random.default_rng(1).standard_normal((SIDE, SIDE), dtype=np.float32)
    product = _best(lambda: one @ one)
    return Limits(threads, threads * ARRAY_BYTES / seconds / 1e9, 2 * SIDE**3 / product / 1e9)


def busy() -> float:
    """How many times longer a fixed piece of work takes now than at its quickest: 1 on a quiet machine."""
    took = []
    for _ in range(9):
        began = time.perf_counter()
        sum(range(300_000))
        took.append(time.perf_counter() - began)
    return statistics.median(took) / min(took)


def _best(work: Callable[[], object]) -> float:
    found = []
    for _ in range(TIMES):
        began = time.perf_counter()
        work()
        found.append(time.perf_counter() - began)
    return min(found)
