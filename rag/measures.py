"""The metrics of a run by name: what each is a mean or a statistic of, and what it means that it moves.

Per question they are scored in `rag.scoring` and `rag.claims`, by the functions of `rag.metrics_*`, whose
docstrings name their sources; over questions a metric is the mean of its scores where nothing else is said.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from rag.confidence import Sample, Statistic
from rag.gold_types import Label
from rag.metrics import mean_defined, scores_of_counts, share
from rag.results import Passed

Group = Literal["retrieval", "answers", "citations", "refusals", "speed", "claims"]
Column = npt.NDArray[np.float64]
"""Shape (n,): one score of each question, NaN where it has none."""

GROUPS_OF: dict[str, tuple[Group, ...]] = {
    "compose": ("retrieval", "answers", "citations", "refusals", "speed"),
    "quote": ("retrieval", "answers", "citations", "refusals", "speed"),
    "retrieval": ("retrieval",),
    "claims": ("claims",),
}
"""What is measured, by what a run's configuration calls `asking`."""

LABELS: tuple[Label, ...] = get_args(Label)
BINS = 10


@dataclass(frozen=True, slots=True)
class Measure:
    """One metric. `key` is the score that a question must have to count; the metric is its mean, or what
    `statistic` makes of the questions. `undefined` says why it may have no value. With `gates` false it
    is shown and compared, but no run fails by being slower than a baseline from another machine.
    """

    name: str
    group: Group
    undefined: str
    key: str
    statistic: Callable[[Sequence[Passed]], Statistic] | None = None
    higher_is_better: bool = True
    unit: str = ""
    gates: bool = True


def column(questions: Sequence[Passed], key: str) -> Column:
    return np.array([question.scores.get(key, np.nan) for question in questions], dtype=np.float64)


def refusal_statistic(part: Literal["precision", "recall", "f1"], questions: Sequence[Passed]) -> Statistic:
    """`rag.metrics.refusal_scores` over a sample."""
    refused = column(questions, "refused") == 1
    answerable = np.array([question.answerable for question in questions], dtype=bool)

    def statistic(sample: Sample) -> float | None:
        no, known = refused[sample], answerable[sample]
        right, wrong, missed = (no & ~known).sum(), (no & known).sum(), (~no & ~known).sum()
        value: float | None = getattr(scores_of_counts(int(right), int(wrong), int(missed)), part)
        return value

    return statistic


def _answered(questions: Sequence[Passed]) -> tuple[Column, Column]:
    """Confidence and error (1 or 0) of what was answered, NaN elsewhere."""
    confidence = np.array(
        [np.nan if one.confidence is None else one.confidence for one in questions], dtype=np.float64
    )
    error = 1 - column(questions, "right_when_answered")
    missing = np.isnan(confidence) | np.isnan(error)
    return np.where(missing, np.nan, confidence), np.where(missing, np.nan, error)


def risk_area_statistic(questions: Sequence[Passed]) -> Statistic:
    """`rag.confidence.risk_coverage(...).area` over a sample, without its curve."""
    confidence, error = _answered(questions)

    def statistic(sample: Sample) -> float | None:
        sure, wrong = confidence[sample], error[sample]
        sure, wrong = sure[~np.isnan(sure)], wrong[~np.isnan(sure)]
        if not sure.size:
            return None
        _, group = np.unique(-sure, return_inverse=True)
        # Answers of equal confidence come in random order: each has the error rate of its group.
        expected = (np.bincount(group, weights=wrong) / np.bincount(group))[np.sort(group)]
        return float((np.cumsum(expected) / np.arange(1, sure.size + 1)).mean())

    return statistic


def calibration_statistic(questions: Sequence[Passed]) -> Statistic:
    """`rag.confidence.calibration_error` over a sample."""
    confidence, error = _answered(questions)
    edges = np.linspace(0, 1, BINS + 1)

    def statistic(sample: Sample) -> float | None:
        sure, wrong = confidence[sample], error[sample]
        sure, wrong = sure[~np.isnan(sure)], wrong[~np.isnan(sure)]
        if not sure.size:
            return None
        bins = np.maximum(np.searchsorted(edges, sure) - 1, 0)
        gaps = np.bincount(bins, weights=sure - (1 - wrong), minlength=BINS)
        return float(np.abs(gaps).sum() / sure.size)

    return statistic


def percentile_statistic(key: str, share: float, questions: Sequence[Passed]) -> Statistic:
    """`rag.metrics.percentile` over a sample."""
    values = column(questions, key)

    def statistic(sample: Sample) -> float | None:
        # By hand, since numpy's own takes longer than all else of a bootstrap. NaN is sorted to the end.
        found = np.sort(values[sample])
        count = int(found.size - np.isnan(found).sum())
        if not count:
            return None
        below, part = divmod((count - 1) * share, 1)
        above = min(int(below) + 1, count - 1)
        return float(found[int(below)] * (1 - part) + found[above] * part)

    return statistic


def verdict_statistic(label: Label | None, part: str, questions: Sequence[Passed]) -> Statistic:
    """`rag.metrics.classification` over a sample: of one class, or over all where `label` is None."""
    said, known = column(questions, "verdict"), column(questions, "label")

    def statistic(sample: Sample) -> float | None:
        told, right = said[sample], known[sample]
        told, right = told[~np.isnan(told)], right[~np.isnan(told)]
        if label is not None:
            return _class_score(LABELS.index(label), told, right, part)
        if part == "accuracy":
            return share(int((told == right).sum()), told.size)
        present = [code for code in range(len(LABELS)) if code in told or code in right]
        return mean_defined(_class_score(code, told, right, "f1") for code in present)

    return statistic


