from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from index.errors import UsageError
from rag.gate import STAGES, Gate, draft_signals, load_gate
from rag.ground import Verdict
from rag.question import wants_number


def test_the_probability_is_logistic_and_the_threshold_opens() -> None:
    gate = Gate(intercept={"before": -1.0}, weights={"before": {"stated": 2.0}}, threshold={"before": 0.5})
    assert gate.probability("before", {"stated": 0.5, "unused": 9.0}) == 0.5
    assert gate.probability("before", {"stated": 1.0}) == pytest.approx(1 / (1 + math.exp(-1)))
    assert gate.opens("before", {"stated": 0.5})
    assert not gate.opens("before", {"stated": 0.49})
    assert not gate.opens("before", {})
    assert 0 < gate.probability("before", {"stated": 1e9}) <= 1


def test_the_shipped_gate_has_every_stage() -> None:
    gate = load_gate()
    assert gate.threshold.keys() == gate.weights.keys() == gate.intercept.keys() == set(STAGES)
    # More reason to believe opens it further.
    for stage, signal in (("before", "stated"), ("after", "judged"), ("verbatim", "judged")):
        assert gate.probability(stage, {signal: 2.0}) > gate.probability(stage, {signal: -2.0})
    # What a draft makes up closes it.
    assert gate.probability("after", {"invented": 1.0}) < gate.probability("after", {"invented": 0.0})


_NAN = json.dumps({"stages": {s: {"intercept": math.nan, "threshold": 0, "weights": {}} for s in STAGES}})


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"stages": {"quote": {}}}', '{"stages": {"quote": 1}}', _NAN]
)
def test_a_file_that_is_no_gate_is_refused_by_name(tmp_path: Path, text: str) -> None:
    path = tmp_path / "gate.json"
    path.write_text(text)
    with pytest.raises(UsageError, match=r"gate\.json"):
        load_gate(str(path))


def test_a_gate_without_a_stage_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "gate.json"
    stage = {"intercept": 0, "threshold": 0.5, "weights": {}}
    path.write_text(json.dumps({"stages": dict.fromkeys(set(STAGES) - {"after"}, stage)}))
    with pytest.raises(UsageError, match="no stage after"):
        load_gate(str(path))


def test_a_number_that_is_wanted_and_missing_is_a_signal() -> None:
    assert wants_number("How many came?")
    assert not wants_number("Who came?")
    assert not wants_number("Did they show many slides?")
    without, with_number = (Verdict(text, True, 1.0, ()) for text in ("Many came.", "Twelve came."))
    assert draft_signals(without, "How many came?")["type_miss"] == 1.0
    assert draft_signals(with_number, "How many came?")["type_miss"] == 0.0
    assert set(draft_signals(None, "How many came?").values()) == {0.0}
    assert draft_signals(None, "How many came?").keys() == draft_signals(without, "How many came?").keys()
