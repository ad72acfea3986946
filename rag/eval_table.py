"""A run as lines of text: the same in a terminal, in a pipe, and in a log of CI."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from rag.calibrate import Fit
from rag.measures import MEASURES
from rag.results import Difference, Metric, Run

_Row = tuple[str, ...]


def table_lines(run: Run) -> list[str]:
    """Metrics by group with their intervals; beside them, with a baseline, how they moved; then by kind.

    Undefined metrics stand at the end, with the reason, those with the same one together.
    """
    differences = {one.name: one for one in run.differences}
    lines: list[str] = []
    defined = [metric for metric in run.metrics if metric.value is not None]
    for group, members in groupby(defined, key=lambda metric: MEASURES[metric.name].group):
        rows = [_row(metric, differences.get(metric.name), compared=bool(differences)) for metric in members]
        head = ("", "value", "95 %", "n", *(("change", "95 %", "") if differences else ()))
        lines += [*([""] if lines else []), f"{group.capitalize()}", *_aligned([head, *rows])]
    if run.kinds:
        lines += ["", "By kind", *_aligned(list(_kind_rows(run)))]
    undefined: dict[str, list[str]] = {}
    for metric in run.metrics:
        if metric.value is None:
            undefined.setdefault(metric.reason, []).append(metric.name)
    if undefined:
        lines += ["", "Undefined", *(f"  {', '.join(names)}: {why}" for why, names in undefined.items())]
    return lines


def calibration_lines(fits: Sequence[Fit]) -> list[str]:
    """The fitted stages, with what cross-validation says of them."""
    head = ("", "questions", "opens for", "threshold", "AUC", "log loss", "accuracy")
    rows = [
        (
            fit.stage,
            str(fit.count),
            str(fit.positives),
            *(f"{value:.3f}" for value in (fit.threshold, fit.auc, fit.log_loss, fit.accuracy)),
        )
        for fit in fits
    ]
    return ["Gate, cross-validated", *_aligned([head, *rows])]


def _row(metric: Metric, difference: Difference | None, *, compared: bool) -> _Row:
    interval = metric.interval
    row = (
        metric.name,
        _number(metric.value, metric.unit),
        f"{_number(interval.low, metric.unit)} to {_number(interval.high, metric.unit)}" if interval else "",
        str(metric.count),
    )
    if not compared:
        return row
    if difference is None or difference.interval is None:
        return (*row, "", "", "not comparable")
    found = difference.interval
    return (
        *row,
        _number(found.value, metric.unit, sign=True),
        f"{_number(found.low, metric.unit, sign=True)} to {_number(found.high, metric.unit, sign=True)}",
        difference.verdict,
    )


def _kind_rows(run: Run) -> Iterator[_Row]:
    names = [
        metric.name
        for metric in next(iter(run.kinds.values()))
        if any(
            one.name == metric.name and one.value is not None for some in run.kinds.values() for one in some
        )
    ]
    yield ("", "n", *names)
    for kind, metrics in run.kinds.items():
        values = {metric.name: metric.value for metric in metrics}
        count = sum(question.kind == kind for question in run.questions)
        yield (kind, str(count), *(_number(values[name]) for name in names))


def _number(value: float | None, unit: str = "", *, sign: bool = False) -> str:
    if value is None:
        return "–"
    return f"{value:{'+' if sign else ''}{'.0f' if unit else '.3f'}}" + (f" {unit}" if unit == "ms" else "")


def _aligned(rows: Sequence[_Row]) -> list[str]:
    """Names to the left, all else to the right, but words at the end."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [
            row[0].ljust(widths[0]),
            *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)),
        ]
        lines.append(("  " + "  ".join(cells)).rstrip())
    return lines
