"""A gold set of eight facts and as many questions that they do not answer, and damaged pipelines."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rag.evaluate import OPEN_GATE
from rag.generate import ExtractiveGenerator
from rag.pipeline import Pipeline
from rag.prompts import REFUSAL
from rag.types import Answer

MILLS = ["Aldermoor", "Birkfeld", "Corvara", "Dunmore", "Eskdale", "Farnham", "Gstaad", "Hexham"]
NUMBERS = ["41", "52", "63", "74", "85", "96", "37", "28"]
OWNERS = ["Brantner", "Castelli", "Delacroix", "Espinoza", "Ferreira", "Gallagher", "Hollander", "Ingridsen"]
DRAFTS = [
    f"The {mill} mill sold {sacks} sacks daily. Its owner was {owner}."
    for mill, sacks, owner in zip(MILLS, NUMBERS, OWNERS, strict=True)
]
TEXT = "\n\n".join(DRAFTS) + "\n"


def write_gold(folder: Path) -> Path:
    """mills.txt and gold.jsonl: each mill's sacks are asked for, and who haunted it, which is not stated."""
    (folder / "mills.txt").write_text(TEXT)
    lines: list[dict[str, Any]] = []
    for number, (mill, sacks) in enumerate(zip(MILLS, NUMBERS, strict=True)):
        quote = DRAFTS[number]
        lines.append(
            {
                "id": f"a{number}",
                "question": f"How many sacks were sold daily by the {mill} mill?",
                "answers": [sacks],
                "evidence": [{"document": "mills.txt", "quote": quote}],
                "answerable": True,
                "kind": "number",
            }
        )
        lines.append(
            {
                "id": f"n{number}",
                "question": f"Which phantom haunted the {mill} mill?",
                "answers": [],
                "evidence": [],
                "answerable": False,
                "kind": "missing",
            }
        )
    path = folder / "gold.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def drafting(*_: object) -> ExtractiveGenerator:
    """Drafts the two sentences on each mill, in the order in which the answerable questions come."""
    return ExtractiveGenerator(DRAFTS)


class Damaged(Pipeline):
    """Does to each answer what `damage` says, and is otherwise the real one."""

    def ask(self, question: str, *arguments: Any, **options: Any) -> Answer:
        return self.damage(super().ask(question, *arguments, **options))

    def damage(self, answer: Answer) -> Answer:
        raise NotImplementedError


class Shifted(Damaged):
    """Citations begin and end one character late."""

    def damage(self, answer: Answer) -> Answer:
        moved = [replace(one, start=one.start + 1, end=one.end + 1) for one in answer.citations]
        return replace(answer, citations=tuple(moved))


class Swapped(Damaged):
    """Each sentence has the other one's citation."""

    def damage(self, answer: Answer) -> Answer:
        sources = [(one.start, one.end, one.cited_text) for one in answer.citations][::-1]
        swapped = [
            replace(one, start=start, end=end, cited_text=text)
            for one, (start, end, text) in zip(answer.citations, sources, strict=True)
        ]
        return replace(answer, citations=tuple(swapped))


class WrongNumber(Damaged):
    """One number in each answer is another."""

    def damage(self, answer: Answer) -> Answer:
        text = answer.answer
        for sacks in NUMBERS:
            text = text.replace(sacks, "11")
        return replace(answer, answer=text)


class Refusing(Damaged):
    """Nothing is ever answered."""

    def damage(self, answer: Answer) -> Answer:
        return replace(answer, status="unanswerable", answer=REFUSAL, sentences=(), citations=())


class NeverRefusing(Pipeline):
    """Its gate is open."""

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts[:-1], OPEN_GATE)


DAMAGED: Sequence[tuple[type[Pipeline], str, float]] = (
    (Shifted, "citation_exactness", 0.0),
    (Swapped, "citation_support", 0.3),
    (WrongNumber, "figures_supported", 0.0),
    (Refusing, "right_when_answerable", 0.0),
    (NeverRefusing, "refusal_recall", 0.0),
)
"""With the metric that names the damage, and the most that it may still be."""
