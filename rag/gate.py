"""Does the document answer this question? A logistic model over a few readable signals.

Asked twice: before the draft with what retrieval and the model's yes/no probe say, and after it with
the verdict on the draft as well. The coefficients stand in gate.json, one number a signal, fitted on
public question sets; settings can name another file.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from index.errors import UsageError
from rag.ground import Verdict
from rag.retrieve import Retrieval
from rag.words import names, numbers, words

# When the gate is asked: of verbatim quoting without a model; before the draft; of a draft that passed
# the check; of quoting a sentence where none did.
STAGES = ("quote", "before", "after", "verbatim")


@dataclass(frozen=True, slots=True)
class Gate:
    """P(answerable) = 1 / (1 + exp(-(intercept + Σ weight · signal))) against a threshold, per stage."""

    intercept: Mapping[str, float]
    weights: Mapping[str, Mapping[str, float]]
    threshold: Mapping[str, float]

    def probability(self, stage: str, signals: Mapping[str, float]) -> float:
        """In (0, 1); signals that the stage does not weigh are ignored, those missing count as 0."""
        total = self.intercept[stage] + sum(
            weight * signals.get(name, 0.0) for name, weight in self.weights[stage].items()
        )
        return 1 / (1 + math.exp(-max(min(total, 60.0), -60.0)))

    def opens(self, stage: str, signals: Mapping[str, float]) -> bool:
        return self.probability(stage, signals) >= self.threshold[stage]


def load_gate(path: str = "") -> Gate:
    """The gate in the file `path`, or the shipped one. Raises UsageError when it is not a gate."""
    try:
        text = Path(path).read_text() if path else resources.files("rag").joinpath("gate.json").read_text()
        stages = json.loads(text)["stages"]
        if missing := [stage for stage in STAGES if stage not in stages]:
            raise ValueError(f"it has no stage {', '.join(missing)}")
        return Gate(
            intercept={name: float(stage["intercept"]) for name, stage in stages.items()},
            weights={
                name: {signal: float(weight) for signal, weight in stage["weights"].items()}
                for name, stage in stages.items()
            },
            threshold={name: float(stage["threshold"]) for name, stage in stages.items()},
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"the gate file {path} cannot be used: {error!r}") from error


def retrieval_signals(retrieval: Retrieval) -> dict[str, float]:
    """What retrieval alone says.

    `cosine` and `coverage`: the best of any sentence; `both`: the best product of the two at one
    sentence; `unknown`: the weighted share of the question's words that stand in no passage;
    `unknown_names`: how many of these are names or numbers.
    """
    total = sum(retrieval.weights.values()) or 1.0
    proper = names(retrieval.question) | {
        word.term for word in words(retrieval.question) if word.term[:1].isdigit()
    }
    unknown = {word.term for word in words(retrieval.question) if word.text in retrieval.unknown}
    pairs = list(zip(retrieval.cosines, retrieval.coverages, strict=True))
    return {
        "cosine": max(retrieval.cosines, default=0.0),
        "coverage": max(retrieval.coverages, default=0.0),
        "both": max((max(cosine, 0.0) * share for cosine, share in pairs), default=0.0),
        "unknown": sum(retrieval.weights[term] for term in unknown) / total,
        "unknown_names": float(len(unknown & proper)),
    }


def draft_signals(verdict: Verdict | None, question: str) -> dict[str, float]:
    """What the draft adds: whether one was made, whether it passed, its score, and its kind of answer.

    `type_miss`: the question wants a number or a time and the cited text holds neither.
    """
    if verdict is None:
        return {"draft": 0.0, "supported": 0.0, "score": 0.0, "type_miss": 0.0}
    return {
        "draft": 1.0,
        "supported": float(verdict.supported),
        "score": verdict.score,
        "type_miss": float(wants_number(question) and not numbers(verdict.text)),
    }


_WANTS_NUMBER = ("how many", "how much", "how old", "what number", "what year", "which year")


def wants_number(question: str) -> bool:
    lower = " ".join(word.lower for word in words(question))
    return any(lead in lower for lead in _WANTS_NUMBER)
