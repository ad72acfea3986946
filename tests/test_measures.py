"""The metrics of a run: statistics over samples, comparisons with a baseline, limits."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest

from index.errors import UsageError
from rag.confidence import calibration_error, risk_coverage
from rag.measures import (
    LABELS,
    MEASURES,
    calibration_statistic,
    percentile_statistic,
    refusal_statistic,
    risk_area_statistic,
    verdict_statistic,
)
from rag.metrics import classification, percentile, refusal_scores
from rag.results import Metric, Passed
from rag.summary import Limit, differences_from, failures, kinds_of, metrics_of


def passed(number: int, *, answerable: bool = True, sure: float | None = None, **scores: float) -> Passed:
    return Passed(f"q{number}", "?", "fact", answerable, (), (), None, scores, sure, {})


def test_statistics_are_the_reference_metrics() -> None:
    chance = random.Random(4)
    rows = []
    for number in range(60):
        answerable, refused = chance.random() < 0.6, chance.random() < 0.3
        right = float(chance.random() < 0.7)
        scores = {"refused": float(refused), "total_ms": chance.random() * 100}
        if not refused:
            scores["right_when_answered"] = right
        # Ties on purpose.
        rows.append(passed(number, answerable=answerable, sure=round(chance.random(), 1), **scores))
    sample = np.array([chance.randrange(60) for _ in range(60)])
    drawn = [rows[index] for index in sample]
    expected = refusal_scores(
        [one.scores["refused"] == 1 for one in drawn], [one.answerable for one in drawn]
    )
    for part in ("precision", "recall", "f1"):
        assert refusal_statistic(part, rows)(sample) == getattr(expected, part)
    answered = [one for one in drawn if "right_when_answered" in one.scores]
    sure = [one.confidence or 0.0 for one in answered]
    correct = [one.scores["right_when_answered"] == 1 for one in answered]
    curve = risk_coverage(sure, correct)
    assert curve is not None
    assert risk_area_statistic(rows)(sample) == pytest.approx(curve.area, abs=1e-12)
    assert calibration_statistic(rows)(sample) == pytest.approx(calibration_error(sure, correct), abs=1e-12)
    for share in (0.5, 0.95, 1.0):
        times = [one.scores["total_ms"] for one in drawn]
        assert percentile_statistic("total_ms", share, rows)(sample) == pytest.approx(
            percentile(times, share)
        )


def test_the_verdict_statistic_is_the_reference_metric() -> None:
    chance = random.Random(2)
    rows = [
        passed(n, verdict=float(chance.randrange(3)), label=float(chance.randrange(2))) for n in range(50)
    ]
    sample = np.array([chance.randrange(50) for _ in range(50)])
    said = [LABELS[int(rows[index].scores["verdict"])] for index in sample]
    known = [LABELS[int(rows[index].scores["label"])] for index in sample]
    expected = classification(said, known)
    assert verdict_statistic(None, "accuracy", rows)(sample) == expected.accuracy
    assert verdict_statistic(None, "macro_f1", rows)(sample) == pytest.approx(expected.macro_f1)
    for label in LABELS:
        for part in ("precision", "recall", "f1"):
            found = verdict_statistic(label, part, rows)(sample)
            assert found == getattr(expected.classes[label], part)


def test_statistics_of_nothing_are_undefined() -> None:
    refused = [passed(n, refused=1.0) for n in range(8)]
    for metric in metrics_of(refused, list(MEASURES.values())):
        if metric.name in {"refusal_precision", "refusal_f1"}:
            assert metric.value == 0.0
        else:
            assert metric.value is metric.interval is None
            assert metric.reason
    assert all(metric.value is None for metric in metrics_of([], list(MEASURES.values())))


# -- comparisons and limits ---------------------------------------------------------------------


def test_a_fall_beyond_its_interval_fails_and_times_do_not() -> None:
    measures = [MEASURES[name] for name in ("correct", "total_ms_p50", "completion_tokens")]
    before = [passed(n, correct=1.0, total_ms=10.0, completion_tokens=5.0) for n in range(10)]
    after = [passed(n, correct=0.0, total_ms=90.0, completion_tokens=50.0) for n in range(10)]
    found = differences_from(before, after, measures)
    assert [one.verdict for one in found] == ["worse"] * 3
    assert [one.difference for one in found] == [-1.0, 80.0, 45.0]
    assert failures(metrics_of(after, measures), [], found) == ["correct got worse: 1 → 0"]
    assert failures(metrics_of(before, measures), [], differences_from(after, before, measures)) == []


def test_only_the_same_questions_are_compared() -> None:
    measures = [MEASURES["correct"]]
    before = [passed(n, correct=1.0) for n in range(10)]
    other = [replace(one, question="Another?", scores={"correct": 0.0}) for one in before[:4]]
    (found,) = differences_from(before, [*other, *before[4:]], measures)
    assert (found.before, found.after, found.difference) == (1.0, 1.0, 0.0)
    with pytest.raises(UsageError, match="asked none of these questions"):
        differences_from(before, other, measures)


def test_new_answers_that_are_wrong_are_a_fall_of_what_answers_are_worth() -> None:
    measures = [MEASURES["right_when_answered"]]
    before = [passed(n, **({"right_when_answered": 1.0} if n < 20 else {})) for n in range(40)]
    after = [passed(n, right_when_answered=float(n < 20)) for n in range(40)]
    (found,) = differences_from(before, after, measures)
    assert (found.before, found.after, found.difference, found.verdict) == (1.0, 0.5, -0.5, "worse")
    assert failures(metrics_of(after, measures), [], [found]) == ["right_when_answered got worse: 1 → 0.5"]


def test_limits() -> None:
    def metric(name: str, value: float | None) -> Metric:
        return Metric(name, value, None, 1, MEASURES[name].higher_is_better, reason="nothing was cited")

    found = [metric("citation_exactness", None), metric("correct", 0.9), metric("aurc", 0.2)]
    limits = [Limit("citation_exactness", 0.0), Limit("correct", 0.9), Limit("aurc", 0.2)]
    assert failures(found, limits, []) == [
        "citation_exactness is undefined (nothing was cited), and 0 was asked for"
    ]
    tighter = [Limit("correct", 0.91), Limit("aurc", 0.19)]
    assert failures(found, tighter, []) == ["correct is 0.9, under 0.91", "aurc is 0.2, over 0.19"]


def test_kinds() -> None:
    rows = [passed(0, correct=1.0), replace(passed(1, correct=0.0), kind="list")]
    found = kinds_of(rows, [MEASURES["correct"], MEASURES["total_ms_p50"]])
    assert {kind: [(one.name, one.value) for one in metrics] for kind, metrics in found.items()} == {
        "fact": [("correct", 1.0)],
        "list": [("correct", 0.0)],
    }
    assert kinds_of(rows[:1], [MEASURES["correct"]]) == {}
