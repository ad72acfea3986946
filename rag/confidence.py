"""How far the numbers can be trusted, and how far the program can when it says that it is sure.

Intervals and comparisons by the bootstrap over questions; the risk–coverage curve; calibration.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

import numpy as np
import numpy.typing as npt

from rag.metrics import finite, mean_defined

Sample = npt.NDArray[np.int64]
"""Shape (n,): indices of questions, some more than once, others not at all."""

Statistic = Callable[[Sample], float | None]
"""A number from the questions with these indices; None if it is undefined there."""

Verdict = Literal["better", "worse", "no difference seen"]

RESAMPLES = 2000
LEVEL = 0.95
BLOCK = 1 << 20
FEWEST_PAIRS = 6
"""With fewer questions even unanimous differences may be chance: the sign test, two-sided, has p > .05."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A value with its bootstrap interval; `count` is the number of questions it rests on."""

    value: float
    low: float
    high: float
    count: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """Candidate minus baseline over the `count` questions that have a score on either side.

    `unpaired` of them have one on one side only. `difference` is None where a side has no score at all.
    """

    difference: Interval | None
    verdict: Verdict
    count: int
    unpaired: int


@dataclass(frozen=True, slots=True)
class RiskPoint:
    """Answering only where the confidence is `threshold` or more: that share, and how often it is wrong."""

    threshold: float
    coverage: float
    risk: float


@dataclass(frozen=True, slots=True)
class RiskCoverage:
    """From the surest answers to all of them; `area` (AURC) is smaller the better, between 0 and 1."""

    points: tuple[RiskPoint, ...]
    area: float


@dataclass(frozen=True, slots=True)
class CalibrationBin:
    """Answers whose confidence lies above `low` up to `high` (the first bin holds 0 too).

    `confidence` and `accuracy` are their means.
    """

    low: float
    high: float
    count: int
    confidence: float
    accuracy: float


def bootstrap(
    count: int,
    statistic: Statistic,
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
) -> Interval | None:
    """The statistic over `count` questions and its percentile bootstrap interval (Efron and Tibshirani
    1993, ch. 13).

    The same arguments give the same interval. Resamples where the statistic is undefined are left out.
    None if it is undefined on the questions themselves, or on every resample.
    """
    value = statistic(np.arange(count)) if count else None
    if value is None:
        return None
    found = [statistic(sample) for block in _samples(count, seed, resamples) for sample in block]
    defined = finite(one for one in found if one is not None)
    return _interval(value, defined, level, count) if defined.size else None


def bootstrap_mean(
    values: Sequence[float | None], *, seed: int = 0, resamples: int = RESAMPLES, level: float = LEVEL
) -> Interval | None:
    """The mean of the values that are not None, with its interval; None if none is left.

    ValueError for NaN and infinity.
    """
    defined = finite(value for value in values if value is not None)
    if not defined.size:
        return None
    # What `bootstrap` would give, without a call for each of the resamples.
    blocks = _samples(defined.size, seed, resamples)
    means = np.concatenate([defined[block].mean(axis=1) for block in blocks])
    return _interval(float(defined.mean()), means, level, defined.size)


def _interval(value: float, found: npt.NDArray[np.float64], level: float, count: int) -> Interval:
    low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2])
    return Interval(value, float(low), float(high), count)


def compare_means(
    baseline: Mapping[str, float | None],
    candidate: Mapping[str, float | None],
    *,
    higher_is_better: bool,
    seed: int = 0,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
) -> Comparison:
    """The candidate's mean minus the baseline's, each over the questions (by id) that it has a score for.

    The paired bootstrap (Koehn 2004): questions are drawn, not scores, so what both sides find hard does
    not hide a difference. A question with a score on one side only counts on that side: what an answer
    is worth that the baseline did not give is part of the difference. ValueError for NaN and infinity.
    """
    # Sorted, so that the order of a file does not move the interval.
    ids = sorted(baseline.keys() | candidate.keys())
    pairs = [(baseline.get(id), candidate.get(id)) for id in ids]
    scored = [pair for pair in pairs if pair != (None, None)]
    paired = [new - old for old, new in scored if old is not None and new is not None]
    if len(paired) == len(scored):
        interval, fewest = bootstrap_mean(paired, seed=seed, resamples=resamples, level=level), len(paired)
    else:
        old, new = (_Side.of(side) for side in zip(*scored, strict=True))
        interval, fewest = _difference_of_means(old, new, seed, resamples, level), min(old.count, new.count)
    verdict = _verdict(interval, higher_is_better) if fewest >= FEWEST_PAIRS else "no difference seen"
    return Comparison(interval, verdict, len(scored), len(scored) - len(paired))


@dataclass(frozen=True, slots=True)
class _Side:
    """Scores, 0 where there is none, and whether there is one: both of shape (n,)."""

    values: npt.NDArray[np.float64]
    known: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, scores: Sequence[float | None]) -> _Side:
        known = np.array([score is not None for score in scores])
        return cls(finite(0.0 if score is None else score for score in scores), known)

    @property
    def count(self) -> int:
        return int(self.known.sum())

    def means(self, samples: Sample) -> npt.NDArray[np.float64]:
        """Of each sample, a row of `samples`; NaN where none of its questions has a score."""
        counts = self.known[samples].sum(axis=-1)
        return np.where(counts > 0, self.values[samples].sum(axis=-1) / np.maximum(counts, 1), np.nan)


