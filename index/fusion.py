"""Two lists of candidates, by cosine and by BM25, made one: the same on every engine."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

LEAST_CANDIDATES = 50
"""Of each kind, dense and lexical, at least; five times the number asked for when that is more."""


def candidates_for(top: int) -> int:
    """How many of each kind are looked at for the `top` best."""
    return max(LEAST_CANDIDATES, 5 * top)


def fused(
    ids: Sequence[int], dense: npt.NDArray[np.float64], lexical: npt.NDArray[np.float64], top: int
) -> list[tuple[int, float]]:
    """(place, score) of the `top` best, best first; ties go to the lower id.

    The score is the sum of the z-scores over all candidates; every candidate has both of its scores.
    """
    scores = standardised(dense) + standardised(lexical)
    order = sorted(range(len(ids)), key=lambda place: (-scores[place], ids[place]))[:top]
    return [(place, float(scores[place])) for place in order]


def standardised(scores: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """z-scores; zeros where all scores are equal but for rounding."""
    if not len(scores):
        return scores
    spread = float(scores.std())
    if spread <= 1e-6 * float(np.abs(scores).max()):
        return np.zeros_like(scores)
    result: npt.NDArray[np.float64] = (scores - scores.mean()) / spread
    return result
