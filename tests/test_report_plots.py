"""The report's plots: what is drawn lies where the numbers say, and titles say what is seen."""

from __future__ import annotations

import re

import pytest

from rag.confidence import Interval
from rag.report_plots import (
    calibration_plot,
    difference_plots,
    kind_plot,
    latency_plot,
    number,
    risk_coverage_plot,
    ticks,
    unmoved,
)
from rag.results import Difference, Metric


def points(svg: str) -> list[tuple[float, float]]:
    found = re.search(r'<polyline points="([^"]*)"', svg)
    assert found
    return [(float(x), float(y)) for x, y in (pair.split(",") for pair in found[1].split())]


def test_the_risk_coverage_curve_goes_through_its_points() -> None:
    plot = risk_coverage_plot([0.9, 0.8, 0.8, 0.1], [True, True, False, False])
    assert plot
    # Coverage 1/4, 3/4, 1 and risk 0, 1/3, 1/2, on axes of 298 by 182 units, the upper one at 60 %.
    assert points(plot.svg) == [(118.5, 206.0), (267.5, 104.9), (342.0, 54.3)]
    assert plot.title == "50 % of all 4 answers are wrong, 33 % of the surest 75 %"


def test_the_reliability_diagram_counts_its_bins() -> None:
    plot = calibration_plot([0.95, 0.95, 0.15], [True, False, False])
    assert plot
    assert re.findall(r"<title>(.*?)</title>", plot.svg) == [
        "1 answers, 15 % sure, 0 % right",
        "2 answers, 95 % sure, 50 % right",
    ]


@pytest.mark.parametrize("values", [[5.0], [0.4, 0.5], [1000.0] * 3, [1.0, 250_000.0]])
def test_every_time_stands_in_a_bar(values: list[float]) -> None:
    plot = latency_plot({"whole answer": values, "first token": []})
    assert plot
    assert f"whole answer ({len(values)})" in plot.svg
    bars = [float(x) for x in re.findall(r'<rect x="([\d.-]+)"', plot.svg)]
    assert 1 <= len(bars) <= len(values)
    assert all(16 <= x <= 342 for x in bars)


def test_plots_without_data_are_not_drawn() -> None:
    assert risk_coverage_plot([], []) is None
    assert calibration_plot([], []) is None
    assert latency_plot({"whole answer": []}) is None
    assert kind_plot({}, "Score") is None
    assert difference_plots([Difference("x", None, None, None, None, "no difference seen")], []) == []


def test_differences_are_drawn_by_unit_and_a_dozen_at_a_time() -> None:
    shares = [Difference(f"m{n}", 0.5, 0.6, 0.1, Interval(0.1, 0.05, 0.15, 9), "better") for n in range(14)]
    slow = Difference("total_p50", 100.0, 300.0, 200.0, None, "worse")
    still = Difference("same", 0.5, 0.5, 0.0, Interval(0.0, 0.0, 0.0, 9), "no difference seen")
    even = Difference("even", 0.5, 0.5, 0.0, Interval(0.0, -0.1, 0.1, 9), "no difference seen")
    metrics = [Metric("total_p50", 300.0, None, 9, False, "ms")]
    plots = difference_plots([*shares, slow, still, even], metrics)
    assert [plot.title for plot in plots] == [
        "▲ 12 better, ▼ 0 worse, ○ 0 no difference seen",
        "▲ 2 better, ▼ 0 worse, ○ 1 no difference seen",
        "▲ 0 better, ▼ 1 worse, ○ 0 no difference seen",
    ]
    assert "total_p50 (less is better)" in plots[2].svg
    assert "+200 ms ▼" in plots[2].svg
    assert "0.000 ○" in plots[1].svg
    assert unmoved([*shares, slow, still, even]) == ["same"]
    assert not any("same" in plot.svg for plot in plots)
    assert plots[0].svg.count("<polygon") == 12


def test_where_nothing_moved_there_is_nothing_to_draw() -> None:
    still = [Difference("x", 0.5, 0.5, 0.0, None, "no difference seen")]
    assert difference_plots(still, []) == []
    assert unmoved(still) == ["x"]


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 1, [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (0, 0, [-0.6, -0.4, -0.2, 0.0, 0.2, 0.4, 0.6]),
        (-3, 12, [-5.0, 0.0, 5.0, 10.0, 15.0]),
    ],
)
def test_ticks(low: float, high: float, expected: list[float]) -> None:
    assert ticks(low, high) == expected


@pytest.mark.parametrize(
    ("value", "unit", "expected"),
    [
        (0.5, "", "0.500"),
        (-0.0004, "", "0.000"),
        (1234.56, "ms", "1,235 ms"),
        (-2.25, "tokens", "−2.2 tokens"),
    ],
)
def test_numbers(value: float, unit: str, expected: str) -> None:
    assert number(value, unit) == expected
    assert number(0.25, signed=True) == "+0.250"


def test_kinds_are_drawn_weakest_first_with_their_intervals() -> None:
    plot = kind_plot({"fact": Interval(0.75, 0.5, 1.0, 8), "list": Interval(0.25, 0.0, 0.5, 4)}, "Score")
    assert plot
    assert plot.title == "Weakest: list, 25 %; strongest: fact, 75 %"
    assert plot.svg.index(">list<") < plot.svg.index(">25 %, n = 4<") < plot.svg.index(">fact<")
    # The axis runs from 22 to 338.
    whiskers = re.findall(r'x1="([\d.]+)" y1="\d+" x2="([\d.]+)" y2="\d+" class="whisker"', plot.svg)
    assert whiskers == [("22.0", "180.0"), ("180.0", "338.0")]
    assert re.findall(r'<circle cx="([\d.]+)"', plot.svg) == ["101.0", "259.0"]
