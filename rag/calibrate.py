"""The gate fitted to questions that were answered with the gate open: what it should have known.

Each stage is a logistic regression (ridge penalty) from its signals to what it is asked: before the draft,
whether the documents state the answer; afterwards and for quotations, whether what would be shown is right.
Penalty and scores come from cross-validation, so the file says how well the gate does on questions that it
was not fitted to.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from index.errors import UsageError
from rag.gate import STAGES, Gate
from rag.results import Passed

FOLDS = 5
LEAST_OF_A_CLASS = 2 * FOLDS
"""With fewer questions of either outcome a stage is not fitted, but left as it was."""

KEPT = 0.97
"""The stage before the draft only spares time: its threshold lets so many of the answerable through."""

PENALTIES = tuple(10.0**power for power in range(-3, 3))

_Matrix = npt.NDArray[np.float64]
_Labels = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Fit:
    """One stage. `auc` and `log_loss` are cross-validated; `positives` of the `count` questions had the
    outcome that opens the gate, and with the `threshold` it would have been right on `accuracy` of them.
    """

    stage: str
    intercept: float
    weights: Mapping[str, float]
    threshold: float
    count: int
    positives: int
    auc: float
    log_loss: float
    accuracy: float


@dataclass(frozen=True, slots=True)
class Kept:
    """A stage that could not be fitted, and why."""

    stage: str
    reason: str


def fit_gate(questions: Sequence[Passed], seed: int = 0) -> tuple[list[Fit], list[Kept]]:
    """Every stage that these questions, answered with an open gate, can say something about.

    The same questions give the same gate. Raises UsageError if no stage can be fitted.
    """
    fits: list[Fit] = []
    kept: list[Kept] = []
    for stage in STAGES:
        # By id, so that the order of the files does not matter.
        rows = sorted((one for one in questions if stage in one.stages), key=lambda one: one.id)
        outcome = np.array([_outcome(stage, row) for row in rows], dtype=bool)
        few = min(int(outcome.sum()), int((~outcome).sum())) if rows else 0
        if few < LEAST_OF_A_CLASS:
            kept.append(Kept(stage, f"of {len(rows)} questions only {few} had the rarer outcome"))
            continue
        if not (names := _moving_signals(stage, rows)):
            kept.append(Kept(stage, f"no signal differs between its {len(rows)} questions"))
            continue
        fits.append(_fit(stage, names, rows, outcome, seed))
    if not fits:
        reasons = "; ".join(f"{one.stage}: {one.reason}" for one in kept)
        raise UsageError(
            f"these questions are too few or too alike to fit a gate ({reasons}): use a gold set with at "
            f"least {LEAST_OF_A_CLASS} answerable and as many unanswerable questions"
        )
    return fits, kept


def _outcome(stage: str, row: Passed) -> bool:
    if stage == "before":
        return row.answerable
    return row.scores["quote_right" if stage == "quote" else "correct"] == 1


def _moving_signals(stage: str, rows: Sequence[Passed]) -> list[str]:
    """What the gate had at this very stage, where it is not the same for all. What was learnt later would
    tell in the fit, and be missing when the gate is asked."""
    found = sorted({name for row in rows for name in row.stages[stage]})
    return [name for name in found if np.ptp([row.stages[stage].get(name, 0.0) for row in rows]) > 1e-9]


def _fit(stage: str, names: Sequence[str], rows: Sequence[Passed], outcome: _Labels, seed: int) -> Fit:
    # Heavy, and needed here only: it takes a second to import, which no other command should pay.
    from sklearn.linear_model import LogisticRegression  # type: ignore[import-untyped]
    from sklearn.metrics import log_loss, roc_auc_score  # type: ignore[import-untyped]
    from sklearn.model_selection import (  # type: ignore[import-untyped]
        StratifiedKFold,
        cross_val_predict,
    )

    table: _Matrix = np.array([[row.stages[stage].get(name, 0.0) for name in names] for row in rows])
    mean, spread = table.mean(axis=0), table.std(axis=0)
    scaled = (table - mean) / spread
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)

    def held_out(penalty: float) -> _Matrix:
        model = LogisticRegression(C=penalty, max_iter=1000)
        found: _Matrix = cross_val_predict(model, scaled, outcome, cv=folds, method="predict_proba")[:, 1]
        return found

    tried = {penalty: held_out(penalty) for penalty in PENALTIES}
    losses = {penalty: float(log_loss(outcome, found)) for penalty, found in tried.items()}
    best = min(PENALTIES, key=lambda penalty: (losses[penalty], penalty))
    model = LogisticRegression(C=best, max_iter=1000).fit(scaled, outcome)
    slopes = model.coef_[0] / spread
    threshold = round(_threshold(stage, tried[best], outcome), 4)
    return Fit(
        stage=stage,
        intercept=round(float(model.intercept_[0] - slopes @ mean), 4),
        weights={name: round(float(slope), 4) for name, slope in zip(names, slopes, strict=True)},
        threshold=threshold,
        count=len(rows),
        positives=int(outcome.sum()),
        auc=round(float(roc_auc_score(outcome, tried[best])), 4),
        log_loss=round(losses[best], 4),
        accuracy=round(float(((tried[best] >= threshold) == outcome).mean()), 4),
    )


def _threshold(stage: str, probability: _Matrix, outcome: _Labels) -> float:
    """Before the draft: what KEPT of the answerable reach. Else the one that is right most often, where to
    show something wrong is as bad as to withhold something right; of several the most careful.
    """
    if stage == "before":
        return float(np.floor(np.quantile(probability[outcome], 1 - KEPT) * 1e4) / 1e4)
    ordered = np.unique(probability)
    edges = np.concatenate([(ordered[1:] + ordered[:-1]) / 2, ordered[:1] / 2, [1.0]])
    right = np.array([((probability >= edge) == outcome).sum() for edge in edges])
    return float(edges[right == right.max()].max())


def gate_text(
    fits: Sequence[Fit], kept: Sequence[Kept], before: Gate, fitted_on: Sequence[Mapping[str, Any]]
) -> str:
    """The file that the setting `rag.gate` names: stages as fitted, the others as they were `before`."""
    fitted = {fit.stage: fit for fit in fits}
    stages: dict[str, Any] = {}
    for stage in STAGES:
        if fit := fitted.get(stage):
            stages[stage] = {
                "intercept": fit.intercept,
                "threshold": fit.threshold,
                "weights": dict(fit.weights),
                "questions": fit.count,
                "opened_for": fit.positives,
                "auc": fit.auc,
                "log_loss": fit.log_loss,
                "accuracy": fit.accuracy,
            }
        else:
            stages[stage] = {
                "intercept": before.intercept[stage],
                "threshold": before.threshold[stage],
                "weights": dict(before.weights[stage]),
            }
    not_fitted = {one.stage: one.reason for one in kept}
    found = {"stages": stages, "not_fitted": not_fitted, "fitted_on": [dict(one) for one in fitted_on]}
    return json.dumps(found, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def was_fitted_on(path: str, digest: str) -> bool:
    """Whether the gate file that the setting `rag.gate` names was fitted to the gold set of this digest."""
    if not path:
        return False
    # A gate as `rag.gate.load_gate` takes it; what else it says is for people, and may be anything.
    fitted_on = json.loads(Path(path).read_text(encoding="utf-8")).get("fitted_on")
    known = fitted_on if isinstance(fitted_on, list) else []
    return any(isinstance(one, dict) and one.get("sha256") == digest for one in known)
