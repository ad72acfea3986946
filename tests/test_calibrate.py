"""The fitted gate: what it learns, what it leaves alone, and that it can be read and used."""

from __future__ import annotations

import json
import math
import random
from dataclasses import replace
from pathlib import Path

import pytest

from index.errors import UsageError
from rag.calibrate import FOLDS, KEPT, LEAST_OF_A_CLASS, fit_gate, gate_text
from rag.evaluate import OPEN_GATE, STAGES
from rag.gate import load_gate
from rag.results import Passed

HAD = {
    "quote": {"cosine", "unknown"},
    "before": {"cosine", "unknown", "stated"},
    "after": {"cosine", "unknown", "stated", "score", "draft"},
    "verbatim": {"cosine", "unknown", "stated"},
}
SPREAD = {"stated": 1.0, "score": 0.5, "cosine": 0.25}


def row(
    number: int,
    signals: dict[str, float],
    *,
    answerable: bool,
    right: bool,
    quote_right: bool,
    stages: tuple[str, ...] = ("before", "after", "quote"),
) -> Passed:
    return Passed(
        id=str(number),
        question="?",
        kind="fact",
        answerable=answerable,
        gold_answers=(),
        gold=(),
        answer=None,
        scores={"correct": float(right), "quote_right": float(quote_right)},
        confidence=None,
        signals=signals,
        stages={
            stage: {name: value for name, value in signals.items() if name in HAD[stage]} for stage in stages
        },
    )


def rows(count: int = 200, stages: tuple[str, ...] = ("before", "after", "quote")) -> list[Passed]:
    """Answerable where `stated` is high, right where `score` is, quotable where `cosine` is; each a little
    blurred, and `unknown` never moves."""
    chance = random.Random(7)
    found = []
    for number in range(count):
        answerable, right, quotable = (chance.random() < 0.5 for _ in range(3))
        signals = {
            "stated": 2.0 * answerable + chance.gauss(0, 0.5),
            "score": 1.0 * right + chance.gauss(0, 0.2),
            "cosine": 0.5 * quotable + chance.gauss(0, 0.1),
            "unknown": 0.25,
            "draft": 1.0,
        }
        found.append(
            row(number, signals, answerable=answerable, right=right, quote_right=quotable, stages=stages)
        )
    return found


def test_each_stage_learns_what_it_is_asked() -> None:
    fits, kept = fit_gate(rows())
    assert [fit.stage for fit in fits] == ["quote", "before", "after"]
    assert [one.stage for one in kept] == ["verbatim"]
    for fit, signal in zip(fits, ("cosine", "stated", "score"), strict=True):
        assert fit.auc > 0.97
        assert fit.accuracy > (0.9 if fit.stage != "before" else 0.8)
        assert fit.count == 200
        # In units of how much each signal moves, the one that was made to tell outweighs the others.
        moves = {name: fit.weights[name] * SPREAD[name] for name in fit.weights}
        assert max(moves, key=lambda name: abs(moves[name])) == signal
        assert moves[signal] > 5 * max((abs(moves[name]) for name in moves if name != signal), default=0)


def test_a_stage_weighs_only_what_it_had_then() -> None:
    quote, before, after = fit_gate(rows())[0]
    assert set(quote.weights) == {"cosine"}
    assert set(before.weights) == {"cosine", "stated"}
    assert set(after.weights) == {"cosine", "stated", "score"}


def test_what_was_learnt_later_does_not_leak_into_an_earlier_stage() -> None:
    """A signal that gives the outcome away, but only after the draft, is of no use before it."""
    chance = random.Random(9)
    found = []
    for number in range(200):
        answerable = chance.random() < 0.5
        early = {"cosine": chance.random()}
        late = {**early, "judged": float(answerable)}
        one = row(number, late, answerable=answerable, right=answerable, quote_right=answerable)
        found.append(replace(one, stages={"quote": early, "before": early, "after": late}))
    fits = {fit.stage: fit for fit in fit_gate(found)[0]}
    assert "judged" in fits["after"].weights
    assert fits["after"].auc == 1.0
    for stage in ("quote", "before"):
        assert set(fits[stage].weights) == {"cosine"}
        assert fits[stage].auc < 0.65


