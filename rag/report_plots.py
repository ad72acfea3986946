"""The report's plots as inline SVG, each with a title that says what is seen in it.

Drawn 360 units wide, so that the words in them stay legible on a telephone; every colour, stroke and font
is a class of report.css, since the page allows no style of its own to an element.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from rag.confidence import Interval, calibration, calibration_error, risk_coverage
from rag.metrics import percentile
from rag.report_marks import shown
from rag.results import Difference, Metric

WIDTH = 360
LEFT, RIGHT = 44, 342
"""Where the horizontal axis of a plot with a vertical one begins and ends."""
EDGE = 24
"""Where it begins without one: half of the first label stands to the left of it."""
ROW = 36
ROWS_A_PLOT = 12
SIGNS = {"better": "▲", "worse": "▼", "no difference seen": "○"}


@dataclass(frozen=True, slots=True)
class Plot:
    """`title` says what is seen, `note` how to read it; `svg` is the picture."""

    title: str
    note: str
    svg: Markup


@dataclass(frozen=True, slots=True)
class Whisker:
    """One row of a dot plot: `value` at its right end, `verdict` in `SIGNS` where one was given."""

    label: str
    point: float
    low: float | None
    high: float | None
    value: str
    verdict: str = ""


@dataclass(frozen=True, slots=True)
class Scale:
    """Numbers to units of the drawing, linearly."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> str:
        share = (value - self.low) / (self.high - self.low)
        return f"{self.start + share * (self.end - self.start):.1f}"


