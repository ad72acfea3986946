"""Questions to metrics with intervals, beside a baseline, against the thresholds that were set."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

import numpy as np

from index.errors import UsageError
from rag.confidence import (
    Comparison,
    Statistic,
    bootstrap,
    bootstrap_mean,
    compare,
    compare_means,
)
from rag.measures import CHIEF, MEASURES, Group, Measure
from rag.metrics import mean_defined
from rag.results import Difference, Metric, Passed

SEED = 0


def measures_of(groups: Sequence[Group]) -> list[Measure]:
    return [measure for measure in MEASURES.values() if measure.group in groups]


def metrics_of(questions: Sequence[Passed], measures: Sequence[Measure]) -> tuple[Metric, ...]:
    """Each measure over the questions that have its score, with its 95 % interval."""
    return tuple(_metric(questions, measure) for measure in measures)


def _metric(questions: Sequence[Passed], measure: Measure) -> Metric:
    counted = [question for question in questions if measure.key in question.scores]
    if measure.statistic is None:
        interval = bootstrap_mean([question.scores[measure.key] for question in counted], seed=SEED)
    else:
        interval = bootstrap(len(counted), measure.statistic(counted), seed=SEED)
    return Metric(
        name=measure.name,
        value=interval.value if interval else None,
        interval=interval,
        count=len(counted) if interval else 0,
        higher_is_better=measure.higher_is_better,
        unit=measure.unit,
        reason="" if interval else measure.undefined,
    )


def kinds_of(questions: Sequence[Passed], measures: Sequence[Measure]) -> dict[str, tuple[Metric, ...]]:
    """The chief metrics over the questions of each kind; empty where there is one kind only."""
    kinds = sorted({question.kind for question in questions})
    chief = [measure for measure in measures if measure.name in CHIEF]
    if len(kinds) < 2:
        return {}
    return {
        kind: metrics_of([question for question in questions if question.kind == kind], chief)
        for kind in kinds
    }


def differences_from(
    baseline: Sequence[Passed], questions: Sequence[Passed], measures: Sequence[Measure]
) -> tuple[Difference, ...]:
    """Each measure now and in the baseline, over the questions that both asked.

    Questions are the same if id and wording are. Raises UsageError if none is.
    """
    require_common(baseline, [(one.id, one.question) for one in questions])
    before = {(question.id, question.question): question for question in baseline}
    pairs = [(before[key], one) for one in questions if (key := (one.id, one.question)) in before]
    return tuple(_difference(pairs, measure) for measure in measures)


def require_common(baseline: Sequence[Passed], asked: Iterable[tuple[str, str]]) -> None:
    """Raises UsageError where the baseline has none of the questions asked, by id and wording."""
    if {(one.id, one.question) for one in baseline}.isdisjoint(asked):
        raise UsageError("the baseline asked none of these questions: compare with one of the same gold set")


def _difference(pairs: Sequence[tuple[Passed, Passed]], measure: Measure) -> Difference:
    old, new = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    before, after = _value(old, measure), _value(new, measure)
    found: Comparison
    if measure.statistic is None:
        found = compare_means(
            {one.id: one.scores.get(measure.key) for one in old},
            {one.id: one.scores.get(measure.key) for one in new},
            higher_is_better=measure.higher_is_better,
            seed=SEED,
        )
    else:
        found = compare(
            len(pairs),
            measure.statistic(old),
            measure.statistic(new),
            higher_is_better=measure.higher_is_better,
            seed=SEED,
        )
    difference = found.difference.value if found.difference else None
    return Difference(measure.name, before, after, difference, found.difference, found.verdict)


def _value(questions: Sequence[Passed], measure: Measure) -> float | None:
    if measure.statistic is None:
        return mean_defined(question.scores.get(measure.key) for question in questions)
    statistic: Statistic = measure.statistic(questions)
    return statistic(np.arange(len(questions))) if questions else None


@dataclass(frozen=True, slots=True)
class Limit:
    """A metric must not be worse than `bound`: not under it, or not over it where lower is better."""

    name: str
    bound: float


def limit_of(text: str, measures: Sequence[Measure]) -> Limit:
    """`metric=value` as typed. Raises UsageError, naming what was probably meant."""
    name, _, value = text.partition("=")
    known = [measure.name for measure in measures]
    if name not in known:
        close = get_close_matches(name, known, n=3)
        meant = f"did you mean {' or '.join(close)}?" if close else f"use one of {', '.join(known)}"
        raise UsageError(f"this run has no metric {name!r}: {meant}")
    try:
        bound = float(value)
    except ValueError:
        bound = float("nan")
    if not np.isfinite(bound):
        raise UsageError(f"the threshold {text!r} has no number: write it like {name}=0.9")
    return Limit(name, bound)


def failures(
    metrics: Sequence[Metric], limits: Sequence[Limit], differences: Sequence[Difference]
) -> list[str]:
    """Why the run does not pass, one line each; empty if it does. An undefined metric passes no limit."""
    by_name: Mapping[str, Metric] = {metric.name: metric for metric in metrics}
    found = []
    for limit in limits:
        metric = by_name[limit.name]
        if metric.value is None:
            found.append(f"{limit.name} is undefined ({metric.reason}), and {limit.bound:g} was asked for")
        elif metric.higher_is_better and metric.value < limit.bound:
            found.append(f"{limit.name} is {metric.value:.4g}, under {limit.bound:g}")
        elif not metric.higher_is_better and metric.value > limit.bound:
            found.append(f"{limit.name} is {metric.value:.4g}, over {limit.bound:g}")
    for difference in differences:
        if difference.verdict == "worse" and MEASURES[difference.name].gates:
            found.append(f"{difference.name} got worse: {difference.before:.4g} → {difference.after:.4g}")
    return found