def _difference_of_means(old: _Side, new: _Side, seed: int, resamples: int, level: float) -> Interval | None:
    size = old.known.size
    value = float(new.means(np.arange(size)) - old.means(np.arange(size)))
    found = np.concatenate([new.means(block) - old.means(block) for block in _samples(size, seed, resamples)])
    defined = found[~np.isnan(found)]
    return None if math.isnan(value) or not defined.size else _interval(value, defined, level, size)


def compare(
    count: int,
    baseline: Statistic,
    candidate: Statistic,
    *,
    higher_is_better: bool,
    seed: int = 0,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
) -> Comparison:
    """The same for statistics that are no means (an F1, an area, a percentile).

    Both are asked about the same `count` questions in the same order. Where one of them is undefined,
    so is the difference.
    """

    def difference(sample: Sample) -> float | None:
        old, new = baseline(sample), candidate(sample)
        return None if old is None or new is None else new - old

    interval = bootstrap(count, difference, seed=seed, resamples=resamples, level=level)
    return Comparison(interval, _verdict(interval, higher_is_better), count if interval else 0, 0)


def _samples(count: int, seed: int, resamples: int) -> Iterator[Sample]:
    """Resamples in blocks, each of shape (some, count): drawn together for speed, not all for memory."""
    random = np.random.default_rng(seed)
    most = max(BLOCK // count, 1)
    for start in range(0, resamples, most):
        yield random.integers(count, size=(min(most, resamples - start), count), dtype=np.int64)


def _verdict(difference: Interval | None, higher_is_better: bool) -> Verdict:
    """A difference is seen when its interval leaves out 0."""
    if difference is None or difference.count < FEWEST_PAIRS or difference.low <= 0 <= difference.high:
        return "no difference seen"
    return "better" if (difference.low > 0) == higher_is_better else "worse"


def risk_coverage(confidence: Sequence[float], correct: Sequence[bool]) -> RiskCoverage | None:
    """The risk–coverage curve of selective answering and its area; None without answers.

    El-Yaniv and Wiener (2010); the area is the mean over i of the error rate among the i surest answers
    (AURC, Geifman, Uziel and El-Yaniv 2019). Answers of equal confidence are accepted together, as a
    threshold would, so they make one point; in the area each of them counts with the error rate to be
    expected when they come in random order, so the order of the file does not matter. An answer to an
    unanswerable question is an incorrect one. ValueError if the two differ in length, and for NaN.
    """
    ranked = sorted(zip(finite(confidence).tolist(), correct, strict=True), key=lambda pair: -pair[0])
    points: list[RiskPoint] = []
    risks: list[float] = []
    seen, wrong = 0, 0.0
    for threshold, tied in groupby(ranked, key=lambda pair: pair[0]):
        outcomes = [right for _, right in tied]
        errors = outcomes.count(False)
        each = errors / len(outcomes)
        risks += [(wrong + each * i) / (seen + i) for i in range(1, len(outcomes) + 1)]
        seen, wrong = seen + len(outcomes), wrong + errors
        points.append(RiskPoint(threshold, seen / len(ranked), wrong / seen))
    area = mean_defined(risks)
    return None if area is None else RiskCoverage(tuple(points), area)


def calibration(
    confidence: Sequence[float], correct: Sequence[bool], bins: int = 10
) -> tuple[CalibrationBin, ...]:
    """The reliability diagram: answers by confidence, in bins of equal width, empty ones left out.

    Guo et al. (2017). ValueError if the two differ in length, or a confidence lies outside [0, 1].
    """
    if not all(0 <= value <= 1 for value in confidence):
        raise ValueError("a confidence is a number from 0 to 1")
    members: dict[int, list[tuple[float, bool]]] = {}
    edges = np.linspace(0, 1, bins + 1)
    for value, right in zip(confidence, correct, strict=True):
        members.setdefault(max(int(np.searchsorted(edges, value)) - 1, 0), []).append((value, right))
    return tuple(
        CalibrationBin(
            low=float(edges[index]),
            high=float(edges[index + 1]),
            count=len(found),
            confidence=sum(value for value, _ in found) / len(found),
            accuracy=sum(right for _, right in found) / len(found),
        )
        for index, found in sorted(members.items())
    )


def calibration_error(confidence: Sequence[float], correct: Sequence[bool], bins: int = 10) -> float | None:
    """Expected calibration error: the mean gap between confidence and accuracy, weighted by the bins'
    sizes (Naeini et al. 2015; Guo et al. 2017). None without answers; ValueError as in `calibration`."""
    found = calibration(confidence, correct, bins)
    total = sum(one.count for one in found)
    return sum(one.count * abs(one.confidence - one.accuracy) for one in found) / total if total else None