def number(value: float, unit: str = "", *, signed: bool = False, bare: bool = False) -> str:
    """A metric's value for reading: three decimals for a share, whole milliseconds; `bare` of its unit."""
    digits = 3 if not unit else 0 if unit == "ms" else 1
    text = f"{abs(value):,.{digits}f}"
    zero = not text.strip("0.,")
    sign = "" if zero else "−" if value < 0 else "+" if signed else ""
    return sign + text + (f" {unit}" if unit and not bare else "")


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten apart) that enclose the two."""
    if low == high:
        low, high = low - 0.5, high + 0.5
    rough = (high - low) / about
    power: float = 10.0 ** math.floor(math.log10(rough))
    step = next(power * times for times in (1, 2, 5, 10) if power * times >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def percent(share: float) -> str:
    return f"{share * 100:.0f} %"


def _svg(height: float, label: str, *parts: Markup) -> Markup:
    return Markup(
        '<svg viewBox="0 0 {} {:.0f}" role="img" aria-label="{}" preserveAspectRatio="xMinYMin">{}</svg>'
    ).format(WIDTH, height, shown(label), Markup("").join(parts))


def _text(x: float | str, y: float | str, text: str, classes: str = "") -> Markup:
    return Markup('<text x="{}" y="{}" class="{}">{}</text>').format(x, y, classes, shown(text))


def _line(x1: float | str, y1: float | str, x2: float | str, y2: float | str, classes: str) -> Markup:
    return Markup('<line x1="{}" y1="{}" x2="{}" y2="{}" class="{}"/>').format(x1, y1, x2, y2, classes)


def _frame(x: Scale, y: Scale, x_ticks: Sequence[float], y_ticks: Sequence[float]) -> list[Markup]:
    """Rules at the vertical axis's ticks, both axes' labels in per cent."""
    parts = []
    for value in y_ticks:
        parts.append(_line(LEFT, y(value), RIGHT, y(value), "rule"))
        parts.append(_text(LEFT - 6, float(y(value)) + 4, percent(value), "end"))
    parts += [_text(x(value), y.start + 16, percent(value), "mid") for value in x_ticks]
    return parts


def risk_coverage_plot(confidence: Sequence[float], correct: Sequence[bool]) -> Plot | None:
    """Share of wrong answers against the share of answers kept, surest first; None without answers."""
    curve = risk_coverage(confidence, correct)
    if curve is None:
        return None
    levels = ticks(0, max(*(point.risk for point in curve.points), 0.1), 4)
    x, y = Scale(0, 1, LEFT, RIGHT), Scale(0, levels[-1], 206, 24)
    places = [f"{x(point.coverage)},{y(point.risk)}" for point in curve.points]
    last = curve.points[-1]
    half = next(point for point in curve.points if point.coverage >= 0.5)
    title = f"{percent(last.risk)} of all {len(correct)} answers are wrong"
    if half is not last:
        title += f", {percent(half.risk)} of the surest {percent(half.coverage)}"
    start = places[0].partition(",")[0]
    area = f"M{start},{y(0)} L{' L'.join(places)} L{x(1)},{y(0)} Z"
    svg = _svg(
        250,
        f"Risk–coverage curve. {title}. Area under the curve {curve.area:.3f}.",
        _text(4, 12, "wrong answers"),
        *_frame(x, y, (0, 0.25, 0.5, 0.75, 1), levels),
        Markup('<path d="{}" class="area"/>').format(area),
        Markup('<polyline points="{}" class="curve"/>').format(" ".join(places)),
        Markup('<circle cx="{}" cy="{}" r="4" class="dot"/>').format(x(1), y(last.risk)),
        _text(RIGHT, 244, "answers kept, surest first", "end"),
    )
    note = (
        "Risk–coverage: the answers that were given, ordered by the program's confidence. The lower and the "
        f"further right the curve, the better it knows what it knows. Area {curve.area:.3f}."
    )
    return Plot(title, note, svg)


def calibration_plot(confidence: Sequence[float], correct: Sequence[bool]) -> Plot | None:
    """The reliability diagram over a strip of counts; None without answers."""
    bins = calibration(confidence, correct)
    error = calibration_error(confidence, correct)
    if error is None:
        return None
    x, y = Scale(0, 1, LEFT, RIGHT), Scale(0, 1, 206, 24)
    most = max(one.count for one in bins)
    floor, tall = 300.0, 38.0
    parts = [
        _text(4, 12, "right answers"),
        *_frame(x, y, (0, 0.25, 0.5, 0.75, 1), (0, 0.25, 0.5, 0.75, 1)),
        _line(x(0), y(0), x(1), y(1), "diagonal"),
    ]
    for one in bins:
        parts.append(_line(x(one.confidence), y(one.confidence), x(one.confidence), y(one.accuracy), "gap"))
    for one in bins:
        radius = 3 + 5 * math.sqrt(one.count / most)
        parts.append(
            Markup('<circle cx="{}" cy="{}" r="{:.1f}" class="dot"><title>{}</title></circle>').format(
                x(one.confidence),
                y(one.accuracy),
                radius,
                f"{one.count} answers, {percent(one.confidence)} sure, {percent(one.accuracy)} right",
            )
        )
        height = max(tall * one.count / most, 1)
        left, right = float(x(one.low)) + 1, float(x(one.high)) - 1
        parts.append(
            Markup('<rect x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}" class="bar"/>').format(
                left, floor - height, right - left, height
            )
        )
        parts.append(_text((left + right) / 2, floor - height - 4, str(one.count), "mid"))
    parts += [
        _text(4, floor - 2, "count"),
        _line(LEFT, floor, RIGHT, floor, "axis"),
        _text(RIGHT, floor + 16, "confidence", "end"),
    ]
    title = f"Confidence and truth lie {error * 100:.0f} points apart on average"
    svg = _svg(floor + 22, f"Reliability diagram of {len(correct)} answers. {title}.", *parts)
    note = (
        "Calibration: answers in ten groups by confidence. On the dashed line the program is right as often "
        "as it is sure; below it, it is too sure. Larger dots and bars stand for more answers. "
        f"Expected calibration error {error:.3f}."
    )
    return Plot(title, note, svg)


def latency_plot(times: Mapping[str, Sequence[float]]) -> Plot | None:
    """Histograms of milliseconds, one a row, over one logarithmic axis; None without a time.

    The last row is the one that the title speaks of.
    """
    rows = {name: sorted(values) for name, values in times.items() if values}
    if not rows:
        return None
    low = math.floor(math.log10(max(min(values[0] for values in rows.values()), 1)) * 2) / 2
    high = math.ceil(math.log10(max(values[-1] for values in rows.values()) + 1) * 2) / 2
    high = max(high, low + 1)
    x = Scale(low, high, EDGE, RIGHT)
    bins = round((high - low) * 12)
    parts, base, title = [], 0.0, ""
    for name, values in rows.items():
        p50, p95 = percentile(values, 0.5) or 0.0, percentile(values, 0.95) or 0.0
        title = f"{name[0].upper()}{name[1:]}: half within {_time(p50)}, 95 % within {_time(p95)}"
        top, base = base + 22, base + 94
        parts.append(_text(4, top, f"{name} ({len(values)})", "strong"))
        counts = [0] * bins
        for value in values:
            counts[min(int((math.log10(max(value, 1)) - low) / (high - low) * bins), bins - 1)] += 1
        for index, count in enumerate(counts):
            if count:
                left = float(x(low + (high - low) * index / bins))
                tall = max(40 * count / max(counts), 1)
                parts.append(
                    Markup('<rect x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}" class="bar"/>').format(
                        left, base - tall, (RIGHT - EDGE) / bins - 1, tall
                    )
                )
        parts.append(_line(EDGE, base, RIGHT, base, "axis"))
        for value, classes in ((p50, "cut"), (p95, "cut dashed")):
            at = x(math.log10(max(value, 1)))
            parts.append(_line(at, base - 52, at, base, classes))
        parts.append(_text(RIGHT, top, f"p50 {_time(p50)} · p95 {_time(p95)}", "end"))
    for tick in range(math.ceil(low), math.floor(high) + 1):
        parts.append(_line(x(tick), base, x(tick), base + 4, "axis"))
        parts.append(_text(x(tick), base + 17, _time(10.0**tick), "mid"))
    parts.append(_text(RIGHT, base + 33, "time since the question was asked, logarithmic", "end"))
    note = "Latency: how many questions took how long. The full line is the median, the dashed one p95."
    return Plot(title, note, _svg(base + 40, f"Latency. {title}.", *parts))


def _time(milliseconds: float) -> str:
    if milliseconds < 1000:
        return f"{milliseconds:.0f} ms"
    seconds = milliseconds / 1000
    return f"{seconds:.1f} s" if seconds < 10 and seconds != int(seconds) else f"{seconds:,.0f} s"


def kind_plot(scores: Mapping[str, Interval], name: str) -> Plot | None:
    """A score in [0, 1] by kind of question, the weakest first; None without kinds."""
    if not scores:
        return None
    order = sorted(scores, key=lambda kind: (scores[kind].value, kind))
    rows = [
        Whisker(kind, one.value, one.low, one.high, f"{percent(one.value)}, n = {one.count}")
        for kind, one in ((kind, scores[kind]) for kind in order)
    ]
    weakest, strongest = order[0], order[-1]
    title = f"{weakest}, {percent(scores[weakest].value)}"
    if scores[weakest].value < scores[strongest].value:
        title = f"Weakest: {title}; strongest: {strongest}, {percent(scores[strongest].value)}"
    note = f"{name} by kind, with 95 % intervals; n is how many there are."
    svg = _whiskers(rows, f"{name} by kind. {title}.", (0, 0.25, 0.5, 0.75, 1), percent, None)
    return Plot(title, note, svg)


def difference_plots(differences: Sequence[Difference], metrics: Iterable[Metric]) -> list[Plot]:
    """Forest plots of what moved from the baseline, a few metrics each, units apart."""
    known = {metric.name: metric for metric in metrics}
    units: dict[str, list[Difference]] = {}
    still = unmoved(differences)
    for one in differences:
        if one.difference is not None and one.name not in still:
            metric = known.get(one.name)
            units.setdefault(metric.unit if metric else "", []).append(one)
    plots = []
    for unit, members in units.items():
        bounds = [0.0]
        for one in members:
            bounds += [one.difference or 0.0]
            bounds += [one.interval.low, one.interval.high] if one.interval else []
        marks = ticks(min(bounds), max(bounds), 4)
        for at in range(0, len(members), ROWS_A_PLOT):
            chosen = members[at : at + ROWS_A_PLOT]
            plots.append(_difference_plot(chosen, known, marks, unit))
    return plots


def unmoved(differences: Iterable[Difference]) -> list[str]:
    """The metrics that no question moved: a plot of them would be a column of zeros."""
    return [
        one.name
        for one in differences
        if one.difference == 0 and (one.interval is None or one.interval.low == one.interval.high == 0)
    ]


def _difference_plot(
    chosen: Sequence[Difference], known: Mapping[str, Metric], marks: Sequence[float], unit: str
) -> Plot:
    rows = []
    for one in chosen:
        metric = known.get(one.name)
        lower = " (less is better)" if metric and not metric.higher_is_better else ""
        low, high = (one.interval.low, one.interval.high) if one.interval else (None, None)
        value = f"{number(one.difference or 0.0, unit, signed=True)} {SIGNS.get(one.verdict, '')}"
        rows.append(Whisker(one.name + lower, one.difference or 0.0, low, high, value, one.verdict))
    counts = {verdict: sum(one.verdict == verdict for one in chosen) for verdict in SIGNS}
    title = ", ".join(f"{SIGNS[verdict]} {count} {verdict}" for verdict, count in counts.items())
    note = (
        f"Difference from the baseline{f' in {unit}' if unit else ''}, with 95 % intervals; 0 is no change."
    )
    decimals = max(0, -math.floor(math.log10(marks[1] - marks[0]) + 1e-9))

    def shorter(value: float) -> str:
        sign = "−" if value < 0 else "+" if value > 0 else ""
        return f"{sign}{abs(value):,.{decimals}f}"

    return Plot(title, note, _whiskers(rows, f"{note} {title}.", marks, shorter, 0.0))


def _whiskers(
    rows: Sequence[Whisker],
    label: str,
    marks: Sequence[float],
    axis: Callable[[float], str],
    zero: float | None,
) -> Markup:
    x = Scale(marks[0], marks[-1], 22, WIDTH - 22)
    floor = ROW * len(rows) + 8
    parts = [_line(x(mark), 4, x(mark), floor, "axis" if mark == zero else "rule") for mark in marks]
    for index, row in enumerate(rows):
        y = index * ROW + 28
        parts.append(_text(4, y - 10, row.label, "halo"))
        parts.append(_text(WIDTH - 4, y - 10, row.value, "end halo"))
        classes = f"whisker {row.verdict.replace(' ', '-')}".strip()
        if row.low is not None and row.high is not None:
            parts.append(_line(x(row.low), y, x(row.high), y, classes))
        parts.append(_sign(float(x(row.point)), y, row.verdict))
    parts += [_text(x(mark), floor + 16, axis(mark), "mid") for mark in marks]
    return _svg(floor + 22, label, *parts)


def _sign(x: float, y: float, verdict: str) -> Markup:
    """A triangle up for better and down for worse, a ring for neither, a dot where nothing was compared."""
    if verdict in ("better", "worse"):
        tip, foot = (y - 6, y + 5) if verdict == "better" else (y + 6, y - 5)
        points = f"{x:.1f},{tip} {x - 6:.1f},{foot} {x + 6:.1f},{foot}"
        return Markup('<polygon points="{}" class="sign {}"/>').format(points, verdict)
    classes = "sign no-difference-seen" if verdict else "dot"
    return Markup('<circle cx="{:.1f}" cy="{}" r="4.5" class="{}"/>').format(x, y, classes)