def _class_score(code: int, told: Column, right: Column, part: str) -> float | None:
    one, other = told == code, right == code
    scores = scores_of_counts(int((one & other).sum()), int((one & ~other).sum()), int((~one & other).sum()))
    value: float | None = getattr(scores, part)
    return value


def _mean(name: str, group: Group, undefined: str) -> Measure:
    return Measure(name, group, undefined, name)


_NO_GOLD = "no question has gold evidence"
_NOTHING_ANSWERED = "nothing was answered"
_NO_CITATIONS = "nothing was cited"
_NO_ANSWERS = "no question has gold answers"
_NO_UNANSWERABLE = "no question is unanswerable"

_RANKED = [
    _mean(f"{unit}_{name}", "retrieval", _NO_GOLD)
    for unit in ("document", "passage")
    for name in ("recall@1", "recall@5", "recall@10", "mrr", "ndcg@10")
]
_BY_CHARACTERS = [
    _mean(name, "retrieval", _NO_GOLD)
    for name in (
        "character_precision@5",
        "character_recall@5",
        "character_iou@5",
        "evidence_precision",
        "evidence_recall",
        "evidence_iou",
    )
]
_ANSWERS = [
    _mean("correct", "answers", "no question was asked"),
    _mean("right_when_answerable", "answers", "no question is answerable"),
    _mean("right_when_answered", "answers", _NOTHING_ANSWERED),
    _mean("answer_contains", "answers", _NO_ANSWERS),
    _mean("exact_match", "answers", _NO_ANSWERS),
    _mean("token_f1", "answers", _NO_ANSWERS),
    _mean("hasans_exact", "answers", _NO_ANSWERS),
    _mean("hasans_f1", "answers", _NO_ANSWERS),
    _mean("noans", "answers", _NO_UNANSWERABLE),
]
_CITATIONS = [
    _mean("citation_exactness", "citations", _NO_CITATIONS),
    _mean("citation_precision", "citations", "nothing was cited where there is gold evidence"),
    _mean("citation_recall", "citations", _NO_GOLD),
    _mean("citation_f1", "citations", _NO_GOLD),
    _mean("sentences_cited", "citations", _NOTHING_ANSWERED),
    _mean("citation_support", "citations", _NOTHING_ANSWERED),
    _mean("figures_supported", "citations", "no answer holds a number"),
]
_REFUSALS = [
    Measure(
        "refusal_precision",
        "refusals",
        "nothing was refused",
        "refused",
        partial(refusal_statistic, "precision"),
    ),
    Measure("refusal_recall", "refusals", _NO_UNANSWERABLE, "refused", partial(refusal_statistic, "recall")),
    Measure(
        "refusal_f1",
        "refusals",
        "nothing was refused, and nothing was to be",
        "refused",
        partial(refusal_statistic, "f1"),
    ),
    Measure("aurc", "refusals", _NOTHING_ANSWERED, "right_when_answered", risk_area_statistic, False),
    Measure(
        "calibration_error",
        "refusals",
        _NOTHING_ANSWERED,
        "right_when_answered",
        calibration_statistic,
        False,
    ),
]
_SPEED = [
    Measure(
        f"{key}_{name}",
        "speed",
        undefined,
        key,
        partial(percentile_statistic, key, share),
        False,
        "ms",
        False,
    )
    for key, undefined in (
        ("first_evidence_ms", "no question was asked"),
        ("first_token_ms", "no model wrote"),
        ("total_ms", "no question was asked"),
    )
    for name, share in (("p50", 0.5), ("p95", 0.95))
] + [
    Measure(name, "speed", "no model wrote", name, None, False, "tokens", False)
    for name in ("prompt_tokens", "completion_tokens")
]
_CLAIMS = [
    Measure(
        "verdict_accuracy",
        "claims",
        "there are no claims",
        "verdict",
        partial(verdict_statistic, None, "accuracy"),
    ),
    Measure(
        "verdict_macro_f1",
        "claims",
        "there are no claims",
        "verdict",
        partial(verdict_statistic, None, "macro_f1"),
    ),
    *(
        Measure(
            f"{label}_{part}",
            "claims",
            f"no claim is {label} or was called so",
            "verdict",
            partial(verdict_statistic, label, part),
        )
        for label in LABELS
        for part in ("precision", "recall", "f1")
    ),
    _mean("verbatim_passed", "claims", "no claim has a supporting sentence"),
    *(
        _mean(f"{kind}_caught", "claims", f"no sentence that passed has {what}")
        for kind, what in (
            ("figure", "a figure to swap"),
            ("name", "a name to swap"),
            ("negation", "a verb to negate"),
        )
    ),
]

MEASURES: dict[str, Measure] = {
    measure.name: measure
    for measure in (*_RANKED, *_BY_CHARACTERS, *_ANSWERS, *_CITATIONS, *_REFUSALS, *_SPEED, *_CLAIMS)
}
"""By name, in the order in which tables show them."""

CHIEF = (
    "passage_recall@5",
    "correct",
    "right_when_answerable",
    "token_f1",
    "citation_f1",
    "verdict_accuracy",
)
"""What is shown for each kind of question."""
