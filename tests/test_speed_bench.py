"""The bench of speed: its verdicts, ratios, table and picture. What it measures is not measured here."""

from __future__ import annotations

import json
from xml.etree import ElementTree

import pytest
from bench.speed.bars import (
    BARS,
    Row,
    absent,
    bar,
    figure,
    in_order,
    measured,
    ratios,
    row_object,
    table,
)
from bench.speed.machine import Limits
from bench.speed.picture import picture
from bench.speed.timed import Timed

from rag.extractive import ExtractiveGenerator
from rag.types import Prompt


def test_a_row_passes_at_its_bar_and_on_the_better_side_of_it() -> None:
    assert Row(bar("help"), 0.25).verdict == "passed"
    assert Row(bar("help"), 0.26).verdict == "missed"
    assert Row(bar("finished"), 6.0).verdict == "passed"
    assert Row(bar("finished"), 5.9).verdict == "missed"


def test_a_row_without_a_figure_has_not_passed_and_says_why() -> None:
    row = absent("finished", "haystack could not be run")
    assert row.verdict == "not measured"
    assert row.reached is None
    assert "not measured" in table([row])
    assert "haystack could not be run" in table([row])
    assert measured("writing", []).verdict == "not measured"


def test_a_measured_row_is_a_median_with_its_extremes() -> None:
    row = measured("sources", [40.0, 90.0, 30.0])
    assert (row.value, row.low, row.high, row.count) == (40.0, 30.0, 90.0, 3)


def test_how_far_beyond_its_bar_a_row_is() -> None:
    assert Row(bar("sources"), 30.0).reached == 2.0
    assert Row(bar("finished"), 3.0).reached == 0.5


def test_ratios_are_of_pairs() -> None:
    assert ratios([1.0, 6.0], [2.0, 3.0]) == [0.5, 2.0]
    with pytest.raises(ValueError, match="argument 2 is shorter"):
        ratios([1.0, 2.0], [1.0])
    with pytest.raises(ValueError, match="not above 0"):
        ratios([1.0], [0.0])


def test_every_bar_has_a_row_in_the_order_of_the_bars() -> None:
    rows = in_order([measured("memory", [650.0]), measured("help", [0.1])])
    assert [row.bar for row in rows] == list(BARS)
    assert [row.bar.key for row in rows if row.verdict == "passed"] == ["help", "memory"]
    assert {row.note for row in rows if row.value is None} == {"not asked for"}


def test_figures_have_the_digits_that_matter() -> None:
    assert figure(0.1234, "s") == "0.12 s"
    assert figure(0.0312, "times") == "0.031 times"
    assert figure(34.4, "ms") == "34 ms"
    assert figure(0.031, "share") == "3.1 %"
    assert figure(None, "s") == "-"


def test_the_table_says_bar_figure_and_spread() -> None:
    lines = table([measured("help", [0.11, 0.12, 0.13], "a note")]).splitlines()
    assert "≤ 0.25 s" in lines[1]
    assert "0.12 s" in lines[1]
    assert "0.11 s to 0.13 s (3)" in lines[1]
    assert lines[1].endswith("passed")
    assert lines[2] == "    a note"


def test_a_row_survives_json() -> None:
    row = measured("cold", [1.2, 1.4], "a note", "what holds it back")
    found = json.loads(json.dumps(row_object(row)))
    assert found["verdict"] == "passed"
    assert found["bar"] == {"way": "<=", "limit": 1.5, "unit": "times"}
    assert (found["value"], found["count"]) == (pytest.approx(1.3), 2)


def test_the_picture_shows_every_row_and_marks_the_measured_ones() -> None:
    rows = in_order([measured("help", [0.1]), measured("finished", [2.0])])
    drawn = ElementTree.fromstring(picture(rows, "A <machine> & its cores"))
    name = "{http://www.w3.org/2000/svg}"
    texts = [text.text for text in drawn.iter(f"{name}text")]
    assert all(one.what in texts for one in BARS)
    assert "A <machine> & its cores" in texts
    assert [dot.get("class") for dot in drawn.iter(f"{name}circle")] == ["passed", "missed"]


def test_limits_follow_from_bandwidth_and_arithmetic() -> None:
    limits = Limits(threads=2, read_gb_s=20.0, gflop_s=120.0)
    assert limits.tokens_written_a_second(1_000_000_000) == 20.0
    assert limits.tokens_read_a_second(1.5e9) == 40.0


def test_the_time_of_a_model_is_that_of_its_calls() -> None:
    timed = Timed(ExtractiveGenerator())
    prompt = Prompt(
        "Answer.", "Document:\nThe zoo of Basel opened in 1874.\n\n", "Question: When did it open?"
    )
    chosen = timed.choose(prompt, ("Yes", "No"))
    probe = timed.first_choice
    assert chosen == ExtractiveGenerator().choose(prompt, ("Yes", "No"))
    written = "".join(piece.text for piece in timed.generate(prompt, max_tokens=20))
    assert written == "".join(piece.text for piece in ExtractiveGenerator().generate(prompt, max_tokens=20))
    seconds, first = timed.take()
    assert 0 < probe == first < seconds
    assert timed.take() == (0.0, 0.0)
