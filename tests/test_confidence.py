"""Intervals against a known distribution, verdicts against chance, curves against hand-worked ones."""

from __future__ import annotations

import math
from itertools import permutations

import numpy as np
import pytest

from rag.confidence import (
    CalibrationBin,
    RiskPoint,
    Sample,
    Statistic,
    bootstrap,
    bootstrap_mean,
    calibration,
    calibration_error,
    compare,
    compare_means,
    risk_coverage,
)
from rag.metrics import percentile, refusal_scores

# -- the bootstrap --------------------------------------------------------------------------------


def test_interval_of_a_known_distribution() -> None:
    """Of 400 tosses half are heads: the mean's standard error is .025, so 95 % lies within .049."""
    interval = bootstrap_mean([0.0, 1.0] * 200, resamples=4000)
    assert interval is not None
    assert (interval.value, interval.count) == (0.5, 400)
    assert interval.low == pytest.approx(0.451, abs=0.004)
    assert interval.high == pytest.approx(0.549, abs=0.004)


def test_interval_holds_the_true_mean_as_often_as_it_says() -> None:
    random = np.random.default_rng(7)
    hits = 0
    for seed in range(200):
        interval = bootstrap_mean(random.normal(3.0, 2.0, 60).tolist(), seed=seed, resamples=300)
        assert interval is not None
        hits += interval.low <= 3.0 <= interval.high
    assert 0.90 <= hits / 200 <= 0.99


def test_interval_is_narrower_at_a_lower_level() -> None:
    values = [float(i % 7) for i in range(50)]
    wide, narrow = bootstrap_mean(values), bootstrap_mean(values, level=0.5)
    assert wide is not None
    assert narrow is not None
    assert wide.low < narrow.low < narrow.high < wide.high


def test_two_runs_agree_and_the_seed_matters() -> None:
    values = [float(i) for i in range(30)]
    assert bootstrap_mean(values) == bootstrap_mean(values)
    assert bootstrap_mean(values) != bootstrap_mean(values, seed=1)


def test_means_leave_out_what_is_undefined() -> None:
    assert bootstrap_mean([1.0, None, 0.0, None]) == bootstrap_mean([1.0, 0.0])
    assert bootstrap_mean([None, None]) is None
    assert bootstrap_mean([]) is None
    with pytest.raises(ValueError, match="NaN or infinite"):
        bootstrap_mean([math.nan])


def test_one_value_and_equal_values_have_no_width() -> None:
    for values in ([0.25], [0.25] * 10):
        interval = bootstrap_mean(values)
        assert interval is not None
        assert (interval.value, interval.low, interval.high) == (0.25, 0.25, 0.25)


def test_statistic_that_is_no_mean() -> None:
    """Recall of refusals over ten questions, of which two are unanswerable: often a resample has none."""
    refused = [True, False] + [False] * 8
    answerable = [False, False] + [True] * 8

    def recall(sample: Sample) -> float | None:
        return refusal_scores([refused[i] for i in sample], [answerable[i] for i in sample]).recall

    interval = bootstrap(10, recall)
    assert interval is not None
    assert (interval.value, interval.low, interval.high) == (0.5, 0.0, 1.0)


def test_statistic_that_is_undefined() -> None:
    assert bootstrap(5, lambda sample: None) is None
    assert bootstrap(0, lambda sample: 1.0) is None
    # Defined on the questions themselves, but on no resample.
    assert bootstrap(40, lambda sample: 1.0 if len(set(sample.tolist())) == 40 else None) is None


# -- comparison -----------------------------------------------------------------------------------

BASELINE = {f"q{i}": float(i % 2) for i in range(40)}


def test_gain_on_every_question_is_seen() -> None:
    better = {id: value + 0.1 for id, value in BASELINE.items()}
    found = compare_means(BASELINE, better, higher_is_better=True)
    assert (found.verdict, found.count, found.unpaired) == ("better", 40, 0)
    assert found.difference is not None
    assert found.difference.value == pytest.approx(0.1)
    assert compare_means(BASELINE, better, higher_is_better=False).verdict == "worse"
    assert compare_means(better, BASELINE, higher_is_better=True).verdict == "worse"
    assert compare_means(better, BASELINE, higher_is_better=False).verdict == "better"


