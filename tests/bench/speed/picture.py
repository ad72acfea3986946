"""The bars as a picture of its own: how many times better or worse than its bar each row is."""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup

from rag.report_marks import shown
from rag.report_plots import Scale

from .bars import Row, figure

WIDTH, LEFT, RIGHT, ROW, TOP = 900, 20, 880, 40, 64
STYLE = """
svg { font: 13px system-ui, sans-serif; fill: #222; background: #fff }
.rule { stroke: #ddd } .bar { stroke: #222; stroke-width: 1.5 } .soft { fill: #666 } .end { text-anchor: end }
.mid { text-anchor: middle }
.passed { fill: #1a7f4b; stroke: #1a7f4b } .missed { fill: #b3361e; stroke: #b3361e }
.way { stroke-width: 3 }
"""


def picture(rows: Sequence[Row], title: str) -> str:
    """An SVG. Right of the line is better than the bar, by the factor that the axis says."""
    known = [row.reached for row in rows if row.reached is not None]
    most = max([4.0, *known, *(1 / one for one in known)])
    reach = min(math.ceil(math.log2(most)), 8)
    x = Scale(-reach, reach, 470, RIGHT - 30)
    height = TOP + ROW * len(rows) + 40
    floor = height - 30
    parts = [
        _text(LEFT, 24, title, "title"),
        _text(LEFT, 44, "right of the line: better than the bar; left: worse", "soft"),
    ]
    for power in range(-reach, reach + 1, 1 if reach <= 4 else 2):
        kind = "bar" if power == 0 else "rule"
        parts.append(_line(float(x(power)), TOP, float(x(power)), floor, kind))
        label = f"{2**power} times" if power >= 0 else f"1/{2**-power}"
        parts.append(_text(x(power), floor + 18, "the bar" if power == 0 else label, "mid soft"))
    for index, row in enumerate(rows):
        y = TOP + ROW * index + 20
        unit = row.bar.unit
        sign = "≤" if row.bar.way == "<=" else "≥"
        parts.append(_text(LEFT, y - 2, row.bar.what))
        said = f"bar {sign} {figure(row.bar.limit, unit)}"
        said = f"{figure(row.value, unit)}, {said}" if row.value is not None else f"not measured, {said}"
        parts.append(_text(LEFT, y + 14, said, "soft"))
        if row.reached is not None:
            place = max(-reach, min(reach, math.log2(row.reached)))
            parts.append(_line(float(x(0)), y, float(x(place)), y, f"way {row.verdict}"))
            parts.append(
                Markup('<circle cx="{}" cy="{}" r="6" class="{}"/>').format(x(place), y, row.verdict)
            )
    return str(
        Markup(
            '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {} {}" width="{}" height="{}" role="img" '
            'aria-label="{}"><style>{}</style>{}</svg>\n'
        ).format(WIDTH, height, WIDTH, height, shown(title), Markup(STYLE), Markup("").join(parts))
    )


def _text(x: float | str, y: float | str, text: str, classes: str = "") -> Markup:
    return Markup('<text x="{}" y="{}" class="{}">{}</text>').format(x, y, classes, shown(text))


def _line(x1: float, y1: float, x2: float, y2: float, classes: str) -> Markup:
    return Markup('<line x1="{:.1f}" y1="{}" x2="{:.1f}" y2="{}" class="{}"/>').format(
        x1, y1, x2, y2, classes
    )
