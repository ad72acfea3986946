"""What one evaluation run leaves behind: kept as data, so that reports and comparisons are made from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rag.confidence import Interval
from rag.types import Turn


@dataclass(frozen=True, slots=True)
class Passed:
    """One question as it was answered and scored.

    `answer` is the answer object of every interface (see rag.jsonform); None where only retrieval was
    run. `scores` are this question's metrics by name; one that is undefined for it is absent.
    `confidence` in [0, 1] orders questions for the risk–coverage curve: the gate's probability.
    `gold` are the gold ranges by document id, one list of (start, end) a set of alternatives.
    `signals` are all that the gate went by; `stages` what it had each time that it was asked, by stage, in
    that order: what was learnt later is not in the earlier ones.
    """

    id: str
    question: str
    kind: str
    answerable: bool
    gold_answers: tuple[str, ...]
    gold: tuple[tuple[tuple[str, int, int], ...], ...]
    answer: Mapping[str, Any] | None
    scores: Mapping[str, float]
    confidence: float | None
    signals: Mapping[str, float]
    history: tuple[Turn, ...] = ()
    stages: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric over the run. `value` is None where it is undefined, and `reason` says why."""

    name: str
    value: float | None
    interval: Interval | None
    count: int
    higher_is_better: bool
    unit: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Difference:
    """A metric beside the baseline's: `verdict` is "better", "worse" or "no difference seen"."""

    name: str
    before: float | None
    after: float | None
    difference: float | None
    interval: Interval | None
    verdict: str


@dataclass(frozen=True, slots=True)
class Run:
    """A finished evaluation. `configuration` names gold set, settings, model digests and commit.

    `kinds` are the chief metrics over the questions of one kind each.
    """

    configuration: Mapping[str, Any]
    questions: tuple[Passed, ...]
    metrics: tuple[Metric, ...]
    differences: tuple[Difference, ...] = ()
    kinds: Mapping[str, tuple[Metric, ...]] = field(default_factory=dict)