def test_a_signal_that_says_nothing_leaves_the_base_rate(tmp_path: Path) -> None:
    chance = random.Random(1)
    noise = [
        row(n, {"cosine": chance.random()}, answerable=n % 4 > 0, right=n % 4 > 0, quote_right=n % 4 > 0)
        for n in range(400)
    ]
    fits, kept = fit_gate(noise)
    path = tmp_path / "gate.json"
    path.write_text(gate_text(fits, kept, OPEN_GATE, []))
    gate = load_gate(str(path))
    assert gate.probability("quote", {"cosine": 0.5}) == pytest.approx(0.75, abs=0.03)


def test_before_the_draft_few_answerable_are_lost() -> None:
    found = rows(1000)
    (_, before, _), _ = fit_gate(found)
    assert before.stage == "before"
    passing = [
        one
        for one in found
        if one.answerable
        and before.intercept + sum(w * one.signals[name] for name, w in before.weights.items())
        >= _logit(before.threshold)
    ]
    share = len(passing) / sum(one.answerable for one in found)
    assert KEPT - 0.01 <= share <= KEPT + 0.01


def _logit(probability: float) -> float:
    return math.log(probability / (1 - probability))


def test_the_order_of_questions_does_not_matter() -> None:
    found = rows()
    shuffled = list(found)
    random.Random(3).shuffle(shuffled)
    assert fit_gate(shuffled) == fit_gate(found)


def test_where_showing_anything_is_mostly_wrong_nothing_is_shown() -> None:
    chance = random.Random(5)
    found = [
        row(
            n,
            {"cosine": chance.random()},
            answerable=True,
            right=False,
            quote_right=n % 10 == 0,
            stages=("quote",),
        )
        for n in range(200)
    ]
    (fit,), _ = fit_gate(found)
    assert fit.threshold == 1.0
    assert fit.accuracy == 0.9


def test_too_few_of_a_kind() -> None:
    found = rows(FOLDS)
    with pytest.raises(UsageError, match="too few or too alike to fit a gate"):
        fit_gate(found)
    alike = [
        row(n, {"cosine": n / 40}, answerable=True, right=True, quote_right=n >= LEAST_OF_A_CLASS)
        for n in range(40)
    ]
    fits, kept = fit_gate(alike[1:] + alike[:1])
    assert [fit.stage for fit in fits] == ["quote"]
    assert {one.stage: one.reason for one in kept}["before"] == "of 40 questions only 0 had the rarer outcome"


def test_signals_that_never_move() -> None:
    still = [
        row(n, {"cosine": n / 40, "stated": 1.0}, answerable=n % 2 > 0, right=False, quote_right=n % 3 > 0)
        for n in range(40)
    ]
    same = [replace(one, stages={stage: {"cosine": 0.5} for stage in one.stages}) for one in still]
    fits, _ = fit_gate(still)
    assert [set(fit.weights) for fit in fits] == [{"cosine"}, {"cosine"}]
    with pytest.raises(UsageError, match="no signal differs between its 40 questions"):
        fit_gate(same)


def test_the_file_is_a_gate(tmp_path: Path) -> None:
    fits, kept = fit_gate(rows())
    path = tmp_path / "gate.json"
    path.write_text(gate_text(fits, kept, load_gate(), [{"name": "made up", "questions": 200}]))
    gate = load_gate(str(path))
    assert set(gate.threshold) == set(STAGES)
    for fit in fits:
        assert gate.intercept[fit.stage] == fit.intercept
        assert gate.weights[fit.stage] == fit.weights
        assert gate.threshold[fit.stage] == fit.threshold
    shipped = load_gate()
    assert gate.weights["verbatim"] == shipped.weights["verbatim"]
    found = json.loads(path.read_text())
    assert found["fitted_on"] == [{"name": "made up", "questions": 200}]
    assert found["not_fitted"] == {"verbatim": "of 0 questions only 0 had the rarer outcome"}
    assert len(path.read_text().splitlines()) < 80
