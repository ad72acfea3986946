"""Does the document answer this question? A logistic model over a few readable signals.

Asked before the draft, with what retrieval and the model's yes/no probe of the section say, and after it,
with what the model says of single sentences and the check of the draft. The coefficients stand in
gate.json, one number a signal, fitted on public question sets; settings can name another file.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from pydantic import BaseModel, FiniteFloat, ValidationError, field_validator

from index.errors import UsageError
from rag.ground import Verdict
from rag.question import wants_number
from rag.retrieve import Retrieval
from rag.words import names, numbers, words

# When the gate is asked: of verbatim quoting without a model; before the draft; of a draft that passed
# the check; of quoting a sentence where none did.
STAGES = ("quote", "before", "after", "verbatim")


class _Stage(BaseModel):
    intercept: FiniteFloat
    threshold: FiniteFloat
    weights: dict[str, FiniteFloat]


class _File(BaseModel):
    """gate.json; other keys, such as what it was fitted on, are for people."""

    stages: dict[str, _Stage]

    @field_validator("stages")
    @classmethod
    def _whole(cls, stages: dict[str, _Stage]) -> dict[str, _Stage]:
        if missing := [stage for stage in STAGES if stage not in stages]:
            raise ValueError(f"it has no stage {', '.join(missing)}")
        return stages


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


_MEND = ": correct it, or leave the setting rag.gate empty"


def load_gate(path: str = "") -> Gate:
    """The gate in the file `path`, or the shipped one. Raises UsageError when it is not a gate."""
    source = Path(path) if path else resources.files("rag").joinpath("gate.json")
    try:
        stages = _File.model_validate_json(source.read_text(encoding="utf-8")).stages
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise UsageError(f"the gate file {path} is no gate ({place}: {first['msg']}){_MEND}") from error
    except (OSError, ValueError) as error:
        raise UsageError(f"the gate file {path} cannot be read ({error}){_MEND}") from error
    return Gate(
        intercept={name: stages[name].intercept for name in STAGES},
        weights={name: stages[name].weights for name in STAGES},
        threshold={name: stages[name].threshold for name in STAGES},
    )


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

    `pointed`: a document sentence holds what it adds to the question; `invented`: how many of its names and
    figures nothing that was read holds; `type_miss`: the question wants a number and the draft holds none.
    """
    if verdict is None:
        return dict.fromkeys(("draft", "supported", "score", "pointed", "invented", "type_miss"), 0.0)
    return {
        "draft": 1.0,
        "supported": float(verdict.supported),
        "score": verdict.score,
        "pointed": float(verdict.main is not None),
        "invented": float(verdict.invented),
        "type_miss": float(wants_number(question) and not numbers(verdict.text)),
    }