def test_pairing_sees_what_two_intervals_would_not() -> None:
    random = np.random.default_rng(3)
    old = {f"q{i}": float(value) for i, value in enumerate(random.normal(0, 10, 50))}
    new = {
        id: value + 1 + float(noise)
        for (id, value), noise in zip(old.items(), random.normal(0, 1, 50), strict=True)
    }
    one, two = bootstrap_mean(list(old.values())), bootstrap_mean(list(new.values()))
    assert one is not None
    assert two is not None
    assert two.low < one.high
    assert compare_means(old, new, higher_is_better=True).verdict == "better"


def test_nothing_and_chance_are_no_difference() -> None:
    assert compare_means(BASELINE, BASELINE, higher_is_better=True).verdict == "no difference seen"
    one_up = {**BASELINE, "q0": 1.0}
    assert compare_means(BASELINE, one_up, higher_is_better=True).verdict == "no difference seen"
    mixed = {id: 1.0 - value for id, value in BASELINE.items()}
    assert compare_means(BASELINE, mixed, higher_is_better=True).verdict == "no difference seen"


@pytest.mark.parametrize(("count", "verdict"), [(5, "no difference seen"), (6, "worse")])
def test_fewer_questions_than_a_sign_test_needs(count: int, verdict: str) -> None:
    old = {f"q{i}": 1.0 for i in range(count)}
    new = {f"q{i}": 0.0 for i in range(count)}
    assert compare_means(old, new, higher_is_better=True).verdict == verdict


def test_a_score_on_one_side_only_counts_on_that_side() -> None:
    old = {**BASELINE, "gone": 0.0, "q0": None, "q1": None}
    new = {**BASELINE, "fresh": 1.0, "q1": None}
    found = compare_means(old, new, higher_is_better=True)
    assert (found.count, found.unpaired) == (41, 3)
    assert found.difference is not None
    # 19 of 39 before, now 20 of 40: q0 and "fresh" are new, "gone" is gone.
    assert found.difference.value == pytest.approx(20 / 40 - 19 / 39)
    assert found.verdict == "no difference seen"


def test_what_only_the_candidate_answers_can_make_it_worse() -> None:
    """Where both answered nothing changed, but ten answers more were given, and all of them are wrong."""
    old: dict[str, float | None] = {f"q{i}": 1.0 if i < 30 else None for i in range(40)}
    found = compare_means(old, dict.fromkeys(old, 1.0) | {f"q{i}": 0.0 for i in range(30, 40)},
                          higher_is_better=True)  # fmt: skip
    assert found.difference is not None
    assert found.difference.value == pytest.approx(-0.25)
    # Ten of forty questions, so sqrt(.25 * .75 / 40) = .068: from -.25 - .134 to -.25 + .134.
    assert found.difference.low == pytest.approx(-0.384, abs=0.03)
    assert found.difference.high == pytest.approx(-0.116, abs=0.03)
    assert found.verdict == "worse"


@pytest.mark.parametrize(("count", "verdict"), [(5, "no difference seen"), (6, "worse")])
def test_either_side_needs_as_many_questions(count: int, verdict: str) -> None:
    old: dict[str, float | None] = {f"q{i}": 1.0 if i < count else None for i in range(40)}
    new: dict[str, float | None] = dict.fromkeys(old, 0.0)
    assert compare_means(old, new, higher_is_better=True).verdict == verdict
    assert compare_means(new, old, higher_is_better=False).verdict == verdict


def test_nothing_to_compare_with_is_no_difference() -> None:
    nothing = compare_means(dict.fromkeys(BASELINE), BASELINE, higher_is_better=True)
    assert (nothing.difference, nothing.verdict, nothing.unpaired) == (None, "no difference seen", 40)
    assert compare_means({}, {}, higher_is_better=True).difference is None


def test_order_of_the_questions_does_not_matter() -> None:
    new = {id: value + i / 100 for i, (id, value) in enumerate(BASELINE.items())}
    assert compare_means(BASELINE, new, higher_is_better=True) == compare_means(
        dict(reversed(BASELINE.items())), dict(reversed(new.items())), higher_is_better=True
    )


