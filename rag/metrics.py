"""What all metrics share: means, percentiles, precision and recall; and the scores of a verifier.

The metrics themselves stand in `metrics_retrieval`, `metrics_answer`, `metrics_citation`; what is said
about refusals, calibration and intervals in `confidence`. Every one is a plain function of plain values,
a share in [0, 1] where nothing else is said. None is ever NaN: what is undefined is None, and its
docstring says when that is.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class Scores:
    """Precision, recall and their harmonic mean, each None where it is undefined."""

    precision: float | None
    recall: float | None
    f1: float | None


@dataclass(frozen=True, slots=True)
class ClassScores:
    """One class of a classifier; `count` is how often it is the right one."""

    precision: float | None
    recall: float | None
    f1: float | None
    count: int


@dataclass(frozen=True, slots=True)
class Classification:
    accuracy: float | None
    classes: Mapping[str, ClassScores]
    macro_f1: float | None


def mean_defined(values: Iterable[float | None]) -> float | None:
    """The mean of the values that are not None; None if none is left. ValueError for NaN and infinity."""
    defined = finite(value for value in values if value is not None)
    return math.fsum(defined) / len(defined) if len(defined) else None


def finite(values: Iterable[float]) -> npt.NDArray[np.float64]:
    """The values, shape (n,). ValueError if one is NaN or infinite: no metric could be right then."""
    found = np.fromiter(values, dtype=np.float64)
    if not np.isfinite(found).all():
        raise ValueError("a value is NaN or infinite")
    return found


def percentile(values: Sequence[float], share: float) -> float | None:
    """The value below which `share` of the values lie (0.5: p50, 0.95: p95); None without values.

    Linear between neighbours: definition 7 of Hyndman and Fan (1996), numpy's default. ValueError for
    NaN and infinity.
    """
    return float(np.quantile(finite(values), share)) if values else None


def share(part: float, whole: float) -> float | None:
    """`part / whole`; None if the whole is nothing."""
    return part / whole if whole else None


def scores_of_counts(right: int, wrong: int, missed: int) -> Scores:
    """Scores from true positives, false positives and false negatives (van Rijsbergen 1979).

    Precision is None if nothing was marked, recall None if there was nothing to mark, F1 if neither.
    """
    return Scores(
        share(right, right + wrong),
        share(right, right + missed),
        share(2 * right, 2 * right + wrong + missed),
    )


def classification(predicted: Sequence[str], actual: Sequence[str]) -> Classification:
    """Accuracy, and precision, recall and F1 of each class that was predicted or is right somewhere.

    Macro F1 is the mean of the classes' F1 (Sokolova and Lapalme 2009), as WiCE reports for its labels
    (Kamoi et al. 2023). A class's precision is None if it was never predicted, its recall if it is never
    right. Accuracy and macro F1 are None without claims. ValueError if the two differ in length.
    """
    pairs = list(zip(predicted, actual, strict=True))
    classes: dict[str, ClassScores] = {}
    for label in sorted({label for pair in pairs for label in pair}):
        right = sum(one == label == other for one, other in pairs)
        found = scores_of_counts(
            right,
            sum(one == label != other for one, other in pairs),
            sum(one != label == other for one, other in pairs),
        )
        count = sum(other == label for _, other in pairs)
        classes[label] = ClassScores(found.precision, found.recall, found.f1, count)
    return Classification(
        accuracy=share(sum(one == other for one, other in pairs), len(pairs)),
        classes=classes,
        macro_f1=mean_defined(scores.f1 for scores in classes.values()),
    )


def refusal_scores(refused: Sequence[bool], answerable: Sequence[bool]) -> Scores:
    """How well refusals meet the unanswerable questions, these being what is to be found.

    Precision: the share of refusals that were right; None if nothing was refused. Recall: the share of
    unanswerable questions that were refused; None if there are none. F1 is None if both are, and 0 if
    unanswerable questions were never refused. ValueError if the two differ in length.
    """
    pairs = list(zip(refused, answerable, strict=True))
    return scores_of_counts(
        sum(no and not known for no, known in pairs),
        sum(no and known for no, known in pairs),
        sum(not no and not known for no, known in pairs),
    )
