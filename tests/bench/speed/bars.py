"""The bars of the bench as values: what was measured, whether it is enough, and how it is shown.

Nothing here measures. A row without a figure has not passed: it says why there is none.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

Verdict = Literal["passed", "missed", "not measured"]
AtMost = Literal["<=", ">="]


@dataclass(frozen=True, slots=True)
class Bar:
    """`limit` in `unit` ("s", "ms", "MB", "times", "share"), to be reached from the side that `way` says."""

    key: str
    what: str
    against: str
    way: AtMost
    limit: float
    unit: str


@dataclass(frozen=True, slots=True)
class Row:
    """What came of one bar. `value` is None where it was not measured, and `note` then says why.

    `low` and `high` are the extremes of what the value is the median of; `count` is how many these are.
    `held_back` says how far from the machine's limit it is, in computed figures.
    """

    bar: Bar
    value: float | None
    note: str = ""
    held_back: str = ""
    low: float | None = None
    high: float | None = None
    count: int = 0

    @property
    def verdict(self) -> Verdict:
        if self.value is None:
            return "not measured"
        enough = self.value <= self.bar.limit if self.bar.way == "<=" else self.value >= self.bar.limit
        return "passed" if enough else "missed"

    @property
    def reached(self) -> float | None:
        """How many times better than the bar: 1 is just enough, 0.5 is half. None where nothing is known."""
        if self.value is None or self.value <= 0:
            return None
        return self.bar.limit / self.value if self.bar.way == "<=" else self.value / self.bar.limit


BARS = (
    Bar("help", "footnote --help, cold", "-", "<=", 0.25, "s"),
    Bar("quote", "ask --quote, cold", "-", "<=", 1.5, "s"),
    Bar("sources", "question to sources, warm server", "-", "<=", 60, "ms"),
    Bar("sources_large", "the same at 100,000 passages", "-", "<=", 120, "ms"),
    Bar("own_work", "everything but the model's work, warm", "the whole answer", "<=", 0.05, "share"),
    Bar("prompt", "prompt tokens an answer", "LlamaIndex, the same question", "<=", 0.2, "times"),
    Bar("cold", "cold ask from a saved reading", "load, and write as much, bare", "<=", 1.5, "times"),
    Bar(
        "first_token",
        "first token on a saved reading",
        "its prompt read anew",
        "<=",
        1 / 15,
        "times",
    ),
    Bar("finished", "question to finished answer, warm", "the fastest peer", ">=", 6, "times"),
    Bar("precision", "precision of citations", "the most exact peer", ">=", 1, "times"),
    Bar("writing", "tokens a second while writing", "bare llama-cpp-python", ">=", 0.97, "times"),
    Bar("writing_server", "the same", "xllamacpp's server", ">=", 0.95, "times"),
    Bar("lookup", "writing with prompt lookup, quoting", "without", ">=", 1.3, "times"),
    Bar("eight", "8 users at once, answers a minute", "one after another", ">=", 1.4, "times"),
    Bar("memory", "resident memory of serve, model file aside", "-", "<=", 700, "MB"),
)
KEYS = tuple(bar.key for bar in BARS)


def bar(key: str) -> Bar:
    return next(one for one in BARS if one.key == key)


def measured(key: str, values: Sequence[float], note: str = "", held_back: str = "") -> Row:
    """The row of the median of `values`; of none, a row that says so."""
    if not values:
        return Row(bar(key), None, note or "nothing was measured", held_back)
    return Row(bar(key), statistics.median(values), note, held_back, min(values), max(values), len(values))


def absent(key: str, why: str) -> Row:
    return Row(bar(key), None, why)


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """Ours by theirs, pair by pair: each pair was measured one after the other, so that what else the machine
    did then met both. Raises ValueError where they are no pairs, or one of theirs is not above 0."""
    pairs = list(zip(ours, theirs, strict=True))
    if any(their <= 0 for _, their in pairs):
        raise ValueError("a figure to compare with is not above 0")
    return [our / their for our, their in pairs]


def in_order(rows: Iterable[Row]) -> list[Row]:
    """As the table has them, with a row for every bar that nothing was found for."""
    found = {row.bar.key: row for row in rows}
    return [found.get(one.key, absent(one.key, "not asked for")) for one in BARS]


def figure(value: float | None, unit: str) -> str:
    """For reading: "0.11 s", "34 ms", "0.82 times", "3.1 %"."""
    if value is None:
        return "-"
    if unit == "share":
        return f"{100 * value:.1f} %"
    digits = 0 if unit in {"ms", "MB"} or value >= 100 else 3 if value < 0.1 else 2
    return f"{value:,.{digits}f} {unit}"


def table(rows: Sequence[Row]) -> str:
    """Plain text in columns; what is said of a row stands under it, indented."""
    head = ("what", "against", "bar", "measured", "lowest to highest", "")
    lines = [head]
    for row in rows:
        unit = row.bar.unit
        sign = "≤" if row.bar.way == "<=" else "≥"
        spread = f"{figure(row.low, unit)} to {figure(row.high, unit)} ({row.count})" if row.count > 1 else ""
        limit = f"{sign} {figure(row.bar.limit, unit)}"
        lines.append((row.bar.what, row.bar.against, limit, figure(row.value, unit), spread, row.verdict))
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    written = []
    for at, line in enumerate(lines):
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        written.append("  ".join(cells).rstrip())
        if at:
            written += [f"    {said}" for said in (rows[at - 1].note, rows[at - 1].held_back) if said]
    return "\n".join(written) + "\n"


def row_object(row: Row) -> dict[str, object]:
    """As JSON."""
    return {
        "key": row.bar.key,
        "what": row.bar.what,
        "against": row.bar.against,
        "bar": {"way": row.bar.way, "limit": row.bar.limit, "unit": row.bar.unit},
        "value": row.value,
        "low": row.low,
        "high": row.high,
        "count": row.count,
        "verdict": row.verdict,
        "note": row.note,
        "held_back": row.held_back,
    }