def test_comparison_of_percentiles() -> None:
    slow = [100.0 + i for i in range(50)]
    fast = [50.0 + i for i in range(50)]

    def median(values: list[float]) -> Statistic:
        return lambda sample: percentile([values[i] for i in sample], 0.5)

    found = compare(50, median(slow), median(fast), higher_is_better=False)
    assert found.verdict == "better"
    assert found.difference is not None
    assert found.difference.value == -50
    none = compare(50, lambda sample: None, lambda sample: 1.0, higher_is_better=True)
    assert (none.difference, none.verdict, none.count) == (None, "no difference seen", 0)


# -- risk and coverage ----------------------------------------------------------------------------


def test_risk_coverage_by_hand() -> None:
    found = risk_coverage([0.9, 0.7, 0.8, 0.6], [True, True, False, False])
    assert found is not None
    assert found.points == (
        RiskPoint(0.9, 0.25, 0.0),
        RiskPoint(0.8, 0.5, 0.5),
        RiskPoint(0.7, 0.75, 1 / 3),
        RiskPoint(0.6, 1.0, 0.5),
    )
    assert found.area == pytest.approx((0 + 1 / 2 + 1 / 3 + 1 / 2) / 4)


def test_best_and_worst_order() -> None:
    best = risk_coverage([4, 3, 2, 1], [True, True, False, False])
    worst = risk_coverage([1, 2, 3, 4], [True, True, False, False])
    assert best is not None
    assert worst is not None
    assert best.area == pytest.approx((1 / 3 + 1 / 2) / 4)
    assert worst.area == pytest.approx((1 + 1 + 2 / 3 + 1 / 2) / 4)


def test_ties_are_one_point_and_count_as_every_order_would() -> None:
    correct = [True, False, True, False]
    found = risk_coverage([0.9, 0.5, 0.5, 0.5], correct)
    assert found is not None
    assert found.points == (RiskPoint(0.9, 0.25, 0.0), RiskPoint(0.5, 1.0, 0.5))
    areas = [risk_coverage([4, 3, 2, 1], [True, *rest]) for rest in permutations(correct[1:])]
    assert found.area == pytest.approx(sum(one.area for one in areas if one) / len(areas))


def test_same_confidence_everywhere_is_the_plain_error_rate() -> None:
    found = risk_coverage([0.5] * 5, [True, True, True, False, True])
    assert found is not None
    assert found.area == pytest.approx(0.2)
    assert found.points == (RiskPoint(0.5, 1.0, 0.2),)


def test_no_answers_no_curve() -> None:
    assert risk_coverage([], []) is None
    with pytest.raises(ValueError, match="NaN or infinite"):
        risk_coverage([math.nan], [True])
    with pytest.raises(ValueError, match="shorter"):
        risk_coverage([0.5], [])


# -- calibration ----------------------------------------------------------------------------------


def test_calibration_by_hand() -> None:
    confidence, correct = [0.0, 0.1, 0.9, 1.0, 0.95], [False, True, True, True, False]
    low, high, *rest = calibration(confidence, correct, bins=5)
    assert rest == []
    assert low == CalibrationBin(0.0, 0.2, 2, 0.05, 0.5)
    assert (high.low, high.high, high.count) == (0.8, 1.0, 3)
    assert high.confidence == pytest.approx(0.95)
    assert high.accuracy == pytest.approx(2 / 3)
    expected = (2 * abs(0.05 - 0.5) + 3 * abs(0.95 - 2 / 3)) / 5
    assert calibration_error(confidence, correct, bins=5) == pytest.approx(expected)


def test_bins_hold_their_upper_edge() -> None:
    found = calibration([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0], [True] * 10)
    assert [one.count for one in found] == [1] * 10


def test_calibrated_and_overconfident() -> None:
    assert calibration_error([1.0, 1.0, 0.0], [True, True, False]) == 0.0
    assert calibration_error([1.0, 1.0], [False, False]) == 1.0
    assert calibration_error([], []) is None


@pytest.mark.parametrize("value", [-0.1, 1.1, math.nan])
def test_confidence_that_is_none(value: float) -> None:
    with pytest.raises(ValueError, match="from 0 to 1"):
        calibration([value], [True])
